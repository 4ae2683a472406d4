// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "marks.h"

/* Whoever sets marks in a loop fills no memory of the guest. */
#define MARKS_MAX_BYTES	(64 << 10)
#define LINE_MAX_BYTES	(MARK_NAME_MAX + 48)

bool mark__set_name(struct mark *mark, const char *name)
{
	size_t length = strlen(name);

	if (!length || length > MARK_NAME_MAX ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != length)
		return false;
	memcpy(mark->name, name, length + 1);
	return true;
}

void mark__set_times(struct mark *mark, const struct snapshot *snapshot)
{
	mark->guest_ns = snapshot->guest_ns;
	mark->host_ns = snapshot->host_ns;
	mark->has_host_ns = !snapshot->stale;
}

int marks__open(const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		fail(error, STATUS_FAILED, "cannot open %s: %s%s", path, strerror(errno),
		     errno == EACCES ? "; run this as root" : "");
	return fd;
}

/* One write() of a whole line: several of us may append at once. */
int marks__add(int fd, const struct mark *mark, struct error *error)
{
	char line[LINE_MAX_BYTES], host[24] = "-";
	struct stat st;
	int length;

	if (fstat(fd, &st) || st.st_size > MARKS_MAX_BYTES - LINE_MAX_BYTES)
		return fail(error, STATUS_FAILED, "there are too many marks; empty their file");
	if (mark->has_host_ns)
		snprintf(host, sizeof(host), "%" PRIu64, mark->host_ns);
	length = snprintf(line, sizeof(line), "%s %" PRIu64 " %s\n", mark->name, mark->guest_ns, host);
	if (write(fd, line, (size_t)length) != length)
		return fail(error, STATUS_FAILED, "cannot write the mark: %s", strerror(errno));
	return 0;
}

static bool parse_line(const char *line, struct mark *mark)
{
	char name[MARK_NAME_MAX + 1], host[24];

	if (sscanf(line, "%64s %" SCNu64 " %23s", name, &mark->guest_ns, host) != 3 || !mark__set_name(mark, name))
		return false;
	mark->has_host_ns = sscanf(host, "%" SCNu64, &mark->host_ns) == 1;
	return true;
}

bool marks__next(int fd, off_t *offset, struct mark *mark)
{
	char line[LINE_MAX_BYTES + 1], *end;
	struct stat st;
	ssize_t got;

	for (;;) {
		got = pread(fd, line, LINE_MAX_BYTES, *offset);
		if (got == 0 && !fstat(fd, &st) && st.st_size < *offset) {
			*offset = 0;	/* somebody emptied the file */
			continue;
		}
		if (got <= 0)
			return false;
		line[got] = 0;
		end = memchr(line, '\n', (size_t)got);
		if (!end && got < LINE_MAX_BYTES)
			return false;	/* its writer is not through */
		*offset += end ? end + 1 - line : got;
		if (!end)
			continue;	/* not ours: skip it */
		*end = 0;
		if (parse_line(line, mark))
			return true;
	}
}

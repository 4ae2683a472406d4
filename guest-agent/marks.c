// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "marks.h"
#include "marks_file.h"

#define LINE_MAX_BYTES	(MARK_NAME_MAX + 48)
#define CANNOT_LOCK	"cannot lock the marks: %s"

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
	mark->has_host_ns = snapshot->features & KVM_SPF_F_COUNTERS && !snapshot->stale;
}

/*
 * Only its owner may open the file: any process that can open it could hold its lock.
 */
int marks__open(const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		fail(error, STATUS_FAILED, "cannot open %s: %s%s", path, strerror(errno),
		     errno == EACCES ? "; run this as root" : "");
	return fd;
}

int marks__add(int fd, const struct mark *mark, struct error *error)
{
	char line[LINE_MAX_BYTES], host[24] = "-";
	int length, failed;

	if (mark->has_host_ns)
		snprintf(host, sizeof(host), "%" PRIu64, mark->host_ns);
	length = snprintf(line, sizeof(line), "%s %" PRIu64 " %s\n", mark->name, mark->guest_ns, host);
	if (marks_file__lock(fd, true))
		return fail(error, STATUS_FAILED, CANNOT_LOCK, strerror(errno));
	failed = marks_file__append(fd, line, (size_t)length, error);
	marks_file__unlock(fd);
	return failed;
}

static bool parse_line(const char *line, struct mark *mark)
{
	char name[MARK_NAME_MAX + 1], host[24];

	if (sscanf(line, "%64s %" SCNu64 " %23s", name, &mark->guest_ns, host) != 3 || !mark__set_name(mark, name))
		return false;
	mark->has_host_ns = sscanf(host, "%" SCNu64, &mark->host_ns) == 1;
	return true;
}

/* Called with the lock.  *@offset is an offset in the file. */
static bool next(int fd, off_t *offset, struct mark *mark)
{
	char line[LINE_MAX_BYTES + 1], *end;
	ssize_t got;

	while ((got = pread(fd, line, LINE_MAX_BYTES, *offset)) > 0) {
		line[got] = 0;
		end = memchr(line, '\n', (size_t)got);
		if (!end && got < LINE_MAX_BYTES)
			return false;	/* its writer has not finished */
		*offset += end ? end + 1 - line : got;
		if (!end)
			continue;	/* not a mark of ours: skip it */
		*end = 0;
		if (parse_line(line, mark))
			return true;
	}
	return false;
}

int marks__next(int fd, off_t *position, struct mark *mark, struct error *error)
{
	off_t offset, start;
	bool found;

	if (marks_file__lock(fd, false))
		return fail(error, STATUS_FAILED, CANNOT_LOCK, strerror(errno));
	start = offset = marks_file__offset(fd, position);
	found = next(fd, &offset, mark);
	*position += offset - start;
	marks_file__unlock(fd);
	return found;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include "marks_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

#define KEPT		(MARKS_FILE_MAX / 2)
#define HEADING		"# %" PRIu64 " bytes of older marks were dropped\n"
#define HEADING_MAX	64

/* An agent holds the lock for a few writes.  A lock held for longer is another program's. */
#define LOCK_NAP	(NS_PER_SEC / 100)
#define LOCK_TRIES	200

struct heading {
	uint64_t dropped;	/* bytes of lines */
	off_t length;		/* bytes of the heading, 0 if there is none */
};

/* ---- lock ---- */

static int set_lock(int fd, short type)
{
	struct flock all = { .l_type = type, .l_whence = SEEK_SET };

	/* The lock belongs to the open file, so that two open files of one process exclude each other, too. */
	return fcntl(fd, F_OFD_SETLK, &all);
}

int marks_file__lock(int fd, bool to_write)
{
	for (int tries = 0; set_lock(fd, to_write ? F_WRLCK : F_RDLCK); tries++) {
		if ((errno != EAGAIN && errno != EACCES) || tries == LOCK_TRIES)
			return -1;
		clock__sleep(LOCK_NAP);
	}
	return 0;
}

void marks_file__unlock(int fd)
{
	set_lock(fd, F_UNLCK);
}

/* ---- drop ---- */

static struct heading read_heading(int fd)
{
	struct heading heading = {};
	char text[HEADING_MAX + 1], *end;
	ssize_t got = pread(fd, text, HEADING_MAX, 0);

	if (got <= 0)
		return heading;
	text[got] = 0;
	end = strchr(text, '\n');
	if (!end || sscanf(text, "# %" SCNu64 " bytes", &heading.dropped) != 1 || heading.dropped > INT64_MAX / 2)
		return (struct heading) {};
	heading.length = end + 1 - text;
	return heading;
}

/* Replace the contents by a heading and the newest whole lines that fit into half of the file.  Update *@size. */
static int drop_older(int fd, off_t *size, struct error *error)
{
	struct heading heading = read_heading(fd);
	char text[HEADING_MAX + KEPT], *first;
	off_t from = *size - KEPT;
	size_t length, kept = 0;

	if (pread(fd, text + HEADING_MAX, KEPT, from) != KEPT)
		return fail(error, STATUS_FAILED, "cannot read the marks: %s", strerror(errno));
	first = memchr(text + HEADING_MAX, '\n', KEPT);
	if (first)
		kept = (size_t)(text + sizeof(text) - ++first);
	heading.dropped += (uint64_t)(*size - (off_t)kept - heading.length);
	length = (size_t)snprintf(text, HEADING_MAX, HEADING, heading.dropped);
	if (kept)
		memmove(text + length, first, kept);
	length += kept;
	/* If we are killed between the two calls, older lines stay behind the newest. */
	if (pwrite(fd, text, length, 0) != (ssize_t)length || ftruncate(fd, (off_t)length))
		return fail(error, STATUS_FAILED, "cannot drop older marks: %s", strerror(errno));
	*size = (off_t)length;
	return 0;
}

/* ---- use ---- */

int marks_file__append(int fd, const char *line, size_t length, struct error *error)
{
	struct stat st;
	ssize_t put;
	int why;

	if (fstat(fd, &st))
		return fail(error, STATUS_FAILED, "cannot tell the size of the marks: %s", strerror(errno));
	if (st.st_size + (off_t)length > MARKS_FILE_MAX && drop_older(fd, &st.st_size, error))
		return -1;
	put = pwrite(fd, line, length, st.st_size);
	if (put == (ssize_t)length)
		return 0;
	why = put < 0 ? errno : ENOSPC;
	/* Remove half a line: the next mark would become a part of it. */
	if (put > 0 && ftruncate(fd, st.st_size))
		why = errno;
	return fail(error, STATUS_FAILED, "cannot write the mark: %s", strerror(why));
}

off_t marks_file__offset(int fd, off_t *position)
{
	struct heading heading = read_heading(fd);
	off_t dropped = (off_t)heading.dropped;
	struct stat st;

	/* Beyond the end: another program has truncated the file. */
	if (*position < dropped || fstat(fd, &st) || *position - dropped > st.st_size - heading.length)
		*position = dropped;
	return *position - dropped + heading.length;
}

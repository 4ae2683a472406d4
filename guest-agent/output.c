// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "output.h"

static int failed(struct error *error)
{
	return fail(error, STATUS_FAILED, "cannot write standard output: %s", strerror(errno ? errno : EIO));
}

int output__flush(struct error *error)
{
	return fflush(stdout) || ferror(stdout) ? failed(error) : 0;
}

int output__end(int status)
{
	bool lost = ferror(stdout);
	struct error error;

	/* A network file system may report a failed write only at close(). */
	if (fclose(stdout))
		lost = true;
	if (!lost || status)
		return status;
	failed(&error);
	return error__print(&error);
}

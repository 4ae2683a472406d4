// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent mark: record a moment, for the host or for later.
 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "device.h"
#include "marks.h"
#include "usage.h"

int cmd_mark(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "marks", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct mark mark;
	const char *path = MARKS_FILE;
	struct snapshot snapshot;
	struct device device;
	struct error error;
	int option, status, fd, failed;

	while ((option = usage__option(argc, argv, "+:h", options, &status)) > 0)
		path = optarg;
	if (option < 0)
		return status;
	if (optind != argc - 1)
		return usage("mark takes one name");
	if (!mark__set_name(&mark, argv[optind]))
		return usage("a mark's name has up to %d letters, digits, '.', '_' and '-', not '%s'", MARK_NAME_MAX,
			     argv[optind]);

	if (device__open(&device, globals->device, &error))
		return error__print(&error);
	failed = device__collect(&device, false, &snapshot, &error);
	device__close(&device);
	if (failed)
		return error__print(&error);
	mark__set_times(&mark, &snapshot);

	fd = marks__open(path, &error);
	if (fd < 0)
		return error__print(&error);
	failed = marks__add(fd, &mark, &error);
	if (close(fd) && !failed)
		failed = fail(&error, STATUS_FAILED, "cannot write %s: %s", path, strerror(errno));
	return failed ? error__print(&error) : 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spf-agent serve: answer the host's requests.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "device.h"
#include "marks.h"
#include "port.h"
#include "privileges.h"
#include "protocol.h"
#include "usage.h"

/* The kernel sends no event when a host connects. */
#define NO_HOST_NAP	(NS_PER_SEC / 4)

struct settings {
	const char *port, *user, *marks;
};

static void to_port(void *context, const char *text, size_t length)
{
	port__write(*(int *)context, text, length);
}

/* Returns only when the port is gone. */
static int serve(struct agent *agent, int port, int watch, struct error *error)
{
	char buffer[REQUEST_MAX];

	for (;;) {
		struct pollfd wait[] = {
			{ .fd = port, .events = POLLIN },
			{ .fd = agent->following ? watch : -1, .events = POLLIN },
		};
		ssize_t got;

		poll(wait, 2, -1);
		if (wait[0].revents) {
			got = port__read(port, buffer, sizeof(buffer), error);
			if (got < 0)
				return -1;
			protocol__feed(agent, buffer, (size_t)got);
			if (!got && wait[0].revents & POLLHUP) {
				protocol__reset(agent);
				clock__sleep(NO_HOST_NAP);
			}
		}
		if (wait[1].revents && read(watch, buffer, sizeof(buffer)) > 0)
			protocol__tell_marks(agent);
	}
}

/* Open what needs privileges, drop them, and serve without them. */
static int open_and_serve(struct agent *agent, const struct settings *settings, int *port, struct error *error)
{
	int watch;

	*port = port__open(settings->port, error);
	if (*port < 0)
		return -1;
	agent->marks = marks__open(settings->marks, error);
	if (agent->marks < 0)
		return -1;
	watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch < 0 || inotify_add_watch(watch, settings->marks, IN_MODIFY) < 0)
		return fail(error, STATUS_FAILED, "cannot watch %s: %s", settings->marks, strerror(errno));
	if (privileges__drop(settings->user, error))
		return -1;
	agent->send = to_port;
	agent->context = port;
	signal(SIGPIPE, SIG_IGN);
	return serve(agent, *port, watch, error);
}

int cmd_serve(const struct globals *globals, int argc, char **argv)
{
	static const struct option options[] = {
		{ "allow", required_argument, NULL, 'a' },
		{ "block", required_argument, NULL, 'b' },
		{ "max-load", required_argument, NULL, 'l' },
		{ "port", required_argument, NULL, 'p' },
		{ "user", required_argument, NULL, 'u' },
		{ "marks", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct agent agent = { .max_load = 1 << 30 };
	struct settings settings = { .marks = MARKS_FILE };
	struct device device;
	const char *list = NULL;
	struct error error;
	bool allow = false;
	int option, status, port;

	while ((option = usage__option(argc, argv, "+:h", options, &status)) > 0) {
		switch (option) {
		case 'a':
		case 'b':
			if (list)
				return usage("only one --allow or --block; names have a comma between");
			list = optarg;
			allow = option == 'a';
			break;
		case 'l':
			if (!parse_size(optarg, INT64_MAX, &agent.max_load))
				return usage("--max-load takes a size such as 512M, not '%s'", optarg);
			break;
		case 'p':
			settings.port = optarg;
			break;
		case 'u':
			settings.user = optarg;
			break;
		case 'm':
			settings.marks = optarg;
			break;
		}
	}
	if (option < 0)
		return status;
	if (optind < argc)
		return usage("serve takes no argument '%s'", argv[optind]);
	if (list && protocol__filter(&agent, list, allow, &error))
		return error__print(&error);
	if (device__open(&device, globals->device, &error))
		return error__print(&error);
	agent.device = &device;
	open_and_serve(&agent, &settings, &port, &error);
	device__close(&device);
	return error__print(&error);
}

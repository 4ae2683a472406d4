// SPDX-License-Identifier: GPL-2.0-or-later
/* spfctl: show what the VMs of this host report of their memory faults.  See spfctl.1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "domain.h"
#include "output.h"

static void wait_for(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void print(struct vm *vms, const struct settings *settings, bool first, bool wipes)
{
	struct rows rows = rows_make(vms, settings);

	if (wipes)
		fputs("\033[H\033[J", stdout);
	if (settings->action == SHOW_CSV)
		csv_print(&rows, first);
	else
		table_print(&rows, settings, first || wipes);
	free(rows.row);
	if (wipes)
		complaints_print();
}

static void live(struct vm **vms, const struct settings *settings)
{
	bool wipes = settings->action == SHOW_TABLE && isatty(STDOUT_FILENO);

	/* The next table would wipe a complaint off the terminal. */
	if (wipes && isatty(STDERR_FILENO))
		complaints_keep();
	vms_collect(vms, settings);
	vms_check_names(*vms, &settings->sources);
	if (!*vms) {
		complain("no VM found", "name a QMP socket with --socket, or start one with -qmp unix:" DIRECTORY
			 "/NAME,server=on,wait=off");
		complaints_print();
		return;
	}
	for (unsigned long n = 0; !settings->count || n < settings->count; n++) {
		wait_for(settings->interval);
		vms_collect(vms, settings);
		print(*vms, settings, !n, wipes);
		if (fflush(stdout))
			return;
	}
}

static void once(struct vm **vms, const struct settings *settings)
{
	vms_collect(vms, settings);
	vms_check_names(*vms, &settings->sources);
	if (settings->action == SHOW_JSON)
		json_print(*vms, settings->per_vcpu);
	else
		prometheus_write(*vms, settings->file);
}

static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	struct settings settings;
	struct vm *vms = NULL;

	settings_parse(&settings, argc, argv);
	allow_many_files();
	switch (settings.action) {
	case SHOW_TABLE:
	case SHOW_CSV:
		live(&vms, &settings);
		break;
	case SET_MODE:
		vms_set_mode(&vms, &settings);
		break;
	case WAIT_STORM:
		storms_wait(&vms, &settings);
		break;
	default:
		once(&vms, &settings);
	}
	if (fflush(stdout) || ferror(stdout))
		complain("output", "%s", strerror(errno));
	vms_free(&vms);
	domains_close();
	free(settings.sources.sockets);
	return complained();
}

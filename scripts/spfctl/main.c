// SPDX-License-Identifier: GPL-2.0-or-later
/* spfctl: what the VMs of this host say of their memory faults.  See spfctl.1. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spfctl.h"

#define DIRECTORY	"/run/kvmspf"
#define URI		"qemu:///system"

static const char usage[] =
	"usage: spfctl [OPTION...] [VM...]\n"
	"What VMs do about faults of their memory: a live table, or\n"
	"  -j, --json              their totals as JSON\n"
	"  -p, --prometheus FILE   write FILE in OpenMetrics' format, at once; '-': print it\n"
	"  -m, --set-mode MODE     set the mode of the VMs named: off, vma-lock, on\n"
	"Of the table:\n"
	"  -d, --interval SECONDS  between two tables (1)\n"
	"  -n, --count N           end after N tables\n"
	"Which VMs (default: --dir " DIRECTORY " and --libvirt, as far as they exist):\n"
	"  -s, --socket PATH       the one with this QMP socket; may be repeated\n"
	"  -D, --dir DIRECTORY     those with a QMP socket in DIRECTORY\n"
	"  -l, --libvirt[=URI]     libvirt's running domains (" URI ")\n"
	"  -t, --timeout SECONDS   how long a VM may take to answer (2)\n"
	"Exit status: 0, or 1 if anything did not answer or was not done, 2 for bad usage.\n";

static const struct option options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "prometheus", required_argument, NULL, 'p' },
	{ "set-mode", required_argument, NULL, 'm' },
	{ "interval", required_argument, NULL, 'd' },
	{ "count", required_argument, NULL, 'n' },
	{ "socket", required_argument, NULL, 's' },
	{ "dir", required_argument, NULL, 'D' },
	{ "libvirt", optional_argument, NULL, 'l' },
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct settings {
	struct sources sources;
	bool json;
	const char *prometheus;
	int mode;			/* -1: leave it */
	double interval;
	unsigned long count;		/* 0: for ever */
};

static void __attribute__((noreturn)) bad_usage(const char *what, const char *hint)
{
	complain(what, "%s", hint);
	exit(2);
}

static double number(const char *text, double from, double to, const char *hint)
{
	char *end;
	double value = strtod(text, &end);

	/* So written that what is no number at all fails, too. */
	if (end == text || *end || !(value >= from && value <= to))
		bad_usage(text, hint);
	return value;
}

static int parse_mode(const char *text)
{
	for (int mode = 0; mode < NR_CHOICES; mode++) {
		if (!strcmp(text, mode_names[mode]))
			return mode;
	}
	bad_usage(text, "is no mode; say off, vma-lock or on");
}

static void parse(struct settings *settings, int argc, char *const *argv)
{
	struct sources *sources = &settings->sources;
	int option;

	sources->sockets = must_allocate((size_t)argc * sizeof(*sources->sockets));
	while ((option = getopt_long(argc, argv, "jp:m:d:n:s:D:lt:h", options, NULL)) != -1) {
		const char *value = optarg ? optarg : "";

		switch (option) {
		case 'j':
			settings->json = true;
			break;
		case 'p':
			settings->prometheus = value;
			break;
		case 'm':
			settings->mode = parse_mode(value);
			break;
		case 'd':
			settings->interval = number(value, 0.01, 86400, "is no interval; say 0.01 to 86400 seconds");
			break;
		case 'n':
			settings->count = (unsigned long)number(value, 1, 1e9, "is no count; say 1 to 1000000000");
			break;
		case 's':
			sources->sockets[sources->nr_sockets++] = value;
			break;
		case 'D':
			sources->directory = value;
			break;
		case 'l':
			sources->libvirt = *value ? value : URI;
			break;
		case 't':
			timeout_ms = (int64_t)(1000 * number(value, 0.01, 3600, "is no time; say 0.01 to 3600 seconds"));
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("spfctl: see spfctl --help\n", stderr);
			exit(2);
		}
	}
	sources->names = argv + optind;
	sources->nr_names = (size_t)(argc - optind);
	if (!sources->nr_sockets && !sources->directory && !sources->libvirt) {
		sources->by_default = true;
		sources->directory = DIRECTORY;
		sources->libvirt = URI;
	}
	if (settings->json + !!settings->prometheus + (settings->mode >= 0) > 1)
		bad_usage(argv[0], "say only one of --json, --prometheus and --set-mode");
	if (settings->mode >= 0 && !sources->nr_names && !sources->nr_sockets)
		bad_usage("--set-mode", "name the VMs, or their sockets");
}

static void wait(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void live(struct vm **vms, const struct settings *settings)
{
	bool terminal = isatty(STDOUT_FILENO);

	for (unsigned long n = 0; !settings->count || n < settings->count; n++) {
		wait(settings->interval);
		vms_collect(vms, &settings->sources);
		if (terminal)
			fputs("\033[H\033[J", stdout);
		table_print(*vms, terminal || !n);
		if (fflush(stdout))
			return;
	}
}

static void set_mode(struct vm *vms, int mode)
{
	struct why why;

	for (; vms; vms = vms->next) {
		if (vms->wanted && vms->has_now && vm_set_mode(vms, mode, &why))
			complain(vms->name, "%s", why.text);
	}
}

int main(int argc, char **argv)
{
	struct settings settings = { .mode = -1, .interval = 1 };
	struct vm *vms = NULL;

	parse(&settings, argc, argv);
	vms_collect(&vms, &settings.sources);
	vms_check_names(vms, &settings.sources);
	if (settings.mode >= 0)
		set_mode(vms, settings.mode);
	else if (settings.json)
		json_print(vms);
	else if (settings.prometheus)
		prometheus_write(vms, settings.prometheus);
	else if (!vms)
		complain("no VM found", "name a QMP socket with --socket, or start one with -qmp unix:" DIRECTORY
			 "/NAME,server=on,wait=off");
	else
		live(&vms, &settings);
	if (fflush(stdout) || ferror(stdout))
		complain("output", "%s", strerror(errno));
	vms_free(&vms);
	libvirt_close();
	free(settings.sources.sockets);
	return complained();
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"
#include "snapshot.h"

static const char usage[] =
	"usage: spfctl [OPTION...] [VM...]\n"
	"Show what VMs do about faults of their memory: a live table, or\n"
	"  -c, --csv               the same as CSV\n"
	"  -j, --json              their totals as JSON\n"
	"  -p, --prometheus FILE   write FILE in Prometheus' text format, at once; '-': print it\n"
	"  -m, --set-mode MODE     set the mode of the VMs named: off, vma-lock, on\n"
	"  -w, --wait-storm        wait for N (1) events KVM_SPF_FALLBACK_STORM, a line each\n"
	"What is shown:\n"
	"  -d, --interval SECONDS  between two tables (1)\n"
	"  -n, --count N           end after N tables, or N storms\n"
	"  -v, --per-vcpu          each vCPU, too\n"
	"  -S, --sort COLUMN       by vm, fast, speculative, vma-lock, mmap-lock, aborts, p99 or max\n"
	"  -a, --total             a last line for all VMs together\n"
	"  -T, --time              begin each line with the time, in UTC\n"
	"Which VMs (default: --dir " DIRECTORY " and --libvirt, as far as they exist):\n"
	"  -s, --socket PATH       the one with this QMP socket; may be repeated\n"
	"  -D, --dir DIRECTORY     those with a QMP socket in DIRECTORY\n"
	"  -l, --libvirt[=URI]     libvirt's running domains (" URI ")\n"
	"  -M, --monitor           ask these over their monitors, also for mode and percentiles; this taints them\n"
	"  -t, --timeout SECONDS   how long all of them together may take to answer (2)\n"
	"  -h, --help              this text\n"
	"  -V, --version           the version\n"
	"Exit status: 0, or 1 if anything did not answer or was not done, 2 for bad usage.\n";

static const struct option options[] = {
	{ "csv", no_argument, NULL, 'c' },
	{ "json", no_argument, NULL, 'j' },
	{ "prometheus", required_argument, NULL, 'p' },
	{ "set-mode", required_argument, NULL, 'm' },
	{ "wait-storm", no_argument, NULL, 'w' },
	{ "interval", required_argument, NULL, 'd' },
	{ "count", required_argument, NULL, 'n' },
	{ "per-vcpu", no_argument, NULL, 'v' },
	{ "sort", required_argument, NULL, 'S' },
	{ "total", no_argument, NULL, 'a' },
	{ "time", no_argument, NULL, 'T' },
	{ "socket", required_argument, NULL, 's' },
	{ "dir", required_argument, NULL, 'D' },
	{ "libvirt", optional_argument, NULL, 'l' },
	{ "monitor", no_argument, NULL, 'M' },
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* Letters of the options that choose an action, and of those that mean something to each. */
static const struct {
	char letter;
	const char *takes;
} actions[] = {
	[SHOW_TABLE] = { 0, "dnvSaTM" },
	[SHOW_CSV] = { 'c', "dnvSM" },
	[SHOW_JSON] = { 'j', "vM" },
	[WRITE_PROMETHEUS] = { 'p', "M" },
	[SET_MODE] = { 'm', "" },
	[WAIT_STORM] = { 'w', "n" },
};

static const char *const columns[] = {
	[BY_VM] = "vm", [BY_FAST] = "fast", [BY_SPECULATIVE] = "speculative", [BY_VMA_LOCK] = "vma-lock",
	[BY_MMAP_LOCK] = "mmap-lock", [BY_ABORTS] = "aborts", [BY_P99] = "p99", [BY_MAX] = "max",
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

	/* Written so that NaN fails, too. */
	if (end == text || *end || !(value >= from && value <= to))
		bad_usage(text, hint);
	return value;
}

static unsigned long count_of(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < 1 || value > 1000000000)
		bad_usage(text, "is not a count; say 1 to 1000000000");
	return value;
}

static int parse_mode(const char *text)
{
	for (int mode = 0; mode < NR_CHOICES; mode++) {
		if (!strcmp(text, mode_names[mode]))
			return mode;
	}
	bad_usage(text, "is not a mode; say off, vma-lock or on");
}

static enum column parse_column(const char *text)
{
	for (size_t i = BY_VM; i < ARRAY_SIZE(columns); i++) {
		if (!strcmp(text, columns[i]))
			return (enum column)i;
	}
	bad_usage(text, "is not a column; say vm, fast, speculative, vma-lock, mmap-lock, aborts, p99 or max");
}

static const char *long_name(int letter)
{
	static char text[32];
	size_t i = 0;

	while (options[i].val != letter)
		i++;
	snprintf(text, sizeof(text), "--%s", options[i].name);
	return text;
}

static void choose(struct settings *settings, enum action action)
{
	if (settings->action != SHOW_TABLE && settings->action != action)
		bad_usage(long_name(actions[action].letter),
			  "say only one of --csv, --json, --prometheus, --set-mode and --wait-storm");
	settings->action = action;
}

static void parse_option(struct settings *settings, int letter, const char *value)
{
	struct sources *sources = &settings->sources;

	switch (letter) {
	case 'c':
		choose(settings, SHOW_CSV);
		break;
	case 'j':
		choose(settings, SHOW_JSON);
		break;
	case 'p':
		choose(settings, WRITE_PROMETHEUS);
		settings->file = value;
		break;
	case 'm':
		choose(settings, SET_MODE);
		settings->mode = parse_mode(value);
		break;
	case 'w':
		choose(settings, WAIT_STORM);
		break;
	case 'd':
		settings->interval = number(value, 0.01, 86400, "is not an interval; say 0.01 to 86400 seconds");
		break;
	case 'n':
		settings->count = count_of(value);
		break;
	case 'v':
		settings->per_vcpu = true;
		break;
	case 'S':
		settings->sort = parse_column(value);
		break;
	case 'a':
		settings->total = true;
		break;
	case 'T':
		settings->time = true;
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
	case 'M':
		settings->monitor = true;
		break;
	case 't':
		settings->timeout_ms = (int64_t)(1000 * number(value, 0.01, 3600,
							       "is not a time; say 0.01 to 3600 seconds"));
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	case 'V':
		puts("spfctl " SPFCTL_VERSION);
		exit(0);
	default:
		fputs("spfctl: see spfctl --help\n", stderr);
		exit(2);
	}
}

/* Refuse options that would be ignored. */
static void check(const struct settings *settings, const bool *given)
{
	static const char for_some[] = "dnvSaTM";
	const struct sources *sources = &settings->sources;

	for (const char *letter = for_some; *letter; letter++) {
		if (given[(unsigned char)*letter] && !strchr(actions[settings->action].takes, *letter)) {
			char hint[64];

			snprintf(hint, sizeof(hint), "means nothing to %s", long_name(actions[settings->action].letter));
			bad_usage(long_name(*letter), hint);
		}
	}
	if (settings->action == SET_MODE && !sources->nr_names &&
	    (!sources->nr_sockets || sources->directory || sources->libvirt))
		bad_usage("--set-mode", "name the VMs, or only their sockets");
}

void settings_parse(struct settings *settings, int argc, char *const *argv)
{
	struct sources *sources = &settings->sources;
	bool given[128] = { false };
	int letter;

	*settings = (struct settings){ .interval = 1, .timeout_ms = 2000 };
	sources->sockets = must_allocate((size_t)argc * sizeof(*sources->sockets));
	while ((letter = getopt_long(argc, argv, "cjp:m:wd:n:vS:aTs:D:lMt:hV", options, NULL)) != -1) {
		given[letter] = true;
		parse_option(settings, letter, optarg ? optarg : "");
	}
	sources->names = argv + optind;
	sources->nr_names = (size_t)(argc - optind);
	if (!sources->nr_sockets && !sources->directory && !sources->libvirt) {
		sources->by_default = true;
		sources->directory = DIRECTORY;
		sources->libvirt = URI;
	}
	check(settings, given);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* Guests whose vCPUs do nothing but touch memory for the first time. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backing.h"
#include "neighbours.h"
#include "storm.h"
#include "storm_output.h"

enum { MAX_MODES = 8 };

struct options {
	struct storm storm;
	enum vmm_mode modes[MAX_MODES];
	unsigned int nr_modes, repeat;
	uint64_t pages;
	const char *json;
};

static const char *const orders[STORM_ORDERS] = { "sequential", "random", "interleaved", "together" };
static const char *const accesses[] = { [WALK_READ] = "read", [WALK_WRITE] = "write",
					[WALK_READ | WALK_WRITE] = "read-write" };

static void help(void)
{
	puts("usage: fault-storm [OPTION...]\n"
	     "Run a guest whose vCPUs touch memory, and print how long that took.\n\n"
	     "  --vcpus N          vCPUs (default 1)\n"
	     "  --size SIZE        guest memory, all vCPUs together, as in 64M (default)\n"
	     "  --pages N          the same in pages touched\n"
	     "  --stride SIZE      from one touch to the next (default: the page size)\n"
	     "  --order ORDER      sequential (default), random, interleaved, together\n"
	     "  --access HOW       write (default), read, read-write\n"
	     "  --backing KIND     " BACKING_KINDS " (default anon)\n"
	     "  --numa POLICY      " BACKING_NUMA "\n"
	     "  --prefault         the VMM touches all memory first\n"
	     "  --holes N          N pages have no mapping in the VMM until KVM_RUN has failed with EFAULT\n"
	     "  --mode MODE,...    off, vma-lock, on, default (as the host has it; this is the default);\n"
	     "                     with several, each is run in turn, all of it --repeat times\n"
	     "  --repeat N         (default 1)\n"
	     "  --pin              each vCPU thread, then each neighbour, stays on a CPU of its own, as far as they go\n"
	     "  --seconds S        end a run after so long, even if not all is touched\n"
	     "  --middle           the rate is that of the middle, after the first tenth of all touches and before the last\n"
	     "  --neighbour KIND[:THREADS]  threads of the VMM that are busy with its address space; may be repeated\n"
	     "  --json FILE        write the results here, - for standard output in place of the table\n\n"
	     "neighbours:");
	neighbours__list();
	puts("\nThe status is 0 if every page had the right contents and KVM_RUN failed as often as there are holes.");
}

static void bad(const char *option, const char *value, const char *want)
{
	fprintf(stderr, "fault-storm: --%s %s: say %s\n", option, value, want);
	exit(2);
}

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	char want[80], *end;
	uint64_t value = strtoull(text, &end, 10);

	snprintf(want, sizeof(want), "a number from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
	if (*text < '0' || *text > '9' || *end || value < min || value > max)
		bad(option, text, want);
	return value;
}

static uint64_t size(const char *option, const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	uint64_t value = strtoull(text, &end, 10);
	const char *unit = *end > ' ' ? strchr(units, *end & ~0x20) : NULL;
	unsigned int shift = unit ? 10 * (unit - units + 1) : 0;

	if (*text < '0' || *text > '9' || !value || (*end && (!unit || end[1])) || value << shift >> shift != value)
		bad(option, text, "a size, as in 64M");
	return value << shift;
}

static unsigned int choice(const char *option, const char *text, const char *const *names, unsigned int count)
{
	char want[80] = "";

	for (unsigned int i = 0; i < count; i++) {
		if (!names[i])
			continue;
		if (!strcmp(text, names[i]))
			return i;
		snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s%s", *want ? " or " : "", names[i]);
	}
	bad(option, text, want);
	return 0;
}

static void modes(struct options *options, char *text)
{
	options->nr_modes = 0;
	for (char *mode = strtok(text, ","); mode; mode = strtok(NULL, ",")) {
		if (options->nr_modes == MAX_MODES)
			bad("mode", "a list", "fewer modes");
		if (vmm_mode__parse(mode, &options->modes[options->nr_modes++]))
			exit(2);
	}
	if (!options->nr_modes)
		bad("mode", "''", "off, vma-lock, on or default");
}

static void parse(struct options *options, int argc, char **argv)
{
	enum { HELP = 'h', VCPUS = 256, SIZE, PAGES, STRIDE, ORDER, ACCESS, BACKING, NUMA, PREFAULT, HOLES, MODE,
	       REPEAT, PIN, SECONDS, MIDDLE, NEIGHBOUR, JSON };
	static const struct option names[] = {
		{ "help", no_argument, NULL, HELP }, { "vcpus", required_argument, NULL, VCPUS },
		{ "size", required_argument, NULL, SIZE }, { "pages", required_argument, NULL, PAGES },
		{ "stride", required_argument, NULL, STRIDE }, { "order", required_argument, NULL, ORDER },
		{ "access", required_argument, NULL, ACCESS }, { "backing", required_argument, NULL, BACKING },
		{ "numa", required_argument, NULL, NUMA }, { "prefault", no_argument, NULL, PREFAULT },
		{ "holes", required_argument, NULL, HOLES }, { "mode", required_argument, NULL, MODE },
		{ "repeat", required_argument, NULL, REPEAT }, { "seconds", required_argument, NULL, SECONDS },
		{ "pin", no_argument, NULL, PIN }, { "middle", no_argument, NULL, MIDDLE },
		{ "neighbour", required_argument, NULL, NEIGHBOUR }, { "json", required_argument, NULL, JSON }, { 0 },
	};
	struct storm *storm = &options->storm;
	int option, at = 0;

	while ((option = getopt_long(argc, argv, "h", names, &at)) != -1) {
		const char *name = option == 'h' || option == '?' ? "" : names[at].name;

		switch (option) {
		case HELP:
			help();
			exit(0);
		case VCPUS:
			/* 0: there is no KVM, which vmm__create() will say. */
			storm->vcpus = number(name, optarg, 1, vmm__max_vcpus() ?: 1024);
			break;
		case SIZE:
			storm->size = size(name, optarg);
			options->pages = 0;
			break;
		case PAGES:
			options->pages = number(name, optarg, 1, UINT32_MAX);
			break;
		case STRIDE:
			storm->stride = size(name, optarg);
			break;
		case ORDER:
			storm->order = choice(name, optarg, orders, STORM_ORDERS);
			break;
		case ACCESS:
			storm->access = choice(name, optarg, accesses, sizeof(accesses) / sizeof(*accesses));
			break;
		case BACKING:
			storm->backing = optarg;
			break;
		case NUMA:
			storm->numa = optarg;
			break;
		case PREFAULT:
			storm->prefault = true;
			break;
		case HOLES:
			storm->holes = number(name, optarg, 0, UINT32_MAX);
			break;
		case MODE:
			modes(options, optarg);
			break;
		case REPEAT:
			options->repeat = number(name, optarg, 1, 1000000);
			break;
		case PIN:
			storm->pin = true;
			break;
		case SECONDS:
			storm->seconds = number(name, optarg, 1, 1000000);
			break;
		case MIDDLE:
			storm->middle = true;
			break;
		case NEIGHBOUR:
			storm->neighbours = neighbours__add(storm->neighbours, optarg);
			if (!storm->neighbours)
				exit(2);
			break;
		case JSON:
			options->json = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (optind < argc)
		bad(argv[optind], "is no option", "what --help lists");
}

/* Refuse options that do not go together. */
static void check(struct options *options)
{
	struct storm *storm = &options->storm;

	if (options->pages)
		storm->size = options->pages * storm->stride;
	if (storm->stride % 16 || storm->size / storm->stride < storm->vcpus)
		bad("stride", "does not fit", "a multiple of 16, and a size with at least one touch for each vCPU");
	if (storm->holes > storm->size / (storm->stride > 4096 ? storm->stride : 4096))
		bad("holes", "are too many", "at most as many as there are pages");
}

/* Each vCPU takes two file descriptors. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct options options = {
		.storm = { .vcpus = 1, .size = 64 << 20, .stride = sysconf(_SC_PAGESIZE), .access = WALK_WRITE,
			   .backing = "anon" },
		.modes = { VMM_DEFAULT }, .nr_modes = 1, .repeat = 1,
	};
	struct storm_output *report;
	bool wrong = false;
	int status = 0;

	parse(&options, argc, argv);
	check(&options);
	raise_limits();
	report = storm_output__new(&options.storm, orders[options.storm.order], accesses[options.storm.access],
				   options.json);
	for (unsigned int i = 0; !status && i < options.repeat * options.nr_modes; i++) {
		struct storm_result result;

		status = storm__run(&options.storm, options.modes[i % options.nr_modes], i + 1, &result);
		if (!status)
			storm_output__add(report, &result);
		wrong = wrong || result.wrong || (result.efaults != options.storm.holes && !options.storm.seconds);
	}
	status = storm_output__end(report) || status || wrong;
	neighbours__free(options.storm.neighbours);
	return status ? 1 : 0;
}

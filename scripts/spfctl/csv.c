// SPDX-License-Identifier: GPL-2.0-or-later
/* The table as CSV as in RFC 4180, except for line ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

static void print_text(const char *text, char end)
{
	bool quote = strpbrk(text, ",\"\r\n");

	if (quote)
		putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	if (quote)
		putchar('"');
	putchar(end);
}

static void print_names(const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (const char *c = names[i]; *c; c++)
			putchar(*c == '-' ? '_' : *c);
		fputs("_per_s,", stdout);
	}
}

static void print_head(void)
{
	fputs("time,vm,source,vcpu,mode,vcpus,seconds,", stdout);
	print_names(tier_names, NR_TIERS);
	print_names(abort_names, NR_ABORTS);
	puts("p50_ns,p99_ns,max_ns,note");
}

static void print_rates(const struct row *row)
{
	printf("%.3f,", row->seconds);
	for (size_t i = 0; i < NR_TIERS; i++)
		printf("%.3f,", row->faults[i]);
	for (size_t i = 0; i < NR_ABORTS; i++)
		printf("%.3f,", row->aborts[i]);
	if (row->has_hist && latency_count(&row->delta))
		printf("%lu,%lu,", latency_percentile(&row->delta, 50), latency_percentile(&row->delta, 99));
	else
		fputs(",,", stdout);
	printf("%lu,\n", row->delta.ns_max);
}

static void print_row(const struct row *row, const char *stamp)
{
	const struct vm *vm = row->vm;
	char *where = must_copy_printable(vm->where);

	printf("%s,", stamp);
	print_text(vm->name, ',');
	print_text(where, ',');
	free(where);
	if (row->vcpu)
		printf("%lu", row->vcpu->index);
	putchar(',');
	if (row->state != ROW_NO_ANSWER)
		printf("%s,%lu,", vm->now.mode == MODE_UNKNOWN ? "" : mode_name(vm->now.mode), vm->now.nr_vcpus);
	else
		fputs(",,", stdout);
	if (row->state == ROW_RATES) {
		print_rates(row);
		return;
	}
	/* One for the seconds, and three for the latency. */
	for (size_t i = 0; i < 1 + NR_TIERS + NR_ABORTS + 3; i++)
		putchar(',');
	print_text(row->state == ROW_NO_ANSWER ? vm->why.text :
		   row->state == ROW_ANEW ? "counting anew" : "the host's kernel does not count", '\n');
}

void csv_print(const struct rows *rows, bool with_head)
{
	char stamp[32];

	time_stamp(stamp);
	if (with_head)
		print_head();
	for (size_t i = 0; i < rows->count; i++)
		print_row(&rows->row[i], stamp);
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "say.h"

enum { KEPT = 8 };

static bool anybody, keep;
static char kept[KEPT][512];
static size_t nr_kept;

void make_printable(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

int fail(struct why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	make_printable(why->text);
	why->passes = false;
	return -1;
}

int fail_for_now(struct why *why, const char *text)
{
	fail(why, "%s", text);
	why->passes = true;
	return -1;
}

static void say(const char *line)
{
	char stamp[32];

	if (!keep) {
		fprintf(stderr, "spfctl: %s\n", line);
		return;
	}
	/* Only the time of day: the table above shows the present. */
	snprintf(kept[nr_kept++ % KEPT], sizeof(kept[0]), "%.8s %s", strchr(time_stamp(stamp), 'T') + 1, line);
}

int complain(const char *about, const char *format, ...)
{
	char line[480];
	va_list args;
	int used = snprintf(line, sizeof(line), "%.200s: ", about);

	va_start(args, format);
	vsnprintf(line + used, sizeof(line) - (size_t)used, format, args);
	va_end(args);
	make_printable(line);
	say(line);
	anybody = true;
	return -1;
}

void complain_once(struct why *told, const char *about, const struct why *why)
{
	if (strcmp(told->text, why->text) != 0)
		complain(about, "%s", why->text);
	*told = *why;
}

bool complained(void)
{
	return anybody;
}

void complaints_keep(void)
{
	keep = true;
}

void complaints_print(void)
{
	for (size_t i = nr_kept > KEPT ? nr_kept - KEPT : 0; i < nr_kept; i++)
		printf("spfctl: %s\n", kept[i % KEPT]);
}

int64_t now_ms(void)
{
	return (int64_t)(clock__ns() / (NS_PER_SEC / 1000));
}

const char *time_stamp(char text[32])
{
	time_t now = time(NULL);
	struct tm parts;

	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
	return text;
}

void *must_grow(void *memory, size_t size)
{
	memory = realloc(memory, size);
	if (!memory) {
		fputs("spfctl: no memory left\n", stderr);
		exit(1);
	}
	return memory;
}

void *must_allocate(size_t size)
{
	return memset(must_grow(NULL, size ? size : 1), 0, size);
}

char *must_copy(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(must_allocate(size), text, size);
}

char *must_copy_printable(const char *text)
{
	char *copy = must_allocate(3 * strlen(text) + 1), *to = copy;

	for (; *text; text++) {
		if (*text < ' ' || *text > '~' || *text == '%')
			to += sprintf(to, "%%%02X", (unsigned char)*text);
		else
			*to++ = *text;
	}
	return copy;
}

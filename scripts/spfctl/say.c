// SPDX-License-Identifier: GPL-2.0-or-later
/* Complaints and small things that every part needs. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "spfctl.h"

static bool anybody;

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
	return -1;
}

int complain(const char *about, const char *format, ...)
{
	char line[512];
	va_list args;
	int used = snprintf(line, sizeof(line), "%.200s: ", about);

	va_start(args, format);
	vsnprintf(line + used, sizeof(line) - used, format, args);
	va_end(args);
	make_printable(line);
	fprintf(stderr, "spfctl: %s\n", line);
	anybody = true;
	return -1;
}

bool complained(void)
{
	return anybody;
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void *must_allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory) {
		fputs("spfctl: no memory left\n", stderr);
		exit(1);
	}
	return memory;
}

char *must_copy(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(must_allocate(size), text, size);
}

char *must_copy_printable(const char *text)
{
	char *copy = must_copy(text);

	make_printable(copy);
	return copy;
}

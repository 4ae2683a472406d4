// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdarg.h>
#include <stdio.h>

#include "error.h"

int fail(struct error *error, int status, const char *format, ...)
{
	va_list args;

	error->status = status;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -1;
}

int error__print(const struct error *error)
{
	fprintf(stderr, "spf-agent: %s\n", error->text);
	return error->status;
}

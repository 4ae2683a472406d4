// SPDX-License-Identifier: GPL-2.0-or-later
#include "number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

long number_in(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[200];
	long value = -1;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (file)
		fclose(file);
	return value;
}

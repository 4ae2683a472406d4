/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MATRIX_FOOTPRINT_H
#define MATRIX_FOOTPRINT_H

#include <stdint.h>

/* What the kernel says of memory of ours, in KiB, as one object of JSON: what is there, shared, written, swapped. */
void footprint__print(const void *start, uint64_t size);

#endif

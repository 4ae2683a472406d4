/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MATRIX_FOOTPRINT_H
#define MATRIX_FOOTPRINT_H

#include <stdint.h>

/* The kernel's figures of our memory, in KiB, as one object of JSON: present, shared, written and swapped memory. */
void footprint__print(const void *start, uint64_t size);

#endif

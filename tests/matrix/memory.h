/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory of every kind: the kinds of bench/lib/backing.c, and those that only this table needs. */
#ifndef MATRIX_MEMORY_H
#define MATRIX_MEMORY_H

#include "backing.h"

/*
 * KIND[,POLICY:NODES].  Besides the benchmark's kinds: plain (anonymous, huge pages as the host has it), memfd-huge,
 * memfd-private, file-private:PATH, hugetlb-shared, hugetlb-1G, device:PATH, secret.
 */
int memory__create(struct backing *memory, char *spec, uint64_t size);

#endif

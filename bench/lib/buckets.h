/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Histograms of 64-bit numbers with buckets of 1/32 of a power of two, for the guest and for the host: precise to 3 %,
 * and of the same size for any range of numbers.
 */
#ifndef VMM_BUCKETS_H
#define VMM_BUCKETS_H

#include <stdint.h>

#define BUCKET_BITS	5
#define BUCKETS		((64 - BUCKET_BITS + 1) << BUCKET_BITS)

static inline __attribute__((always_inline)) unsigned int bucket_of(uint64_t number)
{
	unsigned int shift;

	if (number < 1 << BUCKET_BITS)
		return number;
	shift = 63 - __builtin_clzll(number) - BUCKET_BITS;
	return (shift << BUCKET_BITS) + (number >> shift);
}

/* The number in its middle. */
static inline uint64_t bucket_middle(unsigned int bucket)
{
	unsigned int shift = bucket >> BUCKET_BITS;

	if (shift <= 1)
		return bucket;
	shift--;
	return ((uint64_t)(bucket - (shift << BUCKET_BITS)) << shift) + (UINT64_C(1) << shift) / 2;
}

#endif

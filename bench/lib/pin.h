/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_PIN_H
#define BENCH_PIN_H

#include <pthread.h>

/* A thread to be made with these attributes stays on the nth of the CPUs that we may use, from the first again after the last. */
void pin(pthread_attr_t *attributes, unsigned int n);

#endif

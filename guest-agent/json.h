/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Figures as JSON, with the names of QMP's query-kvm-spf.
 */
#ifndef SPF_JSON_H
#define SPF_JSON_H

#include <json-c/json.h>

#include "snapshot.h"

extern const char *const tier_names[KVM_SPF_NR_TIERS];

const char *mode_name(uint32_t mode);

/* Adds "faults", "aborts" and, if the host times faults, "latency" to @object. */
void json__counters(json_object *object, const struct counters *counters, uint64_t features);

json_object *json__snapshot(const struct snapshot *snapshot);

/* Print @object as one line, and free it.  Returns 0, or -1 and @error. */
int json__print(json_object *object, struct error *error);

#endif

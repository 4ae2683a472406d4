// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer target: a copy of the device's registers with arbitrary contents.
 * Half of the copies have the right magic and version.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint32_t magic = KVM_SPF_MAGIC, version = KVM_SPF_VERSION;
	size_t bytes = size < SNAPSHOT_MIN ? SNAPSHOT_MIN : size;
	struct snapshot snapshot, before = {};
	struct counters delta;
	struct error error;
	uint8_t *copy = calloc(1, bytes);	/* so that ASan sees its end */

	memcpy(copy, data, size);
	if (size % 2) {
		memcpy(copy + KVM_SPF_MAGIC_OFF, &magic, sizeof(magic));
		memcpy(copy + KVM_SPF_VERSION_OFF, &version, sizeof(version));
	}
	if (!snapshot__parse(&snapshot, copy, bytes, true, &error)) {
		json_object *object = json__snapshot(&snapshot);

		json_object_to_json_string(object);
		json_object_put(object);
		before.epoch = snapshot.epoch;
		snapshot__minus(&snapshot, &before, &delta);
	}
	free(copy);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer target: bytes that a host may send to the agent, in pieces of any size. The first byte is the size of the
 * pieces.  Each line of answers has to be one JSON object.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <json-c/json.h>

#include "protocol.h"

static char answers[1 << 16];
static size_t answered;

/* The fuzzer's own device: two vCPUs, all features. */
int device__collect(struct device *device, bool records, struct snapshot *snapshot, struct error *error)
{
	static uint8_t bar[KVM_SPF_RECORDS_OFF + 2 * KVM_SPF_RECORD_BYTES];
	const uint32_t header[] = { KVM_SPF_MAGIC, KVM_SPF_VERSION, sizeof(bar), 0, 0xff };
	const uint32_t places[] = { 2, 2, KVM_SPF_RECORDS_OFF, KVM_SPF_RECORD_BYTES };

	(void)device;
	memcpy(bar, header, sizeof(header));
	memcpy(bar + KVM_SPF_NR_VCPUS, places, sizeof(places));
	return snapshot__parse(snapshot, bar, sizeof(bar), records, error);
}

static void check_answer(void)
{
	const char *text = answers;

	while (*text == '\xff') {
		text++;
		answered--;
	}
	if (answered) {
		json_object *object = json_tokener_parse(text);

		if (!json_object_is_type(object, json_type_object) || memchr(text, '\n', answered - 1))
			abort();
		json_object_put(object);
	}
	answered = 0;
}

static void to_host(void *context, const char *text, size_t length)
{
	(void)context;
	if (length > sizeof(answers) - 1 - answered)
		abort();
	memcpy(answers + answered, text, length);
	answered += length;
	answers[answered] = 0;
	if (answers[answered - 1] == '\n')
		check_answer();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct agent agent = { .marks = -1, .send = to_host };
	size_t piece = size ? data[0] + 1u : 1;

	/* A load forks, which takes a thousand times as long as all else. */
	agent.max_load = size && data[0] % 32 == 31 ? 64 << 10 : 0;
	if (agent.marks < 0)
		agent.marks = memfd_create("marks", MFD_CLOEXEC);
	if (ftruncate(agent.marks, 0))
		abort();
	protocol__reset(&agent);
	for (size_t at = 1; at < size; at += piece) {
		protocol__feed(&agent, (const char *)data + at, size - at < piece ? size - at : piece);
		protocol__tell_marks(&agent);
	}
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"
#include "load.h"
#include "request.h"

/* If the guest or its host swaps, a load may take forever: end it after this time. */
#define LOAD_SECONDS	60

/* ---- arguments ---- */

/* Returns false if @name is there, but not of this type. */
static bool get(json_object *arguments, const char *name, enum json_type type, json_object **value)
{
	*value = NULL;
	return !json_object_object_get_ex(arguments, name, value) || json_object_is_type(*value, type);
}

static int get_bool(json_object *arguments, const char *name, bool *value, struct error *error)
{
	json_object *found;

	if (!get(arguments, name, json_type_boolean, &found))
		return fail(error, STATUS_FAILED, "'%s' has to be true or false", name);
	*value = found && json_object_get_boolean(found);
	return 0;
}

/* Leaves @value alone if @name is not there. */
static int get_count(json_object *arguments, const char *name, uint64_t max, uint64_t *value, struct error *error)
{
	json_object *found;
	int64_t number;

	if (!get(arguments, name, json_type_int, &found))
		return fail(error, STATUS_FAILED, "'%s' has to be a whole number", name);
	if (!found)
		return 0;
	number = json_object_get_int64(found);
	if (number < 1 || (uint64_t)number > max)
		return fail(error, STATUS_FAILED, "'%s' has to be from 1 to %" PRIu64, name, max);
	*value = (uint64_t)number;
	return 0;
}

/* Returns NULL if @name is not there, or contains a NUL. */
static const char *get_text(json_object *arguments, const char *name)
{
	json_object *found;
	const char *text;

	if (!get(arguments, name, json_type_string, &found) || !found)
		return NULL;
	text = json_object_get_string(found);
	return strlen(text) == (size_t)json_object_get_string_len(found) ? text : NULL;
}

/* ---- the agent itself ---- */

json_object *request_sync(struct agent *agent, json_object *arguments, struct error *error)
{
	json_object *id;

	(void)agent;
	if (get(arguments, "id", json_type_int, &id) && id)
		return json_object_get(id);
	fail(error, STATUS_FAILED, "'id' has to be a whole number");
	return NULL;
}

json_object *request_ping(struct agent *agent, json_object *arguments, struct error *error)
{
	(void)agent;
	(void)arguments;
	(void)error;
	return json_object_new_object();
}

/* ---- figures and marks ---- */

json_object *request_snapshot(struct agent *agent, json_object *arguments, struct error *error)
{
	struct snapshot snapshot;
	bool records = false;

	if (get_bool(arguments, "per-vcpu", &records, error) ||
	    device__collect(agent->device, records, &snapshot, error))
		return NULL;
	return json__snapshot(&snapshot);
}

json_object *mark__json(const struct mark *mark)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(mark->name));
	json_object_object_add(object, "guest-ns", json_object_new_uint64(mark->guest_ns));
	if (mark->has_host_ns)
		json_object_object_add(object, "host-ns", json_object_new_uint64(mark->host_ns));
	return object;
}

json_object *request_mark(struct agent *agent, json_object *arguments, struct error *error)
{
	const char *name = get_text(arguments, "name");
	struct snapshot snapshot;
	struct mark mark;

	if (!name || !mark__set_name(&mark, name)) {
		fail(error, STATUS_FAILED, "'name' has to be up to %d letters, digits, '.', '_' and '-'", MARK_NAME_MAX);
		return NULL;
	}
	if (device__collect(agent->device, false, &snapshot, error))
		return NULL;
	mark__set_times(&mark, &snapshot);
	if (marks__add(agent->marks, &mark, error))
		return NULL;
	return mark__json(&mark);
}

json_object *request_marks(struct agent *agent, json_object *arguments, struct error *error)
{
	json_object *list;
	struct mark mark;
	bool follow = false;
	int found;

	if (get_bool(arguments, "follow", &follow, error))
		return NULL;
	list = json_object_new_array();
	agent->marks_told = 0;
	while ((found = marks__next(agent->marks, &agent->marks_told, &mark, error)) > 0)
		json_object_array_add(list, mark__json(&mark));
	if (found < 0) {
		json_object_put(list);
		return NULL;
	}
	agent->following = follow;
	return list;
}

/* ---- load ---- */

static uint64_t load_limit(const struct agent *agent)
{
	struct sysinfo info;
	uint64_t half;

	if (sysinfo(&info))
		return 0;
	half = (uint64_t)info.freeram * info.mem_unit / 2;
	return half < agent->max_load ? half : agent->max_load;
}

/* If the guest runs out of memory, the kernel is to kill the load, and not the guest's own work. */
static void die_first(void)
{
	FILE *score = fopen("/proc/self/oom_score_adj", "we");

	if (score) {
		fputs("1000", score);
		fclose(score);
	}
}

/* Run the load in a child: if the guest runs out of memory, the child is killed, and we report it. */
static int load_in_child(const struct load *load, struct load_result *result, struct error *error)
{
	struct { struct load_result result; struct error error; int failed; } report;
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (pipe(ends))
		return fail(error, STATUS_FAILED, "cannot make a pipe: %s", strerror(errno));
	child = fork();
	if (!child) {
		die_first();
		/* The program that starts the agent may ignore it, and a fuzzer handles it. */
		signal(SIGALRM, SIG_DFL);
		alarm(LOAD_SECONDS);
		memset(&report, 0, sizeof(report));
		report.failed = load__run(load, &report.result, &report.error);
		_exit(write(ends[1], &report, sizeof(report)) != sizeof(report));
	}
	close(ends[1]);
	got = child < 0 ? 0 : read(ends[0], &report, sizeof(report));
	close(ends[0]);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return fail(error, STATUS_FAILED, "cannot start the load: %s", strerror(errno));
	if (got != sizeof(report))
		return fail(error, STATUS_FAILED, WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ?
			    "the load took longer than a minute" : "the load was killed; is there that much memory?");
	*result = report.result;
	*error = report.error;
	return report.failed;
}

json_object *request_load(struct agent *agent, json_object *arguments, struct error *error)
{
	struct load load = {};
	uint64_t bytes = 0, threads = 1;
	struct load_result result;
	const char *pattern = "sequential";

	if (get_count(arguments, "bytes", load_limit(agent), &bytes, error) ||
	    get_count(arguments, "threads", (uint64_t)get_nprocs(), &threads, error))
		return NULL;
	if (!bytes) {
		fail(error, STATUS_FAILED, "'bytes' has to be there");
		return NULL;
	}
	if (json_object_object_get_ex(arguments, "pattern", NULL))
		pattern = get_text(arguments, "pattern");
	if (!pattern || !load__pattern(pattern, &load.pattern)) {
		fail(error, STATUS_FAILED, "'pattern' has to be sequential, random or stride");
		return NULL;
	}
	load.bytes = bytes;
	load.threads = (uint32_t)threads;
	if (load_in_child(&load, &result, error))
		return NULL;
	return load__json(&load, &result);
}

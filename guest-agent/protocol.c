// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "marks.h"
#include "protocol.h"
#include "request.h"

/* Our requests have three levels at most. */
#define DEPTH_MAX	8

static const struct command {
	const char *name;
	json_object *(*run)(struct agent *agent, json_object *arguments, struct error *error);
	bool delimited;			/* its answer follows a byte 0xff */
	const char *arguments[3];	/* the only arguments that it takes */
} commands[] = {
	{ "guest-sync-delimited", request_sync, true, { "id" } },
	{ "guest-ping", request_ping, false, {} },
	{ "guest-info", request_info, false, {} },
	{ "spf-snapshot", request_snapshot, false, { "per-vcpu" } },
	{ "spf-mark", request_mark, false, { "name" } },
	{ "spf-marks", request_marks, false, { "follow" } },
	{ "spf-load", request_load, false, { "bytes", "threads", "pattern" } },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

/* ---- the table ---- */

static const struct command *find(const char *name, size_t length)
{
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (strlen(commands[i].name) == length && !memcmp(commands[i].name, name, length))
			return &commands[i];
	return NULL;
}

static bool is_blocked(const struct agent *agent, const struct command *command)
{
	return agent->blocked >> (command - commands) & 1;
}

int protocol__filter(struct agent *agent, const char *list, bool allow, struct error *error)
{
	uint32_t named = 0;

	for (const char *name = list; name;) {
		size_t length = strcspn(name, ",");
		const struct command *command = find(name, length);

		if (!command)
			return fail(error, STATUS_USAGE, "there is no request '%.*s' to allow or block", (int)length, name);
		named |= 1u << (command - commands);
		name = name[length] ? name + length + 1 : NULL;
	}
	agent->blocked = allow ? ~named : named;
	return 0;
}

json_object *request_info(struct agent *agent, json_object *arguments, struct error *error)
{
	json_object *info = json_object_new_object(), *list = json_object_new_array();

	(void)arguments;
	(void)error;
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		json_object *entry = json_object_new_object();

		json_object_object_add(entry, "name", json_object_new_string(commands[i].name));
		json_object_object_add(entry, "enabled", json_object_new_boolean(!is_blocked(agent, &commands[i])));
		json_object_object_add(entry, "success-response", json_object_new_boolean(true));
		json_object_array_add(list, entry);
	}
	json_object_object_add(info, "version", json_object_new_string(AGENT_VERSION));
	json_object_object_add(info, "supported_commands", list);
	return info;
}

/* ---- one request ---- */

/* One call for a whole line: a port that loses an answer loses its end of line, too. */
static void send_object(struct agent *agent, json_object *object, bool delimited)
{
	size_t length;
	const char *text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &length);
	char *line = malloc(length + 2), *end = line;

	if (line) {
		if (delimited)
			*end++ = '\xff';
		memcpy(end, text, length);
		end += length;
		*end++ = '\n';
		agent->send(agent->context, line, (size_t)(end - line));
		free(line);
	}
	json_object_put(object);
}

static json_object *error_object(const char *class, const char *text)
{
	json_object *object = json_object_new_object(), *detail = json_object_new_object();

	json_object_object_add(detail, "class", json_object_new_string(class));
	json_object_object_add(detail, "desc", json_object_new_string(text));
	json_object_object_add(object, "error", detail);
	return object;
}

static bool is_known(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count && names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static int check_members(json_object *object, const char *const *names, size_t count, struct error *error)
{
	struct json_object_iterator it = json_object_iter_begin(object), end = json_object_iter_end(object);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *name = json_object_iter_peek_name(&it);

		if (!is_known(names, count, name))
			return fail(error, STATUS_FAILED, "'%.64s' is not known here", name);
	}
	return 0;
}

static json_object *parse(const char *line, size_t length, struct error *error)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	json_object *object;

	/* A request contains no NUL.  The tokener would stop at one. */
	if (memchr(line, 0, length))
		length = 0;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, line, (int)length);
	if (!json_object_is_type(object, json_type_object)) {
		fail(error, STATUS_FAILED, "a request is one JSON object a line");
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

static json_object *execute(struct agent *agent, json_object *request, bool *delimited)
{
	static const char *const members[] = { "execute", "arguments", "id" };
	json_object *name, *arguments = NULL, *result;
	const struct command *command;
	struct error error;

	if (check_members(request, members, 3, &error))
		return error_object("GenericError", error.text);
	if (!json_object_object_get_ex(request, "execute", &name) || !json_object_is_type(name, json_type_string))
		return error_object("GenericError", "'execute' has to name a request");
	command = find(json_object_get_string(name), (size_t)json_object_get_string_len(name));
	if (!command)
		return error_object("CommandNotFound", "there is no such request; guest-info lists them");
	if (is_blocked(agent, command))
		return error_object("CommandNotFound", "this request is blocked in this guest");
	if (json_object_object_get_ex(request, "arguments", &arguments) &&
	    !json_object_is_type(arguments, json_type_object))
		return error_object("GenericError", "'arguments' has to be an object");
	if (arguments && check_members(arguments, command->arguments, 3, &error))
		return error_object("GenericError", error.text);

	result = command->run(agent, arguments, &error);
	if (!result)
		return error_object("GenericError", error.text);
	*delimited = command->delimited;
	name = json_object_new_object();
	json_object_object_add(name, "return", result);
	return name;
}

static void answer(struct agent *agent, const char *line, size_t length)
{
	json_object *request, *reply, *id;
	bool delimited = false;
	struct error error;

	while (length && memchr(" \t\r", line[length - 1], 3))
		length--;
	if (!length)
		return;
	request = parse(line, length, &error);
	if (!request) {
		send_object(agent, error_object("GenericError", error.text), false);
		return;
	}
	reply = execute(agent, request, &delimited);
	if (json_object_object_get_ex(request, "id", &id))
		json_object_object_add(reply, "id", json_object_get(id));
	send_object(agent, reply, delimited);
	json_object_put(request);
}

/* ---- the stream ---- */

static void begin_anew(struct agent *agent)
{
	agent->length = 0;
	agent->too_long = false;
}

void protocol__reset(struct agent *agent)
{
	begin_anew(agent);
	agent->following = false;
}

static void end_of_line(struct agent *agent)
{
	if (agent->too_long)
		send_object(agent, error_object("GenericError", "the request is too long"), false);
	else
		answer(agent, agent->line, agent->length);
	begin_anew(agent);
}

void protocol__feed(struct agent *agent, const char *bytes, size_t count)
{
	for (; count; bytes++, count--) {
		if (*bytes == '\xff')
			begin_anew(agent);
		else if (*bytes == '\n')
			end_of_line(agent);
		else if (agent->length == sizeof(agent->line))
			agent->too_long = true;
		else
			agent->line[agent->length++] = *bytes;
	}
}

void protocol__tell_marks(struct agent *agent)
{
	struct error error;
	struct mark mark;

	/* Marks that cannot be read now are sent together with the next. */
	while (agent->following && marks__next(agent->marks, &agent->marks_told, &mark, &error) > 0) {
		json_object *event = json_object_new_object();

		json_object_object_add(event, "event", json_object_new_string("SPF_MARK"));
		json_object_object_add(event, "data", mark__json(&mark));
		send_object(agent, event, false);
	}
}

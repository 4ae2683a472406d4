// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp.h"

enum { AT_ONCE = 1 << 16, DEEPEST = 16 };

struct json_object *qmp_parse(const char *line, size_t length, struct why *why)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEEPEST);
	struct json_object *object = NULL;

	if (!tokener)
		abort();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, line, (int)length);
	if (json_tokener_get_error(tokener) != json_tokener_success || json_tokener_get_parse_end(tokener) != length ||
	    !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		object = NULL;
		fail(why, "what listens there does not speak QMP");
	}
	json_tokener_free(tokener);
	return object;
}

const char *json_text(struct json_object *object, const char *name)
{
	struct json_object *text;

	if (json_object_object_get_ex(object, name, &text) && json_object_is_type(text, json_type_string))
		return json_object_get_string(text);
	return "";
}

struct json_object *qmp_result(struct json_object *answer, struct why *why)
{
	struct json_object *result = NULL, *error = NULL;

	if (json_object_object_get_ex(answer, "return", &result) && result)
		json_object_get(result);
	else if (!json_object_object_get_ex(answer, "error", &error) || !json_object_is_type(error, json_type_object))
		fail(why, "its answer is not QMP");
	else if (!strcmp(json_text(error, "class"), "CommandNotFound"))
		fail(why, "this QEMU has no kvm-spf: it is too old, or not patched");
	else
		fail(why, "QEMU says: %s", json_text(error, "desc"));
	json_object_put(answer);
	return result;
}

static int dial(struct qmp *qmp, const char *path, struct why *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t size = strlen(path) + 1;
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (size > sizeof(address.sun_path))
		return fail(why, "the path of a socket has less than %zu bytes", sizeof(address.sun_path));
	memcpy(address.sun_path, path, size);
	if (!connect(qmp->fd, (struct sockaddr *)&address, sizeof(address))) {
		if (!getsockopt(qmp->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
			qmp->peer = peer.pid;
		return 0;
	}
	switch (errno) {
	case ECONNREFUSED:
		return fail(why, "no QEMU listens there any more");
	case EAGAIN:
		return fail(why, "other clients are waiting for it; a QMP socket serves one at a time");
	default:
		return fail(why, "%s", strerror(errno));
	}
}

int qmp_open(struct qmp *qmp, const char *path, struct why *why)
{
	memset(qmp, 0, sizeof(*qmp));
	qmp->longest = AT_ONCE;
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0)
		return fail(why, "cannot create a socket: %s", strerror(errno));
	if (!dial(qmp, path, why))
		return 0;
	qmp_close(qmp);
	return -1;
}

void qmp_close(struct qmp *qmp)
{
	if (qmp->fd >= 0)
		close(qmp->fd);
	qmp->fd = -1;
	free(qmp->buffer);
	free(qmp->request);
	qmp->buffer = qmp->request = NULL;
}

void qmp_say(struct qmp *qmp, const char *command)
{
	size_t before = qmp->request ? strlen(qmp->request) : 0;

	qmp->request = must_grow(qmp->request, before + strlen(command) + 2);
	stpcpy(stpcpy(qmp->request + before, command), "\n");
}

short qmp_events(const struct qmp *qmp)
{
	return POLLIN | (qmp->request && qmp->request[qmp->sent] ? POLLOUT : 0);
}

static bool try_again(void)
{
	return errno == EINTR || errno == EAGAIN;
}

static int send_some(struct qmp *qmp, struct why *why)
{
	ssize_t sent;

	if (!qmp->request || !qmp->request[qmp->sent])
		return 0;
	sent = send(qmp->fd, qmp->request + qmp->sent, strlen(qmp->request + qmp->sent), MSG_NOSIGNAL);
	if (sent < 0)
		return try_again() ? 0 : fail(why, "the VM went away: %s", strerror(errno));
	qmp->sent += (size_t)sent;
	return 0;
}

int qmp_transfer(struct qmp *qmp, struct why *why)
{
	ssize_t got;

	if (send_some(qmp, why))
		return -1;
	qmp->used -= qmp->begin;
	if (qmp->begin)
		memmove(qmp->buffer, qmp->buffer + qmp->begin, qmp->used);
	qmp->begin = 0;
	if (qmp->used == qmp->longest)
		return fail(why, "a line longer than %zu bytes is not QMP", qmp->longest);
	if (qmp->size - qmp->used < AT_ONCE) {
		qmp->size = qmp->used + AT_ONCE < qmp->longest ? 2 * (qmp->used + AT_ONCE) : qmp->longest;
		if (qmp->size > qmp->longest)
			qmp->size = qmp->longest;
		qmp->buffer = must_grow(qmp->buffer, qmp->size);
	}
	got = recv(qmp->fd, qmp->buffer + qmp->used, qmp->size - qmp->used, 0);
	if (got < 0)
		return try_again() ? 0 : fail(why, "the VM went away: %s", strerror(errno));
	if (!got)
		return fail(why, "the VM went away");
	qmp->used += (size_t)got;
	return 0;
}

int qmp_next(struct qmp *qmp, struct json_object **object, struct why *why)
{
	size_t length = qmp->used - qmp->begin;
	char *line = qmp->buffer + qmp->begin;
	char *end = length ? memchr(line, '\n', length) : NULL;

	if (!end)
		return 0;
	*object = qmp_parse(line, (size_t)(end - line), why);
	qmp->begin += (size_t)(end + 1 - line);
	return *object ? 1 : -1;
}

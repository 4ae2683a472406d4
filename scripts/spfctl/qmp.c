// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * QMP over a UNIX socket.  The other side may be anything: lines are bounded, and one deadline is set for all that is
 * said on a connection, so that neither a flood of events nor a byte now and then keeps us.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "spfctl.h"

enum { LONGEST_LINE = 1 << 16, DEEPEST = 16 };

struct qmp {
	int fd;
	int64_t deadline;
	size_t used;
	char buffer[LONGEST_LINE];
};

int64_t timeout_ms = 2000;

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

static const char *text_of(struct json_object *object, const char *name)
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
		fail(why, "an answer that is none of QMP's");
	else if (!strcmp(text_of(error, "class"), "CommandNotFound"))
		fail(why, "this QEMU has no kvm-spf: it is too old, or not patched");
	else
		fail(why, "QEMU says: %s", text_of(error, "desc"));
	json_object_put(answer);
	return result;
}

/* Wait for poll's @events; -1 when the time is up. */
static int await(struct qmp *qmp, short events, struct why *why)
{
	struct pollfd wait = { .fd = qmp->fd, .events = events };
	int64_t left;
	int ready;

	do {
		left = qmp->deadline - now_ms();
		ready = left > 0 ? poll(&wait, 1, (int)left) : 0;
	} while (ready < 0 && errno == EINTR);
	if (ready > 0)
		return 0;
	return fail(why, "no answer within %g s; a QMP socket serves one client at a time", timeout_ms / 1000.0);
}

static struct json_object *read_object(struct qmp *qmp, struct why *why)
{
	struct json_object *object;
	char *end;
	ssize_t got;

	while (!(end = memchr(qmp->buffer, '\n', qmp->used))) {
		if (qmp->used == sizeof(qmp->buffer)) {
			fail(why, "a line longer than %d bytes is none of QMP's", LONGEST_LINE);
			return NULL;
		}
		if (await(qmp, POLLIN, why))
			return NULL;
		got = read(qmp->fd, qmp->buffer + qmp->used, sizeof(qmp->buffer) - qmp->used);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0) {
			fail(why, "the VM went away%s%s", got ? ": " : "", got ? strerror(errno) : "");
			return NULL;
		}
		qmp->used += (size_t)got;
	}
	object = qmp_parse(qmp->buffer, (size_t)(end - qmp->buffer), why);
	qmp->used -= (size_t)(end + 1 - qmp->buffer);
	memmove(qmp->buffer, end + 1, qmp->used);
	return object;
}

static int send_line(struct qmp *qmp, const char *line, struct why *why)
{
	struct iovec parts[] = { { (void *)line, strlen(line) }, { "\n", 1 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
	ssize_t sent;

	/* Far less than the socket's buffer: it is taken whole or not at all. */
	do {
		if (await(qmp, POLLOUT, why))
			return -1;
		sent = sendmsg(qmp->fd, &message, MSG_NOSIGNAL);
	} while (sent < 0 && (errno == EINTR || errno == EAGAIN));
	return sent < 0 ? fail(why, "the VM went away: %s", strerror(errno)) : 0;
}

struct json_object *qmp_execute(struct qmp *qmp, const char *command, struct why *why)
{
	struct json_object *object;

	if (send_line(qmp, command, why))
		return NULL;
	while ((object = read_object(qmp, why)) && json_object_object_get_ex(object, "event", NULL))
		json_object_put(object);
	return object ? qmp_result(object, why) : NULL;
}

static int dial(struct qmp *qmp, const char *path, struct why *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	size_t size = strlen(path) + 1;

	if (size > sizeof(address.sun_path))
		return fail(why, "the path of a socket has less than %zu bytes", sizeof(address.sun_path));
	memcpy(address.sun_path, path, size);
	if (!connect(qmp->fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	switch (errno) {
	case ECONNREFUSED:
		return fail(why, "no QEMU listens there any more");
	case EAGAIN:
		return fail(why, "other clients are waiting for it; a QMP socket serves one at a time");
	default:
		return fail(why, "%s", strerror(errno));
	}
}

struct qmp *qmp_open(const char *path, struct why *why)
{
	struct qmp *qmp = must_allocate(sizeof(*qmp));
	struct json_object *object = NULL;

	qmp->deadline = now_ms() + timeout_ms;
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0) {
		fail(why, "no socket: %s", strerror(errno));
		goto out;
	}
	if (dial(qmp, path, why))
		goto out;
	object = read_object(qmp, why);
	if (!object)
		goto out;
	if (!json_object_object_get_ex(object, "QMP", NULL)) {
		fail(why, "what listens there does not speak QMP");
		goto out;
	}
	json_object_put(object);
	object = qmp_execute(qmp, "{\"execute\":\"qmp_capabilities\"}", why);
	if (!object)
		goto out;
	json_object_put(object);
	return qmp;
out:
	json_object_put(object);
	qmp_close(qmp);
	return NULL;
}

void qmp_close(struct qmp *qmp)
{
	if (qmp->fd >= 0)
		close(qmp->fd);
	free(qmp);
}

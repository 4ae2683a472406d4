// SPDX-License-Identifier: GPL-2.0-or-later
/* Events of libvirt's domains.  A thread runs libvirt's event loop and writes them to a socket, a line each. */
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "domain.h"
#include "libvirt-load.h"

static struct listener {
	int fd;
	char *uri, *event;
} listener;

static void write_line(struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	size_t length = strlen(text);
	char *line = must_allocate(length + 1);

	memcpy(line, text, length);
	line[length] = '\n';
	/* If the other end is closed, the event is not needed. */
	(void)send(listener.fd, line, length + 1, MSG_NOSIGNAL);
	free(line);
	json_object_put(object);
}

static void on_event(virConnectPtr connection, virDomainPtr domain, const char *event, long long seconds,
		     unsigned int micros, const char *details, void *opaque)
{
	struct json_object *object = json_object_new_object();

	(void)connection, (void)event, (void)seconds, (void)micros, (void)opaque;
	json_object_object_add(object, "domain", json_object_new_string(lib.virDomainGetName(domain)));
	json_object_object_add(object, "data", details ? json_tokener_parse(details) : NULL);
	write_line(object);
}

static void on_close(virConnectPtr connection, int reason, void *opaque)
{
	(void)connection, (void)reason, (void)opaque;
	shutdown(listener.fd, SHUT_RDWR);
}

static void *listen_work(void *arg)
{
	virConnectPtr connection = NULL;
	struct json_object *object;
	sigset_t pipe;

	/* The SIGPIPE of a daemon that has gone must not kill us. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	if (!lib.virEventRegisterDefaultImpl())
		connection = lib.virConnectOpen(listener.uri);
	if (connection && !lib.virConnectRegisterCloseCallback(connection, on_close, NULL, NULL) &&
	    lib.virConnectDomainQemuMonitorEventRegister(connection, NULL, listener.event, on_event, NULL, NULL,
							 0) >= 0) {
		while (!lib.virEventRunDefaultImpl())
			;
	}
	object = json_object_new_object();
	json_object_object_add(object, "error", json_object_new_string(lib.virGetLastErrorMessage()));
	write_line(object);
	shutdown(listener.fd, SHUT_RDWR);
	return arg;
}

int domains_listen(const char *uri, const char *event, struct why *why)
{
	pthread_t thread;
	int pair[2];

	if (libvirt_load(why))
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fail(why, "cannot create a socket");
	listener.fd = pair[1];
	listener.uri = must_copy(uri);
	listener.event = must_copy(event);
	if (pthread_create(&thread, NULL, listen_work, NULL)) {
		close(pair[0]);
		close(pair[1]);
		return fail(why, "cannot start a thread");
	}
	return pair[0];
}

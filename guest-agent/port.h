/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio-serial port to the host.
 */
#ifndef SPF_PORT_H
#define SPF_PORT_H

#include <stddef.h>
#include <sys/types.h>

#include "error.h"

#define PORT_NAME	"org.kvmspf.agent.0"

/* @path: the port's device node; NULL: the port of our name. */
int port__open(const char *path, struct error *error);

/* Return the bytes read, 0 while no host is connected, -1 and @error when the port is gone. */
ssize_t port__read(int fd, char *buffer, size_t size, struct error *error);

/* Write all of it.  If the host reads nothing for seconds, or no host is connected, the rest is lost. */
void port__write(int fd, const char *text, size_t length);

#endif

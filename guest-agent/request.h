/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requests.  Each returns its answer, or NULL and @error.  @arguments may be NULL.  It has only members that the
 * table in protocol.c lists, of any type.
 */
#ifndef SPF_REQUEST_H
#define SPF_REQUEST_H

#include <json-c/json.h>

#include "marks.h"
#include "protocol.h"

json_object *mark__json(const struct mark *mark);

json_object *request_sync(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_ping(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_info(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_snapshot(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_mark(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_marks(struct agent *agent, json_object *arguments, struct error *error);
json_object *request_load(struct agent *agent, json_object *arguments, struct error *error);

#endif

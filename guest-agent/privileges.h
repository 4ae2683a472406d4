/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPF_PRIVILEGES_H
#define SPF_PRIVILEGES_H

#include "error.h"

/* Become @user (NULL: nobody) for good.  What was opened before stays open. */
int privileges__drop(const char *user, struct error *error);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPF_PRIVILEGES_H
#define SPF_PRIVILEGES_H

#include "error.h"

/*
 * Become @user for good.  NULL stands for the agent's own user, which the
 * package creates.  If the guest has users but not this one, become "nobody"
 * and print a warning.  If it has no users at all, take the kernel's number for
 * nobody.  Open files stay open.
 */
int privileges__drop(const char *user, struct error *error);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPF_PRIVILEGES_H
#define SPF_PRIVILEGES_H

#include "error.h"

/*
 * Become @user for good.  NULL: our own user, which the package makes; where
 * there are users but not this one, "nobody", and say so; where there are none
 * at all, the kernel's number for nobody.  What was opened before stays open.
 */
int privileges__drop(const char *user, struct error *error);

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "privileges.h"

/* The kernel's number for the user that owns nothing. */
#define NOBODY		65534

#define OWN_USER	"spf-agent"	/* spf-agent.sysusers */
#define USERS		"/etc/passwd"

/* Read the file itself: neither a static program nor a minimal guest has a name service. */
static int look_up(const char *user, uid_t *uid, gid_t *gid)
{
	FILE *f = fopen(USERS, "re");
	struct passwd *entry = NULL;

	while (f && (entry = fgetpwent(f)) && strcmp(entry->pw_name, user))
		;
	if (entry) {
		*uid = entry->pw_uid;
		*gid = entry->pw_gid;
	}
	if (f)
		fclose(f);
	return entry ? 0 : -1;
}

/* Other services may run as "nobody", too, and two services of one user can trace each other. */
static void choose(uid_t *uid, gid_t *gid)
{
	if (!look_up(OWN_USER, uid, gid))
		return;
	look_up("nobody", uid, gid);
	if (!access(USERS, F_OK))
		fprintf(stderr, "spf-agent: there is no user " OWN_USER ": serving as nobody; create it, or name a --user\n");
}

int privileges__drop(const char *user, struct error *error)
{
	uid_t uid = NOBODY;
	gid_t gid = NOBODY;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(error, STATUS_FAILED, "cannot give up new privileges: %s", strerror(errno));
	if (user && look_up(user, &uid, &gid))
		return fail(error, STATUS_USAGE, "there is no user '%s'", user);
	if (geteuid())
		return 0;	/* there is nothing to drop */
	if (!user)
		choose(&uid, &gid);
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return fail(error, STATUS_FAILED, "cannot drop privileges: %s", strerror(errno));
	return 0;
}

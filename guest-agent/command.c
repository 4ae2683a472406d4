// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signals that by default end a program, or whose meaning the program defines. */
static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 };

#define NR_PASSED_ON	(sizeof(passed_on) / sizeof(passed_on[0]))

static int status_of(int waited)
{
	return WIFSIGNALED(waited) ? 128 + WTERMSIG(waited) : WEXITSTATUS(waited);
}

/* Nothing is lost between fork() and here: signals for us stay pending, and an ended child remains until we wait. */
static int wait_for(pid_t child, const sigset_t *watched, int *status, struct error *error)
{
	int waited;

	for (;;) {
		siginfo_t info;
		int number = sigwaitinfo(watched, &info);
		pid_t ended;

		if (number < 0)
			continue;	/* interrupted */
		if (number != SIGCHLD) {
			/* A signal from the kernel comes from the terminal, which sends it to the child as well. */
			if (info.si_code <= 0)
				kill(child, number);
			continue;
		}
		ended = waitpid(child, &waited, WNOHANG);
		if (ended < 0)
			return fail(error, STATUS_RUN_FAILED, "cannot wait for the command: %s", strerror(errno));
		if (ended == child)
			break;
	}
	*status = status_of(waited);
	return 0;
}

int command__run(char **words, int *status, struct error *error)
{
	void (*on_child)(int) = signal(SIGCHLD, SIG_DFL);	/* an ignored SIGCHLD would never come */
	sigset_t watched, before;
	pid_t child;

	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	for (size_t i = 0; i < NR_PASSED_ON; i++)
		sigaddset(&watched, passed_on[i]);
	sigprocmask(SIG_BLOCK, &watched, &before);
	child = fork();
	if (child < 0)
		return fail(error, STATUS_RUN_FAILED, "cannot fork: %s", strerror(errno));
	if (!child) {
		signal(SIGCHLD, on_child);
		sigprocmask(SIG_SETMASK, &before, NULL);
		execvp(*words, words);
		fprintf(stderr, "spf-agent: cannot run %s: %s\n", *words, strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	return wait_for(child, &watched, status, error);
}

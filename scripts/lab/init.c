// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Process 1 of a lab that has an initramfs and a serial line, and nothing
 * else: Bochs, POWER, the simulated host.  /command holds strings, each ended by
 * a NUL: the mark of this run, then the command's words.  The console gets
 * "up NS", the command's output, "dmesg", the kernel's warnings and worse, and
 * "end STATUS NS".  Each of the quoted lines begins with the mark.  NS is the time
 * of the machine's clock when the command begins, and when it has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS	256
#define KLOG_READ_ALL	3
#define KLOG_SIZE	10
#define WARNING		4

static const struct {
	const char *type, *where;
} mounts[] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devtmpfs", "/dev" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "tracefs", "/sys/kernel/tracing" },
};

/* The mark must begin a line, even if the command's output did not end with one. */
static void tell(const char *mark, const char *what)
{
	printf("\n%s %s\n", mark, what);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

/* The terminal must not change the command's output. */
static void make_raw(void)
{
	struct termios mode;

	if (tcgetattr(STDOUT_FILENO, &mode))
		return;
	cfmakeraw(&mode);
	tcsetattr(STDOUT_FILENO, TCSANOW, &mode);
}

static char **read_command(void)
{
	static char text[65536], *words[MAX_WORDS + 1];
	int fd = open("/command", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int n = 0;

	for (char *at = text; size > 0 && at < text + size && n < MAX_WORDS;
	     at += strlen(at) + 1)
		words[n++] = at;
	return n < 2 ? NULL : words;
}

static int run(char **words)
{
	int status;
	pid_t child = fork();

	if (!child) {
		setsid();
		execv(words[0], words);
		printf("%s: %s\n", words[0], strerror(errno));
		fflush(stdout);
		_exit(127);
	}
	/* Reap orphans meanwhile. */
	for (;;) {
		pid_t ended = wait(&status);

		if (ended == child)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
						     WEXITSTATUS(status);
		if (ended < 0)
			return 127;
	}
}

/* Each record is "<PRIORITY>[time] text"; a trace has many. */
static void tell_kernel_log(void)
{
	int size = klogctl(KLOG_SIZE, NULL, 0);
	char *log = size > 0 ? malloc((size_t)size + 1) : NULL;

	if (!log)
		return;
	size = klogctl(KLOG_READ_ALL, log, size);
	log[size > 0 ? size : 0] = '\0';
	for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		if (line[0] == '<' && (atoi(line + 1) & 7) <= WARNING)
			puts(line);
	free(log);
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void)
{
	char up[32], end[48], **words;
	int status;

	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].where, 0755);
		mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, NULL);
	}
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/applets", 1);
	setenv("HOME", "/tmp", 1);
	make_raw();
	words = read_command();
	if (words) {
		snprintf(up, sizeof(up), "up %lld", now_ns());
		tell(words[0], up);
		status = run(words + 1);
		snprintf(end, sizeof(end), "end %d %lld", status, now_ns());
		tell(words[0], "dmesg");
		tell_kernel_log();
		tell(words[0], end);
	} else {
		puts("there is no command");
	}
	/* Some machines cannot switch themselves off. */
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

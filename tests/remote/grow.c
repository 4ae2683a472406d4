// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A process for CRIU to dump: told by a line on a FIFO, it touches fresh memory, or looks whether all that it has touched
 * is still there.  It answers in a file.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define SIZE	(64UL << 20)
#define STEP	(8UL << 20)
#define AT	((uint64_t *)0x500000000000)

static uint64_t value(size_t page)
{
	return 0x5350ULL << 48 | page << 8 | 1;
}

/* Each page is read, or not touched at all, or written. */
static void touch(size_t first, size_t last)
{
	for (size_t page = first; page < last; page++)
		if (page % 8 == 1)
			(void)*(volatile uint64_t *)(AT + page * PAGE / sizeof(*AT));
		else if (page % 8 != 2)
			AT[page * PAGE / sizeof(*AT)] = value(page);
}

static size_t wrong(size_t last)
{
	size_t found = 0;

	for (size_t page = 0; page < SIZE / PAGE; page++) {
		uint64_t want = page < last && page % 8 != 1 && page % 8 != 2 ? value(page) : 0;

		found += AT[page * PAGE / sizeof(*AT)] != want;
	}
	return found;
}

static void answer(const char *path, size_t number)
{
	char text[32], temporary[256];
	int fd, length = snprintf(text, sizeof(text), "%zu\n", number);

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, (size_t)length) != length || close(fd) || rename(temporary, path))
		err(2, "%s", path);
}

/* Arguments: the FIFO, the file. */
int main(int argc, char **argv)
{
	size_t touched = 0;

	if (argc != 3)
		errx(2, "usage: grow FIFO FILE");
	if (mmap(AT, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != AT ||
	    madvise(AT, SIZE, MADV_NOHUGEPAGE))
		err(2, "mmap, madvise");
	for (;;) {
		char order = 0;
		int fd = open(argv[1], O_RDONLY);

		if (fd < 0 || read(fd, &order, 1) < 0)
			err(2, "%s", argv[1]);
		close(fd);
		if (order == 't') {
			touch(touched, touched + STEP / PAGE);
			touched += STEP / PAGE;
			answer(argv[2], touched);
		} else if (order == 'l') {
			answer(argv[2], wrong(touched));
		} else if (order == 'q') {
			return 0;
		}
	}
}

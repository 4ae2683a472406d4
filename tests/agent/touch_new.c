/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the guest: store to each of K untouched pages of an ivshmem device's BAR. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

int main(int argc, char **argv)
{
	size_t pages = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	int fd = pages ? open(argv[1], O_RDWR) : -1;
	volatile char *at;

	if (fd < 0)
		return 2;
	/* Fill the guest's own page tables here, so that only the host's fault is left. */
	at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < pages; i++)
		at[i * PAGE] = 1;
	return 0;
}

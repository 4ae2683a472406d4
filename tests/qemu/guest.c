/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Process 1 of the guest: reads the kvm-spf device, and touches untouched pages
 * of an ivshmem device's BAR.  It takes commands from the console, and answers
 * there:
 *   read          ring the doorbell, then print a snapshot as one line of JSON
 *   touch FROM N  store to N pages from page FROM; print how long it took, in ns
 *   check FROM N  print how many of them still hold what was stored
 *   churn FROM N  from now on, store to N pages from page FROM again and again
 *   churned       end churn; print rounds, and how many pages did not hold the last round's value
 *   hammer N      store to the device N times, anywhere, of any width, and ring the doorbell after each
 *   find          look for the device again, after it was plugged or unplugged; print whether it is there
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../guest-agent/kvm_spf_regs.h"

#define PAGE 4096
#define DEVICES "/sys/bus/pci/devices"

static volatile uint8_t *spf;
static volatile uint8_t *memory;
static size_t spf_size;

static void fail(const char *what)
{
	printf("@spf error %s: %m\n", what);
	fflush(stdout);
	for (;;)
		pause();
}

/* Leaves 0 if the file does not exist. */
static unsigned long number(const char *device, const char *file)
{
	char path[512], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", device, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoul(text, NULL, 0);
}

/*
 * Open BAR @bar of the device, and enable the device.  A device that is plugged in is in sysfs
 * before the kernel has given its BARs an address.  Until then either the BAR has no file, or the
 * device cannot be enabled: that depends on the kernel.
 *
 * Return: the BAR's file, or -1 if the device is not ready.
 */
static int open_bar(const char *device, int bar)
{
	char path[512];
	int fd, enable;
	bool ready;

	snprintf(path, sizeof(path), DEVICES "/%s/resource%d", device, bar);
	fd = open(path, O_RDWR);
	if (fd < 0) {
		if (errno != ENOENT)
			fail(path);
		return -1;
	}

	snprintf(path, sizeof(path), DEVICES "/%s/enable", device);
	enable = open(path, O_WRONLY);
	if (enable < 0)
		fail(path);
	ready = write(enable, "1", 1) > 0;
	if (!ready && errno != EINVAL)
		fail(path);
	close(enable);
	if (ready)
		return fd;

	close(fd);
	return -1;
}

/*
 * Populate the mapping, so that only the host's fault is left for the first touch.
 *
 * Return: the mapping, or NULL if the device is not ready.
 */
static volatile uint8_t *map(const char *device, int bar, size_t *size)
{
	int fd = open_bar(device, bar);
	struct stat st;
	void *at;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0)
		fail(device);
	*size = st.st_size;
	at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		fail("mmap");
	close(fd);
	return at;
}

static void find(void)
{
	struct dirent *entry;
	size_t size;
	DIR *dir = opendir(DEVICES);

	while (dir && (entry = readdir(dir))) {
		unsigned long vendor, device;

		if (entry->d_name[0] == '.')
			continue;
		vendor = number(entry->d_name, "vendor");
		device = number(entry->d_name, "device");
		if (vendor == KVM_SPF_PCI_VENDOR_ID && device == KVM_SPF_PCI_DEVICE_ID)
			spf = map(entry->d_name, 0, &spf_size);
		if (vendor == 0x1af4 && device == 0x1110 && !memory)
			memory = map(entry->d_name, 2, &size);
	}
	if (dir)
		closedir(dir);
	/* A guest that migrates has only memory of its own. */
	if (!memory)
		memory = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
}

/* The kernel has removed the pages of a device that is gone.  Unmap the mapping ourselves. */
static void find_again(void)
{
	if (spf)
		munmap((void *)spf, spf_size);
	spf = NULL;
	find();
	printf("@spf found %d\n", !!spf);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint32_t get32(const volatile uint8_t *at, unsigned int off)
{
	return *(const volatile uint32_t *)(at + off);
}

static uint64_t get64(const volatile uint8_t *at, unsigned int off)
{
	return *(const volatile uint64_t *)(at + off);
}

static void list(const char *name, const uint8_t *at, unsigned int off, unsigned int n)
{
	printf("\"%s\":[", name);
	for (unsigned int i = 0; i < n; i++)
		printf("%s%" PRIu64, i ? "," : "", get64(at, off + 8 * i));
	printf("],");
}

static void block(const uint8_t *at)
{
	list("faults", at, KVM_SPF_TIER(0), KVM_SPF_NR_TIERS);
	list("aborts", at, KVM_SPF_ABORT(0), KVM_SPF_NR_ABORTS);
	list("buckets", at, KVM_SPF_NS_HIST(0), KVM_SPF_NS_BUCKETS);
	printf("\"sum\":%" PRIu64 ",\"max\":%" PRIu64 ",\"count\":%" PRIu64, get64(at, KVM_SPF_NS_SUM),
	       get64(at, KVM_SPF_NS_MAX), get64(at, KVM_SPF_NS_COUNT));
}

static void snapshot(void)
{
	static uint8_t copy[1 << 20];
	uint64_t generation = get64(spf, KVM_SPF_GENERATION);
	uint32_t seq;

	*(volatile uint32_t *)(spf + KVM_SPF_DOORBELL) = 1;
	while (get64(spf, KVM_SPF_GENERATION) == generation)
		usleep(1000);
	/* x86 reads in order, and so does the compiler with volatile. */
	do {
		while ((seq = get32(spf, KVM_SPF_SEQ)) & 1)
			usleep(1000);
		for (size_t i = 0; i < spf_size; i += 8)
			*(uint64_t *)(copy + i) = get64(spf, i);
	} while (get32(spf, KVM_SPF_SEQ) != seq);

	printf("@spf read {\"magic\":%u,\"version\":%u,\"features\":%" PRIu64 ",\"mode\":%u,\"vcpus\":%u,",
	       get32(copy, KVM_SPF_MAGIC_OFF), get32(copy, KVM_SPF_VERSION_OFF), get64(copy, KVM_SPF_FEATURES),
	       get32(copy, KVM_SPF_MODE), get32(copy, KVM_SPF_NR_VCPUS));
	printf("\"epoch\":%" PRIu64 ",\"generation\":%" PRIu64 ",\"host_ns\":%" PRIu64 ",\"interval_ns\":%" PRIu64 ",",
	       get64(copy, KVM_SPF_EPOCH), get64(copy, KVM_SPF_GENERATION), get64(copy, KVM_SPF_HOST_NS),
	       get64(copy, KVM_SPF_INTERVAL_NS));
	list("rates", copy, KVM_SPF_RATES, KVM_SPF_NR_TIERS + KVM_SPF_NR_ABORTS);
	block(copy + KVM_SPF_TOTALS);
	printf(",\"records\":[");
	for (uint32_t i = 0; i < get32(copy, KVM_SPF_NR_RECORDS); i++) {
		const uint8_t *record = copy + get32(copy, KVM_SPF_RECORDS) + i * get32(copy, KVM_SPF_RECORD_SIZE);

		printf("%s{\"index\":%u,", i ? "," : "", get32(record, KVM_SPF_RECORD_VCPU));
		block(record + KVM_SPF_RECORD_BLOCK);
		printf("}");
	}
	printf("]}\n");
}

static void touch(size_t from, size_t n)
{
	uint64_t start = now();

	for (size_t i = from; i < from + n; i++)
		*(volatile uint32_t *)(memory + i * PAGE) = i + 1;
	printf("@spf touched %" PRIu64 "\n", now() - start);
}

static void check(size_t from, size_t n)
{
	size_t right = 0;

	for (size_t i = from; i < from + n; i++)
		right += get32(memory, i * PAGE) == i + 1;
	printf("@spf checked %zu\n", right);
}

/* ---- a load that goes on ---- */

static struct {
	pthread_t thread;
	size_t from, n;
	uint32_t rounds;
	size_t lost;
	volatile bool stop;
} churn;

static void *churn_thread(void *unused)
{
	(void)unused;
	for (uint32_t round = 1; !churn.stop; round++) {
		for (size_t i = churn.from; i < churn.from + churn.n; i++) {
			volatile uint32_t *page = (volatile uint32_t *)(memory + i * PAGE);

			churn.lost += *page != (round == 1 ? 0 : i + round - 1);
			*page = i + round;
		}
		churn.rounds = round;
	}
	return NULL;
}

static void churn_start(size_t from, size_t n)
{
	churn.from = from;
	churn.n = n;
	if (pthread_create(&churn.thread, NULL, churn_thread, NULL))
		fail("thread");
	printf("@spf churn\n");
}

static void churn_end(void)
{
	churn.stop = true;
	pthread_join(churn.thread, NULL);
	printf("@spf churned %u %zu\n", churn.rounds, churn.lost);
}

/* ---- what a guest should not do ---- */

static void hammer(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		volatile uint8_t *at = spf + (unsigned long)rand() % (spf_size - 8);

		switch (i % 4) {
		case 0:
			*at = (uint8_t)rand();
			break;
		case 1:
			*(volatile uint16_t *)at = (uint16_t)rand();
			break;
		case 2:
			*(volatile uint32_t *)at = (uint32_t)rand();
			break;
		default:
			*(volatile uint64_t *)at = (uint64_t)rand() << 32;
		}
		*(volatile uint32_t *)(spf + KVM_SPF_DOORBELL) = (uint32_t)i;
	}
	printf("@spf hammered\n");
}

int main(void)
{
	char line[64];
	size_t from, n;

	if (mount("sys", "/sys", "sysfs", 0, NULL) < 0)
		fail("sysfs");
	find();
	if (!spf)
		fail("no device");
	printf("@spf up\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "read", 4))
			snapshot();
		else if (sscanf(line, "touch %zu %zu", &from, &n) == 2)
			touch(from, n);
		else if (sscanf(line, "check %zu %zu", &from, &n) == 2)
			check(from, n);
		else if (!strncmp(line, "churned", 7))
			churn_end();
		else if (sscanf(line, "churn %zu %zu", &from, &n) == 2)
			churn_start(from, n);
		else if (sscanf(line, "hammer %zu", &n) == 1)
			hammer(n);
		else if (!strncmp(line, "find", 4))
			find_again();
		fflush(stdout);
	}
	fail("end of input");
}

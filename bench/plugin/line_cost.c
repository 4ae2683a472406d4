// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin for QEMU's TCG with -icount parallel=on: it makes an x86-64 CPU wait for a cache line of another CPU.
 *
 * For each line of physical memory the plugin knows which CPUs have a copy, and whether any CPU has ever stored to it.
 * Two accesses fetch a line: a store by a CPU that is not the only one with a copy, and a load, by a CPU without a copy,
 * of a line that was stored to.  A fetch takes near= ns, or far= ns from another socket.  It begins when the fetch
 * before it has ended.  The CPU waits until its fetch has ended, and then makes the access.  As soon as a CPU asks for
 * a line, the line belongs to that CPU; the CPU that asked before keeps it until the next fetch ends.  A line of which
 * no CPU has a copy costs nothing, caches are infinite, and there is no prefetching.
 *
 *	near=NS		(50)
 *	far=NS		(150)
 *	socket=CPUS	how many share a socket (64)
 *	skip=FROM-TO	accesses of this code cost nothing; may be repeated
 *	all=on		accesses outside of kernels cost time, too
 *	end=ADDRESS	code at which the counts so far are written, and set to zero
 *	out=FILE	the file for the counts; they are also written at the end
 *
 * The file has "total ACCESSES FETCHES TOOK WAITED", then the costliest "fetch LINE PC FETCHES FAR TOOK WAITED", each of
 * a line of physical memory by an instruction, then "spin TIMES PC CALLER...", then "end".  TOOK: ns that fetches took,
 * WAITED: ns that they waited for others to end.
 *
 * A spin is a PAUSE of the kernel's, which gives up the rest of the CPU's quantum.  The plugin records one spin in
 * SAMPLE.  Its callers are the addresses of code at the top of the stack.  The kernel keeps no frame pointers, so that a
 * stale address may be among them.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define KERNEL		UINT64_C(0xffff800000000000)
#define LINE_SHIFT	6
/* Physical memory that has lines: reserved, and used only once touched.  Accesses beyond it cost nothing. */
#define MAX_LINES	(UINT64_C(1) << (36 - LINE_SHIFT))

enum { MAX_SKIPS = 64, GRANTS = 4, SAMPLE = 8, STACK = 48, CALLERS = 6, MOST_ROWS = 200 };

/* The kernel's code, which is loaded where it is linked to. */
#define TEXT		UINT64_C(0xffffffff81000000)
#define TEXT_SIZE	UINT64_C(0x02000000)

struct line {
	int64_t busy;		/* ns: the last fetch ends */
	uint32_t copies;	/* which set of CPUs has a copy; 0: not more than one */
	uint16_t only;		/* the one CPU that has a copy, + 1; 0: none, or several */
	bool stored;
};

/*
 * A line for which a CPU has waited.  Other CPUs may have asked for it since: the CPU has it until the next fetch ends.
 *
 * QEMU executes an instruction again after each fetch.  The instruction must not wait for the same line twice, even if
 * it has waited for another line meanwhile: two CPUs that want the same two lines would take them from each other
 * forever.
 */
struct grant {
	uint64_t index;
	int64_t until;
	int64_t try;		/* the CPU's clock without its stalls, the same for each try of an instruction */
	bool store;
};

struct cpu {
	int64_t stalled;	/* ns, ever */
	unsigned int granted;
	struct grant grant[GRANTS];	/* the last ones */
};

struct insn {
	uint64_t pc;
	bool atomic;
};

/* The first two are the key. */
struct fetches {
	uint64_t line, pc;
	uint64_t number, far, took, waited;
};

struct spin {
	uint64_t pc[1 + CALLERS];	/* and the callers; what it is found by */
	uint64_t times;
};

static struct line *lines;
static struct cpu *cpus;
static GHashTable *insns, *fetched, *spun;
static struct fetches sum;
static GArray *sets;		/* of `words` each; the first one is not used */
static GArray *free_sets;	/* uint32_t */
static unsigned int words, nr_skips, socket_cpus = 64;
static int64_t near_ns = 50, far_ns = 150;
static uint64_t end, accesses, pauses;
static struct qemu_plugin_register *stack_pointer;
static uint64_t skips[MAX_SKIPS][2];
static bool all;
static FILE *out;

/* -- which CPU has a line -- */

static uint64_t *set_of(const struct line *line)
{
	return &g_array_index(sets, uint64_t, (uint64_t)line->copies * words);
}

static bool has(const struct line *line, unsigned int cpu)
{
	if (!line->copies)
		return line->only == cpu + 1;
	return set_of(line)[cpu / 64] >> cpu % 64 & 1;
}

static bool socket_has(const struct line *line, unsigned int socket)
{
	unsigned int first = socket * socket_cpus;

	if (!line->copies)
		return line->only && (line->only - 1u) / socket_cpus == socket;
	for (unsigned int cpu = first; cpu < first + socket_cpus && cpu < words * 64; cpu++)
		if (has(line, cpu))
			return true;
	return false;
}

static bool other_socket_has(const struct line *line, unsigned int socket)
{
	for (unsigned int other = 0; other * socket_cpus < words * 64; other++)
		if (other != socket && socket_has(line, other))
			return true;
	return false;
}

static void keep_only(struct line *line, unsigned int cpu)
{
	if (line->copies) {
		memset(set_of(line), 0, words * sizeof(uint64_t));
		g_array_append_val(free_sets, line->copies);
		line->copies = 0;
	}
	line->only = cpu + 1;
	line->stored = true;
}

static void add_copy(struct line *line, unsigned int cpu)
{
	if (!line->copies && !line->only) {
		line->only = cpu + 1;
		return;
	}
	if (!line->copies) {
		unsigned int first = line->only - 1;

		if (free_sets->len) {
			line->copies = g_array_index(free_sets, uint32_t, free_sets->len - 1);
			g_array_set_size(free_sets, free_sets->len - 1);
		} else {
			line->copies = sets->len / words;
			g_array_set_size(sets, sets->len + words);
		}
		line->only = 0;
		set_of(line)[first / 64] |= UINT64_C(1) << first % 64;
	}
	set_of(line)[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

/* -- what an access costs -- */

static bool was_granted(const struct cpu *cpu, uint64_t index, bool store, int64_t now)
{
	for (unsigned int i = 0; i < MIN(cpu->granted, GRANTS); i++) {
		const struct grant *grant = &cpu->grant[i];

		if (grant->index == index && grant->store >= store &&
		    (grant->try == now - cpu->stalled || now < grant->until))
			return true;
	}
	return false;
}

static void take(struct line *line, unsigned int cpu, bool store)
{
	if (store)
		keep_only(line, cpu);
	else
		add_copy(line, cpu);
}

static void count(struct fetches *fetches, bool far, int64_t took, int64_t waited)
{
	fetches->number++;
	fetches->far += far;
	fetches->took += took;
	fetches->waited += waited;
}

static struct fetches *find_fetches(uint64_t line, uint64_t pc)
{
	struct fetches key = { .line = line, .pc = pc }, *found = g_hash_table_lookup(fetched, &key);

	if (!found) {
		found = g_memdup2(&key, sizeof(key));
		g_hash_table_add(fetched, found);
	}
	return found;
}

/* Returns how long the fetch takes from now. */
static int64_t fetch(struct line *line, const struct insn *insn, unsigned int cpu, bool store, int64_t now)
{
	unsigned int socket = cpu / socket_cpus;
	bool far = store ? other_socket_has(line, socket) : !socket_has(line, socket);
	int64_t took = far ? far_ns : near_ns, start = MAX(now, line->busy);

	line->busy = start + took;
	if (out) {
		count(find_fetches(line - lines, insn->pc), far, took, start - now);
		count(&sum, far, took, start - now);
	}
	return line->busy - now;
}

static int64_t before_access(unsigned int number, qemu_plugin_meminfo_t info, uint64_t vaddr, uint64_t paddr,
			     int64_t now, void *data)
{
	bool store = qemu_plugin_mem_is_store(info);
	uint64_t index = paddr >> LINE_SHIFT;
	struct cpu *cpu = &cpus[number];
	struct line *line = &lines[index];
	struct grant *grant;
	int64_t wait;

	(void)vaddr;
	if (index >= MAX_LINES)
		return 0;
	accesses++;
	if (store ? line->only == number + 1 && line->stored : has(line, number))
		return 0;
	if (store ? line->only == number + 1 || (!line->copies && !line->only) : !line->stored) {
		take(line, number, store);
		return 0;
	}
	if (was_granted(cpu, index, store, now))
		return 0;
	wait = fetch(line, data, number, store, now);
	take(line, number, store);
	grant = &cpu->grant[cpu->granted++ % GRANTS];
	*grant = (struct grant) { .index = index, .until = now + wait + near_ns, .try = now - cpu->stalled, .store = store };
	cpu->stalled += wait;
	return wait;
}

/* -- output -- */

static gint by_cost(gconstpointer a, gconstpointer b)
{
	const struct fetches *x = a, *y = b;
	uint64_t p = x->took + x->waited, q = y->took + y->waited;

	if (p != q)
		return p < q ? 1 : -1;
	return x->line != y->line ? (x->line < y->line ? -1 : 1) : x->pc < y->pc ? -1 : x->pc > y->pc;
}

static gint by_times(gconstpointer a, gconstpointer b)
{
	const struct spin *x = a, *y = b;

	if (x->times != y->times)
		return x->times < y->times ? 1 : -1;
	return memcmp(x->pc, y->pc, sizeof(x->pc));
}

static void write_out(void)
{
	GList *fetches = g_list_sort(g_hash_table_get_keys(fetched), by_cost);
	GList *spins = g_list_sort(g_hash_table_get_keys(spun), by_times);
	unsigned int rows = 0;

	fprintf(out, "total %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", accesses, sum.number, sum.took, sum.waited);
	for (GList *at = fetches; at && rows < MOST_ROWS; at = at->next, rows++) {
		struct fetches *row = at->data;

		fprintf(out, "fetch 0x%" PRIx64 " 0x%" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			row->line << LINE_SHIFT, row->pc, row->number, row->far, row->took, row->waited);
	}
	for (GList *at = spins; at; at = at->next) {
		struct spin *spin = at->data;

		fprintf(out, "spin %" PRIu64, spin->times * SAMPLE);
		for (unsigned int i = 0; i < 1 + CALLERS && spin->pc[i]; i++)
			fprintf(out, " 0x%" PRIx64, spin->pc[i]);
		fputc('\n', out);
	}
	fputs("end\n", out);
	fflush(out);
	g_list_free(fetches);
	g_list_free(spins);
	g_hash_table_remove_all(fetched);
	g_hash_table_remove_all(spun);
	sum = (struct fetches) { 0 };
	accesses = 0;
}

/* Count the code that spins, and its callers. */
static void at_pause(unsigned int index, void *data)
{
	struct spin spin = { .pc = { GPOINTER_TO_SIZE(data) } }, *found;
	unsigned int callers = 0;
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	uint64_t top, *words;

	(void)index;
	if (pauses++ % SAMPLE || qemu_plugin_read_register(stack_pointer, bytes) != sizeof(top))
		return;
	memcpy(&top, bytes->data, sizeof(top));
	if (!qemu_plugin_read_memory_vaddr(top, bytes, STACK * sizeof(*words)))
		return;
	words = (uint64_t *)bytes->data;
	for (unsigned int i = 0; i < STACK && callers < CALLERS; i++)
		if (words[i] - TEXT < TEXT_SIZE)
			spin.pc[1 + callers++] = words[i];
	found = g_hash_table_lookup(spun, &spin);
	if (!found) {
		found = g_memdup2(&spin, sizeof(spin));
		g_hash_table_add(spun, found);
	}
	found->times++;
}

static void find_stack_pointer(qemu_plugin_id_t id, unsigned int index)
{
	g_autoptr(GArray) registers = qemu_plugin_get_registers();

	(void)id;
	(void)index;
	for (unsigned int i = 0; i < registers->len; i++) {
		qemu_plugin_reg_descriptor *one = &g_array_index(registers, qemu_plugin_reg_descriptor, i);

		if (!strcmp(one->name, "rsp"))
			stack_pointer = one->handle;
	}
}

static guint hash_of(const uint64_t *word, unsigned int n)
{
	uint64_t hash = 0;

	for (unsigned int i = 0; i < n; i++)
		hash = (hash ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return hash >> 32;
}

static guint hash_fetches(gconstpointer key)
{
	return hash_of(key, offsetof(struct fetches, number) / sizeof(uint64_t));
}

static gboolean same_fetches(gconstpointer a, gconstpointer b)
{
	return !memcmp(a, b, offsetof(struct fetches, number));
}

static guint hash_spin(gconstpointer key)
{
	return hash_of(key, 1 + CALLERS);
}

static gboolean same_spin(gconstpointer a, gconstpointer b)
{
	return !memcmp(a, b, offsetof(struct spin, times));
}

static void at_end(unsigned int index, void *data)
{
	(void)index;
	(void)data;
	write_out();
}

static void at_exit(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	write_out();
}

/* -- what the translator sees -- */

/* A lock prefix, or an xchg with memory, which needs none. */
static bool is_atomic(const struct qemu_plugin_insn *insn)
{
	uint8_t byte[15];
	size_t size = qemu_plugin_insn_data(insn, byte, sizeof(byte)), i = 0;

	for (; i < size && memchr("\x66\x67\x2e\x36\x3e\x26\x64\x65\xf2\xf3\xf0", byte[i], 11); i++)
		if (byte[i] == 0xf0)
			return true;
	if (i < size && (byte[i] & 0xf0) == 0x40)
		i++;
	return i + 1 < size && (byte[i] & 0xfe) == 0x86 && byte[i + 1] >> 6 != 3;
}

/* Another program may have another instruction at the same address. */
static struct insn *find_insn(uint64_t pc, bool atomic)
{
	gpointer key = GSIZE_TO_POINTER(pc << 1 | atomic);
	struct insn *insn = g_hash_table_lookup(insns, key);

	if (!insn) {
		insn = g_new0(struct insn, 1);
		insn->pc = pc;
		insn->atomic = atomic;
		g_hash_table_insert(insns, key, insn);
	}
	return insn;
}

static bool is_pause(const struct qemu_plugin_insn *insn)
{
	uint8_t byte[2];

	return qemu_plugin_insn_size(insn) == 2 && qemu_plugin_insn_data(insn, byte, 2) == 2 && byte[0] == 0xf3 &&
	       byte[1] == 0x90;
}

static void translate_insn(struct qemu_plugin_insn *insn)
{
	uint64_t pc = qemu_plugin_insn_vaddr(insn);
	bool atomic = is_atomic(insn);

	if (out && pc >= KERNEL && is_pause(insn))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, at_pause, QEMU_PLUGIN_CB_R_REGS, GSIZE_TO_POINTER(pc));

	if (out && pc == end)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, at_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
	for (unsigned int i = 0; i < nr_skips; i++)
		if (pc >= skips[i][0] && pc < skips[i][1])
			return;
	/* An atomic instruction's load has the line for the store as well. */
	if (!qemu_plugin_register_vcpu_mem_stall_cb(insn, before_access, atomic ? QEMU_PLUGIN_MEM_W : QEMU_PLUGIN_MEM_RW,
						    find_insn(pc, atomic))) {
		fputs("line_cost: this needs -icount shift=0,sleep=off,parallel=on\n", stderr);
		exit(1);
	}
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
	(void)id;
	if (!all && qemu_plugin_tb_vaddr(block) < KERNEL)
		return;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
		translate_insn(qemu_plugin_tb_get_insn(block, i));
}

static bool parse(const char *argument)
{
	g_auto(GStrv) half = g_strsplit(argument, "=", 2);
	const char *value = half[1] ?: "";
	char *rest = NULL;

	if (!strcmp(half[0], "near")) {
		near_ns = strtoll(value, &rest, 10);
	} else if (!strcmp(half[0], "far")) {
		far_ns = strtoll(value, &rest, 10);
	} else if (!strcmp(half[0], "socket")) {
		socket_cpus = strtoul(value, &rest, 10);
	} else if (!strcmp(half[0], "end")) {
		end = strtoull(value, &rest, 16);
	} else if (!strcmp(half[0], "skip") && nr_skips < MAX_SKIPS) {
		skips[nr_skips][0] = strtoull(value, &rest, 16);
		if (*rest == '-')
			skips[nr_skips++][1] = strtoull(rest + 1, &rest, 16);
	} else if (!strcmp(half[0], "all")) {
		all = !strcmp(value, "on");
		return true;
	} else if (!strcmp(half[0], "out")) {
		out = fopen(value, "we");
		if (!out)
			perror(value);
		return out;
	}
	if (rest && rest != value && !*rest && near_ns >= 0 && far_ns >= 0 && socket_cpus)
		return true;
	fprintf(stderr, "line_cost: bad argument '%s'\n", argument);
	return false;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (!info->system_emulation || strcmp(info->target_name, "x86_64")) {
		fputs("line_cost: this is for qemu-system-x86_64\n", stderr);
		return 1;
	}
	for (int i = 0; i < argc; i++)
		if (!parse(argv[i]))
			return 1;
	lines = mmap(NULL, MAX_LINES * sizeof(*lines), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (lines == MAP_FAILED) {
		perror("line_cost: no address space for the lines");
		return 1;
	}
	words = (info->system.max_vcpus + 63) / 64;
	cpus = g_new0(struct cpu, words * 64);
	sets = g_array_new(false, true, sizeof(uint64_t));
	g_array_set_size(sets, words);
	free_sets = g_array_new(false, false, sizeof(uint32_t));
	insns = g_hash_table_new(NULL, NULL);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	if (out) {
		fetched = g_hash_table_new_full(hash_fetches, same_fetches, g_free, NULL);
		spun = g_hash_table_new_full(hash_spin, same_spin, g_free, NULL);
		qemu_plugin_register_vcpu_init_cb(id, find_stack_pointer);
		qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	}
	return 0;
}

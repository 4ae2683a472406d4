// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin for QEMU's TCG.  For each guest fault that KVM resolves in an emulated x86-64 host, count the atomic
 * read-modify-writes, and the stores to and loads of cache lines that another CPU also wrote.
 *
 * A fault is all that a thread executes from `begin=ADDRESS`, the entry of KVM's fault handler, until that function
 * returns.  The plugin follows the thread by its kernel stack, because the thread may sleep and wake up on another CPU.
 * Interrupts run on a stack of their own, so that they do not count.  Only accesses in faults decide which lines are
 * shared.
 *
 *	begin=ADDRESS		where a fault begins
 *	end=ADDRESS		where a VM ends: its result is written, and all is forgotten
 *	tier=NUMBER:ADDRESS	a fault that executes this is of that tier, if no higher one is seen
 *	object=NAME:ADDRESS:SIZE	the first argument of the function there, called in a fault, is such an object
 *	global=NAME:ADDRESS:SIZE	the same, whenever it is called
 *	out=FILE		where results are appended, see at_end()
 *
 * bench/shared-lines knows the addresses, and reads the result.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define KERNEL		UINT64_C(0xffffffff80000000)
#define STATIC_DATA	KERNEL
#define STRUCT_PAGES	UINT64_C(0xffffea0000000000)
#define STACK_MASK	(~UINT64_C(0x3fff))
#define MAX_CPUS	48

enum { MAX_TIERS = 8, MAX_OBJECTS = 16, MAX_MARKS = 16, MAX_EVENTS = 1 << 17, BASES = 64 };

/* A line's state, with a bit for each CPU */
struct line {
	uint64_t writers;
	uint64_t holders;	/* that would have it in an infinite cache */
};

struct object {
	char *name;
	uint64_t address, size;
	uint64_t base[BASES];	/* the last ones seen */
	unsigned int seen;
	bool anywhere;
};

struct mark {
	uint64_t address;
	unsigned int tier;
};

/* The key of a row of the result. */
struct key {
	uint64_t pc;
	uint64_t tier;
	char data[40];
};

struct row {
	struct key key;
	uint64_t atomic, shared, moved, loads, fetched;
};

struct event {
	uint64_t pc, address;
	bool atomic, shared, moved, load, fetched;
};

/* A fault in the making, of the thread with this kernel stack. */
struct window {
	uint64_t stack, rsp;
	bool open;
	unsigned int tier, events;
	uint64_t stores;
	struct event event[MAX_EVENTS];
};

static struct cpu {
	struct qemu_plugin_register *rsp, *rdi;
	GByteArray *value;
	struct window *window;	/* of the thread that runs, if it is in a fault */
	struct window *last;
} cpus[MAX_CPUS];

static struct object objects[MAX_OBJECTS];
static struct mark marks[MAX_MARKS];
static unsigned int nr_objects, nr_marks;
static uint64_t begin, end;
static char *out;
static gint open_windows;	/* while there is none, accesses are ignored */

/* The rest is under the lock. */
static GMutex lock;
static GHashTable *windows, *lines, *rows;
static uint64_t faults[MAX_TIERS], stores[MAX_TIERS], lost;

static uint64_t read_register(struct cpu *cpu, struct qemu_plugin_register *handle)
{
	uint64_t value = 0;

	g_byte_array_set_size(cpu->value, 0);
	if (qemu_plugin_read_register(handle, cpu->value) == sizeof(value))
		memcpy(&value, cpu->value->data, sizeof(value));
	return value;
}

static void init_cpu(qemu_plugin_id_t id, unsigned int index)
{
	GArray *all = qemu_plugin_get_registers();
	struct cpu *cpu = &cpus[index];

	(void)id;
	g_assert(index < MAX_CPUS);
	cpu->value = g_byte_array_new();
	for (guint i = 0; i < all->len; i++) {
		qemu_plugin_reg_descriptor *one = &g_array_index(all, qemu_plugin_reg_descriptor, i);

		if (!strcmp(one->name, "rsp"))
			cpu->rsp = one->handle;
		if (!strcmp(one->name, "rdi"))
			cpu->rdi = one->handle;
	}
	g_array_free(all, true);
	g_assert(cpu->rsp && cpu->rdi);
}

/* -- rows -- */

static guint key_hash(gconstpointer data)
{
	const struct key *key = data;

	return g_str_hash(key->data) ^ (guint)key->pc ^ (guint)key->tier << 24;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
	const struct key *x = a, *y = b;

	return x->pc == y->pc && x->tier == y->tier && !strcmp(x->data, y->data);
}

/* The kind of object at an address, as far as it is known. */
static void name_data(uint64_t address, uint64_t stack, char *name, size_t size)
{
	for (unsigned int i = 0; i < nr_objects; i++) {
		const struct object *object = &objects[i];

		for (unsigned int j = 0; j < MIN(object->seen, BASES); j++) {
			if (address - object->base[j] < object->size) {
				snprintf(name, size, "%s+0x%" PRIx64, object->name, address - object->base[j]);
				return;
			}
		}
	}
	if ((address & STACK_MASK) == stack)
		snprintf(name, size, "stack");
	else if (address >= STATIC_DATA)
		snprintf(name, size, "0x%" PRIx64, address);
	else if (address >= STRUCT_PAGES)
		snprintf(name, size, "page+0x%" PRIx64, address & 63);
	else
		snprintf(name, size, "heap");
}

static void close_window(struct window *window)
{
	g_mutex_lock(&lock);
	faults[window->tier]++;
	stores[window->tier] += window->stores;
	for (unsigned int i = 0; i < window->events; i++) {
		const struct event *event = &window->event[i];
		struct key key = { .pc = event->pc, .tier = window->tier };
		struct row *row;

		name_data(event->address, window->stack, key.data, sizeof(key.data));
		row = g_hash_table_lookup(rows, &key);
		if (!row) {
			row = g_new0(struct row, 1);
			row->key = key;
			g_hash_table_add(rows, row);
		}
		row->atomic += event->atomic;
		row->shared += event->shared;
		row->moved += event->moved;
		row->loads += event->load;
		row->fetched += event->fetched;
	}
	g_mutex_unlock(&lock);
	window->open = false;
	g_atomic_int_add(&open_windows, -1);
}

/* -- what the CPUs do -- */

static struct window *find_window(struct cpu *cpu, uint64_t stack, bool make)
{
	struct window *window = cpu->last;

	if (window && window->stack == stack)
		return window;
	g_mutex_lock(&lock);
	window = g_hash_table_lookup(windows, GSIZE_TO_POINTER(stack));
	if (!window && make) {
		window = g_new0(struct window, 1);
		window->stack = stack;
		g_hash_table_insert(windows, GSIZE_TO_POINTER(stack), window);
	}
	g_mutex_unlock(&lock);
	if (window)
		cpu->last = window;
	return window;
}

static void at_block(unsigned int index, void *data)
{
	struct cpu *cpu = &cpus[index];
	uint64_t rsp;

	(void)data;
	cpu->window = NULL;
	if (!g_atomic_int_get(&open_windows))
		return;
	rsp = read_register(cpu, cpu->rsp);
	cpu->window = find_window(cpu, rsp & STACK_MASK, false);
	if (!cpu->window || !cpu->window->open) {
		cpu->window = NULL;
	} else if (rsp > cpu->window->rsp) {
		close_window(cpu->window);
		cpu->window = NULL;
	}
}

static void at_begin(unsigned int index, void *data)
{
	struct cpu *cpu = &cpus[index];
	uint64_t rsp = read_register(cpu, cpu->rsp);
	struct window *window = find_window(cpu, rsp & STACK_MASK, true);

	(void)data;
	if (window->open)
		return;
	window->open = true;
	window->rsp = rsp;
	window->tier = window->events = window->stores = 0;
	cpu->window = window;
	g_atomic_int_inc(&open_windows);
}

static void at_mark(unsigned int index, void *data)
{
	const struct mark *mark = data;
	struct window *window = cpus[index].window;

	if (window && mark->tier > window->tier)
		window->tier = mark->tier;
}

static void at_object(unsigned int index, void *data)
{
	struct object *object = data;
	struct cpu *cpu = &cpus[index];
	uint64_t base;

	if (!cpu->window && !object->anywhere)
		return;
	base = read_register(cpu, cpu->rdi);
	g_mutex_lock(&lock);
	for (unsigned int i = 0; i < MIN(object->seen, BASES); i++)
		if (object->base[i] == base)
			goto known;
	object->base[object->seen++ % BASES] = base;
known:
	g_mutex_unlock(&lock);
}

/*
 *	faults TIER COUNT STORES
 *	row TIER PC DATA ATOMICS SHARED MOVED LOADS FETCHED
 *	end LOST
 *
 * SHARED: stores to lines that another CPU wrote before; MOVED: those of them to a line that another CPU has had since.
 * LOADS: loads of lines that another CPU wrote before; FETCHED: those of them after another CPU's store.  So MOVED and
 * FETCHED are transfers.  LOST: events for which there was no room.
 */
static void write_result(FILE *file)
{
	GHashTableIter at;
	gpointer key;

	for (unsigned int tier = 0; tier < MAX_TIERS; tier++)
		if (faults[tier])
			fprintf(file, "faults %u %" PRIu64 " %" PRIu64 "\n", tier, faults[tier], stores[tier]);
	g_hash_table_iter_init(&at, rows);
	while (g_hash_table_iter_next(&at, &key, NULL)) {
		const struct row *row = key;

		fprintf(file, "row %" PRIu64 " 0x%" PRIx64 " %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			row->key.tier, row->key.pc, row->key.data, row->atomic, row->shared, row->moved, row->loads,
			row->fetched);
	}
	fprintf(file, "end %" PRIu64 "\n", lost);
}

static void at_end(unsigned int index, void *data)
{
	FILE *file = fopen(out, "ae");

	(void)index;
	(void)data;
	g_mutex_lock(&lock);
	if (file)
		write_result(file);
	else
		perror(out);
	if (file)
		fclose(file);
	memset(faults, 0, sizeof(faults));
	memset(stores, 0, sizeof(stores));
	lost = 0;
	g_hash_table_remove_all(rows);
	g_hash_table_remove_all(lines);
	for (unsigned int i = 0; i < nr_objects; i++)
		objects[i].seen = 0;
	g_mutex_unlock(&lock);
}

/* An instruction's address, with the highest bit, which each of the kernel's has, cleared for an atomic one. */
#define ATOMIC (UINT64_C(1) << 63)

static void store_to(struct line *line, uint64_t me, struct event *event)
{
	event->shared = line->writers & ~me;
	event->moved = event->shared && (line->holders & ~me);
	line->writers |= me;
	line->holders = me;
}

static void load_of(struct line *line, uint64_t me, struct event *event)
{
	event->load = line->writers & ~me;
	event->fetched = event->load && !(line->holders & me);
	line->holders |= me;
}

static void at_access(unsigned int index, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
	struct window *window = cpus[index].window;
	uint64_t insn = (uintptr_t)data;
	bool store = qemu_plugin_mem_is_store(info);
	struct event event = { .pc = insn | ATOMIC, .address = address, .atomic = store && !(insn & ATOMIC) };
	struct qemu_plugin_hwaddr *where;
	struct line *line;
	gpointer number;

	if (!window)
		return;
	window->stores += store;
	where = qemu_plugin_get_hwaddr(info, address);
	if (!where || qemu_plugin_hwaddr_is_io(where))
		return;
	number = GSIZE_TO_POINTER(qemu_plugin_hwaddr_phys_addr(where) >> 6);

	g_mutex_lock(&lock);
	line = g_hash_table_lookup(lines, number);
	/* No fault stores to this line, as to those of most loads. */
	if (!line && store) {
		line = g_new0(struct line, 1);
		g_hash_table_insert(lines, number, line);
	}
	if (line)
		(store ? store_to : load_of)(line, UINT64_C(1) << index, &event);
	if ((event.atomic || event.shared || event.load) && window->events == MAX_EVENTS)
		lost++;
	g_mutex_unlock(&lock);

	if ((event.atomic || event.shared || event.load) && window->events < MAX_EVENTS)
		window->event[window->events++] = event;
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

static void translate_insn(struct qemu_plugin_insn *insn)
{
	uint64_t pc = qemu_plugin_insn_vaddr(insn);

	if (pc == begin)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, at_begin, QEMU_PLUGIN_CB_R_REGS, NULL);
	if (pc == end)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, at_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
	for (unsigned int i = 0; i < nr_marks; i++)
		if (pc == marks[i].address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_mark, QEMU_PLUGIN_CB_NO_REGS, &marks[i]);
	for (unsigned int i = 0; i < nr_objects; i++)
		if (pc == objects[i].address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_object, QEMU_PLUGIN_CB_R_REGS, &objects[i]);
	qemu_plugin_register_vcpu_mem_cb(insn, at_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
					 GSIZE_TO_POINTER(is_atomic(insn) ? pc & ~ATOMIC : pc));
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
	(void)id;
	if (qemu_plugin_tb_vaddr(block) < KERNEL)
		return;
	qemu_plugin_register_vcpu_tb_exec_cb(block, at_block, QEMU_PLUGIN_CB_R_REGS, NULL);
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
		translate_insn(qemu_plugin_tb_get_insn(block, i));
}

static bool parse(const char *argument)
{
	g_auto(GStrv) half = g_strsplit(argument, "=", 2);
	g_auto(GStrv) part = g_strsplit(half[1] ?: "", ":", 3);
	guint parts = g_strv_length(part);

	if (!strcmp(half[0], "out") && parts) {
		out = g_strdup(half[1]);
	} else if (!strcmp(half[0], "begin") && parts == 1) {
		begin = strtoull(part[0], NULL, 16);
	} else if (!strcmp(half[0], "end") && parts == 1) {
		end = strtoull(part[0], NULL, 16);
	} else if (!strcmp(half[0], "tier") && parts == 2 && nr_marks < MAX_MARKS) {
		marks[nr_marks].tier = MIN(strtoul(part[0], NULL, 10), MAX_TIERS - 1);
		marks[nr_marks++].address = strtoull(part[1], NULL, 16);
	} else if ((!strcmp(half[0], "object") || !strcmp(half[0], "global")) && parts == 3 &&
		   nr_objects < MAX_OBJECTS) {
		objects[nr_objects].name = g_strdup(part[0]);
		objects[nr_objects].address = strtoull(part[1], NULL, 16);
		objects[nr_objects].size = strtoull(part[2], NULL, 10);
		objects[nr_objects++].anywhere = half[0][0] == 'g';
	} else {
		fprintf(stderr, "fault_lines: bad argument '%s'\n", argument);
		return false;
	}
	return true;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	if (!info->system_emulation || strcmp(info->target_name, "x86_64")) {
		fputs("fault_lines: this is for qemu-system-x86_64\n", stderr);
		return 1;
	}
	for (int i = 0; i < argc; i++)
		if (!parse(argv[i]))
			return 1;
	if (!begin || !end || !out) {
		fputs("fault_lines: begin=, end= and out= are needed\n", stderr);
		return 1;
	}
	windows = g_hash_table_new(NULL, NULL);
	lines = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	rows = g_hash_table_new_full(key_hash, key_equal, g_free, NULL);
	qemu_plugin_register_vcpu_init_cb(id, init_cpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
/* A plugin for the emulator: prints the index of each vCPU for which a callback came. */
#include <stdatomic.h>
#include <stdio.h>

#include <qemu-plugin.h>

enum { VCPUS = 8 };

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static atomic_bool seen[VCPUS];

static void executed(unsigned int vcpu, void *data)
{
	(void)data;
	if (vcpu < VCPUS)
		seen[vcpu] = true;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

static void at_exit(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	for (unsigned int vcpu = 0; vcpu < VCPUS; vcpu++)
		if (seen[vcpu])
			fprintf(stderr, "vCPU %u\n", vcpu);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	(void)argc;
	(void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}

# SPDX-License-Identifier: GPL-2.0-or-later
"""AppArmor, as Debian 13 and 12 ship it and with their kernels: a domain with the device runs
confined.  It needs one rule more, that of docs/operating.md, and an emulator of its own another.

Debian's kernel does not have the parameter of the rule, and our QEMU does not look for it there.  A
file that is mounted at its place stands for it, and a program reads it that is confined as QEMU
is."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth
from tests.packages import host, libvirt_host, walk
from spf import paths

depth.module("boots a host for many minutes")
# For the whole of the host's life, under emulation.
LIMIT = 2400
# Otherwise the kernel's log leaves out denials when it has much to say.
ALL_LOGGED = "sysctl.kernel.printk_ratelimit=0"
PARAMETERS = "/sys/module/kvm/parameters"
FILE = f"{PARAMETERS}/speculative_faults"
PROFILE = f"libvirt-{libvirt_host.UUIDS['db2']}"
# AppArmor would close a file that the confined program inherits; it leaves pipes.
READ = f"aa-exec -p {PROFILE} cat {FILE} 2>&1 | cat"
PREPARE = f"""modprobe -a kvm kvm_amd
mount -t tmpfs parameters {PARAMETERS} && echo 2 >{FILE}
"""
LABEL = "cat /proc/$(cat /run/libvirt/qemu/db3.pid)/attr/current"
BESIDES = {
    "parameter": ("aa-enabled", PREPARE),
    "qemu": ("aa-enabled", f"{libvirt_host.our_qemu()[1]} && {libvirt_host.DEFINE}"),
    "guest": ("destroy db2", "sh /mnt/count-more db2"),
    "denied": ("destroy db2", READ),
    "rule": ("destroy db2", libvirt_host.rule("QEMU with the device")),
    "restart": ("destroy db2", "virsh destroy db2 && virsh start db2"),
    "allowed": ("destroy db2", READ),
    "refused": (None, "virsh start db3"),
    "mode": (None, f"{libvirt_host.rule(libvirt_host.MODE)}\nvirsh start db3 && {LABEL}"),
    "log": (None, "cat /var/log/libvirt/qemu/db3.log"),
    "end": (None, "virsh destroy db3"),
    "denials": (None, "journalctl -k -o cat | grep 'apparmor=\"DENIED\"'"),
    **walk.END}


class AppArmor(walk.Walk):
    NAME, SUITE, STEPS, BESIDES = "apparmor", host.SUITE, ["AppArmor"], BESIDES
    # What AppArmor denies a QEMU that is newer than its profile.
    OLDER = []

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
            folder, share = libvirt_host.disk(Path(scratch), cls.SUITE), Path(scratch) / "share"

            def life():
                shutil.copy(host.HERE / "count-more", share)
                return host.life(cls.NAME, folder, share, LIMIT, append=ALL_LOGGED)
            cls.walk(share, life)

    def denials(self):
        """(profile, file) of each."""
        return re.findall(r'DENIED".* profile="(.*?)" name="(.*?)"', self.besides["denials"])

    def test_the_guest_runs(self):
        status = {name: status for name, _, status in self.all}
        for name in ("parameter", "qemu", "guest", "rule", "restart"):
            with self.subTest(name):
                self.assertEqual(status[name], "0", self.besides[name])

    def test_the_parameter_is_read_with_the_rule_alone(self):
        self.assertEqual(self.besides["denied"], f"cat: {FILE}: Permission denied\n")
        self.assertEqual(self.besides["allowed"], "2\n")

    def test_an_emulator_of_its_own_runs_with_its_rule_alone(self):
        self.assertIn("error: Failed to start domain 'db3'", self.besides["refused"])
        self.assertRegex(self.besides["mode"], rf"\b{libvirt_host.UUIDS['db3']} \(enforce\)")
        self.assertIn("speculative-faults=vma-lock: this host's KVM has none", self.besides["log"])

    def test_apparmor_denies_nothing_else(self):
        """In particular nothing of the device's, and nothing that QEMU does when it starts."""
        self.assertEqual([one for one in self.denials() if one[1] not in self.OLDER], [
            (PROFILE, FILE), (f"libvirt-{libvirt_host.UUIDS['db3']}", libvirt_host.EMULATOR)])


class Debian12(AppArmor):
    OLDER = ["/proc/sys/vm/max_map_count"]
    NAME, SUITE = "apparmor-bookworm", "bookworm"
    BESIDES = BESIDES | {"qemu": ("aa-enabled", f"{libvirt_host.our_qemu('bookworm')[1]} && "
                                                f"{libvirt_host.DEFINE}")}


if __name__ == "__main__":
    unittest.main()

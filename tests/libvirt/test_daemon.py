# SPDX-License-Identifier: GPL-2.0-or-later
"""spfctl and a real libvirt, without the lab: QEMUs that do not answer, a daemon that does not
answer, and which commands taint a domain."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

from spf.source import apt
from spf.build import meson

PACKAGES = ["libvirt-daemon", "libvirt-clients", "qemu-system-x86"]
NAMES = [f"vm{n}" for n in range(7)]
*MUTE, WELL = NAMES
NO_STATISTICS = ("libvirt has no statistics of KVM for it; "
                 "--monitor asks its QEMU itself, and taints it")
TOO_OLD = "this QEMU has no kvm-spf: it is too old, or not patched"


class Daemon(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        apt.packages(PACKAGES)
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc",
                               "--kill-child", sys.executable,
                               Path(__file__).with_name("inside_namespace.py"), meson.spfctl()],
                              capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise AssertionError(f"status {done.returncode}: {done.stderr}")
        cls.seen = json.loads(done.stdout)

    def test_reading_taints_nothing(self):
        self.assertEqual(self.seen["plain"]["vms"], dict.fromkeys(NAMES, NO_STATISTICS))
        self.assertEqual(self.seen["tainted by reading"], [])

    def test_order_is_that_of_the_names(self):
        self.assertEqual(list(self.seen["plain"]["vms"]), NAMES)

    def test_the_monitor_taints_only_the_one_named(self):
        self.assertEqual(self.seen["monitor"]["vms"], {WELL: TOO_OLD})
        self.assertEqual(self.seen["tainted by the monitor"], [WELL])

    def test_a_domain_with_a_socket_is_shown_once(self):
        vm, = (vm for vm in self.seen["twins"] if vm["domain"] == WELL)
        self.assertEqual((vm["domain"], vm["source"]), (WELL, "/run/kvmspf/own"))

    def test_mute_qemus_hold_up_no_other(self):
        """There are more mute QEMUs than calls that the daemon serves at a time on one
        connection."""
        late = "no answer from libvirt within 5 s"
        self.assertEqual(self.seen["mute"]["vms"], {**dict.fromkeys(MUTE, late), WELL: TOO_OLD})
        self.assertEqual(sorted(self.seen["mute"]["errors"]), sorted(
            [f"spfctl: libvirt:{name}: {late}" for name in MUTE]
            + [f"spfctl: libvirt:{WELL}: {TOO_OLD}"]))

    def test_a_domain_that_is_being_started_is_no_failure(self):
        """libvirt holds back all questions about it until it has started.  Prometheus gets no
        series of it, since kvmspf_up 0 would be one of a VM that does not answer."""
        slow, early = self.seen["slow"], "libvirt is still starting it"
        self.assertEqual(slow["json"], {"status": 0, "errors": [], "vms": {"slow": early}})
        self.assertRegex("".join(slow["table"]), f"^slow +{early}$")
        self.assertNotIn("slow", slow["page"])
        self.assertEqual(slow["mode"], f"spfctl: slow: {early}\n")
        self.assertEqual(slow["later"]["vms"], {"slow": NO_STATISTICS})

    def test_a_storm_is_not_waited_for_without_a_vm(self):
        out, errors, status = self.seen["waits"]
        said = [f"spfctl: {NAMES[0]}: the VM is gone",
                "spfctl: no storm: there is no VM to wait for"]
        self.assertEqual((out, errors, status), ("", said, 1))

    def test_a_mute_daemon_ends_no_vm(self):
        rows, errors = self.seen["mute daemon"]
        for row in rows:
            self.assertRegex(row, f"^{WELL} +no answer from libvirt within 1 s\n$")
        self.assertNotIn("gone", "".join(errors))
        self.assertIn("spfctl: qemu:///system: no answer from libvirt within 1 s", errors)

    def test_no_daemon_ends_no_vm(self):
        errors = self.seen["no daemon"]
        self.assertNotIn("the VM is gone", "".join(errors))
        self.assertEqual(sum("spfctl: qemu:///system: libvirt says: Failed to connect" in e
                             for e in errors), 1)


if __name__ == "__main__":
    unittest.main()

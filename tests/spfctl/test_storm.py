# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for KVM_SPF_FALLBACK_STORM; tests/libvirt has QEMU's own event."""

import socket
import unittest

from tests.spfctl import server
from tests.spfctl.harness import PATIENCE, TOO_OLD, Test


def storm(rate):
    return {"event": "KVM_SPF_FALLBACK_STORM", "timestamp": {"seconds": 1, "microseconds": 2},
            "data": {"qom-path": "/machine/peripheral/spf0", "threshold": 1000, "mode": "off",
                     "rates": {"interval-ns": 1000166000,
                               "faults": {**dict.fromkeys(server.TIERS, 0.0), "mmap-lock": rate},
                               "aborts": {**dict.fromkeys(server.ABORTS, 0.0), "vma-busy": 7.5}}}}


class Storm(Test):
    def line(self, name, rate):
        return (rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ {name} mmap-lock {rate}/s threshold 1000/s "
                r"mode off "
                r"mainly vma-busy$")

    def test_ends_after_the_first(self):
        self.vm("s", "db1", events=[{"event": "RESET"}, storm(18231.1), storm(2000)])
        out = self.check(["-t", PATIENCE, "--wait-storm", "-D", self.dir], 0, []).splitlines()
        self.assertEqual(len(out), 1)
        self.assertRegex(out[0], self.line("db1", 18231))

    def test_ends_after_some(self):
        self.vm("s", "db1", events=[storm(1001), storm(1002), storm(1003)])
        out = self.check(["-t", PATIENCE, "-w", "-n", "2", "-D", self.dir], 0, []).splitlines()
        self.assertEqual(len(out), 2)
        self.assertRegex(out[1], self.line("db1", 1002))

    def test_only_of_the_one_named(self):
        self.vm("a", "db1", events=[storm(1001)])
        self.vm("b", "db2", events=[storm(1002)])
        out = self.check(["-t", PATIENCE, "-w", "-D", self.dir, "db2"], 0, [])
        self.assertRegex(out.rstrip("\n"), self.line("db2", 1002))

    def test_a_qemu_that_is_too_old_is_not_waited_for(self):
        path, _ = self.qemu("old")
        self.check(["-w", "-s", path], 1,
                   [f"{path}: {TOO_OLD}", "no storm: there is no VM to wait for"])

    def test_the_last_one_goes(self):
        path, vm = self.process("s", "db1")
        child = self.start("-t", PATIENCE, "-w", "-D", self.dir)
        # It holds the socket by now: no other client is greeted.
        greeted = True
        while greeted:
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(path))
                other.settimeout(1)
                try:
                    other.recv(1)
                except TimeoutError:
                    greeted = False
        path.unlink()
        vm.kill()
        out, errors = child.communicate(timeout=300)
        self.assertEqual((out, child.returncode), ("", 1))
        self.assertEqual(errors.splitlines()[-2:], ["spfctl: db1: the VM is gone",
                                                    "spfctl: no storm: there is no VM to wait for"])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent in real guests on the patched host, with QEMU's kvm-spf device."""

import json
import os
import subprocess
import unittest
from pathlib import Path

from tests.agent import programs
from tests.lib import native
from tests.lib.console_guest import initramfs
from spf import paths, series
from spf.source import apt
from spf.build import targets
from spf.lab import x86

HERE = Path(__file__).resolve().parent

LIMIT = 600
QEMU = os.environ.get("KVMSPF_TEST_QEMU", "patched")     # "edit": what lies in the edit tree
INITRAMFS = paths.BUILD / "agent" / "initramfs.cpio"
APPLETS = ("cat", "grep", "sleep", "true", "wc")


def setUpModule():
    apt.packages(["busybox-static"])
    for kernel in {"patched", series.guest()}:
        targets.bring_up_to_date(kernel, QEMU)
    devices = subprocess.run([series.qemu(QEMU), "-device", "help"], capture_output=True, text=True,
                             check=True).stdout
    if '"kvm-spf"' not in devices:
        raise unittest.SkipTest("the QEMU series has no kvm-spf device yet")
    INITRAMFS.parent.mkdir(parents=True, exist_ok=True)
    INITRAMFS.write_bytes(initramfs(APPLETS, [programs.static(),
                                              native.program("touch_new")]))


class Guest(unittest.TestCase):
    def play(self, scenario, **how):
        result = x86.Lab("patched", qemu=QEMU, cpus=2, memory=2 << 30, timeout=LIMIT, **how).run(
            ["/usr/bin/python3", str(HERE / "lab_guest.py"), scenario, str(INITRAMFS)])
        self.assertEqual((result.kind, result.status), ("exit", 0),
                         (result.what, result.err.decode()))
        self.assertEqual(result.trouble, [])
        return json.loads(result.out)

    def test_run_counts_the_pages_that_are_new(self):
        got = self.play("faults")
        for field in ("mode", "vcpus"):
            self.assertEqual(got["snapshot"][field], got["query"][field])
        self.assertTrue(got["snapshot"]["available"])
        # A fast fault found the page in QEMU: it was not new there.
        tiers = got["run"]["faults"]
        count = sum(tiers.values()) - tiers["fast"]
        print(f"# {got['pages']} new pages touched: {count} faults, and {tiers['fast']} fast ones")
        self.assertAlmostEqual(count, got["pages"], delta=got["pages"] / 100)
        self.assertGreater(got["run"]["latency"]["sum-ns"], 0)
        said, status = got["text"]
        self.assertEqual(status, 0)
        self.assertTrue(any(line.startswith("host fault time") for line in said), said)

    def test_stat_costs_little(self):
        """The instruction clock does not count this machine's other work."""
        got = self.play("stat", icount=True)
        print(f"# stat -i 0.1: {got['cpu_seconds']:.4f} s on a CPU in {got['seconds']:.1f} s, "
              f"{got['share']:.3%} of a vCPU")
        self.assertGreater(got["lines"], 50)
        self.assertLess(got["share"], 0.01)

    def test_serve(self):
        got = self.play("serve")
        self.assertEqual(got["said"], [])
        self.assertEqual(got["sync"], {"return": 42})
        status = dict(line.split(":\t", 1) for line in got["status"] if ":\t" in line)
        self.assertEqual((status["Uid"].split()[0], status["NoNewPrivs"],
                          int(status["CapEff"], 16)), ("65534", "1", 0))
        self.assertTrue(all(c["enabled"] for c in got["info"]["return"]["supported_commands"]))
        # The mark's time is the host's own clock, between the asking and the answer.
        self.assertEqual(got["host_ns"], sorted(got["host_ns"]))
        pages = got["load"]["return"]["pages"]
        before, after = (sum(got[k]["return"]["faults"].values()) for k in ("snapshot", "after"))
        # The guest's kernel had some of them before.
        self.assertGreater(after - before, pages / 2)
        self.assertIn("error", got["too_much"])
        self.assertEqual([m["name"] for m in got["marks"]["return"]], ["before", "host"])
        self.assertEqual((got["event"]["event"], got["event"]["data"]["name"]),
                         ("SPF_MARK", "guest"))
        self.assertEqual(got["again"], {"return": {}})
        self.assertEqual([answer for answer in got["at_once"] if answer != {"return": {}}], [])

    def test_guest_without_the_device(self):
        for name, (said, status) in self.play("absent").items():
            self.assertEqual((len(said), status), (1, 125 if name.startswith("run") else 3),
                             (name, said))
            self.assertIn("no kvm-spf device", said[0])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""A pseries Linux under QEMU on the patched POWER host: compare works as on x86, by the same
tests."""

import json
import tempfile
import unittest
from pathlib import Path

from tests.compare import test_compare_lab as x86
from tests.lib import depth
from spf import paths
from spf.build import targets
from spf.lab import power
from spf.compare import hosts, verb

HERE = Path(__file__).resolve().parent

WORDS = [*x86.SMALL, "--arch", "power"]


def setUpModule():
    depth.module("a QEMU that is built for this alone")
    power.bring_up_to_date("patched")
    targets.build("qemu-power")


class Guest(x86.Compare):
    words = WORDS

    def test_parts_of_the_boot_add_up(self):
        for run in self.results["runs"]:
            boot = run["boot"]
            # The Virtual Open Firmware prints nothing before the kernel does.
            self.assertIsNone(boot["firmware_s"])
            self.assertAlmostEqual(boot["kernel_s"] + boot["userspace_s"], boot["total_s"],
                                   places=6)

    def test_it_is_what_it_says(self):
        platform = self.results["platform"]
        self.assertEqual((platform["arch"], platform["host"]["mmu"], platform["host"]["page_kib"]),
                         ("power", "POWER radix", 64))


class Device(unittest.TestCase):
    def test_query(self):
        args = verb.parser().parse_args(WORDS)
        verb.check(args)
        host = hosts.choose(args)
        spec, _ = verb.prepare(args, host)
        with tempfile.NamedTemporaryFile("w", dir=paths.BUILD) as plan:
            json.dump({"spec": spec}, plan)
            plan.flush()
            machine = power.Power(memory=verb.host_memory(args) << 20, disk=host.disk,
                                  files=host.files | {"kvmspf/query.py": HERE / "query.py"})
            done = machine.run(["/usr/bin/python3", "/kvmspf/query.py", plan.name])
        self.assertEqual((done.kind, done.status), ("exit", 0), done.out)
        answer = json.loads(done.out)
        print("#", answer["faults"])
        self.assertEqual(answer["marks-from"], "agent")
        self.assertTrue(answer["available"])
        self.assertEqual(answer["mode"], "on")
        self.assertGreater(answer["faults"]["speculative"], 1000)
        self.assertEqual(len(answer["per-vcpu"]), args.vcpus)
        # The mmap_lock is left for pages of the interrupt controller, which are special mappings,
        # and for memory that the VMM was changing at that moment.
        aborts = answer["aborts"]
        self.assertLessEqual(answer["faults"]["mmap-lock"],
                             aborts["unsupported"] + aborts["vma-busy"] + aborts["no-vma"])


if __name__ == "__main__":
    unittest.main()

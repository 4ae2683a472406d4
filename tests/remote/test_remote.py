# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes of another process's memory do not depend on which faults were speculative."""

import subprocess
import unittest
from pathlib import Path

from spf import paths
from spf.source import apt, patches
from spf.build import targets
from spf.lab import x86

HERE = Path(__file__).resolve().parent
LIMIT = 600
MODES = {"off": 0, "on": 1}
SWITCH = 'echo "$1" >/proc/sys/vm/speculative_user_faults; shift; exec "$@"'


def setUpModule():
    if not patches.files("linux"):
        raise unittest.SkipTest("there is no kernel series")
    apt.packages(["build-essential"])
    targets.bring_up_to_date("patched")


def program(name):
    target = paths.BUILD / "tests" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror",
                    "-o", target, HERE / f"{name}.c"], check=True)
    return target


class Remote(unittest.TestCase):
    def run_in_lab(self, mode, *words):
        machine = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=LIMIT)
        result = machine.run(["/bin/sh", "-ec", SWITCH, "sh", MODES[mode], *words])
        said = result.out.decode() + result.err.decode()
        self.assertEqual((result.kind, result.status), ("exit", 0), said)
        self.assertEqual(result.trouble, [])
        return result.out.decode().splitlines()

    def test_fresh_memory_is_read_and_written_the_same(self):
        """process_vm_readv() and process_vm_writev(): the contents, and the state of the pages
        afterwards."""
        remote = program("remote")
        found = {mode: self.run_in_lab(mode, remote) for mode in MODES}
        print(*[f"# {line}" for line in found["on"]], sep="\n", flush=True)
        self.assertEqual(found["on"], found["off"])
        cases = [line.partition(":")[0] for line in found["on"]]
        self.assertEqual(cases, ["read", "read, then touched", "written", "touched"])


if __name__ == "__main__":
    unittest.main()

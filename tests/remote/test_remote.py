# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes of another process's memory do not depend on which faults were speculative."""

import unittest

from tests.lib import kernel_series, native
from spf.build import targets
from spf.lab import x86

LIMIT = 600
MODES = {"off": 0, "on": 1}
SWITCH = 'echo "$1" >/proc/sys/vm/speculative_user_faults; shift; exec "$@"'


def setUpModule():
    kernel_series.need_patches()
    targets.bring_up_to_date("patched")


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
        remote = native.program("remote")
        found = {mode: self.run_in_lab(mode, remote) for mode in MODES}
        print(*[f"# {line}" for line in found["on"]], sep="\n", flush=True)
        self.assertEqual(found["on"], found["off"])
        cases = [line.partition(":")[0] for line in found["on"]]
        self.assertEqual(cases, ["read", "read, then touched", "written", "touched"])


if __name__ == "__main__":
    unittest.main()

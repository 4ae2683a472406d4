# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated host finds the places at which a kernel calls a function; NUMA nodes share CPUs."""

import subprocess
import tempfile
import unittest
from pathlib import Path

from spf import ui
from spf.compare import simulated, simulated_lives
from spf.lab import simulate, x86

PROGRAM = """
__attribute__((noinline)) int cleared(int n) { __asm__ volatile(""); return n; }
__attribute__((noinline)) int other(int n) { __asm__ volatile(""); return n + 1; }
int main(int argc, char **argv)
{
	return cleared(argc) + other(argc) + cleared(**argv);
}
"""


class Calls(unittest.TestCase):
    def test_each_call_is_found_and_no_other(self):
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory) / "program"
            subprocess.run(["gcc", "-no-pie", "-O1", "-x", "c", "-o", program, "-"], check=True,
                           input=PROGRAM, text=True)
            names = ui.run(["nm", program]).stdout.split("\n")
            where = {row.split()[2]: int(row.split()[0], 16) for row in names if " T " in row}
            found = list(simulate.calls(program, where["cleared"]))
            self.assertEqual(len(found), 2)
            for at in found:
                self.assertGreater(at, where["main"])
            self.assertEqual(len(list(simulate.calls(program, where["other"]))), 1)

    def test_a_kernel_without_its_vmlinux_is_one_line(self):
        with self.assertRaisesRegex(ui.Fail, "there is no .*vmlinux"):
            list(simulate.calls(Path("/none/vmlinux"), 0))


class Nodes(unittest.TestCase):
    def test_each_cpu_is_of_one_node(self):
        for count, cpus in ((1, 3), (3, 40), (8, 128)):
            words = x86.nodes(count, count << 24, cpus)
            spans = [word.rpartition("cpus=")[2].split("-") for word in words if "cpus=" in word]
            found = [cpu for first, last in spans for cpu in range(int(first), int(last) + 1)]
            with self.subTest(count=count, cpus=cpus):
                self.assertEqual(found, list(range(cpus)))
                self.assertEqual(sum("size=16M" in word for word in words), count)

    def test_a_guest_of_any_size_has_whole_nodes(self):
        for vcpus in range(1, 129):
            nodes = simulated.shape(vcpus)[2]
            self.assertEqual(simulated_lives.guest_mib("redis", vcpus, 16 * vcpus) % nodes, 0)


if __name__ == "__main__":
    unittest.main()

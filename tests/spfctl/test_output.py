# SPDX-License-Identifier: GPL-2.0-or-later
"""The table and other forms of output: columns, order, sums, and the lines that stay on a
terminal."""

import csv
import io
import os
import pty
import re
import unittest

from tests.spfctl import server
from tests.spfctl.harness import PATIENCE, TOO_OLD, Test

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NEVER = dict.fromkeys(server.ABORTS, 0)


def life(fast, mmap_lock):
    """Two answers of a VM, the second two seconds after the first."""
    vcpu = {"aborts": NEVER, "latency": server.answer()["latency"]}
    later = {"aborts": {**NEVER, "vma-busy": 4},
             "faults": {**dict.fromkeys(server.TIERS, 1), "fast": 1 + fast,
                        "mmap-lock": 1 + mmap_lock},
             "latency": {**server.answer()["latency"], "max-ns": 1500000,
                         "buckets": [0, 0, 0, 1, 3, 100]}}
    return (server.answer(aborts=NEVER, **{"per-vcpu": [
                {"index": n, "faults": dict.fromkeys(server.TIERS, 1), **vcpu} for n in range(2)]}),
            server.answer(**{"host-ns": 2 * 10 ** 9 + 1, **later, "per-vcpu": [
                {"index": 0, **later}, {"index": 1, "faults": dict.fromkeys(server.TIERS, 1),
                                        **vcpu}]}))


class Table(Test):
    def setUp(self):
        super().setUp()
        self.vm("a", "quiet", *life(10, 0))
        self.vm("b", "busy", *life(4, 2000))
        self.silent = self.stale("c")

    def table(self, *words):
        return self.run_it("-n", "1", "-d", "0.01", "-t", PATIENCE, "-D", self.dir,
                           *words).stdout.splitlines()

    def test_columns_stand_below_each_other(self):
        head, *rows = self.table("--total", "--per-vcpu")
        ends = [m.end() for m in re.finditer(r"\S+", head)]
        for row in rows:
            if "no QEMU listens" in row:
                continue
            cells = list(re.finditer(r"\S+", row))
            self.assertEqual(len(cells), len(ends), row)
            for column in (*range(2, 8), *range(9, 12)):
                self.assertEqual(cells[column].end(), ends[column], row)

    def test_rates(self):
        self.assertEqual([row.split() for row in self.table()[1:3]], [
            ["quiet", "on", "1", "5", "0", "0", "0", "2", "vma-busy", "31ns", "31ns", "1.5ms"],
            ["busy", "on", "1", "2", "0", "0", "1000", "2", "vma-busy", "31ns", "31ns", "1.5ms"]])

    def test_long_names_move_all_columns(self):
        self.vm("d", "n" * 50, *life(1, 1))
        head, *rows = self.table()
        self.assertEqual({row.index(" on ") for row in rows if " on " in row},
                         {head.index(" MODE")})

    def test_sort_and_total(self):
        def order(*words):
            return [row.split()[0] for row in self.table(*words)[1:]]

        self.assertEqual(order("--sort", "mmap-lock", "--total"), ["busy", "quiet", "c", "total"])
        self.assertEqual(order("--sort", "fast"), ["quiet", "busy", "c"])
        self.assertEqual(order("--sort", "vm"), ["busy", "c", "quiet"])
        total = self.table("--total")[-1].split()
        self.assertEqual(total, ["total", "-", "-", "7", "0", "0", "1000", "4", "vma-busy", "31ns",
                                 "31ns", "1.5ms"])

    def test_vcpus(self):
        rows = [row.split()[:7] for row in self.table("--per-vcpu", "busy")[1:]]
        self.assertEqual(rows, [["busy", "on", "1", "2", "0", "0", "1000"],
                                ["busy", "on", "#0", "2", "0", "0", "1000"],
                                ["busy", "on", "#1", "0", "0", "0", "0"]])

    def test_time(self):
        head, *rows = self.table("--time")
        self.assertTrue(head.startswith("TIME                 VM "))
        for row in rows:
            self.assertRegex(row, f"^{STAMP} (quiet|busy|c) ")

    def test_csv(self):
        self.vm("d", 'with,"comma', *life(1, 1))
        done = self.run_it("--csv", "-n", "1", "-d", "0.01", "-t", PATIENCE, "-D", self.dir,
                           "--per-vcpu")
        rows = list(csv.DictReader(io.StringIO(done.stdout), strict=True))
        self.assertEqual({len(row) for row in rows}, {23})
        self.assertTrue(all(re.fullmatch(STAMP, row["time"]) and None not in row for row in rows))
        self.assertEqual([(row["vm"], row["vcpu"]) for row in rows],
                         [(vm, vcpu) for vm in ("quiet", "busy", "c", 'with,"comma') for vcpu in
                          (("", "0", "1") if vm != "c" else ("",))])
        busy = rows[3]
        self.assertEqual((busy["seconds"], busy["mmap_lock_per_s"], busy["vma_busy_per_s"],
                          busy["max_ns"]),
                         ("2.000", "1000.000", "2.000", "1500000"))
        self.assertEqual(rows[6]["note"], "no QEMU listens there any more")

    def test_vcpu_that_is_new(self):
        last = server.answer()
        vcpus = [{"index": n, **{k: last[k] for k in ("faults", "aborts", "latency")}}
                 for n in range(2)]
        self.vm("d", "grows", server.answer(**{"per-vcpu": vcpus[:1]}),
                server.answer(**{"host-ns": 10, "per-vcpu": vcpus}))
        rows = self.table("--per-vcpu", "grows")[1:]
        self.assertEqual(["counting anew" in row for row in rows], [False, False, True])


class Terminal(Test):
    def on_terminal(self, *words, tables=3):
        """The output until the terminal has been wiped so often."""
        ours, theirs = pty.openpty()
        child = self.start(*words, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.stack.callback(os.close, ours)
        seen = b""
        while seen.count(b"\033[H\033[J") < tables + 1:
            seen += os.read(ours, 4096)
        child.kill()
        return [screen.decode().replace("\r\n", "\n")
                for screen in seen.split(b"\033[H\033[J")[:tables + 1]]

    def test_complaints_stay_below_the_table(self):
        path, _ = self.qemu("old")
        before, *screens = self.on_terminal("-d", "0.05", "-t", PATIENCE, "-s", path)
        self.assertEqual(before, "")
        for screen in screens:
            head, row, complaint, end = screen.split("\n")
            self.assertRegex(head, "^VM +MODE")
            self.assertRegex(row, f"^old +{TOO_OLD}$")
            self.assertRegex(complaint, rf"^spfctl: \d\d:\d\d:\d\d {path}: {TOO_OLD}$")
            self.assertEqual(end, "")

    def test_no_vm_is_said_on_a_terminal(self):
        ours, theirs = pty.openpty()
        child = self.start("-D", self.dir, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.stack.callback(os.close, ours)
        self.assertIn(b"no VM found: name a QMP socket", os.read(ours, 4096))
        self.assertEqual(child.wait(60), 1)

    def test_elsewhere_nothing_is_wiped(self):
        path, _ = self.qemu("old")
        done = self.run_it("-n", "3", "-d", "0.01", "-t", PATIENCE, "-s", path)
        self.assertEqual(len(done.stdout.splitlines()), 4)
        self.assertEqual(done.stderr, f"spfctl: {path}: {TOO_OLD}\n")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""spf-agent's commands, with ASan and UBSan, on a file laid out like the device's BAR."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import unittest

from tests.agent import programs
from tests.agent.bar import BIG, C, HEADER, Bar
from tests.agent.case import Case
from tests.agent.more_cpus import kernel_of


class Snapshot(Case):
    def test_figures(self):
        bar = self.bar
        bar.counters((1, 2, 3, 4), range(10, 18), (5000, 900, 10), range(100, 132))
        bar.counters((1, 1, 1, 1), at=bar.record(1) + C["RECORD_BLOCK"])
        for i in range(12):
            bar.map[C["RATES"] + 8 * i:C["RATES"] + 8 * i + 8] = (1500 * i).to_bytes(8, "little")
        with bar:
            got = self.snapshot()
        self.assertEqual(got["faults"], {"fast": 1, "speculative": 2, "vma-lock": 3,
                                         "mmap-lock": 4})
        self.assertEqual(list(got["aborts"].values()), list(range(10, 18)))
        self.assertEqual(list(got["aborts"]), ["no-vma", "vma-busy", "vma-changed", "unsupported",
                                               "no-table", "ptl-busy",
                                               "pte-changed", "no-memory"])
        self.assertEqual(got["latency"], {"count": 10, "sum-ns": 5000, "max-ns": 900,
                                          "buckets": list(range(100, 132))})
        self.assertEqual((got["available"], got["mode"], got["vcpus"], got["epoch"],
                          got["generation"]), (True, "on", 2, 7, 2))
        self.assertEqual(got["rates"]["faults"]["mmap-lock"], 4.5)
        self.assertEqual(got["rates"]["aborts"]["no-memory"], 16.5)
        self.assertEqual([v["index"] for v in got["per-vcpu"]], [0, 1])
        self.assertEqual(sum(got["per-vcpu"][1]["faults"].values()), 4)
        self.assertNotIn("stale", got)

    def test_text(self):
        self.bar.counters((1, 2, 3, 4), ns=(2_500_000_000, 1, 10))
        with self.bar:
            done = self.agent("snapshot")
        self.assertRegex(done.stdout, r"(?m)^mode +on$")
        self.assertRegex(done.stdout, r"(?m)^speculative +2$")
        self.assertRegex(done.stdout, r"(?m)^host time +2\.500000 s in 10 faults")

    def test_what_the_device_lacks_is_left_out(self):
        self.bar.set64("FEATURES", 0)
        self.bar.set32("MODE", 0xffffffff)
        with self.bar:
            got = self.snapshot()
            text = self.agent("snapshot").stdout
        self.assertEqual((got["available"], got["mode"]), (False, "unavailable"))
        self.assertFalse({"latency", "rates", "per-vcpu"} & set(got))
        self.assertIn("does not count", text)

    def test_a_device_without_counters_is_not_rung(self):
        """Without feature bit 0 the host collects nothing: it is neither asked nor waited for."""
        self.bar.set64("FEATURES", 0)
        got = self.snapshot()
        self.assertNotIn("stale", got)
        marks = self.directory / "marks"
        done = self.agent("mark", "--marks", marks, "a")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(marks.read_text(), r"^a \d+ -\n$")
        self.assertEqual(self.bar.get32("DOORBELL"), 0)

    def test_counters_that_go_away_meanwhile(self):
        """The first ring's answer says that this host does not count: there is no second one."""
        def hide():
            self.bar.set64("FEATURES", 0)
            self.bar.set64("EPOCH", 8)

        self.bar.on_bell = hide
        with self.bar:
            got = self.snapshot()
        self.assertEqual((got["available"], self.bar.rings), (False, 1))

    def test_newer_features_are_passed_over(self):
        self.bar.set64("FEATURES", (1 << 64) - 1)
        self.bar.set32("RECORD_SIZE", C["RECORD_BYTES"] + 64)
        self.bar.set32("SIZE", C["RECORDS_OFF"] + 2 * (C["RECORD_BYTES"] + 64) + 4096)
        self.bar.map[C["RECORDS_OFF"] + C["RECORD_BYTES"] + 64] = 9
        with self.bar:
            self.assertEqual([v["index"] for v in self.snapshot()["per-vcpu"]], [0, 9])

    def test_a_host_that_collects_nothing_is_told(self):
        done = self.agent("snapshot", "--json")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(json.loads(done.stdout)["stale"])
        self.assertIn("collected nothing new", done.stderr)

    def test_never_a_torn_one(self):
        """The writer never pauses: a snapshot is still of one moment."""
        stop = threading.Event()
        number = 0

        def write():
            nonlocal number
            while not stop.is_set():
                number += 1
                self.bar.set32("SEQ", self.bar.get32("SEQ") + 1)
                self.bar.counters((number,) * 4, (number,) * 8, (number,) * 3, (number,) * 32)
                self.bar.set64("GENERATION", number)
                self.bar.set32("SEQ", self.bar.get32("SEQ") + 1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(20):
                got = self.snapshot()
                values = {*got["faults"].values(), *got["aborts"].values(),
                          *got["latency"]["buckets"],
                          got["latency"]["count"], got["generation"]}
                self.assertEqual(len(values), 1, got)
        finally:
            stop.set()
            thread.join()
        self.assertGreater(number, 20)


class BadDevice(Case):
    def test_none(self):
        self.refused(3, "no kvm-spf device", "snapshot", device=None)
        self.refused(3, "cannot open", "snapshot", device=self.directory / "nothing")
        self.refused(125, "no kvm-spf device", "run", "--", "true", device=None)
        self.refused(3, "no kvm-spf device", "serve", device=None)

    def test_another_version(self):
        self.bar.set32("VERSION_OFF", 2)
        self.refused(3, "version 2, this agent reads version 1: take a newer agent", "snapshot")

    def test_not_a_device(self):
        self.bar.set32("MAGIC_OFF", 0)
        self.refused(3, "no kvm-spf device", "snapshot")
        for size in (0, 512):
            path = self.directory / "small"
            path.write_bytes(b"\0" * size)
            self.refused(3, "not the size", "snapshot", device=path)

    def test_sizes_that_cannot_be(self):
        for name, value in (("SIZE", 0), ("SIZE", 0x27f), ("RECORDS", 0xfffffff0), ("RECORDS", BIG),
                            ("RECORD_SIZE", 0),
                            ("RECORD_SIZE", 8), ("RECORD_SIZE", 0xffffffff),
                            ("NR_RECORDS", 0xffffffff), ("NR_RECORDS", 3)):
            with self.subTest(name=name, value=value):
                with Bar(self.directory / "bar") as self.bar:
                    self.bar.set32(name, value)
                    self.refused(1, "the kvm-spf device says", "snapshot")

    def test_size_beyond_the_bar(self):
        self.bar.set32("SIZE", 0xffffffff)
        with self.bar:
            self.assertEqual(len(self.snapshot()["per-vcpu"]), 2)

    def test_what_the_host_had_begun_to_collect_is_not_taken_for_an_answer(self):
        self.bar.on_bell = lambda: self.bar.counters((1000 if self.bar.rings == 1 else 1009, 0, 0,
                                                      0))
        with self.bar:
            got = json.loads(self.agent("snapshot", "--json").stdout)
        self.assertEqual(got["faults"]["fast"], 1009)

    def test_host_that_never_ends_its_write(self):
        self.bar.set32("SEQ", 1)
        self.refused(1, "never holds still", "snapshot")


class Stat(Case):
    def test_lines_are_differences(self):
        self.bar.counters((1000, 1000, 1000, 1000), (1000,) * 8)
        self.bar.on_bell = lambda: self.bar.counters((1000, 1000 + self.bar.asked, 1000,
                                                      1000 + 2 * self.bar.asked),
                                                     (1000 + self.bar.asked,) * 8,
                                                     (self.bar.asked * 1_000_000,) * 3)
        with self.bar:
            done = self.agent("stat", "-i", "0.01", "-c", "3")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        heading, *lines = done.stdout.splitlines()
        self.assertEqual(heading.split(), "fast speculative vma-lock mmap-lock aborts stall-ms "
                                          "stall-%".split())
        self.assertEqual([line.split()[:6] for line in lines],
                         [["0", "1", "0", "2", "8", "1.00"]] * 3)

    def test_json(self):
        with self.bar:
            done = self.agent("stat", "-i", "0.01", "-c", "2", "--json")
        got = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([g["faults"]["fast"] for g in got], [0, 0])
        self.assertTrue(all(g["interval-ns"] > 0 for g in got))

    def test_a_new_epoch_is_a_new_baseline(self):
        def bell():
            if self.bar.rings == 5:
                self.bar.set64("EPOCH", 8)
                self.bar.set64("GENERATION", 0)
                self.bar.counters()
            elif self.bar.asked > 3:
                self.bar.counters((self.bar.asked, 0, 0, 0))

        self.bar.counters((5000, 0, 0, 0))
        self.bar.on_bell = bell
        with self.bar:
            done = self.agent("stat", "-i", "0.01", "-c", "4", "--json")
        self.assertEqual([json.loads(line)["faults"]["fast"] for line in done.stdout.splitlines()],
                         [0, 4, 1, 1])
        self.assertEqual(done.stderr.count("new baseline"), 1)

    def test_a_counter_that_shrinks_counts_nothing_negative(self):
        self.bar.on_bell = lambda: self.bar.counters((100 - self.bar.asked, 0, 0, 0))
        with self.bar:
            done = self.agent("stat", "-i", "0.01", "-c", "1", "--json")
        self.assertEqual(json.loads(done.stdout)["faults"]["fast"], 0)

    def test_host_without_counters(self):
        self.bar.set64("FEATURES", 0)
        with self.bar:
            self.refused(1, "does not count", "stat")

    def test_migrated_to_a_host_without_counters(self):
        def migrate():
            if self.bar.asked == 3:
                self.bar.set64("FEATURES", 0)
                self.bar.set64("EPOCH", 8)

        self.bar.on_bell = migrate
        with self.bar:
            done = self.agent("stat", "-i", "0.01", "-c", "9", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertIn("does not count", done.stderr)


class Run(Case):
    def status(self, *command):
        with self.bar:
            return self.agent("run", "-o", self.directory / "out", "--", *command).returncode

    def test_status_is_the_commands(self):
        self.assertEqual(self.status("true"), 0)
        self.assertEqual(self.status("sh", "-c", "exit 42"), 42)
        self.assertEqual(self.status("sh", "-c", "kill -9 $$"), 128 + signal.SIGKILL)
        self.assertEqual(self.status("/nonexistent"), 127)
        self.assertEqual(self.status("/etc/passwd"), 126)

    def test_its_own_failure_is_125(self):
        self.refused(125, "needs a command", "run")
        self.refused(125, "cannot write", "run", "-o", "/nonexistent/x", "--", "true")

    def test_figures(self):
        self.bar.on_bell = lambda: self.bar.counters((0, 7 * self.bar.asked, 0, 0), (1,) * 8,
                                                     (self.bar.asked * 1000, 900, 7))
        with self.bar:
            done = self.agent("run", "--json", "--", "echo", "out")
        self.assertEqual((done.returncode, done.stdout), (0, "out\n"))
        got = json.loads(done.stderr)
        self.assertEqual(got["faults"], {"fast": 0, "speculative": 7, "vma-lock": 0,
                                         "mmap-lock": 0})
        self.assertEqual((set(got["aborts"].values()), got["latency"]["sum-ns"], got["status"]),
                         ({0}, 1000, 0))

    def test_no_figures_over_a_migration(self):
        self.bar.on_bell = lambda: self.bar.set64("EPOCH", 6 + self.bar.asked)
        for command, status in (("exit 3", 3), ("exit 0", 125)):
            with self.bar:
                done = self.agent("run", "--", "sh", "-c", command)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (status, 1))
            self.assertIn("no figures", done.stderr)


class Load(Case):
    def test_patterns_and_threads(self):
        page = os.sysconf("SC_PAGESIZE")
        for pattern in ("sequential", "random", "stride"):
            for threads, pages in ((1, 1), (1, 1000), (3, 1000), (5, 2), (4, 4096)):
                with self.subTest(pattern=pattern, threads=threads, pages=pages):
                    done = self.agent("load", "-s", str(pages * page), "-t", str(threads), "-p",
                                      pattern, "--json", device=None)
                    got = json.loads(done.stdout)
                    self.assertEqual((got["pages"], got["threads"], got["pattern"]),
                                     (pages, threads, pattern))

    def test_each_page_is_touched(self):
        """The kernel's own count of this process's minor faults."""
        page, pages = os.sysconf("SC_PAGESIZE"), 20000
        plain = programs.static()
        for pattern in ("sequential", "random", "stride"):
            counts = [self.faults(plain, n * page, pattern) for n in (1, pages)]
            # The kernel and the C library have some faults of their own.
            self.assertAlmostEqual(counts[1] - counts[0], pages, delta=16, msg=pattern)

    def test_a_kernel_for_more_cpus_than_the_c_librarys_set(self):
        """Such a kernel refuses a set that is shorter than its own; here seccomp refuses it."""
        for cpus in (1025, 4096, 65536):
            with self.subTest(cpus=cpus):
                done = self.agent("load", "-s", "1M", "-t", "3", "--json", device=None,
                                  preexec_fn=lambda: kernel_of(cpus))
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(json.loads(done.stdout)["threads"], 3)

    def test_a_kernel_that_tells_no_cpus(self):
        self.refused(1, "cannot tell the CPUs to use: Invalid argument", "load", "-s", "1M",
                     device=None, preexec_fn=lambda: kernel_of(1 << 30))

    def test_thousands_of_threads(self):
        done = self.agent("load", "-s", "20M", "-t", "2000", "--json", device=None)
        self.assertEqual((done.returncode, json.loads(done.stdout)["threads"]), (0, 2000))

    @staticmethod
    def faults(agent, size, pattern):
        code = ("import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, "
                "stdout=subprocess.DEVNULL)\n"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt)")
        done = subprocess.run([sys.executable, "-c", code, agent, "load", "-s", str(size), "-p",
                               pattern], check=True,
                              capture_output=True, text=True)
        return int(done.stdout)


class Arguments(Case):
    def test_refused_with_one_line(self):
        for words in ([], ["nothing"], ["stat", "-i", "0"], ["stat", "-i", "x"],
                      ["stat", "-i", "nan"], ["stat", "-c", "-1"],
                      ["stat", "x"], ["snapshot", "x"], ["load", "-s", "0"],
                      ["load", "-s", "9999999999T"], ["load", "-s", "1X"],
                      ["load", "-t", "0"], ["load", "-t", "8193"], ["load", "-p", "zigzag"],
                      ["mark"], ["mark", "a", "b"],
                      ["mark", "a b"], ["mark", "x" * 65], ["serve", "--allow", "nothing"],
                      ["serve", "--block", ""],
                      ["serve", "--max-load", "0"], ["serve", "--allow", "guest-ping", "--block",
                                                     "guest-ping"]):
            with self.subTest(words=words):
                self.refused(2, "spf-agent: ", *words)

    def test_help_and_version(self):
        for word in ("--help", "--version"):
            done = self.agent(word, device=None)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
        for words, what, where in ((["--nothing"], "--nothing", "spf-agent"),
                                   (["-x"], "-x", "spf-agent"),
                                   (["stat", "--nothing"], "--nothing", "spf-agent stat"),
                                   (["load", "-jx"], "-x", "spf-agent load"),
                                   (["load", "--json=1"], "--json=1", "spf-agent load")):
            self.refused(2, f"unknown option '{what}'; see {where} --help", *words)
        for words in (["--device"], ["load", "-s"], ["serve", "--user"]):
            self.refused(2, f"{words[-1]} needs a value", *words, device=None)
        self.refused(125, "unknown option '-x'", "run", "-x", "true")

    def test_each_command_has_help(self):
        """It needs no device; all of its long options are in it."""
        main = (HEADER.parent / "main.c").read_text(encoding="utf-8")
        names = re.findall(r'^\t\{ "(\w+)", cmd_', main, re.M)
        self.assertEqual(len(names), 6)
        for name in names:
            source = (HEADER.parent / f"cmd-{name}.c").read_text(encoding="utf-8")
            options = re.findall(r'^\t\t\{ "([\w-]+)", (?:no|required)_argument', source, re.M)
            for word in ("--help", "-h"):
                with self.subTest(name=name, word=word):
                    done = self.agent(name, word, device=None)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertRegex(done.stdout, rf"^usage: spf-agent \[--device FILE\] {name} ")
                    self.assertEqual({*re.findall(r"^ .*--([\w-]+)", done.stdout, re.M), "help"},
                                     set(options))
                    self.assertIn(f"\n  {name} ", self.agent("--help", device=None).stdout)

    def test_help_of_a_command_that_is_run_is_its_own(self):
        with self.bar:
            done = self.agent("run", "-o", self.directory / "out", "true", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertNotIn("spf-agent", done.stdout)


if __name__ == "__main__":
    unittest.main()

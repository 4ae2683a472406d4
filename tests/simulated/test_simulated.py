# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated host: N CPUs take the time of one, a line has the capacity that the options give
it, and each run has the same results."""

import json
import os
import re
import subprocess
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from tests.lib import depth, native
from spf import paths, series, ui
from spf.build import meson, targets
from spf.compare import simulated, simulated_lives
from spf.lab import qmp, simulate

LIMIT = 1500
# The instructions of the emulator's longest translation block (TCG_MAX_INSNS).
BLOCK = 512
# Each turn is two instructions, so two ns.
TURNS = 3_000_000
FREE = (0, 0)


def setUpModule():
    targets.bring_up_to_date("patched")
    meson.plugins()
    meson.lab_init()
    meson.bench()
    native.program("loops")


def run(case, cpus, *argv, **options):
    done = simulate.Simulated(cpus, timeout=LIMIT, **options).run(argv)
    case.assertEqual((done.kind, done.status), ("exit", 0),
                     f"{done.what} {done.out.decode()} {ui.shown(done.console)}")
    case.assertEqual(done.trouble, [])
    return done


def two_at_once(function, items):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


class Time(unittest.TestCase):
    def loops(self, kind, cpus, threads, turns, **options):
        """ns from the first thread's beginning to the last one's end, ns of the middle one, and
        exchanges tried.  In the first 20 ms after its boot the kernel has 400 us of unknown work
        for some CPU, so sleep first; that takes no real time."""
        said = run(self, cpus, "sh", "-c", 'sleep 0.1; exec "$0" "$@"',
                   native.program("loops"), kind, threads, turns,
                   files=simulate.programs(), **options).out
        return tuple(map(int, said.split()))

    def same_as_one(self, *sizes):
        for (cpus, threads), (took, middle, _) in zip(sizes, two_at_once(
                lambda size: self.loops("count", *size, TURNS, line=FREE), sizes)):
            print(f"# {threads} loops on {cpus} CPUs: {took} ns, the middle one {middle} ns")
            self.assertLess(abs(took / (2 * TURNS) - 1), 0.01, (cpus, threads, took))

    def test_n_loops_take_the_time_of_one(self):
        self.same_as_one((1, 1), (8, 8), (32, 32))

    def test_one_loop_takes_the_same_on_a_host_of_many(self):
        self.same_as_one((32, 1))

    @depth.long("minutes each")
    def test_as_many_as_there_may_be_take_the_time_of_one(self):
        self.same_as_one((128, 128), (256, 256))

    def test_a_line_goes_from_cpu_to_cpu_as_often_as_its_transfer_allows(self):
        """Sixteen CPUs want a line more often than it can move: each turn is a fetch."""
        turns, cpus = 2000, 16
        for near, (took, _, _) in zip((50, 100), two_at_once(
                lambda near: self.loops("line", cpus, cpus, turns, line=(near, 3 * near),
                                        everywhere=True), (50, 100))):
            each = took / turns / cpus
            print(f"# a fetch each {each:.2f} ns, of {near} ns")
            self.assertLess(abs(each / near - 1), 0.05)

    def test_who_has_waited_for_a_line_has_it_at_its_access(self):
        """A CPU waits before its access.  After an exchange that fails the CPU has the line, so
        that its next exchange succeeds.  If it waited after the access, other CPUs would get the
        line meanwhile, and each exchange would fail again and again."""
        turns, cpus = 1000, 16
        _, _, tried = self.loops("swap", cpus, cpus, turns, everywhere=True)
        print(f"# {tried / turns / cpus:.2f} exchanges tried for one")
        self.assertLess(tried, 2.1 * turns * cpus)

    def test_a_line_that_costs_nothing_is_no_limit(self):
        took, _, _ = self.loops("line", 16, 16, 1500, line=FREE)
        self.assertLess(took / 1500 / 16, 45)


class Latency(unittest.TestCase):
    """How late an interrupt is depends on a round, and not on how many CPUs are busy.

    In a round each CPU executes until its clock is a quantum ahead of the slowest one's.  What
    does not fit in, which is less than a block, is executed in the next round.  So two CPUs' clocks
    are at most a quantum and a block apart, whatever the number of CPUs is."""

    BUSY = (1, 2, 16, 64)
    QUANTA = (simulate.QUANTUM, 10 * simulate.QUANTUM)

    @classmethod
    def setUpClass(cls):
        cls.late = dict(zip(cls.QUANTA, two_at_once(cls.measure, cls.QUANTA)))

    @classmethod
    def measure(cls, quantum):
        """Sorted ns, by what was late and how many CPUs were busy."""
        said = run(cls(), 2 + cls.BUSY[-1], "sh", "-c", 'sleep 0.1; exec "$0" "$@"',
                   native.program("latency"), *cls.BUSY, quantum=quantum, line=FREE,
                   files=simulate.programs()).out
        rows = (line.split() for line in said.decode().splitlines())
        return {(what, int(busy)): sorted(map(int, ns)) for what, busy, *ns in rows}

    def look(self):
        """ns from one look at the clock to the next."""
        return self.late[self.QUANTA[0]]["look", 0][0]

    def differ(self, what, quanta, bound, middle=False):
        """Samples with any number of busy CPUs differ by no more than the bound."""
        of = [self.late[quantum][what, busy] for quantum in quanta for busy in self.BUSY]
        middles = [ns[len(ns) // 2] for ns in of]
        seen = middles if middle else sum(of, [])
        print(f"# {what}, quantum {' and '.join(map(str, quanta))}: {min(seen)} to {max(seen)} ns, "
              f"may differ by {bound}; the middle ones {', '.join(map(str, middles))} ns")
        self.assertLessEqual(max(seen) - min(seen), bound, (what, quanta))
        return max(seen) - min(seen)

    def test_an_ipi_is_at_most_a_round_early_or_late(self):
        """It arrives when the sender has executed the instructions up to it.  By the target's clock
        that is at most a quantum and a block earlier or later, so that two IPIs differ by at most
        twice as much.  The samples begin all over a round: they do differ by a quantum."""
        for quantum in self.QUANTA:
            self.assertGreater(
                self.differ("ipi", [quantum], 2 * (quantum + BLOCK) + self.look()), quantum)

    def test_a_round_trip_takes_no_more_than_two_such_ways(self):
        """The sender waits by PAUSE, which gives up at most a quantum."""
        for quantum in self.QUANTA:
            self.differ("trip", [quantum], 4 * (quantum + BLOCK) + quantum)

    def test_a_timer_is_not_late_by_any_part_of_a_quantum(self):
        """A round ends where a timer is due, each clock less than a block from there."""
        self.differ("timer", self.QUANTA, BLOCK + self.look())

    def test_a_sleeping_cpu_is_woken_at_the_timers_time(self):
        """Its clock is set to that time.  What the kernel does until the sleeper runs is not always
        the same, and more where it has more busy CPUs to look at.  So this compares only the middle
        one of all sleeps."""
        self.differ("sleep", self.QUANTA, BLOCK, middle=True)


class Repeat(unittest.TestCase):
    COMMAND = ('"$1" --vcpus 8 --pages 1024 --pin --mode off,on --neighbour mprotect --json - && '
               "dmesg && cat /proc/interrupts")

    def said(self, seed):
        return run(self, 9, "sh", "-c", self.COMMAND, "sh", meson.bench() / "fault-storm",
                   seed=seed, files=simulate.programs())

    def test_the_same_seed_gives_the_same_bytes(self):
        """A boot and storms, with all times in the kernel's log and each latency; another seed
        gives others."""
        one, again, other = (None,) * 3
        one, again = two_at_once(self.said, (7, 7))
        # assertEqual would print all of both.
        self.assertTrue(one.out == again.out, "two runs with one seed differ")
        self.assertEqual(one.inside, again.inside)
        runs = json.loads(one.out[:one.out.index(b"\n}\n") + 3])["runs"]
        self.assertEqual([(r["touched"], r["verified"], r["wrong"]) for r in runs],
                         [(1024, 1024, 0)] * 2)
        if depth.LONG:
            other = self.said(8)
            self.assertTrue(one.out != other.out, "another seed gives the same")

    def lives(self, seeds):
        """Whatever comes back of a guest's life with each seed, the console with the kernel's log
        included; two at once."""
        lives = simulated_lives.Lives("redis", 2, 2, ["on"], ["quiet"])
        host, kept = simulate.Simulated.run, {}

        def keep(machine, argv):
            done = host(machine, argv)
            # What follows the init's last line is there if the emulator was not ended before.
            console = re.split(rb"\n[0-9a-f]+ end ", done.console.read_bytes())[0]
            kept[threading.get_ident()] = done.out, console, done.inside
            return done

        def life(seed):
            found = lives.on_host(seed)
            # The only time that is not virtual.
            found.pop("real_s")
            return found, kept.pop(threading.get_ident())

        with mock.patch.object(simulate.Simulated, "run", keep):
            found = two_at_once(life, seeds)
        for of_host, _ in found:
            self.assertNotIn("failed", of_host)
            self.assertEqual((of_host["host_trouble"], of_host["discards"]), ([], []))
            one, = of_host["runs"]
            self.assertEqual(one["keys"], lives.settings()["keys"])
            self.assertGreater(one["counters"]["load"]["hva_fault_speculative"], 0)
            print(f"# seed {one['seed']}: boot {one['boot']['total_s']:.9f} s, "
                  f"load {one['load']['total_s']:.9f} s")
        return found

    def test_the_same_seed_gives_a_guest_with_redis_the_same_bytes(self):
        """QEMU on the simulated host boots a guest with two vCPUs, in which two Redis servers load
        their data; another seed gives another life."""
        one, again, *other = self.lives([7, 7] + [8] * depth.LONG)
        self.assertTrue(one == again, "two lives with one seed differ")
        for life in other:
            self.assertNotEqual(one[0]["runs"][0]["boot"], life[0]["runs"][0]["boot"])


class TableLock(unittest.TestCase):
    """The speculative tier tries the lock of a page table 64 times before it gives up, with IRQs on
    in between.  Another CPU holds the lock for a shorter time, unless it takes an interrupt
    meanwhile.  So at most one fault gives up for each timer interrupt."""

    def check(self, how, least):
        said = run(self, 2, native.program("table_lock"), how, 8,
                   files=simulate.programs()).out
        busy, success, ticks = map(int, said.split())
        print(f"# {how}: {success} speculative faults, {busy} gave up, {ticks} timer interrupts")
        self.assertLessEqual(busy, ticks)
        self.assertGreaterEqual(success, least)

    def test_faults_give_up_only_for_interrupts_while_another_fills_the_table(self):
        """With 4 tries 56 faults gave up."""
        self.check("touch", 8 * 511)

    def test_no_fault_keeps_the_holder_waiting_for_its_own_cpu(self):
        """The holder flushes TLBs, by an IPI.  With 4 tries 301 faults gave up."""
        self.check("copy", 8 * 256)


class Host(unittest.TestCase):
    def test_the_kernel_takes_its_cpus_for_real(self):
        """In a virtual machine the kernel's spin locks do not queue CPUs: all that wait take the
        line each time that the lock is free."""
        said = run(self, 2, "sh", "-c", "for flag in svm hypervisor; do "
                   "grep -c \"^flags.* $flag\" /proc/cpuinfo; done; true",
                   files=simulate.programs()).out
        self.assertEqual(said.decode(), "2\n0\n")

    def test_a_host_with_x2apic_boots(self):
        """A host with more than 255 CPUs has x2APICs, whose timer the kernel reads by RDMSR."""
        with mock.patch.object(simulate.Simulated, "remaps", lambda self: True):
            said = run(self, 4, "sh", "-c", "nproc; dmesg | grep 'x2apic enabled'",
                       files=simulate.programs()).out
        self.assertRegex(said.decode(), r"^4\n.*x2apic enabled")


class Holders(unittest.TestCase):
    def test_it_is_told_who_held_whom_up(self):
        """Two vCPUs fetch the mmap_lock's line from each other in mode off, at least once in two
        faults, and in no other mode.  The profile finds spins for a page table's lock in the
        functions that take that lock."""
        pages = 128
        host = simulated.Storms([None], ["off", "vma-lock", "on"], pages, {1}).on_host([2], 1)
        self.assertNotIn("failed", host)
        held = {run["mode"]: run["held"] for run in host["storms"][0]["runs"]}
        by = {mode: {name: n for line in one["lines"] for name, n in line["by"].items()}
              for mode, one in held.items()}
        self.assertGreater(by["off"]["down_read_killable"], pages)
        for mode in ("vma-lock", "on"):
            self.assertNotIn("down_read_killable", by[mode])
        # The lock of a VMA is a reference count or a semaphore.
        taken = {mode: sum(by[mode].get(name, 0) for name in ("lock_vma_under_rcu",
                                                              "down_read_trylock"))
                 for mode in by}
        self.assertGreater(taken["vma-lock"], pages)
        # A VMA's lock is taken for a page table.
        self.assertLess(taken["on"], pages / 8)
        for one in held.values():
            self.assertEqual(one["took_ns"], one["fetches"] * simulate.LINE[0])
            self.assertLessEqual(sum(line["took_ns"] for line in one["lines"]), one["took_ns"])


class Words(unittest.TestCase):
    def test_nproc(self):
        done = subprocess.run([paths.SCRIPTS / "kvmspf", "lab", "--simulate", "64", "--no-build",
                               "--timeout", str(LIMIT), "--",
                               "nproc"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "64\n"), done.stderr)
        self.assertRegex(done.stderr, r"simulated 64 CPUs: boot 0\.\d+ s, command 0\.\d+ s of "
                                      r"virtual time; \d+:\d\d of real")

    def test_nodes_that_do_not_divide_the_memory(self):
        said = run(self, 6, "sh", "-c", "ls -d /sys/devices/system/node/node[0-9]*", nodes=3,
                   files=simulate.programs()).out
        self.assertEqual(len(said.split()), 3)

    def test_what_makes_no_host_is_refused(self):
        for words, why in ((["513"], "not a number of CPUs from 1 to 512"),
                           (["4", "--line", "50"], "not two numbers of nanoseconds"),
                           (["6", "--sockets", "4"], "cannot be shared out"),
                           (["4", "--cpus", "2"], "--cpus is not for --simulate"),
                           (["4", "--icount"], "--icount is not for"),
                           (["4", "--arch", "ept"], "--arch is not for --simulate")):
            done = subprocess.run([paths.SCRIPTS / "kvmspf", "lab", "--no-build", "--simulate",
                                   *words, "--", "true"],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, words)
            self.assertRegex(done.stderr.splitlines()[-1], why)

    def test_its_options_are_for_it_alone(self):
        done = subprocess.run([paths.SCRIPTS / "kvmspf", "lab", "--no-build", "--seed", "2", "--",
                               "true"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--seed is not for --arch x86", done.stderr)


class Emulator(unittest.TestCase):
    PARALLEL = ("-icount", "shift=0,sleep=off,parallel=on")

    def refused(self, *words):
        done = subprocess.run([series.qemu(), "-M", "q35", "-nodefaults", "-display", "none",
                               *map(str, words)],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def test_where_it_cannot_work_it_says_so(self):
        for words, why in ((["-icount", "parallel=on"], "needs shift=0,sleep=off"),
                           (["-icount", "shift=0,parallel=on"], "needs shift=0,sleep=off"),
                           (["-icount", "shift=3,sleep=off,parallel=on"],
                            "needs shift=0,sleep=off"),
                           (["-icount", "shift=0,sleep=off,quantum=100"],
                            "quantum is for parallel=on"),
                           (["-icount", "shift=0,sleep=off,parallel=on,quantum=0"],
                            "from 1 to 100000"),
                           (["-icount", "shift=0,sleep=off,parallel=on,rr=record,rrfile=/dev/null"],
                            "cannot record or replay"),
                           ([*self.PARALLEL, "-accel", "tcg,thread=multi"],
                            "No MTTCG when icount is enabled")):
            self.assertRegex(self.refused(*words), why)

    @unittest.skipUnless(os.path.exists("/dev/kvm"), "there is no /dev/kvm")
    def test_not_with_hardware_virtualisation(self):
        self.assertRegex(self.refused(*self.PARALLEL, "-accel", "kvm"),
                         "not allowed with hardware virtualization|KVM")

    def test_lines_cost_nothing_where_cpus_have_no_clocks(self):
        said = self.refused("-accel", "tcg", "-plugin",
                            f"file={meson.plugins() / 'line_cost.so'},all=on", "-bios",
                            "/usr/share/seabios/bios-256k.bin")
        self.assertIn("line_cost: this needs -icount shift=0,sleep=off,parallel=on", said)

    def test_it_does_not_migrate(self):
        with tempfile.TemporaryDirectory() as here:
            child = subprocess.Popen([series.qemu(), "-M", "q35", "-nodefaults", "-display", "none",
                                      "-S", *self.PARALLEL,
                                      "-qmp", f"unix:{here}/qmp,server=on,wait=off"])
            self.addCleanup(lambda: (child.kill(), child.wait()))
            monitor = qmp.QMP(f"{here}/qmp", alive=lambda: child.poll() is None)
            self.addCleanup(monitor.close)
            with self.assertRaisesRegex(qmp.QMPError, "parallel=on does not migrate"):
                monitor.execute("migrate", {"uri": f"file:{Path(here) / 'state'}"})


if __name__ == "__main__":
    unittest.main()

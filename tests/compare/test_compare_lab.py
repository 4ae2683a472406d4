# SPDX-License-Identifier: GPL-2.0-or-later
"""compare end to end, as small as possible: real guests on the patched host, real Redis, every
mode."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
import uuid
from pathlib import Path

from tests.lib import kernel_series
from spf import kvmparam, paths, series
from spf.build import targets
from spf.lab import x86
from spf.compare import execution, hosts, loads, needs, plan, verb

KVMSPF = paths.ROOT / "scripts" / "kvmspf"
SMALL = ["--no-build", "--vcpus", "2", "--servers", "2", "--memory", "512M", "--data", "16M",
         "--cpus", "2", "--simulate", "0"]


def setUpModule():
    kernel_series.need_patches()
    for kernel in {"patched", series.guest()}:
        targets.bring_up_to_date(kernel)


class Compare(unittest.TestCase):
    words = [*SMALL[:-1], "2"]

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(dir=paths.BUILD)
        done = subprocess.run([KVMSPF, "compare", *cls.words, "--runs", "1", "--json", "--out",
                               cls.directory.name],
                              capture_output=True, text=True, timeout=1800)
        if done.returncode not in (0, 3):
            raise AssertionError(f"status {done.returncode}: {done.stderr}")
        cls.status, cls.results = done.returncode, json.loads(done.stdout)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_every_kind_has_its_run(self):
        self.assertEqual(self.status, 0, self.results["discards"])
        self.assertEqual(sorted((r["vmm"], r["mode"]) for r in self.results["runs"]),
                         sorted((v, m) for v in ("quiet", "busy")
                                for m in ("off", "vma-lock", "on")))

    def test_each_mode_takes_its_tier(self):
        for run in self.results["runs"]:
            for part in ("boot", "load"):
                n, where = run["counters"][part], (run["mode"], run["vmm"], part)
                # The boot may have touched a part of the load's memory before; how much depends on
                # the guest.
                if run["mode"] == "off":
                    self.assertEqual((n["hva_fault_speculative"], n["hva_fault_vma_lock"]), (0, 0),
                                     where)
                    self.assertGreater(n["hva_fault_mmap_lock"], 0, where)
                elif run["mode"] == "vma-lock":
                    self.assertEqual(n["hva_fault_speculative"], 0, where)
                    self.assertGreater(n["hva_fault_vma_lock"], 0, where)
                else:
                    self.assertGreater(n["hva_fault_speculative"], 0, where)
                    self.assertLess(n["hva_fault_mmap_lock"], n["hva_fault_speculative"] / 10,
                                    where)

    def test_parts_of_the_boot_add_up(self):
        for run in self.results["runs"]:
            boot = run["boot"]
            self.assertGreater(min(boot.values()), 0)
            self.assertAlmostEqual(boot["firmware_s"] + boot["kernel_s"] + boot["userspace_s"],
                                   boot["total_s"], places=6)

    def test_all_keys_and_a_busy_vmm_that_was_busy(self):
        for run in self.results["runs"]:
            self.assertEqual(run["keys"], self.results["settings"]["keys"])
            if run["vmm"] == "busy":
                self.assertGreater(run["busy"]["backends"], 3)
                self.assertGreater(run["busy"]["smaps_reads"], 3)

    def test_each_storm_is_there_and_each_life_was_watched(self):
        storms = {(s["vmm"], s["config"]["vcpus"]): s["runs"] for s in self.results["storms"]}
        self.assertEqual(sorted(storms), [("busy", 1), ("busy", 2), ("quiet", 1), ("quiet", 2)])
        for runs in storms.values():
            self.assertEqual([run["mode"] for run in runs], ["off", "vma-lock", "on"])
            self.assertEqual([run["wrong"] for run in runs], [0, 0, 0])
        for run in self.results["runs"]:
            looks = run["faults_over_time"]
            boot = run["counters"]["boot"]
            self.assertGreater(looks[-1][1],
                               boot.get("pf_taken") or sum(boot[tier] for tier in kvmparam.TIERS))
            self.assertEqual(looks, sorted(looks))
            self.assertGreaterEqual(run["load"]["began_s"], run["boot"]["total_s"])

    def test_the_simulated_hosts_are_in_it(self):
        found = self.results["simulated"]
        self.assertEqual([(host["cpus"], host["sockets"], host["seed"], host["host_trouble"])
                          for host in found["hosts"]], [(3, 1, 1, [])])
        storms = {(s["vmm"], s["config"]["vcpus"]): s["runs"] for s in found["storms"]}
        self.assertEqual(sorted(storms), [("busy", 1), ("busy", 2), ("quiet", 1), ("quiet", 2)])
        for (vmm, vcpus), runs in storms.items():
            self.assertEqual({run["mode"]: run["wrong"] for run in runs},
                             {"off": 0, "vma-lock": 0, "on": 0})
            tiers = {run["mode"]: run["tiers"] for run in runs}
            self.assertEqual(tiers["off"]["speculative"] + tiers["off"]["vma_lock"], 0)
            for mode in ("vma-lock", "on"):
                # Each vCPU's first fault may come while the VMA has no anon_vma yet.  A fault that
                # makes one tries the mmap_lock, and waits for it if the VMM's thread has it.
                self.assertLessEqual(tiers[mode]["mmap_lock"], vcpus if vmm == "busy" else 0,
                                     (vmm, tiers))
            aborts = {run["mode"]: run["aborts"] for run in runs}
            self.assertLessEqual(tiers["on"]["mmap_lock"], aborts["on"]["unsupported"], tiers)
            self.assertGreater(tiers["on"]["speculative"], tiers["on"]["vma_lock"])
        lives = found["lives"]
        self.assertEqual(sorted((run["vmm"], run["mode"]) for run in lives["runs"]),
                         sorted((vmm, mode) for vmm in ("quiet", "busy")
                                for mode in ("off", "vma-lock", "on")), lives)
        for run in lives["runs"]:
            self.assertEqual(run["keys"], lives["keys"])
            n = run["counters"]["boot"]
            self.assertEqual(n["hva_fault_mmap_lock"] > 1000, run["mode"] == "off", n)
        page = Path(self.directory.name, "report.html").read_text(encoding="utf-8")
        self.assertIn("Faults a virtual second by vCPUs, simulated, busy VMM", page)

    def test_marks_are_the_agents_where_there_is_a_device(self):
        wanted = "agent" if hosts.has_device(series.qemu()) else "console"
        self.assertEqual({r["marks"] for r in self.results["runs"]}, {wanted})

    def test_results_are_written_and_say_where_they_are_from(self):
        with open(os.path.join(self.directory.name, "results.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f), self.results)
        self.assertEqual(sorted(os.listdir(self.directory.name)),
                         ["report.html", "results.json", "runs.csv", "storms.csv"])
        platform = self.results["platform"]
        self.assertTrue(platform["host"]["modes"])
        self.assertTrue(platform["vmm_qemu"].startswith(series.of("qemu").version))
        self.assertTrue(platform["guest_kernel"].startswith(series.of("linux").version))


def life(change, *words):
    """One guest life, with a change of its specification."""
    args = verb.parser().parse_args([*SMALL, "--runs", "1", "--modes", "on", "--vmm", "quiet",
                                     *words])
    needs.check(args)
    host = hosts.choose(args)
    spec, _ = execution.prepare(args, host)
    change(spec)
    with open(os.devnull, "w", encoding="utf-8") as raw:
        return execution.carry_out(args, host, spec, plan.jobs(["on"], ["quiet"], 1, 1)[:1], raw,
                                   allowed=0)


class Here(unittest.TestCase):
    """Run compare on a host with our kernel, as a user would.  The host is the lab, which can write
    only to scratch."""

    SCRIPT = """
set -e
mkdir -p /run/build/upper /run/build/work
mount -t overlay -o "lowerdir=$2,upperdir=/run/build/upper,workdir=/run/build/work" overlay "$2"
exec "$1" compare --no-build --host here --vcpus 1 --servers 1 --memory 256M --data 16M \
	--runs 1 --modes off,on --vmm quiet --simulate 0 \
	--json --out "$KVMSPF_OUT"
"""

    def test_guests_run_right_here(self):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as out:
            run = x86.Lab("patched", cpus=2, memory=4 << 30, timeout=1200).run(
                ["sh", "-c", self.SCRIPT, "sh", KVMSPF, paths.BUILD], out_dir=out)
            self.assertTrue(run.ok, f"{run.kind} {run.status} {run.what}\n{run.err.decode()}")
            results = json.loads(run.out)
            self.assertEqual(json.loads((Path(out) / "results.json").read_text()), results)
        self.assertFalse(results["platform"]["in_lab"])
        self.assertEqual(sorted(r["mode"] for r in results["runs"]), ["off", "on"],
                         results["discards"])
        self.assertEqual([sorted(r["mode"] for r in s["runs"]) for s in results["storms"]],
                         [["off", "on"]])


class Loads(unittest.TestCase):
    """Each load runs in the least memory that compare allows.  A build would take minutes;
    test_loads.py runs it without a guest."""

    def loaded(self, name):
        wanted = []
        args = verb.parser().parse_args([*SMALL, "--load", name])
        least = loads.memory_needed_mib(name, args.data, args.servers, args.vcpus)
        watcher = life(lambda spec: wanted.extend(spec["keys"]), "--load", name, "--memory",
                       f"{least}M")
        self.assertEqual([run["keys"] for run in watcher.of("run")], [sum(wanted)], watcher.events)
        counted = watcher.of("run")[0]["counters"]["load"]
        # The boot has touched and freed some of these pages before; their number varies by
        # thousands.
        self.assertGreater(counted["hva_fault_speculative"], 0)
        self.assertEqual(counted["hva_fault_mmap_lock"], 0)

    def test_redis(self):
        self.loaded("redis")

    def test_memcached(self):
        self.loaded("memcached")

    def test_db_load(self):
        self.loaded("db-load")


class Trouble(unittest.TestCase):
    def test_without_the_device_the_console_has_the_marks(self):
        watcher = life(lambda spec: spec.update(agent=False))
        self.assertEqual([r["marks"] for r in watcher.of("run")], ["console"], watcher.events)

    def test_a_wrong_number_of_keys_is_no_result(self):
        def wrong(spec):
            spec["keys"][1] += 1

        watcher = life(wrong)
        self.assertEqual(watcher.of("run"), [])
        self.assertEqual(watcher.of("discard")[0]["kind"], "wrong-keys", watcher.events)

    def test_an_interrupt_leaves_nothing_behind(self):
        mark = f"KVMSPF_MARK={uuid.uuid4()}"
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as out:
            child = subprocess.Popen([KVMSPF, "compare", *SMALL, "--runs", "1", "--out", out],
                                     stderr=subprocess.PIPE,
                                     env={**os.environ, **dict([mark.split("=")])},
                                     start_new_session=True)
            end = time.monotonic() + 240
            events = Path(out) / "events.jsonl"
            while time.monotonic() < end and not (events.exists()
                                                  and "begin" in events.read_text()):
                time.sleep(0.5)
            self.assertIn("begin", events.read_text())
            child.send_signal(signal.SIGINT)
            said = child.communicate(timeout=30)[1]
        self.assertEqual(child.returncode, 130, said)
        time.sleep(1)
        self.assertEqual(self.marked(mark.encode()), [])

    @staticmethod
    def marked(mark):
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes().split(b"\0"):
                    found.append((environ.parent / "cmdline").read_bytes()[:100])
            except OSError:
                pass
        return found


if __name__ == "__main__":
    unittest.main()

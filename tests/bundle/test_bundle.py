# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf bundle: an ordinary user runs it in a root that has nothing else, and kvmspf reads what it
wrote."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth
from spf import paths, series
from spf.build import targets
from spf.lab import bundle, x86

KVMSPF = paths.SCRIPTS / "kvmspf"
NOBODY = 65534
LIMIT = 1800
CPUS = 2


def setUpModule():
    targets.bring_up_to_date("patched")


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = Path(tempfile.mkdtemp(dir=paths.BUILD))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.made = subprocess.run([KVMSPF, "bundle", "--no-build", "--out", cls.root / "bundle"],
                                  capture_output=True, text=True)
        if cls.made.returncode:
            raise AssertionError(cls.made.stderr)
        # The user may write to one directory, and finds no program, no library and no /proc.
        (cls.root / "bundle/tmp").mkdir()
        (cls.root / "bundle/tmp").chmod(0o1777)
        cls.root.chmod(0o755)
        cls.ran = cls.in_empty_root("--cpus", str(CPUS), "--runs", "1",
                                    "--out", "/tmp/results.json")

    @classmethod
    def in_empty_root(cls, *words):
        return subprocess.run(["/usr/sbin/chroot", f"--userspec={NOBODY}:{NOBODY}",
                               cls.root / "bundle", "/busybox", "sh", "/run", *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT, env={})

    def results(self):
        self.assertEqual(self.ran.returncode, 0, self.ran.stdout + self.ran.stderr)
        return json.loads((self.root / "bundle/tmp/results.json").read_text(encoding="utf-8"))

    def test_it_is_small(self):
        size = sum(file.stat().st_size for file in (self.root / "bundle").rglob("*")
                   if file.is_file() and "tmp" not in file.parts)
        self.assertLess(size, bundle.MOST_MIB << 20)

    def test_each_storm_is_there_and_each_mode_takes_its_tier(self):
        storms = self.results()["storms"]
        self.assertEqual([(s["vmm"], s["config"]["vcpus"]) for s in storms],
                         [("quiet", 1), ("quiet", 2), ("busy", 1), ("busy", 2)])
        for storm in storms:
            self.assertEqual(storm["host_trouble"], [])
            tiers = {run["mode"]: run["tiers"] for run in storm["runs"]}
            self.assertEqual(list(tiers), ["off", "vma-lock", "on"])
            self.assertEqual([run["wrong"] for run in storm["runs"]], [0, 0, 0])
            self.assertEqual((tiers["off"]["speculative"], tiers["off"]["vma_lock"]), (0, 0))
            self.assertEqual(tiers["vma-lock"]["speculative"], 0)
            self.assertGreater(tiers["on"]["speculative"], 10 * tiers["on"]["vma_lock"])
            self.assertEqual([n["kind"] for n in storm["runs"][0]["neighbours"]],
                             ["mmap"] if storm["vmm"] == "busy" else [])

    def test_it_says_where_it_ran(self):
        found = self.results()
        self.assertEqual((found["schema"], found["schema_version"]), ("kvmspf-compare", 2))
        host, machine = found["platform"]["host"], found["platform"]["machine"]
        self.assertTrue(host["kernel"].startswith(series.of("linux").version), host)
        self.assertEqual((host["cpus"], host["modes"]), (CPUS, True))
        self.assertEqual(machine["cores"], len(os.sched_getaffinity(0)))
        self.assertIn("emulation" if found["platform"]["emulated"] else "hardware",
                      self.ran.stderr)

    @depth.long("a machine in a machine in a machine")
    def test_hardware_where_kvm_nests(self):
        """/dev/kvm of the lab's host, under which the bundle's own host has KVM as well."""
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as out:
            done = x86.Lab("patched", memory=6 << 30, stall=600, timeout=LIMIT).run(
                ["sh", "-c", '"$0/busybox" sh "$0/run" --cpus 2 --runs 1 '
                 '--out "$KVMSPF_OUT/results.json"', self.root / "bundle"], out_dir=out)
            self.assertEqual(done.status, 0, done.err.decode())
            self.assertIn("run: 2 CPUs, hardware", done.err.decode())
            found = json.loads(Path(out, "results.json").read_text(encoding="utf-8"))
        self.assertEqual((found["platform"]["emulated"], found["platform"]["in_lab"]),
                         (False, True))
        for storm in found["storms"]:
            tiers = {run["mode"]: run["tiers"] for run in storm["runs"]}
            self.assertGreater(tiers["off"]["mmap_lock"], tiers["on"]["mmap_lock"])
            self.assertGreater(tiers["on"]["speculative"], tiers["on"]["vma_lock"])

    def test_kvmspf_reads_it(self):
        self.results()
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run([KVMSPF, "report", self.root / "bundle/tmp/results.json", "--out",
                                   out], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([line for line in done.stdout.splitlines() if len(line) > 80], [])
            self.assertIn("Fault storm, busy VMM", done.stdout)
            page = Path(out, "report.html").read_text(encoding="utf-8")
            self.assertIn("Faults a second by vCPUs, busy VMM", page)
            self.assertNotIn("None", page)
            self.assertIsNone(json.loads(Path(out, "results.json").read_text())["load_text"])
            again = subprocess.run([KVMSPF, "compare", Path(out, "results.json"),
                                    Path(out, "results.json")], capture_output=True, text=True)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertIn("microseconds between two faults", again.stdout)

    def test_what_it_does_not_understand_is_one_line(self):
        for words in (("--cpus", "0"), ("--cpus", "241"), ("--runs", "x"), ("--out",), ("--frob",),
                      ("--out", "/nowhere/results.json")):
            done = self.in_empty_root(*words)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)

    def test_only_a_bundle_is_replaced(self):
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run([KVMSPF, "bundle", "--no-build", "--out", out],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertIn("is there, and no bundle; name another --out", done.stderr)


if __name__ == "__main__":
    unittest.main()

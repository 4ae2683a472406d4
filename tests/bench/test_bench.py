# SPDX-License-Identifier: GPL-2.0-or-later
"""The load generators work in every mode, and the plugin finds the functions that store to shared
lines."""

import contextlib
import io
import json
import runpy
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth, kernel_series
from spf import paths, series
from spf.build import meson, targets
from spf.lab import x86

BENCH = paths.ROOT / "bench"
LIMIT = 900
MODES = ("off", "vma-lock", "on")
NEIGHBOURS = "mmap mprotect mremap madvise thread memslot io_uring smaps".split()
# Name -> fault-storm's arguments.  Each runs once in every mode.
STORMS = {
    "anon": "--size 16M",
    "random": "--size 8M --vcpus 3 --order random --access read-write",
    "interleaved": "--size 8M --vcpus 5 --order interleaved",
    "together": "--size 4M --vcpus 4 --order together",
    "read": "--size 4M --access read",
    "prefault": "--size 8M --prefault",
    "thp": "--size 32M --backing thp",
    "memfd": "--size 8M --backing memfd",
    "file": "--size 8M --backing file:/tmp/guest",
    "hugetlb": "--size 16M --backing hugetlb",
    "numa": "--size 4M --numa bind:0",
    "holes": "--size 4M --holes 7 --order random",
    "busy": "--size 4M --vcpus 2 " + " ".join(f"--neighbour {kind}" for kind in NEIGHBOURS),
    "many": "--size 4M --vcpus 64",
    "middle": "--size 16M --vcpus 2 --middle",
}
SCRIPT = r"""
set -e
cd "$1"; shift
echo 32 >/proc/sys/vm/nr_hugepages
while [ $# -gt 0 ]; do
	# The arguments of a storm are words.
	# shellcheck disable=SC2086
	./fault-storm --mode off,vma-lock,on --json "$KVMSPF_OUT/$1" $2 >&2
	shift 2
done
faults() { awk '$1 == "pgfault" { print $2 }' /proc/vmstat; }
for mode in off vma-lock on; do
	before=$(faults)
	./fault-storm --mode $mode --size 32M --backing memfd >&2
	echo "\"$mode\": $(($(faults) - before))"
done | paste -sd, | sed 's/.*/{&}/' >"$KVMSPF_OUT/memfd-faults"
allocated() { awk '/^pgalloc_/ { n += $2 } END { print n }' /proc/vmstat; }
for mode in vma-lock on; do
	before=$(allocated)
	./fault-storm --mode $mode --size 512M --stride 2M >&2
	echo "\"$mode\": $(($(allocated) - before))"
done | paste -sd, | sed 's/.*/{&}/' >"$KVMSPF_OUT/allocations"
if ./fault-storm --size 1M --json - >/dev/full 2>/root/said; then
	echo "a result that was lost is no error" >&2
	exit 1
fi
grep "cannot write to standard output" /root/said >&2
./db-load make /root/table 100000
./db-load load /root/table 4 >"$KVMSPF_OUT/db-load"
./user-load multi-fault 3 1 >"$KVMSPF_OUT/multi-fault"
./user-load ebizzy 3 1 >"$KVMSPF_OUT/ebizzy"
"""


def in_the_lab(programs, storms):
    words = [word for pair in storms.items() for word in pair]
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as out:
        run = x86.Lab("patched", cpus=2, memory=2 << 30, timeout=LIMIT).run(
            ["sh", "-c", SCRIPT, "sh", programs, *words], out_dir=out)
        if not run.ok:
            raise AssertionError(f"{run.kind} {run.status} {run.what} "
                                 f"{run.trouble}\n{run.err.decode()}")
        return {file.name: json.loads(file.read_text()) for file in Path(out).iterdir()}


def setUpModule():
    kernel_series.need_patches()
    targets.bring_up_to_date("patched")


class Storms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.results = in_the_lab(meson.bench(), STORMS)

    def run_of(self, name, mode):
        return self.results[name]["runs"][MODES.index(mode)]

    def test_each_page_is_touched_and_has_its_contents(self):
        for name in STORMS:
            config = self.results[name]["config"]
            pages = config["size"] // config["stride"] * (config["vcpus"]
                                                          if config["order"] == "together" else 1)
            for mode in MODES:
                run = self.run_of(name, mode)
                with self.subTest(storm=name, mode=mode):
                    self.assertEqual((run["mode"], run["wrong"]), (mode, 0))
                    self.assertEqual((run["touched"], run["verified"]), (pages, pages))
                    self.assertEqual(run["latency_ns"]["count"], pages)
                    self.assertLessEqual(run["latency_ns"]["p50"], run["latency_ns"]["max"])

    def test_the_middle_is_no_slower_than_the_whole_with_its_ends(self):
        """The middle has eight tenths of all touches, in a part of the time."""
        for mode in MODES:
            run = self.run_of("middle", mode)
            whole = run["touched"] / run["seconds"]
            self.assertGreaterEqual(run["rate"], 0.8 * whole * 0.99)
            self.assertNotEqual(run["rate"], whole)
            self.assertEqual(self.run_of("many", mode)["rate"],
                             self.run_of("many", mode)["touched"]
                             / self.run_of("many", mode)["seconds"])

    def test_a_mode_takes_no_lock_but_its_own(self):
        for name in STORMS:
            for mode in MODES:
                run, tiers = self.run_of(name, mode), self.run_of(name, mode)["tiers"]
                with self.subTest(storm=name, mode=mode):
                    self.assertEqual(sum(tiers.values()), run["faults"])
                    if mode == "off":
                        self.assertEqual((tiers["speculative"], tiers["vma_lock"]), (0, 0))
                    if mode != "on":
                        self.assertEqual((tiers["speculative"], set(run["aborts"].values())),
                                         (0, {0}))
                    # The kernel's histogram has each fault that was timed, and none of tier 0.
                    self.assertEqual(sum(run["kernel"]["ns_hist_log2"]),
                                     run["faults"] - tiers["fast"])

    def test_the_host_has_one_fault_for_each_of_a_memfds_pages(self):
        faults = self.results["memfd-faults"]
        self.assertGreater(faults["off"], 8192)
        for mode in ("vma-lock", "on"):
            self.assertLess(abs(faults[mode] - faults["off"]), 1000, faults)

    def test_no_page_is_allocated_where_there_is_no_table_to_put_it_in(self):
        allocations = self.results["allocations"]
        self.assertGreater(allocations["vma-lock"], 2 * 256)
        self.assertLess(abs(allocations["on"] - allocations["vma-lock"]), 256 / 2, allocations)

    def test_what_each_backing_is_resolved_by(self):
        tables = 2 * 16 / 2
        anon = self.run_of("anon", "on")["tiers"]
        self.assertGreaterEqual(anon["speculative"], 4096 - tables)
        self.assertLessEqual(anon["vma_lock"] + anon["mmap_lock"], tables)
        self.assertGreaterEqual(self.run_of("anon", "vma-lock")["tiers"]["vma_lock"], 4096 - tables)
        self.assertGreaterEqual(self.run_of("anon", "off")["tiers"]["mmap_lock"], 4096)
        for name in ("thp", "memfd", "file", "hugetlb"):
            tiers = self.run_of(name, "on")["tiers"]
            with self.subTest(backing=name):
                self.assertEqual(tiers["mmap_lock"], 0)
                self.assertGreater(tiers["vma_lock"], 0)
        for mode in MODES:
            tiers = self.run_of("prefault", mode)["tiers"]
            self.assertEqual(sum(tiers.values()), tiers["fast"])

    def test_memory_that_is_not_there_is_an_error_and_then_memory(self):
        for mode in MODES:
            self.assertEqual(self.run_of("holes", mode)["efaults"], 7)
        self.assertGreaterEqual(self.run_of("holes", "on")["aborts"]["no_vma"], 7)

    def test_neighbours_get_their_work_done(self):
        for mode in MODES:
            done = {n["kind"]: n["latency_ns"]["count"]
                    for n in self.run_of("busy", mode)["neighbours"]}
            self.assertEqual(sorted(done), sorted(NEIGHBOURS))
            self.assertGreater(min(done.values()), 0, done)

    def test_report_of_two_results(self):
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as directory:
            files, html = [Path(directory) / name for name in ("1", "64")], Path(directory) / "html"
            for file, result in zip(files, (dict(self.results["many"]), self.results["many"])):
                result["config"] = dict(result["config"], vcpus=int(file.name))
                file.write_text(json.dumps(result))
            done = subprocess.run([BENCH / "storm-report", *files, "--html", html],
                                  capture_output=True, text=True,
                                  check=True)
            page = html.read_text()
        rows = [line.split()[:3] for line in done.stdout.splitlines()[1:]]
        self.assertEqual(rows, [[vcpus, mode, "1"] for vcpus in ("1", "64") for mode in MODES])
        self.assertEqual((page.count("<polyline"), "http" in page), (4 + 3, False))

    def test_loads_of_user_mode(self):
        load = self.results["db-load"]
        self.assertEqual((load["threads"], load["records"], load["verified"]), (4, 100000, 100000))
        self.assertGreater(self.results["multi-fault"]["faults"], 0)
        self.assertGreater(self.results["ebizzy"]["records"], 0)


@depth.long("builds a stock kernel")
class UserFaults(unittest.TestCase):
    # The part of a stock kernel's instructions.
    MOST = 1.005

    def test_no_kind_of_fault_costs_more_than_without_the_series(self):
        """With the switch off and on: also faults that the speculative tier does not serve."""
        targets.bring_up_to_date("stock")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            cost = runpy.run_path(str(BENCH / "user-faults"))["instructions"]("patched")
        print("".join(f"# {line}\n" for line in said.getvalue().splitlines()), end="")
        for load, row in cost.items():
            for switch in "01":
                with self.subTest(load=load, switch=switch):
                    self.assertLessEqual(row[switch], self.MOST * row["stock"])
        # The tier does serve what it should.
        self.assertLess(cost["multi-fault"]["1"], 0.95 * cost["multi-fault"]["0"])


@depth.long("builds a stock kernel")
class Invalidations(unittest.TestCase):
    # The part of a stock kernel's instructions.
    MOST = 1.02

    def test_taking_pages_away_costs_what_it_costs_without_the_series(self):
        cost = runpy.run_path(str(BENCH / "invalidations"))["costs"]("patched")
        print("".join(f"# {kind}: {row}\n" for kind, row in cost.items()), end="")
        for kind, (stock, *modes) in cost.items():
            with self.subTest(kind):
                self.assertLessEqual(max(modes), self.MOST * stock)


class Sanitized(unittest.TestCase):
    def test_with_asan_and_ubsan(self):
        where = meson.build("bench-sanitized", "bench", "-Db_sanitize=address,undefined",
                            "-Db_lundef=false")
        results = in_the_lab(where / "bench", {"busy": STORMS["busy"], "holes": STORMS["holes"]})
        for name in ("busy", "holes"):
            self.assertEqual([run["wrong"] for run in results[name]["runs"]], [0, 0, 0])


class Usage(unittest.TestCase):
    def test_bad_input_is_one_line_and_no_run(self):
        storm = meson.bench() / "fault-storm"
        for words in ("--vcpus 0", "--vcpus x", "--size 1", "--size 4Q", "--order upwards",
                      "--mode fast", "--mode on,on,on,on,on,on,on,on,on",
                      "--neighbour fork", "--neighbour mmap:0", "--stride 8", "--backing tape",
                      "--numa bind:x",
                      "--holes 100000000", "extra"):
            done = subprocess.run([storm, *words.split()], capture_output=True, text=True,
                                  check=False)
            with self.subTest(words=words):
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        done = subprocess.run([storm, "--size", "64 "], capture_output=True, text=True, check=False)
        self.assertIn("say a size", done.stderr)


class Model(unittest.TestCase):
    def test_limits_of_a_queue(self):
        rate = runpy.run_path(str(BENCH / "scaling"))["throughput"]
        self.assertAlmostEqual(rate(1, 900, [100]), 1e6)
        self.assertAlmostEqual(rate(1000, 900, []), 1000 / 900e-9)
        self.assertAlmostEqual(rate(1000, 900, [100]) / 1e7, 1, places=6)
        self.assertLess(rate(8, 900, [100]), 8e6)

    def test_each_store_to_a_shared_line_takes_it(self):
        """However often the emulator's CPUs took turns, that is, and lines moved in the lab."""
        rows = [{"function": "f", "data": data, "shared": shared, "moved": moved}
                for data, shared, moved in (("lock", 2000, 3), ("lock", 1000, 7),
                                            ("heap", 1000, 999), ("rare", 9, 9))]
        found = runpy.run_path(str(BENCH / "scaling"))["lines"](
            {"speculative": {"faults": 1000, "rows": rows}}, "speculative")
        self.assertEqual(found, {"lock": 3, "heap (f)": 1})

    def test_against_starts_from_one_simulated_vcpu(self):
        rows = [{"function": "f", "data": "lock", "shared": 1000, "moved": 3}]
        counted = {"modes": {mode: {tier: {"faults": 1000, "rows": rows}} for mode, tier in
                             runpy.run_path(str(BENCH / "scaling"))["TIER"].items()}}
        cells = [{"vcpus": n, "mode": mode, "neighbour": "none",
                  "million_faults_s": {"median": rate}}
                 for n, rate in ((1, 0.25), (64, 10)) for mode in counted["modes"]]
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("lines", "simulated")]
            files[0].write_text(json.dumps(counted))
            files[1].write_text(json.dumps({"series": "linux-x", "line_ns": [50, 150],
                                            "socket_vcpus": 64, "cells": cells}))
            done = subprocess.run([BENCH / "scaling", "against", *files], capture_output=True,
                                  text=True, check=True)
            files[1].write_text("{}")
            bad = subprocess.run([BENCH / "scaling", "against", *files], capture_output=True,
                                 text=True, check=False)
        self.assertRegex(done.stdout, r"\n +1 +0.250   0.250     \+0%")
        self.assertRegex(done.stdout, r"\n +64 +10.000  1[0-9.]+ +")
        self.assertEqual((bad.returncode, bad.stderr.count("\n")), (1, 1), bad.stderr)

    def test_check_says_how_far_it_is_off(self):
        done = subprocess.run([BENCH / "scaling", "check"], capture_output=True, text=True,
                              check=True)
        self.assertIn("published 3.7", done.stdout)


# A line that the file does not name may have this many stores a fault: no number of vCPUs queues
# for it.
RARE = 0.1
# Two frees of high orders, one after the other, give all pages of a CPU's list back to the zone
# (free_high in free_unref_page_commit(), free_frozen_page_commit()).  If that comes at the end of
# one storm's VM, the faults of the next storm take their pages from the zone, many at a time.  So
# only those stores count here for which the line had to come from another CPU.
ALLOCATORS = "free lists of the zone"


def expected_lines():
    """{line: most stores a fault} of the series in use; {} without the file."""
    file = series.of("linux").folder / "shared-lines"
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return {name: float(most) for most, name in rows}


def beyond(tier, lines):
    """{line: stores a fault} of the lines that have more than is allowed."""
    found = {}
    for row in tier["rows"]:
        stores = row["moved" if row["line"] == ALLOCATORS else "shared"]
        found[row["line"]] = found.get(row["line"], 0) + stores / tier["faults"]
    return {name: stores for name, stores in found.items() if stores > lines.get(name, RARE)}


class SharedLines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile(dir=paths.BUILD, suffix=".json") as file:
            done = subprocess.run([BENCH / "shared-lines", "--size", "8", "--json", file.name],
                                  capture_output=True, text=True, timeout=LIMIT, check=False)
            if done.returncode:
                raise AssertionError(done.stderr)
            cls.result = json.load(file)
        print("".join(f"# {line}\n" for line in done.stdout.splitlines()), end="")

    def test_speculative_faults_store_to_no_shared_line_of_the_vma_or_the_mm(self):
        result = self.result
        self.assertEqual(result["forbidden"], {})
        moved = {}
        for mode, tier in (("off", "mmap_lock"), ("vma-lock", "vma_lock"), ("on", "speculative")):
            found = result["modes"][mode][tier]
            self.assertGreater(found["faults"], 1500)
            moved[mode] = {row[key] for row in found["rows"] if row["moved"]
                           for key in ("data", "line")}
        # The plugin does see such lines in modes that store to them.
        self.assertTrue(result["mmap_lock"])
        self.assertLessEqual(set(result["mmap_lock"]), moved["off"])
        self.assertIn("lock of the VMA", moved["vma-lock"])

    def test_speculative_faults_store_to_no_shared_line_that_the_series_does_not_name(self):
        """The series' file shared-lines lists them: no other line may come back."""
        found = self.result["modes"]["on"]["speculative"]
        self.assertEqual(beyond(found, expected_lines()), {})

    def test_a_line_that_the_series_does_not_name_is_found(self):
        found, lines = self.result["modes"]["on"]["speculative"], expected_lines()
        for gone in [name for name, most in lines.items() if most >= 1]:
            with self.subTest(gone):
                fewer = {name: most for name, most in lines.items() if name != gone}
                self.assertEqual(list(beyond(found, fewer)), [gone])


if __name__ == "__main__":
    unittest.main()

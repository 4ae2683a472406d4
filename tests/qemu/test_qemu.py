# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's part: the kvm-spf device and QMP, without a kernel that counts (qtest), and with such a
kernel in the lab."""

import json
import os
import statistics
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.lib import depth, kernel_series
from tests.lib.fault_names import ABORTS, TIERS
from tests.qemu import guest_image
from spf import paths, series
from spf.build import targets
from spf.lab import qmp, x86

HERE = Path(__file__).resolve().parent
LIMIT = 600
# "edit" tests what lies in the edit tree, as with `kvmspf lab`.
FLAVOUR = os.environ.get("KVMSPF_QEMU", "patched")
PAGES = 4096


def program(name):
    return series.qemu(FLAVOUR, name)


def setUpModule():
    for kernel in {"patched", series.guest()}:
        targets.bring_up_to_date(kernel, FLAVOUR)


class Qtest(unittest.TestCase):
    def run_it(self, arch):
        # With sanitizers, make a million accesses instead of ten thousand.
        much = ["-m", "slow"] if FLAVOUR == "asan" else []
        done = subprocess.run([program("kvm-spf-test"), "--tap", "-k", *much], capture_output=True,
                              text=True,
                              env={**os.environ,
                                   "QTEST_QEMU_BINARY": str(program(f"qemu-system-{arch}")),
                                   "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
                              timeout=LIMIT, check=False)
        bad = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
        self.assertEqual((done.returncode, bad), (0, []), done.stdout[-3000:] + done.stderr[-3000:])

    def test_x86_64(self):
        self.run_it("x86_64")

    def test_ppc64(self):
        self.run_it("ppc64")


class CommandLine(unittest.TestCase):
    def test_bad_value_is_the_usual_error(self):
        for value, said in (("maybe", "does not accept value 'maybe'"),
                            ("unavailable", "expects off, vma-lock or on")):
            done = subprocess.run([program("qemu-system-x86_64"), "-display", "none", "-accel",
                                   f"kvm,speculative-faults={value}"], capture_output=True,
                                  text=True, timeout=60,
                                  check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr)


    def test_record_replay_is_refused(self):
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run([program("qemu-system-x86_64"), "-display", "none",
                                   "-accel", "tcg", "-icount",
                                   f"shift=1,rr=record,rrfile={scratch}/rr",
                                   "-device", "kvm-spf"],
                                  capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("kvm-spf does not support record/replay", done.stderr)


class InvariantTSC(unittest.TestCase):
    """A guest that relies on the rate of this host's TSC cannot go to another host."""

    def ask(self, *words):
        """The reasons that block the migration of such a machine, and whether its CPU has the
        flag."""
        with tempfile.TemporaryDirectory() as scratch:
            child = subprocess.Popen([program("qemu-system-x86_64"), "-M", "pc", "-accel", "tcg",
                                      "-nodefaults", "-display", "none", "-S",
                                      "-qmp", f"unix:{scratch}/qmp,server=on,wait=off", *words])
            asked = qmp.QMP(f"{scratch}/qmp", alive=lambda: child.poll() is None)
            try:
                blocked = asked.execute("query-migrate").get("blocked-reasons", [])
                cpu = asked.execute("query-cpus-fast")[0]["qom-path"]
                return blocked, asked.execute("qom-get", {"path": cpu, "property": "invtsc"})
            finally:
                asked.close()
                child.kill()
                child.wait()

    def test_blocks_migration(self):
        self.assertEqual(self.ask("-cpu", "max,+invtsc"),
                         (["State blocked by non-migratable CPU device (invtsc flag)"], True))
        self.assertEqual(self.ask("-cpu", "max,+invtsc", "-smp", "2")[0],
                         ["State blocked by non-migratable CPU device (invtsc flag)"])

    def test_icount_has_one_rate_on_all_hosts(self):
        self.assertEqual(self.ask("-cpu", "max,+invtsc", "-icount", "shift=0"), ([], True))

    def test_no_rate_that_tcg_does_not_have(self):
        self.assertEqual(self.ask("-cpu", "max,tsc-frequency=1000000000"), ([], False))
        self.assertEqual(self.ask("-cpu", "max"), ([], False))

    def test_only_migratable(self):
        done = subprocess.run([program("qemu-system-x86_64"), "-display", "none", "-accel", "tcg",
                               "-cpu", "max,+invtsc", "-only-migratable"],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("invtsc flag", done.stderr)


def in_lab(kernel, *what, out=None):
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as scratch:
        initramfs = Path(scratch) / "initramfs"
        guest_image.make(initramfs)
        result = x86.Lab(kernel, cpus=2, memory=2 << 30, timeout=LIMIT).run(
            ["/usr/bin/python3", HERE / "lab_qemu.py", program("qemu-system-x86_64"),
             series.kernel(series.guest()), initramfs,
             *what], out_dir=out)
    if (result.kind, result.status) != ("exit", 0) or result.trouble:
        raise AssertionError(f"{result.kind} {result.status} {result.what} {result.trouble} "
                             f"{result.err.decode()}")
    return json.loads(result.out)


def added(after, before):
    return {k: after[k] - before[k] for k in after}


class Lab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kernel_series.need_patches()
        cls.seen = in_lab("patched", "patched")

    def same_block(self, block, info):
        self.assertEqual(block["faults"], [info["faults"][t] for t in TIERS])
        self.assertEqual(block["aborts"], [info["aborts"][a] for a in ABORTS])
        self.assertEqual({"count": block["count"], "sum-ns": block["sum"], "max-ns": block["max"],
                          "buckets": block["buckets"]}, info["latency"])

    def test_qmp_equals_the_guests_bar(self):
        for when in ("up", "on", "vma-lock", "off", "reset"):
            bar, info = self.seen[when]["bar"], self.seen[when]["qmp"]
            self.same_block(bar, info)
            self.assertEqual(bar["vcpus"], info["vcpus"])
            self.assertEqual([r["index"] for r in bar["records"]],
                             [v["index"] for v in info["per-vcpu"]])
            for record, vcpu in zip(bar["records"], info["per-vcpu"]):
                self.same_block(record, vcpu)

    def test_qmp_equals_the_kernels_statistics(self):
        """They agree until the reset, which only QEMU knows of; so does the order of the
        buckets."""
        for when in ("up", "on", "vma-lock", "off"):
            for stats, vcpu in zip(self.seen[when]["stats"], self.seen[when]["qmp"]["per-vcpu"]):
                want = {f"hva_fault_{t.replace('-', '_')}": n for t, n in vcpu["faults"].items()}
                want |= {f"spf_abort_{a.replace('-', '_')}": n for a, n in vcpu["aborts"].items()}
                want |= {"hva_fault_ns_sum": vcpu["latency"]["sum-ns"],
                         "hva_fault_ns_max": vcpu["latency"]["max-ns"],
                         "hva_fault_ns_hist": vcpu["latency"]["buckets"]}
                self.assertEqual(stats, want)

    def test_total_is_the_sum_of_the_vcpus(self):
        for when in ("up", "on", "vma-lock", "off"):
            info = self.seen[when]["qmp"]
            for tier in TIERS:
                self.assertEqual(info["faults"][tier],
                                 sum(v["faults"][tier] for v in info["per-vcpu"]))

    def test_known_touches_equal_counters_and_tracepoint(self):
        """Each page has one fault, by a tier of the mode; the first fault of a page table takes the
        VMA's lock.

        Tier fast is left out of the number: such a fault is of a page that QEMU has mapped, so of
        none of these pages.
        """
        before = self.seen["up"]
        for mode in ("on", "vma-lock", "off"):
            after = self.seen[mode]
            faults = added(after["qmp"]["faults"], before["qmp"]["faults"])
            aborts = added(after["qmp"]["aborts"], before["qmp"]["aborts"])
            traced, fresh = ([after["trace"][what].get(str(t), 0)
                              - before["trace"][what].get(str(t), 0)
                              for t in range(len(TIERS))] for what in ("all", "fresh"))
            self.assertEqual(traced, [faults[t] for t in TIERS])
            self.assertEqual(sum(fresh[1:]), PAGES)
            self.assertLess(sum(traced[1:]), PAGES + PAGES / 100)
            if mode == "on":
                self.assertEqual(faults["vma-lock"], sum(aborts.values()))
                self.assertLessEqual(faults["vma-lock"], PAGES // 512 + 1)
            else:
                self.assertEqual(fresh[{"vma-lock": 2, "off": 3}[mode]], PAGES)
                self.assertEqual(sum(aborts.values()), 0)
            before = after

    def test_mode_is_shown_everywhere(self):
        for number, mode in ((2, "on"), (1, "vma-lock"), (0, "off")):
            self.assertEqual((self.seen[mode]["bar"]["mode"], self.seen[mode]["qmp"]["mode"]),
                             (number, mode))
            self.assertTrue(self.seen[mode]["qmp"]["available"])
            self.assertEqual(self.seen[mode]["bar"]["features"], 0xf)

    def test_mode_that_is_none_is_refused(self):
        self.assertEqual(len(self.seen["refused"]), 3)

    def test_mode_that_qemu_cannot_find_out_is_unknown(self):
        self.assertEqual(self.seen["hidden"], ["unknown", "vma-lock"])

    def test_reset_is_a_baseline(self):
        off, zero, reset = (self.seen[when] for when in ("off", "zero", "reset"))
        self.assertEqual(zero["qmp"]["faults"], dict.fromkeys(TIERS, 0))
        self.assertEqual((zero["qmp"]["latency"]["count"], sum(zero["qmp"]["aborts"].values())),
                         (0, 0))
        # The kernel's counters go on. The guest's kernel may have faults of its own at any time.
        for number, vcpu in enumerate(reset["qmp"]["per-vcpu"]):
            since = (reset["stats"][number][f"hva_fault_{t.replace('-', '_')}"]
                     - zero["stats"][number][f"hva_fault_{t.replace('-', '_')}"] for t in TIERS)
            self.assertEqual(vcpu["faults"], dict(zip(TIERS, since)))
        for before, after in zip(off["stats"], zero["stats"]):
            self.assertTrue(all(after[name] >= n for name, n in before.items()
                                if name != "hva_fault_ns_hist"), after)
        self.assertGreater(reset["bar"]["epoch"], off["bar"]["epoch"])

    def test_counter_that_the_user_clears(self):
        """It starts again from zero, in a new epoch, and no difference of two counts is negative.
        The guest's kernel may have faults of its own at any time."""
        reset, cleared = self.seen["reset"], self.seen["cleared"]
        self.assertGreaterEqual(sum(s["hva_fault_mmap_lock"] for s in reset["stats"]), PAGES)
        self.assertGreater(cleared["bar"]["epoch"], reset["bar"]["epoch"])
        self.same_block(cleared["bar"], cleared["qmp"])
        for stats, vcpu in zip(cleared["stats"], cleared["qmp"]["per-vcpu"]):
            self.assertEqual(vcpu["faults"]["mmap-lock"], stats["hva_fault_mmap_lock"])
            self.assertLess(vcpu["faults"]["mmap-lock"], PAGES)
        rates = cleared["qmp"].get("rates", {"faults": {"mmap-lock": 0}})
        self.assertLess(rates["faults"]["mmap-lock"], 1e9)

    def test_rates_are_kept(self):
        rates = self.seen["up"]["qmp"]["rates"]
        self.assertGreater(rates["interval-ns"], 0)
        self.assertEqual(set(rates["faults"]), set(TIERS))
        self.assertGreater(self.seen["up"]["bar"]["interval_ns"], 0)

    def test_storm_is_told(self):
        storms = [e["data"] for e in self.seen["events"] if e["event"] == "KVM_SPF_FALLBACK_STORM"]
        self.assertTrue(storms)
        self.assertEqual(storms[0]["qom-path"], "/machine/peripheral/spf0")
        self.assertGreaterEqual(storms[0]["rates"]["faults"]["mmap-lock"], storms[0]["threshold"])
        self.assertEqual(storms[0]["mode"], "off")

    def test_hmp_and_properties(self):
        self.assertRegex(self.seen["hmp"], r"mode: off\r?\n2 vCPUs\r?\n  faults: fast \d+, "
                                           r"speculative 0, ")
        self.assertIn("vCPU 1", self.seen["hmp"])
        self.assertEqual(self.seen["interval"], 50)

    def test_vcpu_comes_and_goes(self):
        more, less = self.seen["plug"]["more"], self.seen["plug"]["less"]
        self.assertEqual((more["vcpus"], less["vcpus"]), (3, 2))
        for tier in TIERS:
            self.assertGreaterEqual(less["faults"][tier], more["faults"][tier])
        # the descriptor of its statistics; QEMU keeps KVM's own for the next vCPU
        self.assertEqual(self.seen["plug"]["fds"], 1)

    def test_guest_that_hammers_the_device(self):
        """The device's thread uses a twentieth of a CPU at most; QMP goes on answering."""
        seen = self.seen["hostile"]
        before, after = seen["before"], seen["after"]
        collected = after["generation"] - before["generation"]
        ns = after["host_ns"] - before["host_ns"]
        took = {when: f"{statistics.median(seen[when]):.1f} ms, at most {max(seen[when]):.1f}"
                for when in ("quiet", "hammered")}
        print(f"# QMP answers in {took['quiet']}; {took['hammered']} while a vCPU stores to the "
              "device; "
              f"{collected} collections in {ns / 1e6:.0f} ms; "
              f"{100 * seen['used'] / seen['took']:.1f} % of a CPU")
        self.assertEqual((after["epoch"], after["magic"]), (before["epoch"], before["magic"]))
        self.assertGreater(collected, 0)
        self.assertLessEqual(collected * 1_000_000, ns)
        # Two collections more than intervals of sleep: one before the hammering, and the last one.
        self.assertLessEqual(seen["used"] * 15, seen["took"])

    def test_device_comes_and_goes(self):
        """QMP answers without a device; a new device also shows earlier counts."""
        seen = self.seen["replug"]
        bar, info = seen["again"]["bar"], seen["again"]["qmp"]
        self.assertEqual((seen["gone"], seen["without"]["available"]), (0, True))
        self.same_block(bar, info)
        self.assertEqual(len(bar["records"]), 2)
        for before, after in zip(seen["before"]["faults"], bar["faults"]):
            self.assertGreaterEqual(after, before)

    def test_qemu_has_nothing_to_complain_of(self):
        """QEMU complains only that this host has fewer CPUs than the guest can have."""
        said = [line for line in self.seen["said"].splitlines()
                if "exceeds the recommended cpus" not in line]
        self.assertEqual(said, [])


class Migration(unittest.TestCase):
    """Between two QEMUs of the patched host, and from there to a host without all of it."""

    @classmethod
    def setUpClass(cls):
        kernel_series.need_patches()
        cls.scratch = tempfile.TemporaryDirectory(dir=paths.BUILD)
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.seen = in_lab("patched", "migration", out=cls.scratch.name)

    def test_no_page_is_lost_and_counters_start_anew(self):
        for way in ("precopy", "postcopy"):
            seen = self.seen[way]
            with self.subTest(way):
                rounds, lost = seen["churned"]
                print(f"# {way}: {rounds} rounds of stores to {PAGES} pages meanwhile")
                self.assertEqual((seen["status"], seen["right"], lost), ("completed", PAGES, 0),
                                 seen["said"])
                self.assertGreater(rounds, 0)
                self.assertGreater(seen["after"]["epoch"], seen["before"]["epoch"])
                # The mode does not migrate: the other QEMU has its own.  This one warns the user
                # about the mode that was set here.
                self.assertEqual((seen["after"]["mode"], seen["qmp"]["mode"]), (1, "vma-lock"))
                self.assertEqual((seen["after"]["faults"][1], seen["before"]["faults"][1] > PAGES),
                                 (0, True))
                warning = ("warning: speculative-faults: the mode 'off', set while the guest ran, "
                           "does not migrate; set it on the destination")
                told = seen["source"].count(warning)
                self.assertEqual(told, int(way == "precopy"), seen["source"])

    @depth.long("builds a kernel")
    def test_to_a_host_without_it(self):
        targets.bring_up_to_date("stock")
        before, seen = self.seen["saved"], in_lab("stock", "stock", f"{self.scratch.name}/stream")
        self.assertEqual(seen["right"], PAGES)
        for warning in ("speculative-faults=on: this host's KVM has none",
                        "kvm-spf: faults were counted where this guest comes from, "
                        "and are not here"):
            self.assertIn(f"warning: {warning}", seen["said"])
        self.assertFalse(seen["qmp"]["available"])
        self.assertEqual((seen["qmp"]["mode"], seen["hmp"].strip()),
                         ("unavailable", "mode: unavailable"))
        self.assertEqual((before["mode"], before["features"] & 3), (2, 3))
        self.assertEqual((seen["bar"]["mode"], seen["bar"]["features"]), (0xffffffff, 0))
        self.assertGreater(seen["bar"]["epoch"], before["epoch"])
        self.assertEqual(sum(seen["bar"]["faults"] + seen["bar"]["aborts"]
                             + seen["bar"]["buckets"]), 0)
        self.assertIn("no speculative faults", seen["refused"])


if __name__ == "__main__":
    unittest.main()

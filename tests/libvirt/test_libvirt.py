# SPDX-License-Identifier: GPL-2.0-or-later
"""The domain of docs/libvirt-domain.xml on the patched host: QMP, libvirt's statistics and spfctl
report the same counts."""

import json
import re
import unittest
from pathlib import Path

from spf import paths, series
from spf.source import apt
from spf.build import meson, targets
from spf.lab import image, x86

PACKAGES = ["libvirt-daemon", "libvirt-clients", "python3-prometheus-client", *image.PACKAGES]


class Libvirt(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        apt.packages(PACKAGES)
        for kernel in {"patched", series.guest()}:
            targets.bring_up_to_date(kernel)
        initramfs = paths.BUILD / "libvirt" / "initramfs.cpio"
        initramfs.parent.mkdir(parents=True, exist_ok=True)
        image.ensure_initramfs(str(initramfs), {})
        result = x86.Lab("patched", cpus=2, memory=3 << 30, timeout=900).run(
            ["/usr/bin/python3", Path(__file__).with_name("lab_libvirt.py"), meson.spfctl(),
             initramfs])
        if (result.kind, result.status) != ("exit", 0):
            raise AssertionError(f"{result.kind} {result.what} {result.status}: "
                                 f"{result.err.decode()}")
        cls.trouble = result.trouble
        cls.seen = json.loads(result.out)
        cls.qmp = cls.seen["qmp"]

    def test_host_is_well(self):
        self.assertEqual(self.trouble, [])

    def test_query_kvm_spf(self):
        self.assertEqual((self.qmp["available"], self.qmp["mode"], self.qmp["vcpus"]),
                         (True, "on", 2))
        self.assertGreater(self.qmp["faults"]["speculative"], 1000)

    def test_domstats_has_each_vcpus_counters(self):
        """libvirt drops histograms, and names the kind of each counter."""
        found = {k: int(v) for k, v in re.findall(r"^ *(vcpu\.\d+\.\S+)=(\d+)$",
                                                  self.seen["domstats"], re.M)}

        def of(name):
            return [found[f"vcpu.{n}.{name}"] for n in range(2)]

        for section, prefix in (("faults", "hva_fault"), ("aborts", "spf_abort")):
            self.assertEqual({n: sum(of(f"{prefix}_{n.replace('-', '_')}.sum"))
                              for n in self.qmp[section]},
                             self.qmp[section])
        latency = self.qmp["latency"]
        self.assertEqual(sum(of("hva_fault_ns_sum.sum")), latency["sum-ns"])
        self.assertEqual(max(of("hva_fault_ns_max.max")), latency["max-ns"])
        self.assertNotIn("hist", self.seen["domstats"])

    def check_json(self, vm, qmp_has):
        self.assertEqual((vm["domain"], vm["source"]), ("db1", "libvirt:db1"))
        for name in qmp_has:
            self.assertEqual(vm[name], self.qmp[name])
        for name in ("faults", "aborts"):
            for key, value in vm[name].items():
                self.assertEqual(sum(vcpu[name][key] for vcpu in vm["per-vcpu"]), value)
        self.assertEqual([vcpu["index"] for vcpu in vm["per-vcpu"]], [0, 1])

    def test_spfctl_json_from_libvirts_statistics(self):
        vm, = self.seen["json"]["vms"]
        self.check_json(vm, ("available", "vcpus", "faults", "aborts"))
        self.assertNotIn("mode", vm)
        self.assertEqual(vm["latency"],
                         {name: self.qmp["latency"][name] for name in ("sum-ns", "max-ns")})

    def test_spfctl_json_over_the_monitor(self):
        vm, = self.seen["monitor"]["vms"]
        self.check_json(vm, ("available", "mode", "vcpus", "faults", "aborts"))
        for name in ("count", "sum-ns", "max-ns", "buckets"):
            self.assertEqual(vm["latency"][name], self.qmp["latency"][name])
        buckets, count = vm["latency"]["buckets"], vm["latency"]["count"]
        self.assertEqual(count, sum(buckets))
        for percent in (50, 99):
            enough = next(b for b in range(32) if sum(buckets[:b + 1]) >= count * percent / 100)
            self.assertLess(enough, 31)
            self.assertEqual(vm["latency"][f"p{percent}-ns"], 2 ** enough - 1)

    def test_only_the_monitor_taints(self):
        self.assertEqual([self.seen[when] for when in ("tainted by reading",
                                                       "tainted by the monitor")], [False, True])

    def test_spfctl_prometheus(self):
        from prometheus_client.parser import text_string_to_metric_families
        for text, has_histogram in ((self.seen["prometheus"], False),
                                    (self.seen["monitor prometheus"], True)):
            libvirt, *samples = [s for family in text_string_to_metric_families(text)
                                 for s in family.samples]
            self.assertEqual((libvirt.name, libvirt.value), ("kvmspf_libvirt_up", 1))
            self.assertEqual({(s.labels["domain"], s.labels["source"]) for s in samples},
                             {("db1", "libvirt:db1")})
            for name, label in (("faults", "tier"), ("aborts", "reason")):
                self.assertEqual({s.labels[label]: s.value for s in samples
                                  if s.name == f"kvmspf_{name}_total"},
                                 self.qmp[name])
            self.assertEqual([s.value for s in samples if s.name.endswith("_seconds_count")],
                             [sum(self.qmp["latency"]["buckets"])] if has_histogram else [])

    def test_storms_are_waited_for(self):
        """QEMU's own event, over a socket and through libvirt, which taints nothing."""
        self.assertFalse(self.seen["storm, tainted"])
        for (out, errors, status), count in zip(self.seen["storm"], (1, 2)):
            self.assertEqual((errors, status, len(out.splitlines())), ("", 0, count))
            for line in out.splitlines():
                self.assertRegex(line, r"^\S+Z db1 mmap-lock \d+/s threshold 100/s mode off mainly "
                                       r"\S+$")

    def test_spfctl_sets_the_mode_of_a_paused_domain(self):
        """No fault was speculative, from the guest's first instruction on."""
        first = self.seen["vma-lock"]
        self.assertEqual((first["mode"], first["faults"]["speculative"]), ("vma-lock", 0))
        self.assertGreater(first["faults"]["vma-lock"], 1000)

    def test_spfctl_table_of_a_guest_that_boots(self):
        """libvirt's delay is over after the first row.  The last row may be cut off, because spfctl
        was ended."""
        head, *rows = self.seen["table"].splitlines(keepends=True)
        self.assertRegex(head, "^VM +MODE +VCPUS +FAST/s +SPECUL/s")
        self.assertGreater(len(rows), 2)
        for row in rows[:-1]:
            self.assertRegex(row, r"^db1 +- +2( +\d+){5} \S+ +- +- +\d[\d.]*(ns|us|ms|s)\n$")
        self.assertGreater(max(int(row.split()[4]) for row in rows[:-1]), 0)

    def test_spfctl_goes_on_without_a_qemu_that_stands_still(self):
        errors, vms = self.seen["stuck"]
        self.assertEqual(errors, "spfctl: libvirt:db1: no answer from libvirt within 5 s\n")
        self.assertEqual([vm["error"] for vm in vms], ["no answer from libvirt within 5 s"])

    def test_spfctl_says_that_a_domain_is_gone(self):
        self.assertEqual(self.seen["gone"], "spfctl: db1: no VM of this name was found\n")


if __name__ == "__main__":
    unittest.main()

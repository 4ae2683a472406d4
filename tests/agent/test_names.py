# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers and abort reasons have the names of bench/lib/fault_names.h in QMP, in KVM and in
Python."""

import re
import unittest

from tests.lib import fault_names
from spf import kvmparam, paths


def added(series):
    """All lines that the patches add, without the sign."""
    patches = sorted((paths.ROOT / series).glob("*/*.patch"))
    text = "".join(p.read_text(encoding="utf-8", errors="replace") for p in patches)
    return "\n".join(line[1:] for line in text.splitlines() if line.startswith("+"))


class Names(unittest.TestCase):
    def setUp(self):
        self.tiers, self.aborts = fault_names.rows("TIER"), fault_names.rows("ABORT")
        self.assertEqual((len(self.tiers), len(self.aborts)), (4, 8))

    def test_qmp(self):
        text = added("qemu-patches")
        for struct, table in (("KvmSpfFaults", self.tiers), ("KvmSpfAborts", self.aborts),
                              ("KvmSpfFaultRates", self.tiers), ("KvmSpfAbortRates", self.aborts)):
            data = re.search(rf"'struct': '{struct}',\s+'data': \{{(.*?)\}}", text, re.S)[1]
            self.assertEqual(re.findall(r"'([\w-]+)':", data), [qmp for _, qmp, _ in table], struct)

    def test_statistics_of_kvm(self):
        """KVM has a descriptor for each, in this order."""
        text = added("kvm-patches")
        for prefix, table in (("hva_fault_", self.tiers), ("spf_abort_", self.aborts)):
            found = re.findall(rf"STATS_DESC_COUNTER\(VCPU_GENERIC, {prefix}(\w+)\)", text)
            each = list(dict.fromkeys(found))   # each series has them once
            self.assertEqual(each[:len(table)], [kvm for _, _, kvm in table], prefix)

    def test_python(self):
        self.assertEqual(list(kvmparam.TIERS), ["hva_fault_" + kvm for _, _, kvm in self.tiers])
        self.assertEqual(list(kvmparam.ABORTS), ["spf_abort_" + kvm for _, _, kvm in self.aborts])

    def test_a_name_is_one_name(self):
        """QMP has hyphens where KVM has underscores, and no other difference."""
        for name, qmp, kvm in self.tiers + self.aborts:
            self.assertEqual((qmp.replace("-", "_"), name.lower()), (kvm, kvm))


if __name__ == "__main__":
    unittest.main()

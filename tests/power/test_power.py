# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM HV with radix on emulated POWER: faults of guest memory by every tier in every mode, and exact accounts."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf import build, lab_power, meson, patches, paths, setup, ui  # noqa: E402

LIMIT = 600


def setUpModule():
    if not any("PPC" in p.name for p in patches.series("linux")):
        raise unittest.SkipTest("the kernel series has no POWER part")
    setup.ready()
    lab_power.bring_up_to_date("patched")


class Power(unittest.TestCase):
    def every_mode(self, kernel, model):
        result = lab_power.Power(kernel, model, timeout=LIMIT).run([meson.bench_power() / "tests/power/radix_faults"])
        for line in result.out.decode(errors="replace").splitlines():
            print(f"# {line}")
        self.assertEqual((result.kind, result.status), ("exit", 0), f"{result.what}; see {ui.shown(result.console)}")
        # Among them would be "BUG: Bad rss-counter state" and "BUG: non-zero pgtables_bytes".
        self.assertEqual(result.trouble, [])

    def test_power9(self):
        self.every_mode("patched", "powernv9")

    def test_power10(self):
        self.every_mode("patched", "powernv10")

    def test_power9_with_4k_pages(self):
        if not paths.kernel(lab_power.KERNELS["4k"], "vmlinux").exists():
            self.skipTest("a second kernel is not built for this: kvmspf build linux-power4k")
        build.build("linux-power4k")
        self.every_mode("4k", "powernv9")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of a storm of faults in every mode, for hosts of other kinds than x86 with NPT."""

import json

VCPUS = 2
WORDS = ("--mode", "off,vma-lock,on", "--vcpus", str(VCPUS), "--neighbour", "mprotect", "--json",
         "-")


def check(case, said, pages):
    """Two vCPUs in a VMM that is busy with its address space: only the first fault of each may take
    the mmap_lock, while the memory has no anon_vma yet."""
    for run in json.loads(said)["runs"]:
        print(f"# {run['mode']}: {run['tiers']}")
        case.assertEqual((run["touched"], run["verified"], run["wrong"]), (pages, pages, 0), run)
        if run["mode"] == "off":
            case.assertGreaterEqual(run["tiers"]["mmap_lock"], pages, run)
        else:
            case.assertLessEqual(run["tiers"]["mmap_lock"], VCPUS, run)
        case.assertEqual(run["tiers"]["speculative"] > 0, run["mode"] == "on", run)

# SPDX-License-Identifier: GPL-2.0-or-later
"""A storm of faults on a host that is not x86 with NPT, in every mode: what groups of several architectures ask of it."""

import json

WORDS = ("--mode", "off,vma-lock,on", "--vcpus", "2", "--neighbour", "mprotect", "--json", "-")


def check(case, said, pages):
    """Two vCPUs in a VMM that is busy with its address space: none of their faults takes the mmap_lock."""
    for run in json.loads(said)["runs"]:
        print(f"# {run['mode']}: {run['tiers']}")
        case.assertEqual((run["touched"], run["verified"], run["wrong"]), (pages, pages, 0), run)
        case.assertEqual(run["tiers"]["mmap_lock"] == 0, run["mode"] != "off", run)
        case.assertEqual(run["tiers"]["speculative"] > 0, run["mode"] == "on", run)

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the kernel's own tests with speculation off and on, and show where they differ.  They should
not.

off: kvm.speculative_faults=0, vm.speculative_user_faults=0; on: 2 and 1.  Each setting is a boot of
the lab.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.suites import outcomes  # noqa: E402
from spf import arguments, paths, series, ui  # noqa: E402
from spf.build import targets  # noqa: E402
from spf.lab import x86  # noqa: E402

SETTINGS = ("off", "on")
# The categories of run_vmtests.sh that have to do with page faults; vmalloc and hmm need modules.
MM = """mmap gup_test userfaultfd compaction mlock mremap madv_populate process_mrelease
ksm ksm_numa pkey soft_dirty pagemap cow thp hugetlb migration mkdirty mdwe""".split()
LIMIT = 4 * 3600
# By default these take an amount of memory and a number of rounds that are too large for an
# emulated machine.
LESS = {"access_tracking_perf_test": "-b 16M", "demand_paging_test": "-b 16M",
        "dirty_log_perf_test": "-b 16M",
        "dirty_log_test": "-i 3", "kvm_page_table_test": "-b 16M",
        "max_guest_memory_test": "-c 2 -m 1 -s 1",
        "memslot_modification_stress_test": "-b 16M -i 1000", "memslot_perf_test": "-l 1 -s 512"}


def programs():
    """All of selftests/kvm."""
    folder = series.out("selftests-patched")
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return [f"{name} {LESS[name]}" if name in LESS else name for name in names]


def setting(name, folder, names, kernel):
    """{test: result}, seconds and speculative faults by test"""
    machine = x86.Lab(kernel, cpus=2, numa=2, memory=4 << 30, timeout=LIMIT, stall=300)
    log = paths.LOG / f"suites-{folder.name}-{name}.log"
    with open(log, "wb", buffering=0) as out:
        done = machine.run(["/usr/bin/python3", HERE / "lab_suites.py", name, folder, *names],
                           stderr=out.write)
    if done.kind != "exit" or done.status:
        raise ui.Fail(f"{name}: {done.what or f'status {done.status}'}",
                      f"see {ui.shown(log)}, {ui.shown(done.console)}")
    results, seconds, speculative = {}, {}, {}
    for said in map(json.loads, done.out.decode().splitlines()):
        test = said["test"]
        results[test] = said["result"]
        if "seconds" in said:
            seconds[test], speculative[test] = said["seconds"], said["speculative"]
    for trouble in done.trouble:
        results[f"the kernel: {trouble.split('] ', 1)[-1]}"] = "said"
    return results, seconds, speculative


def run(suite, names, kernel="patched"):
    """{setting: what setting() returns}"""
    targets.bring_up_to_date(kernel)
    target = {"kvm": "selftests", "mm": "mmtests"}[suite]
    targets.build(target)
    folder = series.out(f"{target}-patched")
    return {name: setting(name, folder, names or (MM if suite == "mm" else programs()), kernel)
            for name in SETTINGS}


def note(name, seconds, speculative):
    text = f"{sum(seconds.values()):.0f} s, {sum(speculative.values())} speculative faults"
    # With speculation off, these are faults of tests that turn it on for VMs of their own.
    who = [f"{test} {count}" for test, count in speculative.items() if count]
    return text + (f" ({', '.join(who)})" if who and name == "off" else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.add_argument("suite", choices=("kvm", "mm"), help="selftests/kvm, or selftests/mm")
    parser.add_argument("name", nargs="*", help="only these: programs (kvm; with arguments: one "
                                                "word), or categories of "
                        "run_vmtests.sh (mm)")
    parser.add_argument("--kernel", default="patched")
    args = parser.parse_args()
    ui.need_root()
    found = run(args.suite, args.name, args.kernel)
    notes = {name: note(name, seconds, speculative)
             for name, (_, seconds, speculative) in found.items()}
    return outcomes.tell({name: results for name, (results, _, _) in found.items()}, notes=notes)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        sys.exit(f"suites: {failure}")

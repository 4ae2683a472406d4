#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Break a rule of the design in the kernel, and see whether the torture finds out.

A torture that finds nothing planted proves nothing.  planted.patch goes on top of the patched
kernel: it makes the races wide, breaks one rule when it is told to, and warns of a table or a
policy that is freed too early, and of a fault that comes to its end too late, where the torture
itself cannot see it.  With nothing broken, the same mutations must find nothing.
"""

import argparse
import random
import re
import sys
import time
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.lib import native  # noqa: E402
from tests.torture import torture  # noqa: E402
from tests.torture.torture import series, targets, ui  # noqa: E402
from spf import arguments  # noqa: E402

# Microseconds: as long as a mutation takes, so that all of one has its place in the window of one
# fault.
STRETCH = 8000
# thp: transparent_hugepage/enabled; mthp: the same of folios of 64 KiB; program: it runs in the
# place of the torture, with these words.
Rule = namedtuple("Rule", "words found thp mthp program stretch",
                  defaults=["always", "never", None, STRETCH])
LATE = r"torture: .*(not the file's|can be read|not by us|zero is)"
# Reports of a page that stays mapped in the guest: by the code that takes it away, by a vCPU that
# finds it, or by its contents.
LEAF = rf"\b(spf_look_at_leaves|kvm_tdp_mmu_map)\b|{LATE}"
# For each rule the mutations that test it hardest, since other mutations only take time from them,
# and the report that shows it broken: a machine that hangs proves nothing.
RULES = {
    "nothing": Rule(["file", "forbid", "unmap", "protect", "replace", "bind", "dontneed",
                     "userfaultfd"], None),
    "sequence-check": Rule(["file", "forbid", "unmap", "protect"], LATE),
    "check-before-lock": Rule(["file", "forbid", "unmap", "protect"], LATE),
    "irqs-on": Rule(["unmap", "replace"], r"\bspf_look_at_table\b"),
    # The same where RCU frees all page tables but those that a huge page has in reserve.
    "deposit-freed": Rule(["60"], r"\bspf_look_at_table\b", "madvise", program="deposited"),
    # These words leave the memory as it was set up.  A huge page is no speculative fault.
    "policy-freed": Rule(["bind", "dontneed"], r"\bspf_look_at_policy\b", "madvise"),
    "no-drain": Rule(["userfaultfd"], r"\bspf_registered\b"),
    "stale-page": Rule(["replace", "dontneed", "hugepage"], r"\bspf_look_at_page\b"),
    # If another thread holds the lock too, the second drop goes unseen until somebody takes the
    # rwsem and finds its count below zero.
    "lock-gone": Rule(["userfaultfd"], r"\b(spf_look_at_lock|locking/rwsem\.c)\b"),
    # From 6.15 on the memory of a VMA may be used again at once.
    "vma-freed": Rule(["unmap", "replace", "protect"], r"\bspf_look_at_vma\b"),
    # Only some series let a vCPU try the VMA of its last look-up first.  A huge page is no
    # speculative fault.
    "hint-seq": Rule(["unmap", "replace"], r"\bspf_look_at_hint\b", "madvise", stretch=200),
    "hint-late": Rule(["unmap", "replace"], r"\bspf_look_at_hint\b", "madvise", stretch=200),
    # Reports of a page mapped without mmu_lock, which only some series do; huge pages are never
    # mapped so.  With folios of 64 KiB most of them are mapped around the page of a fault.
    "leaf-recheck": Rule(["protect", "forbid"], LEAF, "never", "always"),
    "leaf-barrier": Rule(["protect", "forbid"], LEAF, "never"),
    # Two vCPUs must be in the window of one page, with a discard in between: the torture, which has
    # many pages, has not found it in 97 s.  The window ends as soon as both are in it: with one of
    # random length the selftest found it in 2 of 9 runs beside other work.
    "leaf-id": Rule([], r"\bkvm_tdp_mmu_map\b|value >= before", "never",
                    program="tdp_leaf_test", stretch=1000),
    "leaf-steal": Rule(["protect", "forbid"], LEAF, "never"),
    # Only a write-protected neighbour of the faulting page shows it.
    "leaf-around": Rule(["-r", "0"], r"may not write to was written", "never",
                        program="tdp_leaf_test"),
    # Of a folio of 64 KiB all pages must be absent: not in every series.  The pages that a folio
    # replaces are missed when the program ends, or KVM finds another page where one is mapped.  In
    # 30 s with windows of 8 ms five pages were missed, and with 0.1 ms 35.
    "range-check": Rule(["dontneed"], r"\bBad rss-counter state\b|\bBUG at .*/tdp_mmu\.c", "never",
                        "always", stretch=200),
}


def places():
    """The rules that the series in use has in its enum spf_planted, with their places there."""
    patch = series.of("linux").folder / "planted.patch"
    names = re.findall(r"^\+\tSPF_([A-Z_]+),", patch.read_text(), re.M)
    return {name.lower().replace("_", "-"): place for place, name in enumerate(names)}


def program(name):
    """A selftest of the kernel's, or a program of ours."""
    selftest = series.out("selftests-patched") / name
    return selftest if selftest.exists() else native.program(name)


def find(rule, seed, seconds, kernel="planted", broken=True):
    """Run the torture on a kernel that breaks this rule; return the report, or "", and how long it
    took.  A rule's own program has neither a seed nor this limit."""
    start = time.monotonic()
    settings = {"stretch": RULES[rule].stretch, "planted": places()[rule] if broken else 0,
                "thp": RULES[rule].thp, "mthp": RULES[rule].mthp}
    if RULES[rule].program:
        done = torture.npt(kernel, seconds + 600, settings).run(
            [torture.HERE / "inside", program(RULES[rule].program), *RULES[rule].words])
        said, wrong = done.out.decode(errors="replace").strip(), torture.complaint(done)
        if not done.trouble:
            # The assertion is in one of its lines.
            wrong = " ".join(wrong.split())
    else:
        said, wrong = torture.run(kernel, seed, seconds, ["--regions", "2", *RULES[rule].words],
                                  **settings)
    return said, wrong, time.monotonic() - start


def is_it(rule, wrong):
    """Whether that is what the broken rule leads to; a stack that happens to have its name in it is
    not."""
    return bool(re.search(RULES[rule].found, wrong.partition("\n")[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.add_argument("rule", nargs="*", help=f"of {', '.join(RULES)} (default: all)")
    parser.add_argument("--seconds", type=int, default=100, help="to find it in (default 100)")
    parser.add_argument("--seed", type=int, help="(default: a random one)")
    series.option(parser)
    parser.add_argument("--kernel", default="planted", help="or planted-preempt (default planted)")
    args = parser.parse_args()
    series.use(args.series)
    if bad := set(args.rule) - set(RULES):
        parser.error(f"there is no rule {', '.join(bad)}; the rules are {', '.join(RULES)}")
    if absent := set(args.rule) - set(places()):
        parser.error(f"{series.of('linux').name} has no rule {', '.join(absent)}")
    targets.bring_up_to_date(args.kernel)
    rules = args.rule or list(places())
    if any(RULES[rule].program for rule in rules):
        targets.build("selftests")
    missed = 0
    for rule in rules:
        seed = random.randrange(1 << 32) if args.seed is None else args.seed
        said, wrong, took = find(rule, seed, args.seconds, args.kernel)
        missed += bool(wrong) if rule == "nothing" else not is_it(rule, wrong)
        print(f"{rule}: seed {seed}, {took:.0f} s: {wrong or 'nothing found: ' + said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        print(f"planted: {failure}", file=sys.stderr)
        sys.exit(failure.status)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Run what stands for each group of tests, but what has passed since anything was changed; or all of the groups named.  A group
is a folder of tests/; TAP goes out, the last line counts."""

import argparse
import os
import re
import signal
import subprocess
import time

from spf import limits, paths, series, ui
from spf.source import apt, setup
from spf.testing import tap, unchanged

TESTS = paths.ROOT / "tests"
# Cheap ones first; the torture last, which takes what time there is, and always: it is random on purpose, and that it has passed
# does not say that it will.  Groups that are not named here come before it.
ORDER = "unit patches lab qemu libvirt agent bench compare power ept simulated matrix model".split()
LAST = ["torture"]
SKIPPED = 77
# How much of each group: what stands for it, or all.  tests/lib/depth.py asks.
DEPTH = "KVMSPF_DEPTH"
LIMIT, LONG_LIMIT = 2700, 6 * 3600
PYTHON = "/usr/bin/python3"


def groups():
    found = {d.name for d in TESTS.iterdir() if d.is_dir() and programs(d.name)} if TESTS.is_dir() else set()
    return [g for g in ORDER if g in found] + sorted(found - set(ORDER + LAST)) + [g for g in LAST if g in found]


def programs(group):
    """test_*.py are unittest modules; any other executable test_* speaks TAP, or only by its exit status."""
    return sorted(p for p in (TESTS / group).glob("test_*")
                  if p.is_file() and (p.suffix == ".py" or os.access(p, os.X_OK)))


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = self.unchanged = 0

    def __str__(self):
        unchanged = f", {self.unchanged} unchanged" if self.unchanged else ""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped{unchanged}"

    def number(self):
        return self.passed + self.failed + self.skipped + self.unchanged

    def leave(self, name, when):
        self.unchanged += 1
        print(f"ok {self.number()} - {name} # SKIP unchanged since it passed, {when}", flush=True)

    def tell(self, good, name, skip=None, note=""):
        number = self.number() + 1
        if skip is not None:
            self.skipped += 1
            line = f"ok {number} - {name} # SKIP {skip}"
        elif good:
            self.passed += 1
            line = f"ok {number} - {name}{note}"
        else:
            self.failed += 1
            line = f"not ok {number} - {name}{note}"
        print(line, flush=True)


def label_of(program):
    return f"{program.parent.name}/{program.stem.removeprefix('test_')}"


def command(program, words):
    if program.suffix == ".py":
        return [PYTHON, "-m", "spf.testing.tap", f"tests.{program.parent.name}.{program.stem}", *words]
    return [str(program)]


def run_program(program, count, limit, words=()):
    """Whether all of it passed; words: as tap has them."""
    label = label_of(program)
    before = count.number()
    bad = count.failed + count.skipped
    tail = []
    environment = os.environ | {"PYTHONPATH": f"{paths.ROOT}:{paths.SCRIPTS}", "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(command(program, words), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", cwd=paths.ROOT, start_new_session=True,
                             preexec_fn=ui.die_with_parent)
    previous = signal.signal(signal.SIGALRM, lambda *_: os.killpg(child.pid, signal.SIGTERM))
    signal.alarm(limit)
    start = time.monotonic()
    try:
        for line in child.stdout:
            line = line.rstrip("\n")
            found = re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*?)(?:\s*#\s*SKIP\s*(.*))?$", line, re.I)
            if found:
                count.tell(not found[1], f"{label}: {found[2]}", found[3])
            elif not re.match(r"(1\.\.\d+|TAP version)", line):
                tail = (tail + [line])[-40:]
                if line.startswith("#"):
                    print(line, flush=True)
        status = child.wait()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        child.stdout.close()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    took = time.monotonic() - start
    if status == tap.NONE and words:
        return False
    if count.number() == before:
        reason = (tail or ["no reason given"])[-1].lstrip("# ")
        count.tell(status == 0, label, reason if status == SKIPPED else None, f" ({took:.1f} s)")
    elif status not in (0, 1, SKIPPED):
        count.tell(False, f"{label}: ended with status {status}" + (f" (limit {limit} s)" if took >= limit else ""))
    if status not in (0, SKIPPED):
        for line in tail:
            if not line.startswith("#"):
                print(f"# {line}", flush=True)
    print(f"# {label} took {ui.duration(took)}", flush=True)
    return count.failed + count.skipped == bad


# -- the verb --

def parser(known):
    p = argparse.ArgumentParser(prog="kvmspf test", description=__doc__, epilog=f"groups: {' '.join(known)}")
    p.add_argument("group", nargs="*", help="all of these, whatever has passed before")
    p.add_argument("-k", dest="words", metavar="WORD", action="append", default=[],
                   help="only tests with WORD in their names; may be given more than once")
    p.add_argument("--long", action="store_true", help="all of every group: hours (docs/testing.md)")
    p.add_argument("--list", action="store_true", help="name the programs, and how long each took here last")
    p.add_argument("--limit", type=limits.seconds, default=0,
                   help=f"seconds for one test program (default {LIMIT}; with --long or a group {LONG_LIMIT})")
    series.option(p)
    return p


def took(program, depth):
    seconds = ui.recall(f"took-{depth}-{label_of(program)}").get("seconds")
    return "-" if seconds is None else ui.duration(seconds)


def show(known):
    rows = [["program", "core", "all of it"]]
    rows += [[label_of(program), *(took(program, depth) for depth in unchanged.DEPTHS)] for group in known for program in programs(group)]
    width = max(len(row[0]) for row in rows)
    print("\n".join(f"{name:{width}}  {core:>9}  {whole:>9}" for name, core, whole in rows))


def main(argv):
    known = groups()
    args = parser(known).parse_args(argv)
    series.use(args.series)
    if args.list:
        show(known)
        return 0
    unknown = [g for g in args.group if g not in known]
    if unknown:
        raise ui.Fail(f"there is no test group '{unknown[0]}'", f"the groups are {' '.join(known)}", 2)
    depth = unchanged.LONG if args.long or args.group else unchanged.CORE
    os.environ[DEPTH] = depth
    setup.check_machine()
    # lintian, of test agent, may bring a newer perl: a change to all that has passed before it.
    apt.packages([*apt.PACKAGES, "lintian"])
    count = Count()
    inputs = unchanged.everything()
    for group in args.group or known:
        for program in programs(group):
            if args.words and not (program.suffix == ".py" or any(word in label_of(program) for word in args.words)):
                continue
            chosen = args.group or args.words or group in LAST
            when = None if chosen else unchanged.since(program, depth, inputs)
            if when:
                count.leave(label_of(program), when)
                continue
            if not args.words:
                unchanged.forget(program)
            began = time.monotonic()
            good = run_program(program, count, args.limit or (LIMIT if depth == unchanged.CORE else LONG_LIMIT), args.words)
            if good and not args.words:
                ui.remember(f"took-{depth}-{label_of(program)}", seconds=round(time.monotonic() - began, 1))
                if inputs and inputs == unchanged.everything():
                    unchanged.passed(program, depth, inputs)
    if args.words and not count.number():
        raise ui.Fail(f"no test has {' or '.join(args.words)} in its name", "the output of kvmspf test has the names", 2)
    print(count, flush=True)
    return 1 if count.failed or not count.passed else 0

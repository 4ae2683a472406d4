# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the groups of tests named, or all of them but what has passed since anything was changed.  A group is a folder of
tests/; TAP goes out, the last line counts."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time

if __name__ == "__main__":
    sys.path[0] = os.path.abspath(__file__).rsplit("/", 3)[0]

from spf import paths, series, ui  # noqa: E402
from spf.testing import unchanged  # noqa: E402

TESTS = paths.ROOT / "tests"
# Cheap ones first; the torture last, which takes what time there is, and always: it is random on purpose, and that it has passed
# does not say that it will.  Groups that are not named here come before it.
ORDER = "unit patches lab qemu libvirt agent bench compare power ept matrix model".split()
LAST = ["torture"]
SKIPPED = 77
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


def run_program(program, group, count, limit):
    label = f"{group}/{program.stem.removeprefix('test_')}"
    words = [PYTHON, __file__, str(program)] if program.suffix == ".py" else [str(program)]
    before = count.number()
    bad = count.failed + count.skipped
    tail = []
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
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


# -- a unittest module as TAP --

def tap(program):
    import importlib.util
    import unittest

    class Result(unittest.TestResult):
        number = 0

        def line(self, good, test, more=""):
            self.number += 1
            name = test.id().removeprefix(program_name + ".") if hasattr(test, "id") else str(test)
            print(f"{'' if good else 'not '}ok {self.number} - {name}{more}", flush=True)

        def addSuccess(self, test):
            self.line(True, test)

        def addSkip(self, test, reason):
            self.line(True, test, f" # SKIP {reason}")

        def addFailure(self, test, err):
            super().addFailure(test, err)
            self.line(False, test)
            for text in self.failures[-1][1].splitlines():
                print(f"# {text}", flush=True)

        def addError(self, test, err):
            super().addError(test, err)
            self.line(False, test)
            for text in self.errors[-1][1].splitlines():
                print(f"# {text}", flush=True)

        def addExpectedFailure(self, test, err):
            self.line(True, test)

        def addUnexpectedSuccess(self, test):
            self.line(False, test, " (expected to fail)")
            self.failures.append((test, ""))

        def addSubTest(self, test, subtest, err):
            if err is not None:
                self.addFailure(subtest, err)

    def stop(number, _frame):
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, stop)
    program_name = os.path.splitext(os.path.basename(program))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
    spec = importlib.util.spec_from_file_location(program_name, program)
    module = importlib.util.module_from_spec(spec)
    sys.modules[program_name] = module
    try:
        spec.loader.exec_module(module)
    except unittest.SkipTest as skip:
        print(f"ok 1 - {program_name} # SKIP {skip}")
        return 0
    result = Result()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    return 0 if result.wasSuccessful() else 1


# -- the verb --

def main(argv):
    known = groups()
    p = argparse.ArgumentParser(prog="kvmspf test", description=__doc__, epilog=f"groups: {' '.join(known)}")
    p.add_argument("group", nargs="*")
    p.add_argument("--list", action="store_true", help="name the groups and their programs")
    p.add_argument("--limit", type=int, default=2700, help="seconds for one test program (default 2700)")
    series.option(p)
    args = p.parse_args(argv)
    series.use(args.series)
    if args.list:
        for group in known:
            print(group, *[f.name for f in programs(group)])
        return 0
    unknown = [g for g in args.group if g not in known]
    if unknown:
        raise ui.Fail(f"there is no test group '{unknown[0]}'", f"the groups are {' '.join(known)}", 2)
    from spf.source import apt, setup
    setup.check_machine()
    # lintian, of test agent, may bring a newer perl: a change to all that has passed before it.
    apt.packages([*apt.PACKAGES, "lintian"])
    count = Count()
    os.environ["KVMSPF_TEST_BEGAN"] = str(time.monotonic())
    inputs = unchanged.everything()
    for group in args.group or known:
        for program in programs(group):
            when = None if args.group or group in LAST else unchanged.since(program, inputs)
            if when:
                count.leave(f"{group}/{program.stem.removeprefix('test_')}", when)
                continue
            unchanged.forget(program)
            if run_program(program, group, count, args.limit) and inputs and inputs == unchanged.everything():
                unchanged.passed(program, inputs)
    print(count, flush=True)
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(tap(sys.argv[1]))

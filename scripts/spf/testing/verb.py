# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the core of each group of tests, and skip programs that passed with the same files; or run
all tests of the groups named.  A group is a folder of tests/.  The output is TAP, and its last line
counts the tests.  One program that needs at most one CPU runs beside one that emulates a machine of
two.  The core's builds run ahead of the programs that need them."""

import concurrent.futures
import contextlib
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections import namedtuple

from spf import arguments, limits, paths, series, ui
from spf.source import apt, setup
from spf.testing import tap, unchanged

TESTS = paths.ROOT / "tests"
# What `kvmspf test --list` printed on another machine.
TIMES = TESTS / "times"
# What says most about the kernel series comes first: there may be no time for the last.  Groups
# that are not named here follow.
ORDER = ("unit patches lab faults matrix torture waits qemu libvirt agent bench compare power ept "
         "simulated model").split()
# It is random on purpose, so that an earlier pass does not mean that it passes again.
ALWAYS = {"torture"}
# These groups emulate no machine, or one of a single CPU.  Their programs run one after the other
# beside the rest.  Those of the second tuple begin when the core is built: until then a build keeps
# all CPUs busy, and the machines wait for it.
BESIDE = ("unit",), ("patches", "model", "spfctl", "ept")
# The programs of these groups compile and search for minutes, and have no deadlines.  Machines,
# whose guests have some, go first.
PATIENT = {"patches", "model"}
# The core's targets, in the order in which its programs need them.
AHEAD = ("qemu", "linux-patched", "selftests", "linux-power", "linux-planted")
# The targets of each other kernel series, which tests/series needs, and what tells it why they were
# not built.
OTHERS, NO_OTHERS = ("linux-patched", "selftests"), "KVMSPF_NO_OTHERS"
# CI stops a run that takes too long, and its results are lost.  This many minutes after its start a
# run begins no further program.
MINUTES = "KVMSPF_TEST_MINUTES"
SKIPPED = 77
# How much of each group to run: its core, or all. tests/lib/depth.py reads it.
DEPTH = "KVMSPF_DEPTH"
LIMIT, LONG_LIMIT = 2700, 6 * 3600
PYTHON = "/usr/bin/python3"


def groups():
    found = {d.name for d in TESTS.iterdir() if d.is_dir() and programs(d.name)} \
        if TESTS.is_dir() else set()
    return [*(g for g in ORDER if g in found), *sorted(found - set(ORDER))]


def programs(group):
    """The programs of a group.  test_*.py is a unittest module; any other executable test_* prints
    TAP, or has only an exit status."""
    return sorted(p for p in (TESTS / group).glob("test_*")
                  if p.is_file() and (p.suffix == ".py" or os.access(p, os.X_OK)))


class Count:
    """Count the tests of two programs at a time, and print their TAP."""

    def __init__(self):
        self.passed = self.failed = self.skipped = self.unchanged = 0
        self.late = []      # programs for which there was no time
        self.times = []     # (seconds, seconds of CPU, program)
        self.builds = []    # the last line of each build
        self.lock = threading.RLock()

    def __str__(self):
        unchanged = f", {self.unchanged} unchanged" if self.unchanged else ""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped{unchanged}"

    def number(self):
        return self.passed + self.failed + self.skipped + self.unchanged

    def spent(self):
        """Where the time has gone: the ten longest programs, and all builds, ahead of programs or
        within them."""
        longest = sorted(self.times, reverse=True)[:10]
        took, cpu = (ui.duration(sum(row[n] for row in self.times)) for n in (0, 1))
        return [f"all programs took {took}, {cpu} of CPU; the longest:",
                *(f"  {name:24} {ui.duration(seconds):>8} {ui.duration(cpu):>8}"
                  for seconds, cpu, name in longest),
                *(f"  {build}" for build in self.builds),
                *([f"no time for {', '.join(self.late)}"] if self.late else [])]

    def leave(self, name, when):
        with self.lock:
            self.unchanged += 1
            print(f"ok {self.number()} - {name} # SKIP unchanged since it passed, {when}",
                  flush=True)

    def too_late(self, name, minutes):
        self.late.append(name)
        self.tell(True, name, f"too late: {MINUTES} is {minutes}")

    def tell(self, good, name, skip=None, note=""):
        with self.lock:
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

    def note(self, line):
        with self.lock:
            print(line, flush=True)

    def built(self, line):
        """Keep the line, if it says that a build is done."""
        found = re.match(r"(?:# )?kvmspf: (building .*: done in .*)", line)
        if found:
            with self.lock:
                self.builds.append(found[1])


def label_of(program):
    return f"{program.parent.name}/{program.stem.removeprefix('test_')}"


def command(program, words):
    if program.suffix == ".py":
        return [PYTHON, "-m", "spf.testing.tap", f"tests.{program.parent.name}.{program.stem}",
                *words]
    return [str(program)]


def in_the_background():
    """Run builds and patient programs at nice 10.  They get the CPU time that no other program
    needs, and a tenth of a busy CPU: a program may wait for a build on a machine that is busy with
    other work.  To be called in a session of its own."""
    ui.die_with_parent()
    os.nice(10)
    ui.set_session_nice("10")


# How a program ended: its status, and the seconds of CPU that it and its children had.
End = namedtuple("End", "status cpu")


def lines(program, limit, words):
    """Run a program; yield its lines, and then its End."""
    environment = os.environ | {"PYTHONPATH": f"{paths.ROOT}:{paths.SCRIPTS}",
                                "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(command(program, words), env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             errors="replace", cwd=paths.ROOT, start_new_session=True,
                             preexec_fn=in_the_background if program.parent.name in PATIENT
                             else ui.die_with_parent)
    late = threading.Timer(limit, os.killpg, (child.pid, signal.SIGTERM))
    late.start()
    try:
        for line in child.stdout:
            yield line.rstrip("\n")
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        yield End(child.returncode, used.ru_utime + used.ru_stime)
    finally:
        late.cancel()
        child.stdout.close()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def run_program(program, count, limit, words=(), together=False):
    """Run a program; return whether all of it passed.  words: those of tap; together: print its
    lines together once it is over."""
    start = time.monotonic()
    said = lines(program, limit, words)
    if together:
        said = list(said)
    with count.lock if together else contextlib.nullcontext():
        return follow(program, count, limit, words, said, start)


def follow(program, count, limit, words, said, start):
    label = label_of(program)
    results, bad, tail = 0, 0, []
    for line in said:
        if isinstance(line, End):
            status, cpu = line
            break
        found = re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*?)(?:\s*#\s*SKIP\s*(.*))?$", line, re.I)
        if found:
            count.tell(not found[1], f"{label}: {found[2]}", found[3])
            results += 1
            bad += bool(found[1] or found[3] is not None)
        elif not re.match(r"(1\.\.\d+|TAP version)", line):
            tail = (tail + [line])[-40:]
            count.built(line)
            if line.startswith("#"):
                count.note(line)
    took = time.monotonic() - start
    if status == tap.NONE and words:
        return False
    if not results:
        reason = (tail or ["no reason given"])[-1].lstrip("# ")
        count.tell(status == 0, label, reason if status == SKIPPED else None,
                   f" ({took:.1f} s)")
        bad += status != 0
    elif status not in (0, 1, SKIPPED):
        over = f" (limit {limit} s)" if took >= limit else ""
        count.tell(False, f"{label}: ended with status {status}{over}")
        bad += 1
    if status not in (0, SKIPPED):
        for line in tail:
            if not line.startswith("#"):
                count.note(f"# {line}")
    count.note(f"# {label} took {ui.duration(took)}, {ui.duration(cpu)} of CPU")
    count.times.append((took, cpu, label))
    return not bad


# -- builds --

@contextlib.contextmanager
def builds_ahead(count, minutes):
    """Build what the core needs, and then what it needs of other series, unless the former has
    taken half of the run's minutes.  A program that needs the target of a running build waits for
    it; one that needs a later target builds that itself.  A build that fails here fails again in
    the programs that need it.  Yield a function that waits until the series in use is built."""
    over, built, children = threading.Event(), threading.Event(), []

    def build(*words):
        with subprocess.Popen([paths.SCRIPTS / "kvmspf", "build", *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", start_new_session=True,
                              preexec_fn=in_the_background) as child:
            children.append(child)
            if over.is_set():
                child.terminate()
            for line in child.stdout:
                count.built(line)
                if not over.is_set():
                    count.note(f"# {line.rstrip()}")

    def build_all():
        began = time.monotonic()
        try:
            build(*AHEAD)
            took = time.monotonic() - began
            if took > minutes * 60 / 2:
                os.environ[NO_OTHERS] = (f"the core took {ui.duration(took)} to build, more than "
                                         f"half of {minutes} minutes ({MINUTES})")
        finally:
            built.set()
        for one in series.others("linux"):
            if not over.is_set() and NO_OTHERS not in os.environ:
                build("--series", one.name, *OTHERS)

    builder = threading.Thread(target=build_all)
    builder.start()
    try:
        yield built.wait
    finally:
        over.set()
        for child in children:
            child.terminate()
        builder.join()


# -- the verb --

def parser(known):
    p = arguments.Parser(prog="kvmspf test", description=__doc__,
                         epilog=f"groups: {' '.join(known)}")
    p.add_argument("group", nargs="*",
                   help="run all of this group, including programs that passed before")
    p.add_argument("-k", dest="words", metavar="WORD", action="append", default=[],
                   help="only tests with WORD in their names; may be given more than once")
    p.add_argument("--long", action="store_true",
                   help="all of every group: hours (docs/testing.md)")
    p.add_argument("--list", action="store_true",
                   help="list the programs, and how long each took: last here, or (~) on another "
                        "machine; -: not known")
    p.add_argument("--limit", type=limits.seconds, default=0,
                   help=f"seconds for one test program (default {LIMIT}; with --long or a group "
                        f"{LONG_LIMIT})")
    series.option(p)
    return p


def given():
    """How many minutes the user gives the run."""
    text = os.environ.get(MINUTES)
    if text is None:
        return math.inf
    if not text.isdecimal() or not int(text):
        raise ui.Fail(f"{MINUTES} is '{text}', which is no number of minutes",
                      "unset it, or give a whole number above 0", 2)
    return int(text)


def usual():
    """What tests/times says: program -> its times elsewhere, of its core and of all of it."""
    rows = (line.split() for line in TIMES.read_text(encoding="ascii").splitlines())
    return {row[0]: [time.lstrip("~") for time in row[1:]] for row in rows}


def took(program, depth, elsewhere):
    seconds = ui.recall(f"took-{depth}-{label_of(program)}").get("seconds")
    return elsewhere if seconds is None else ui.duration(seconds)


def show(chosen):
    times = usual()
    rows = [["program", "core", "all of it"]]
    for program in (program for group in chosen for program in programs(group)):
        there = times.get(label_of(program), ["-", "-"])
        rows.append([label_of(program), *(took(program, *of) for of in zip(unchanged.DEPTHS, [
            time if time == "-" else f"~{time}" for time in there]))])
    width = max(len(row[0]) for row in rows)
    print("\n".join(f"{name:{width}}  {core:>9}  {whole:>9}" for name, core, whole in rows))


def main(argv):
    known = groups()
    args = parser(known).parse_args(argv)
    start, minutes = time.monotonic(), given()
    series.use(args.series)
    unknown = [g for g in args.group if g not in known]
    if unknown:
        raise ui.Fail(f"there is no test group '{unknown[0]}'",
                      f"the groups are {' '.join(known)}", 2)
    if args.list:
        show(args.group or known)
        return 0
    depth = unchanged.LONG if args.long or args.group else unchanged.CORE
    os.environ[DEPTH] = depth
    if depth == unchanged.CORE:
        os.environ[series.GUEST] = "patched"
    setup.check_machine()
    # lintian, which tests/packages uses, may bring a newer perl.  Install it before the packages
    # are recorded.
    apt.packages([*apt.PACKAGES, "lintian"])
    count = Count()
    inputs = unchanged.everything()

    def each(chosen, together=False):
        for group in chosen:
            for program in programs(group):
                if not stopped.is_set():
                    one(program, group, together)

    def one(program, group, together):
        if args.words and not (program.suffix == ".py"
                               or any(word in label_of(program) for word in args.words)):
            return
        runs = args.group or args.words or group in ALWAYS
        when = None if runs else unchanged.since(program, depth, inputs)
        if when:
            count.leave(label_of(program), when)
            return
        if time.monotonic() - start >= minutes * 60:
            count.too_late(label_of(program), minutes)
            return
        if not args.words:
            unchanged.forget(program)
        began = time.monotonic()
        limit = args.limit or (LIMIT if depth == unchanged.CORE else LONG_LIMIT)
        good = run_program(program, count, limit, args.words, together)
        if good and not args.words:
            ui.remember(f"took-{depth}-{label_of(program)}",
                        seconds=round(time.monotonic() - began, 1))
            if inputs and inputs == unchanged.everything():
                unchanged.passed(program, depth, inputs)

    chosen, stopped = args.group or known, threading.Event()
    at_once, later = ([g for g in groups if g in chosen] for groups in BESIDE)
    machines = [g for g in chosen if g not in at_once + later]

    def run_beside(built):
        each(at_once, bool(machines))
        built()
        each(later, bool(machines))

    ahead = depth == unchanged.CORE and not args.words
    with (concurrent.futures.ThreadPoolExecutor(1) as beside,
          builds_ahead(count, minutes) if ahead else contextlib.nullcontext(lambda: None) as built):
        try:
            over = beside.submit(run_beside, built)
            each(machines)
            over.result()
        except BaseException:
            stopped.set()
            raise
    if args.words and not count.number():
        raise ui.Fail(f"no test has {' or '.join(args.words)} in its name",
                      "the output of kvmspf test has the names", 2)
    print(*(f"# {line}" for line in count.spent()), sep="\n")
    print(count, flush=True)
    return 1 if count.failed or not count.passed else 0

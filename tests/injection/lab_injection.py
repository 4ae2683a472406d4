# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: kill or stop a VMM in a storm of faults, send it signals, take CPUs away, and make
its allocations fail.

lab_injection.py PROGRAMS SEED TIMES CHECK...

PROGRAMS is the folder with `rounds`, `failures` and `torture`.  Prints each action, and ends with a
message at the first error.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/injection")
DEBUG = Path("/sys/kernel/debug")
# Fields of memory.stat that must be 0 once a VMM has ended.  Other memory may be page cache of its
# program.
GONE = ("anon", "shmem", "pagetables", "inactive_anon", "active_anon", "unevictable")
VCPUS = 3
# Mutations of the torture that change the VMM, and not the whole machine.
MUTATIONS = ("replace unmap protect move fork dontneed pageout collapse bind slot "
             "userfaultfd").split()
PATIENCE = 120


def rounds(programs, memory, mib, count=0, *extra):
    return [programs / "rounds", memory, str(mib), str(VCPUS), str(count), *extra]


def qemu():
    """A guest that boots until it finds no root file system."""
    return [os.environ["KVMSPF_QEMU"], "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-accel", "kvm",
            "-cpu", "host,-svm", "-m", "256M", "-smp", "2", "-kernel",
            os.environ["KVMSPF_GUEST_KERNEL"], "-serial", "stdio",
            "-append", "console=ttyS0 loglevel=1 panic=-1"]


# -- a cgroup, which counts what its processes have left behind --

def value(text, name):
    return next(int(line.split()[1]) for line in text.splitlines()
                if line.split()[0].rstrip(":") == name)


def left_behind():
    text = (CGROUP / "memory.stat").read_text()
    left = {name: value(text, name) for name in GONE if value(text, name)}
    swap = int((CGROUP / "memory.swap.current").read_text())
    huge = Path("/proc/meminfo").read_text()
    if swap:
        left["swap"] = swap
    if value(huge, "HugePages_Free") != value(huge,
                                              "HugePages_Total") or value(huge, "HugePages_Rsvd"):
        left["huge pages"] = value(huge, "HugePages_Total") - value(huge, "HugePages_Free")
    return left


@contextlib.contextmanager
def cgroup(limit="max"):
    CGROUP.mkdir()
    (CGROUP / "memory.max").write_text(limit)
    yield
    # Pages may still be in the CPUs' batches for the LRU, tables may wait for RCU, and slots of
    # swap may be in the CPUs' caches.
    end = time.monotonic() + PATIENCE
    Path("/proc/sys/vm/compact_memory").write_text("1")
    subprocess.run(["swapoff", "/dev/zram0"], check=True)
    subprocess.run(["swapon", "/dev/zram0"], check=True)
    while left_behind():
        if time.monotonic() > end:
            raise SystemExit(f"left behind: {left_behind()}")
        time.sleep(0.1)
    CGROUP.rmdir()


def enter():
    (CGROUP / "cgroup.procs").write_text(str(os.getpid()))


def start(words):
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True,
                            preexec_fn=enter)


def ended(child):
    """Wait until the program ends by itself; return its output."""
    out, _ = child.communicate(timeout=PATIENCE)
    if child.returncode:
        raise SystemExit(f"{child.args[0]}: status {child.returncode}: {out}")
    return out.strip()


def disturbed(words, ways):
    """Do and undo each of the ways, again and again, until the program has ended; return a text
    with the number of times."""
    with cgroup():
        child, done = start(words), 0
        while child.poll() is None:
            for do, undo in ways:
                do(child)
                time.sleep(random.uniform(0, 0.05))
                undo(child)
                time.sleep(random.uniform(0, 0.05))
                done += 1
        return f"{done} times: {ended(child)}"


# -- checks --

def killed(programs, times):
    """Kill VMMs at any moment of their lives, from exec() to the middle of a storm: with memory of
    every kind, while they swap, are blocked in a fault or change everything at once, and QEMU."""
    storms = {
        "anon": (rounds(programs, "anon", 24), "max", 1),
        "huge pages": (rounds(programs, "thp", 24), "max", 1),
        "memfd": (rounds(programs, "memfd", 24), "max", 1),
        "hugetlb": (rounds(programs, "hugetlb-shared", 12), "max", 1),
        "swapping": (rounds(programs, "anon", 24), "12M", 2),
        "waiting for userfaultfd": (rounds(programs, "anon", 24, 0, "held"), "max", 1),
        "torture": ([programs / "torture", "--nodes", "2", "--seconds", "3600", *MUTATIONS], "max",
                    3),
        "QEMU": (qemu(), "max", 5),
    }
    for name, (words, limit, longest) in storms.items():
        for _ in range(times):
            with cgroup(limit):
                child = start(words)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(random.uniform(0, longest))
                status = child.poll()
                child.kill()
                out, _ = child.communicate(timeout=PATIENCE)
                # At the cgroup's limit, the OOM killer may have come first.  A guest without a root
                # file system ends by itself.
                if status is not None and status != -signal.SIGKILL and name != "QEMU":
                    raise SystemExit(f"{name} ended by itself, status {status}: {out}")
        print(f"killed: {name}: {times} times")


def interrupted(programs, times):
    for memory in ("anon", "memfd"):
        with cgroup():
            print(f"signals: {memory}: "
                  f"{ended(start(rounds(programs, memory, 12, 3 * times, 'signals')))}")


def paused(programs, times):
    """Stop and freeze a VMM in the middle of a storm, for moments and for longer than a jiffy."""
    freeze = CGROUP / "cgroup.freeze"
    ways = [(lambda child: child.send_signal(signal.SIGSTOP),
             lambda child: child.send_signal(signal.SIGCONT)),
            (lambda _: freeze.write_text("1"), lambda _: freeze.write_text("0"))]
    for memory in ("anon", "memfd"):
        print(f"paused {memory}, {disturbed(rounds(programs, memory, 12, 3 * times), ways)}")


def unplugged(programs, times):
    """Take CPUs away from below the vCPUs, and bring them back."""
    files = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/online"))
    ways = [(lambda _, f=file: f.write_text("0"), lambda _, f=file: f.write_text("1"))
            for file in files]
    print(f"CPUs taken away {disturbed(rounds(programs, 'anon', 6, 2 * times), ways)}")


def failing(programs, _times):
    """Make each allocation of a fault fail, one after the other."""
    for name in ("failslab", "fail_page_alloc", "fail_usercopy"):
        for option, setting in (("verbose", "0"), ("ignore-gfp-wait", "N"),
                                ("ignore-gfp-highmem", "N"),
                                ("min-order", "0")):
            file = DEBUG / name / option
            if file.exists():
                file.write_text(setting)
    with cgroup():
        for line in ended(start([programs / "failures"])).splitlines():
            print(line)


CHECKS = {"killed": killed, "paused": paused, "signals": interrupted, "unplugged": unplugged,
          "failing": failing}


def main(programs, seed, times, *names):
    random.seed(int(seed))
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/proc/sys/vm/nr_hugepages").write_text("8")
    subprocess.run(["sh", "-ec", "echo 256M >/sys/block/zram0/disksize && mkswap -q /dev/zram0 && "
                                 "swapon /dev/zram0"],
                   check=True)
    for name in names:
        CHECKS[name](Path(programs), int(times))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

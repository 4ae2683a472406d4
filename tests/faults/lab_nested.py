# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: the memory of guests of guests (L2), in each mode of the host.

usage: lab_nested.py selftests PERF [LOG]
       lab_nested.py guest INITRAMFS MODE[,npt=0]...
       lab_nested.py shadowed PROGRAM TRIALS

The first runs the kernel's dirty_log_perf_test, and its nested_dirty_log_test, which bring L1 and
L2 along.  The second boots Linux as L1, from an initramfs with rounds of tests/injection, which
runs L2, with npt=0 by shadow paging of its own.  The third runs shadowed of this folder.  Each
prints a line of JSON for each mode.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.faults import lab_async
from tests.lib.console_guest import COMMAND_LINE, Guest
from spf import kvmparam, ui

TRACING = Path("/sys/kernel/tracing")
EVENTS = TRACING / "events"
# Whose fault it is, by a function in its stack.  KVM shadows the page tables that L1 makes for L2;
# L1 itself has those of the TDP MMU.
WHOSE = {"l2": "paging64_page_fault", "l1": "kvm_tdp_page_fault"}
FAULT, LOCK, ENTRY = ("kvm/kvm_hva_fault", "mmap_lock/mmap_lock_start_locking",
                      "kvm/kvm_nested_vmenter")
KEYS = {FAULT: "tier,common_stacktrace", LOCK: "common_stacktrace", ENTRY: "isa"}
# KVM has a fault of its own where it copies from memory of L1 that is swapped out.
OF_KERNEL = "asm_exc_page_fault"
# Called for each memslot as the first page table of L1's is about to be shadowed.
RMAPS = "p:spf/rmaps kvm_page_track_write_tracking_alloc"
KSFT_SKIP = 4
VCPUS, BYTES = 2, 8 << 20
PAGES = VCPUS * BYTES >> 12
MEMORY_MIB, L2_MIB, ROUNDS = 160, 2, 2
# Pages of L1: before it has an L2, while it starts the first, and later.
FRESH_MIB = {"before": 2, "meanwhile": 20, "after": 2}
# Faults of L1 before its first L2 starts.
LEAD = 200
# L2 has been entered so many times when L1's memory is swapped out.
SWAP_AT = (150, 1200)
PROCESS_MADVISE, MADV_PAGEOUT = 440, 21


def trigger(off=""):
    for event, keys in KEYS.items():
        (EVENTS / event / "trigger").write_text(f"{off}hist:keys={keys}:size=4096")


def hist(event):
    said = (EVENTS / event / "hist").read_text()
    if "Dropped: 0\n" not in said:
        raise SystemExit(f"{event} has more keys than its table")
    return said


def entries():
    return sum(map(int, re.findall(r"hitcount:\s+(\d+)", hist(ENTRY))))


def whose(stack):
    return next((one for one, function in WHOSE.items() if function in stack), "other")


def tiers():
    """Whose -> how many faults each tier has resolved."""
    counted = {one: [0] * 4 for one in (*WHOSE, "other")}
    for tier, stack, n in re.findall(r"tier:\s+(\d+), common_stacktrace:(.*?)} hitcount:\s+(\d+)",
                                     hist(FAULT), re.S):
        counted[whose(stack)][int(tier)] += int(n)
    return counted


def locks():
    """How often the mmap_lock was asked for, by faults of a guest's, and by KVM's copies for
    these."""
    counted = {"faults": 0, "copies": 0}
    for stack, n in re.findall(r"common_stacktrace:(.*?)} hitcount:\s+(\d+)", hist(LOCK), re.S):
        if whose(stack) != "other":
            counted["copies" if OF_KERNEL in stack else "faults"] += int(n)
    return counted


class Counts:
    """What the host counts meanwhile."""

    def __enter__(self):
        trigger()
        return self

    def __exit__(self, *_):
        self.found = {"entries": entries(), **tiers(), "locks": locks()}
        trigger("!")


def passes(*words):
    """Whether a selftest has passed; otherwise it cannot be run here."""
    done = subprocess.run(list(map(str, words)), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120, check=False)
    if done.returncode not in (0, KSFT_SKIP):
        raise SystemExit(f"{words}: status {done.returncode}: {done.stdout}")
    return not done.returncode


def selftests(perf, log=None):
    """L2 touches each page of dirty_log_perf_test first, and writes it again while writes are
    logged."""
    for mode, value in kvmparam.MODES.items():
        kvmparam.write(value)
        with Counts() as counts:
            perf_passes = passes(perf, "-n", "-v", VCPUS, "-b", BYTES, "-i", 2, "-r", 1)
        print(json.dumps({"mode": mode, "pages": PAGES, "perf": perf_passes,
                          "log": bool(log) and passes(log), **counts.found}), flush=True)


def page_out(guest):
    """Swap out all of the guest's memory, while it is stopped; return how many MiB are swapped."""
    pid = guest.process.pid
    areas = [(int(start, 16), int(end, 16)) for start, end in re.findall(
        r"^(\w+)-(\w+) rw", Path(f"/proc/{pid}/maps").read_text(), re.M)]
    start, size = next((start, end - start) for start, end in areas
                       if end - start == MEMORY_MIB << 20)
    guest.qmp.execute("stop")
    handle = os.pidfd_open(pid)
    area = (ctypes.c_size_t * 2)(start, size)
    done = ctypes.CDLL(None, use_errno=True).syscall(PROCESS_MADVISE, handle, area, 1,
                                                     MADV_PAGEOUT, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), "process_madvise")
    os.close(handle)
    swapped = lab_async.swapped(pid)
    guest.qmp.execute("cont")
    return swapped


def directory(guest):
    return next(Path("/sys/kernel/debug/kvm").glob(f"{guest.process.pid}-*"))


def faults(guest):
    return kvmparam.faults(directory(guest))


def lockless(guest):
    """How many faults of the guest took no mmu_lock.  0: none, or KVM does not count them."""
    return kvmparam.read(directory(guest) / "pf_lockless") or 0


def write(name):
    """A command of L1 whose output is so long."""
    return f"yes nested | dd bs=64k count={FRESH_MIB[name] << 4} iflag=fullblock 2>/dev/null"


def fresh(guest, name):
    """L1 touches pages of its own; return how many faults took no mmu_lock."""
    before = lockless(guest)
    guest.text(f"{write(name)} >/tmp/{name}")
    return lockless(guest) - before


def start(guest):
    """The first L2 starts on one vCPU, while the other one has faults of L1.  Return how many of
    these there were before and after the first shadowed page table, if any."""
    (TRACING / "kprobe_events").write_text(RMAPS)
    (TRACING / "buffer_size_kb").write_text("8192")
    (TRACING / "trace").write_text("")
    switches = [EVENTS / event / "enable" for event in ("spf/rmaps", FAULT)]
    for switch in switches:
        switch.write_text("1")
    before, lead = lockless(guest), faults(guest) + LEAD
    guest.text(f"taskset 2 sh -c '{write('meanwhile')} >/tmp/meanwhile' &")
    while faults(guest) < lead:
        time.sleep(0.01)
    guest.text(f"taskset 1 /bin/rounds anon {L2_MIB} 1 1 quiet && wait")
    for switch in switches:
        switch.write_text("0")
    said = re.findall(r"-(\d+) +\[.*?(rmaps|kvm_hva_fault): ", (TRACING / "trace").read_text())
    (TRACING / "kprobe_events").write_text("")
    found = {"lockless": lockless(guest) - before}
    at = next((n for n, (_, event) in enumerate(said) if event == "rmaps"), None)
    if at is not None:
        others = [n for n, (pid, _) in enumerate(said) if pid != said[at][0]]
        found |= {"before": sum(n < at for n in others), "after": sum(n > at for n in others)}
    return found


def rounds(guest):
    """L2 checks its pages, and L1 does, while all of L1 is swapped out."""
    over, swapped = threading.Event(), []

    def page_outs():
        for at in SWAP_AT:
            while entries() < at:
                if over.wait(0.1):
                    return
            swapped.append(page_out(guest))

    thread = threading.Thread(target=page_outs)
    with Counts() as counts:
        thread.start()
        try:
            guest.text(f"/bin/rounds anon {L2_MIB} 1 {ROUNDS} quiet")
        finally:
            over.set()
            thread.join()
    return {"swapped_mib": swapped, **counts.found}


def guest_of(initramfs, option):
    more = ["-append", f"{COMMAND_LINE} kvm_amd.{option}"] * bool(option)
    with tempfile.TemporaryDirectory() as scratch:
        guest = Guest(initramfs, scratch, *more, vcpus=2, memory=f"{MEMORY_MIB}M")
        try:
            # L1 may write to pages that its boot has used and freed, which make no fault.  After
            # the swapping each page makes one.
            fresh(guest, "before")
            row = {"lockless_before": lockless(guest), "start": start(guest),
                   **rounds(guest), "lockless_after": fresh(guest, "after")}
            row["same"] = all(len({guest.text(f"{command} | md5sum") for command in
                                   (write(name), f"cat /tmp/{name}")}) == 1 for name in FRESH_MIB)
            return row
        finally:
            guest.end()


def guests(initramfs, *modes):
    device = lab_async.zram()
    ui.run(["mkswap", "-q", device])
    ui.run(["swapon", device])
    for each in modes:
        mode, _, option = each.partition(",")
        kvmparam.write(kvmparam.MODES[mode])
        print(json.dumps({"mode": mode, "option": option, **guest_of(initramfs, option)}),
              flush=True)


def shadowed(program, trials):
    for mode in kvmparam.MODES:
        done = subprocess.run([program, mode, trials], text=True, capture_output=True, timeout=300,
                              check=False)
        if done.returncode:
            raise SystemExit(f"{mode}: {done.stderr}")
        print(json.dumps({"mode": mode, **json.loads(done.stdout)}), flush=True)


if __name__ == "__main__":
    {"selftests": selftests, "guest": guests, "shadowed": shadowed}[sys.argv[1]](*sys.argv[2:])

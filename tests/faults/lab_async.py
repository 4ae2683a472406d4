# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: have a guest read back memory that the host has swapped out, in each mode.

usage: lab_async.py INITRAMFS.  Prints as JSON, by swap device and mode, the counts of the kernel's
tracepoints while the guest reads.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.lib.console_guest import Guest
from spf import kvmparam, ui

MIB, VCPUS = 24, 2
EVENTS = Path("/sys/kernel/tracing/events")
# A fault asks for its page.  KVM goes for it, unless it already has, or has no memory or no room
# for another request.  The page is ready.
ASKED, REPEATED, READY, STARTED = (f"kvm/kvm_{name}" for name in (
    "try_async_get_page", "async_pf_repeated_fault", "async_pf_ready", "async_pf_not_present"))
LOCKED, FAULTED = "mmap_lock/mmap_lock_start_locking", "kvm/kvm_hva_fault"
# The events to count, and the key of each.  Counting begins in this order, and the counts are read
# in the opposite one, since the idle guest faults meanwhile: no page is started that is not asked
# for, the end of each page that is started is seen, and so is each lock that a fault or a worker
# takes.
COUNTED = {LOCKED: "common_stacktrace",
           **dict.fromkeys((ASKED, REPEATED, READY, STARTED), "common_pid"), FAULTED: "tier"}
# What takes the mmap_lock, and a function on its stack: a guest's fault, and the worker that gets
# its page.  QEMU's own pages are swapped out as well, and what KVM writes into the guest: the lock
# is taken for these in an exception of the host's.
EXCEPTION = "exc_page_fault"
TAKERS = {"faults": "kvm_mmu_page_fault", "workers": "async_pf_execute"}
GROUP = Path("/sys/fs/cgroup/vmm")


def zram():
    """zram, which is read synchronously: no fault ever waits for it."""
    Path("/sys/block/zram0/disksize").write_text("1G")
    return "/dev/zram0"


def loop():
    ui.run(["truncate", "-s", "512M", "/tmp/swap"])
    return ui.run(["losetup", "-f", "--show", "/tmp/swap"]).stdout.strip()


def swapped(pid):
    return int(re.search(r"VmSwap:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) >> 10


def reclaim(pid):
    """Reclaim the memory of the VMM's group until no more of it goes.  The kernel answers EAGAIN
    when it has reclaimed less than it was told to, also because pages are still being written.
    Returns MiB."""
    before, now = -1, 0
    while now > before:
        before = now
        try:
            (GROUP / "memory.reclaim").write_text("1G swappiness=200")
        except BlockingIOError:
            pass
        now = swapped(pid)
    return now


def counts():
    """Event -> {key: hits}.  A key is a number or the names of a stack's functions."""
    return {event: {k.strip(): int(n) for k, n in
                    re.findall(rf"{key}:\s+([^}}]+)}} hitcount:\s+(\d+)",
                               (EVENTS / event / "hist").read_text())}
            for event, key in reversed(COUNTED.items())}


def settled():
    """The counts, once each page that KVM went for is ready, or after ten seconds.  The guest may
    be done before its last page is."""
    for _ in range(100):
        seen = counts()
        if sum(seen[READY].values()) >= sum(seen[STARTED].values()):
            break
        time.sleep(0.1)
    return seen


def trigger(off):
    for event, key in COUNTED.items():
        (EVENTS / event / "trigger").write_text(f"{'!' if off else ''}hist:keys={key}")


def read_back(initramfs, mode):
    kvmparam.write(kvmparam.MODES[mode])
    with tempfile.TemporaryDirectory() as directory:
        (GROUP / "cgroup.procs").write_text("0")
        guest = Guest(initramfs, directory, vcpus=VCPUS, memory="192M")
        Path("/sys/fs/cgroup/cgroup.procs").write_text("0")
        try:
            guest.text(f"dd if=/dev/urandom of=/tmp/data bs=1M count={MIB} 2>/dev/null")
            before = guest.text("md5sum /tmp/data")
            out = {"swapped_mib": reclaim(guest.process.pid)}
            trigger(off=False)
            out["same"] = guest.text("md5sum /tmp/data") == before
            seen = settled()
            trigger(off=True)
        finally:
            guest.end()
    for name, event in (("asked", ASKED), ("repeated", REPEATED), ("started", STARTED),
                        ("ready", READY)):
        out[name] = sum(seen[event].values())
    out["tiers"] = [seen[FAULTED].get(str(tier), 0) for tier in range(4)]
    out["locks"] = {taker: sum(n for stack, n in seen[LOCKED].items()
                               if function in stack and EXCEPTION not in stack)
                    for taker, function in TAKERS.items()}
    return out


def main(argv):
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    GROUP.mkdir()
    seen = {}
    for make in (zram, loop):
        device = make()
        ui.run(["mkswap", "-q", device])
        ui.run(["swapon", device])
        seen[make.__name__] = {mode: read_back(argv[1], mode) for mode in kvmparam.MODES}
        print(make.__name__, seen[make.__name__], file=sys.stderr)
        ui.run(["swapoff", device])
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv)

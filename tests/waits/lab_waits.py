# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: run rows in every mode, and watch; one line of JSON each.

Arguments: the program, then rows by number.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.waits.rows import ROWS, SLOW_DISK

MODES = ("off", "vma-lock", "on")
CGROUP = Path("/sys/fs/cgroup/matrix")
TRACING = Path("/sys/kernel/tracing")
INSTANCE = TRACING / "instances" / "waits"
PROBES = """\
p:waits/userfault handle_userfault flags=+40(%di):u32
p:waits/migrating migration_entry_wait
p:waits/handled handle_mm_fault
"""


def kernels(device):
    """The device's number as the kernel has it, which is not a program's."""
    number = os.stat(device).st_rdev
    return os.major(number) << 20 | os.minor(number)


# The name of a count -> its event, and a condition.  Disks are loop devices, major 7, and the slow
# one; a task that may not wait, with FAULT_FLAG_RETRY_NOWAIT, does not ask the userfaultfd.
WATCHED = {
    "asked": ("kvm/kvm_try_async_get_page", ""),
    "io": ("block/block_bio_queue",
           ' if rwbs ~ "R*" && '
           f"((dev >= 0x700000 && dev < 0x800000) || dev == {kernels(SLOW_DISK)})"),
    "userfault": ("waits/userfault", " if !(flags & 8)"),
    "migrating": ("waits/migrating", ""),
    "handled": ("waits/handled", ' if comm == "vcpu"'),
}


def shell(command):
    if command:
        subprocess.run(["sh", "-ec", command], check=True, stdout=sys.stderr)


def trigger(event, condition):
    """Count by the task's name.  A kworker's own name is only in the event."""
    key = "comm" if event.startswith("block") else "common_pid.execname"
    return f"hist:keys={key}{condition}"


@contextlib.contextmanager
def watching():
    """A function that says what has been counted so far: {name: {task: times}}."""
    INSTANCE.mkdir()
    try:
        for event, condition in WATCHED.values():
            (INSTANCE / "events" / event / "trigger").write_text(trigger(event, condition))
        yield counts
    finally:
        for event, condition in WATCHED.values():
            (INSTANCE / "events" / event / "trigger").write_text("!" + trigger(event, condition))
        INSTANCE.rmdir()


def counts():
    found = {}
    for name, (event, _) in WATCHED.items():
        by = found[name] = {}
        text = (INSTANCE / "events" / event / "hist").read_text()
        for task, hits in re.findall(r"\{ \w+: (.*?) *\} hitcount: +(\d+)", text):
            # A task's number stands behind its name, and a worker's queue in it.
            kind = "kworker" if task.startswith("kworker") else re.sub(r"\s*\[.*", "", task)
            # Leave out the VMM's own memory that comes back, and what a file system does by itself.
            if kind in ("vcpu", "kworker"):
                by[kind] = by.get(kind, 0) + int(hits)
    return found


def run(program, row, mode):
    steps = f"{'async ' if row.async_pf else ''}{row.steps} ready measure {row.access}"
    words = [program, mode, row.memory, str(row.mib), str(row.pages), *steps.split()]

    def enter():
        (CGROUP / "cgroup.procs").write_text(str(os.getpid()))

    CGROUP.mkdir()
    try:
        shell(row.before)
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, preexec_fn=enter)
        try:
            if child.stdout.readline() != "ready\n":
                return {"outcome": f"not ready, {child.wait()}: {child.stderr.read().strip()}"}
            with watching() as seen:
                out, err = child.communicate("\n", timeout=120)
                got = seen()
        finally:
            child.kill()
            child.wait()
    finally:
        # A child that shares pages dies a little later.
        while "populated 1" in (CGROUP / "cgroup.events").read_text():
            time.sleep(0.01)
        shell(row.after)
        CGROUP.rmdir()
    if child.returncode:
        return {"outcome": f"status {child.returncode}: {err.strip()}"}
    said = json.loads(out)
    sums = {name: sum(got[name].values()) for name in ("asked", "handled", "migrating")}
    return {**said, **sums, "io": got["io"], "userfault": got["userfault"]}


def main(program, *numbers):
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("madvise")
    # The flusher, which comes every five seconds, would clean the pages of one mode and not those
    # of another.
    Path("/proc/sys/vm/dirty_writeback_centisecs").write_text("360000")
    shell(f"mkfs.ext4 -q {SLOW_DISK}")
    (TRACING / "kprobe_events").write_text(PROBES)
    for number in map(int, numbers or range(len(ROWS))):
        row = ROWS[number]
        for mode in MODES:
            here = not row.needs or Path(row.needs).exists()
            try:
                said = run(program, row, mode) if here else {"outcome": "not here"}
            except (OSError, subprocess.SubprocessError) as error:
                said = {"outcome": str(error)}
            print(json.dumps({"row": number, "mode": mode, **said}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

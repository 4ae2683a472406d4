# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: run rows in every mode, and print a line of JSON for each.  Arguments: the program,
then the numbers of rows."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.matrix.rows import ROWS

MODES = ("off", "vma-lock", "on")
CGROUP = Path("/sys/fs/cgroup/matrix")
BALANCING = Path("/proc/sys/kernel/numa_balancing")
INSTANCE = Path("/sys/kernel/tracing/instances/matrix")


def enter(row):
    """Move the child into a memory cgroup of its own before it runs the program."""
    if row.cgroup:
        (CGROUP / "cgroup.procs").write_text(str(os.getpid()))


def shell(command):
    if command:
        subprocess.run(["sh", "-ec", command], check=True, stdout=sys.stderr)


def run(program, row, mode):
    words = [program, mode, row.memory, str(row.mib), str(row.pages), *row.steps.split()]
    if row.cgroup:
        CGROUP.mkdir()
        for name, value in row.cgroup:
            (CGROUP / name).write_text(value)
    shell(row.before)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False,
                              preexec_fn=lambda: enter(row))
    finally:
        shell(row.after)
        if row.cgroup:
            CGROUP.rmdir()
        # A program that was killed did not remove it.
        if INSTANCE.exists():
            INSTANCE.rmdir()
    if done.returncode == -signal.SIGKILL:
        return {"outcome": "killed"}
    if done.returncode:
        return {"outcome": f"status {done.returncode}: {done.stderr.strip()}"}
    return json.loads(done.stdout)


def main(program, *numbers):
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    Path("/sys/kernel/mm/transparent_hugepage/enabled").write_text("madvise")
    # It has pages fault again, which the rows count.
    if BALANCING.exists():
        BALANCING.write_text("0")
    subprocess.run(["sh", "-ec", "truncate -s 256M /tmp/disk && mkfs.ext4 -q /tmp/disk"],
                   check=True)
    for number in map(int, numbers or range(len(ROWS))):
        for mode in MODES:
            print(json.dumps({"row": number, "mode": mode, **run(program, ROWS[number], mode)}),
                  flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

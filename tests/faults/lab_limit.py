# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: a guest touches twice as much memory as its cgroup may have, in each mode.

usage: lab_limit.py MATRIX.  MATRIX is the program of tests/matrix.  Prints a line of JSON for each
mode: the "max" events of memory.events, how often a charge has reclaimed, how many speculative
faults had no page, and what the guest found wrong.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.faults import lab_reclaim as reclaim
from spf import kvmparam

MIB = 32
RECLAIM = Path("/sys/kernel/tracing/events/vmscan/mm_vmscan_memcg_reclaim_begin")
KEY = "hist:keys=common_pid"
# As in tests/matrix/rows.py: reclaim goes by statistics that may be late.
FLUSHER = f"while read -r _ <{reclaim.GROUP}/memory.stat; do :; done 2>/dev/null"


def number(file, word):
    return int(re.search(rf"^{word} (\d+)$", Path(file).read_text(), re.M)[1])


def touched(program, mode):
    with reclaim.group():
        reclaim.put("memory.max", f"{MIB // 2}M")
        aborts = number("/proc/vmstat", "spf_abort_no_memory")
        (RECLAIM / "trigger").write_text(KEY)
        flusher = subprocess.Popen(["sh", "-c", FLUSHER])
        out = subprocess.run([program, mode, "anon", str(MIB), str(MIB << 8), "overwrite"],
                             preexec_fn=reclaim.enter, stdout=subprocess.PIPE, check=True)
        hits = re.findall(r"hitcount:\s+(\d+)", (RECLAIM / "hist").read_text())
        (RECLAIM / "trigger").write_text(f"!{KEY}")
        flusher.kill()
        flusher.wait()
        return {"max": number(reclaim.GROUP / "memory.events", "max"),
                "reclaimed": sum(map(int, hits)), "wrong": json.loads(out.stdout)["wrong"],
                "no_memory": number("/proc/vmstat", "spf_abort_no_memory") - aborts}


def main(program):
    reclaim.prepare()
    for mode in kvmparam.MODES:
        print(json.dumps({"mode": mode, **touched(program, mode)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

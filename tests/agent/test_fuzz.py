# SPDX-License-Identifier: GPL-2.0-or-later
"""libFuzzer with ASan and UBSan.  KVMSPF_FUZZ_SECONDS=N: run each target for N seconds rather than
a number of times."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.agent import programs
from tests.lib import depth

HERE = Path(__file__).resolve().parent

RUNS = {"requests": 50_000, "snapshot": 200_000}
CORPUS = HERE / "corpus"


class Fuzz(unittest.TestCase):
    def fuzz(self, target, *options):
        seconds = os.environ.get("KVMSPF_FUZZ_SECONDS", "600" if depth.LONG else None)
        much = f"-max_total_time={seconds}" if seconds else f"-runs={RUNS[target]}"
        with tempfile.TemporaryDirectory() as found:
            # A fixed seed, so that a failed run of CI can be repeated.  Without a limit of memory:
            # libFuzzer watches it in a thread, which may hold a lock of ASan's allocator while it
            # starts.  A load's child would inherit that lock, and wait for it forever.
            done = subprocess.run([programs.fuzz(target), much, "-seed=1", "-print_final_stats=1",
                                   "-rss_limit_mb=0",
                                   f"-artifact_prefix={found}/",
                                   *options, found, *[d for d in (CORPUS / target,) if d.exists()]],
                                  capture_output=True, text=True, errors="replace")
            last = done.stderr.splitlines()[-40:]
        self.assertEqual(done.returncode, 0, "\n".join(last))
        print("#", target,
              *[line.removeprefix("stat::") for line in last if "executed_units" in line])

    def test_requests(self):
        self.fuzz("requests", f"-dict={HERE / 'requests.dict'}", "-max_len=6000", "-len_control=20")

    def test_snapshot(self):
        self.fuzz("snapshot", "-max_len=4096")


if __name__ == "__main__":
    unittest.main()

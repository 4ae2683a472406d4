# SPDX-License-Identifier: GPL-2.0-or-later
"""A VMM that is killed, shaken by signals or loses CPUs in the middle of its faults leaves all in order."""

import os
import random
import unittest

import injection

if not os.environ.get("KVMSPF_INJECTION"):
    raise unittest.SkipTest("minutes of killing VMMs: KVMSPF_INJECTION=1 kvmspf test injection")


class Injection(unittest.TestCase):
    def test_once(self):
        seed = random.randrange(1 << 32)
        print(f"# seed {seed}", flush=True)
        for line in injection.run("patched", seed, 1, injection.CHECKS):
            print(f"# {line}")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent for ppc64le: static, by Debian's cross compiler."""

import subprocess
import unittest

from spf.build import meson


class Power(unittest.TestCase):
    def test_static_program_for_ppc64le(self):
        agent = meson.agent_power()
        header = subprocess.run(["readelf", "--file-header", "--dynamic", agent],
                                capture_output=True, text=True, check=True).stdout
        self.assertRegex(header, r"Machine: +PowerPC64")
        self.assertRegex(header, r"little endian")
        self.assertNotIn("NEEDED", header)


if __name__ == "__main__":
    unittest.main()

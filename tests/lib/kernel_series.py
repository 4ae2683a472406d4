# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests need of the kernel series in use."""

import unittest

from spf.source import patches


def need_patches():
    """Call this in setUpModule or setUpClass.  The folder of a kernel version may have none."""
    if not patches.files("linux"):
        raise unittest.SkipTest("there is no kernel series")

# SPDX-License-Identifier: GPL-2.0-or-later
"""Depths of tests: `kvmspf test` runs the core of each group, --long or the group's name all of
it."""

import os
import unittest

LONG = os.environ.get("KVMSPF_DEPTH", "long") == "long"


def long(why):
    """Decorate a test or class that only --long or the group's name runs."""
    return unittest.skipUnless(LONG, f"{why}: kvmspf test --long")


def module(why):
    """Call this in setUpModule, or at the top of a module, if all its tests are for --long."""
    if not LONG:
        raise unittest.SkipTest(f"{why}: kvmspf test --long")

# SPDX-License-Identifier: GPL-2.0-or-later
"""How much to run: `kvmspf test` runs the core of each group, --long or the group's name all of
it."""

import os
import unittest

LONG = os.environ.get("KVMSPF_DEPTH", "long") == "long"


def long(why):
    """For a test, a class or, by its decorator's reason, a module that only --long or the group's
    name runs."""
    return unittest.skipUnless(LONG, f"{why}: kvmspf test --long")


def module(why):
    """In setUpModule, or at the top of a module, all of which is for --long."""
    if not LONG:
        raise unittest.SkipTest(f"{why}: kvmspf test --long")

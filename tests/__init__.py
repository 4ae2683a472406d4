# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests.  Each folder is a group; lib has helpers that several groups use.  `kvmspf test` runs
them."""

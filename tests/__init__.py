# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests: a package of groups, a folder each; what several of them use is in lib.  `kvmspf test`
runs them."""

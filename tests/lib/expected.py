# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that tests expect and that differ between series.  A line of kvm-patches/NAME/expected is
a word and its value.

fault         instructions of a fault in mode on, at most this part of mode off's
above         the same for the part above mode off's present page
present       a present page in mode on, at most this part of mode off's
off           a fault in mode off, at most this part of a stock kernel's
off-present   the same for a present page
copies        mmap_lock or vma_lock: the lock of the kernel's accesses to user memory without
              speculation
read-only     fast or vma_lock: the tier that finds a page for a read where no write may follow
folio         KiB of the largest folio that a file on ext4 has in memory
mthp          vma_lock or speculative: the tier of folios of 64 KiB
poisoned      vma_lock or mmap_lock: the tier that finds a poisoned page

Without that file, a test that asks for a word is skipped.
"""

import unittest

from spf import series, ui


def of(word):
    file = series.of("linux").folder / "expected"
    if not file.exists():
        raise unittest.SkipTest(f"{ui.shown(file)} is not there")
    lines = (line.split("#")[0].split() for line in file.read_text(encoding="utf-8").splitlines())
    return dict(line for line in lines if line)[word]


def number(word):
    return float(of(word))

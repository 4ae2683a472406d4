# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiers and abort reasons, as bench/lib/fault_names.h has them."""

import re

from spf import paths

HEADER = paths.ROOT / "bench/lib/fault_names.h"


def rows(kind):
    """NAME, QMP's name and KVM's name of each."""
    table = re.search(rf"^#define EACH_FAULT_{kind}\(ROW\)(.*?[^\\])\n",
                      HEADER.read_text(encoding="utf-8"), re.M | re.S)[1]
    return re.findall(r'ROW\((\w+), "([\w-]+)", "(\w+)"\)', table)


# QMP's names.
TIERS, ABORTS = (tuple(qmp for _, qmp, _ in rows(kind)) for kind in ("TIER", "ABORT"))

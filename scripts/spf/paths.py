# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths.  All that kvmspf makes lies under one directory, build/ or $KVMSPF_BUILD; spf.series has
the paths of a series there."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
BUILD = Path(os.environ.get("KVMSPF_BUILD") or ROOT / "build").resolve()

SRC = BUILD / "src"          # Debian's sources
TREE = BUILD / "tree"        # the same with our series applied
EDIT = BUILD / "edit"        # the same for editing the series
OBJ = BUILD / "obj"          # where compilers work
OUT = BUILD / "out"          # finished programs and kernels, replaced whole
STAMP = BUILD / "stamp"
LOG = BUILD / "log"
RUN = BUILD / "run"          # one directory a running lab
TOOLS = BUILD / "tools"

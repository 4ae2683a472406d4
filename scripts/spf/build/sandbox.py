# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place where compilers see every tree, and functions that all builds use."""

import os
import re
import shutil

from spf import paths, series, ui

# Compilers see every tree at one place, so that flavours, clones and CI share what ccache holds.
# ccache goes by the dependency files: preprocessing each source once more would take a fifth of a
# cold build.
MOUNT = "/mnt"
SANDBOX = ('mount -t tmpfs kvmspf "$1"; mkdir "$1/src" "$1/obj" "$1/tools"; mount --bind "$2" '
           '"$1/src"; '
           'mount --bind "$3" "$1/obj"; mount --bind "$4" "$1/tools"; cd "$1/obj"; shift 4; exec '
           '"$@"')
REPRODUCIBLE = {"KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
                "KBUILD_BUILD_USER": "kvmspf",
                "KBUILD_BUILD_HOST": "lab", "KBUILD_BUILD_VERSION": "1", "CCACHE_NOHASHDIR": "1",
                "CCACHE_SLOPPINESS": "time_macros", "CCACHE_DEPEND": "1"}


def jobs():
    return len(os.sched_getaffinity(0))


def run(src, obj, argv, log, env=None, progress=None):
    obj.mkdir(parents=True, exist_ok=True)
    paths.TOOLS.mkdir(parents=True, exist_ok=True)
    ui.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", SANDBOX, "sh", MOUNT,
            src, obj,
            paths.TOOLS, *argv], log=log, env={**REPRODUCIBLE, **(env or {})}, progress=progress)


def counted(progress):
    """How far a build has come, from the counter that ninja or meson's test writes to the log."""
    def note(log):
        with open(log, "rb") as f:
            f.seek(max(0, os.path.getsize(log) - 4096))
            found = re.findall(rb"^(?:\[| *)(\d+)/(\d+)[] ]", f.read(), re.M)
        progress("%d/%d" % tuple(map(int, found[-1])) if found else "")
    return note


def fresh(target):
    log = paths.LOG / f"build-{series.label(target)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    return log


def put(source, target):
    """Put a finished file in its place, even while the old one is running."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def compiler(name="gcc"):
    return ui.run([name, "--version"]).stdout.splitlines()[0]

# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian of another suite, in a directory, to build packages in: their build dependencies are
too new for this machine."""

import os
import shutil
from pathlib import Path

from spf import paths, ui
from spf.source import apt

# Run this in a mount and a PID namespace.  When it ends, its mounts and the programs that it left
# running are gone.
ENTER = """
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
mount --bind /dev "$1/dev"
mkdir -p "$1/build" "$1/ccache"
mount --bind "$2" "$1/build"
mount --bind "$3" "$1/ccache"
root=$1
shift 3
exec chroot "$root" sh -ec 'cd /build; exec "$@"' sh "$@"
"""
# Compilers see each source in /build, so that clones share what ccache holds.
ENVIRONMENT = {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", "CCACHE_DIR": "/ccache",
               "CCACHE_DEPEND": "1", "CCACHE_SLOPPINESS": "time_macros",
               "PATH": "/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin"}


def made(suite, log):
    """The root, with the suite's compilers."""
    target = paths.BUILD / "debian" / f"{suite}-build"
    if target.exists():
        return target
    apt.packages(["debootstrap"])
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".new-{target.name}")
    shutil.rmtree(new, ignore_errors=True)
    with ui.Progress(f"making a root of {suite}", 120) as progress:
        # debootstrap mounts /proc and /sys in there.  They must not stay if it is killed.
        ui.run(["unshare", "--mount", "--propagation", "private", "debootstrap",
                "--variant=buildd", "--include=ccache,eatmydata", suite, new, apt.mirror()],
               log=log, progress=progress)
        # debootstrap configures ccache before gcc makes the alternative cc, by whose name QEMU's
        # configure asks for the compiler.
        ui.run(["chroot", new, "update-ccache-symlinks"], log=log, progress=progress)
    (new / "etc/apt/sources.list").write_text("".join(f"{kind} {apt.mirror()} {suite} main\n"
                                                      for kind in ("deb", "deb-src")))
    new.rename(target)
    return target


def run(root, work, argv, log, env=None, progress=None):
    """Run a program in the root, where `work` is /build and the directory that it starts in."""
    work.mkdir(parents=True, exist_ok=True)
    ccache = Path(os.environ.get("CCACHE_DIR") or Path.home() / ".cache" / "ccache")
    ccache.mkdir(parents=True, exist_ok=True)
    ui.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
            "sh", "-ec", ENTER, "sh", root, work, ccache, *argv], log=log,
           env={**ENVIRONMENT, **(env or {})}, progress=progress)

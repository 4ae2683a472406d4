# SPDX-License-Identifier: GPL-2.0-or-later
"""Install what is needed, and fetch the sources: Linux and QEMU as Debian has them."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from spf import arguments, paths, series, ui
from spf.source import apt, fetch, patches


def ready():
    """Install and fetch everything that a build needs, unless it is there."""
    apt.packages(apt.PACKAGES)
    fetch.sources("linux")
    fetch.sources("qemu")
    meson()


def meson():
    """A meson that is new enough for our QEMU: Debian's own if that is, else one under build/."""
    target = paths.TOOLS / "meson"
    if (target / "usr" / "bin" / "meson").exists():
        return
    if apt.codename() not in apt.MESON_SUITE:
        apt.packages(["meson"])
        return
    with ui.locked(".sourcelock"):
        if target.exists():     # by another run, while this one waited
            return
        paths.TOOLS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=paths.TOOLS) as scratch:
            apt.get([*apt.private("deb", apt.MESON_SUITE[apt.codename()]), "download", "meson"],
                    "fetch meson",
                    cwd=scratch)
            package = next(Path(scratch).glob("meson_*.deb"))
            ui.run(["dpkg-deb", "-x", package, Path(scratch) / "meson"])
            (Path(scratch) / "meson").rename(target)


def check_machine():
    ui.need_root()
    if os.uname().machine != "x86_64":
        raise ui.Fail(f"this machine is {os.uname().machine}", "the lab is made for x86_64")
    if not shutil.which("apt-get"):
        raise ui.Fail("there is no apt-get here", "use Debian 12")
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if probe.returncode:
        raise ui.Fail("this machine lets us make no mount namespace",
                      "give the container CAP_SYS_ADMIN")


def main(argv):
    p = arguments.Parser(prog="kvmspf setup", description=__doc__)
    series.option(p)
    series.use(p.parse_args(argv).series)
    check_machine()
    ready()
    for what in ("linux", "qemu"):
        ui.say(f"{what} {patches.version(what)}: {ui.shown(series.src(what))}")
    return 0

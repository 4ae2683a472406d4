# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetch the sources as Debian has them.  Each becomes one commit, tagged `base`."""

import lzma
import shutil
import tempfile
from pathlib import Path

from spf import paths, series, ui
from spf.source import apt, patches


def adopt(new, target):
    """Make the unpacked source one commit, tag it, and only then give it its name."""
    patches.git(new, "init", "-q", "-b", "master")
    # Commits of `patches edit` would start git's maintenance, minutes of work beside a build or a
    # measurement.
    patches.git(new, "config", "gc.auto", "0")
    # The source's .gitignore files would leave out files that it contains.
    patches.git(new, "add", "--all", "--force")
    patches.git(new, "commit", "-q", "--no-verify", "-m", "base", env=patches.IDENTITY)
    patches.git(new, "tag", "base")
    target.parent.mkdir(parents=True, exist_ok=True)
    new.rename(target)


def sources(what):
    """Fetch the source of the series in use of this kind, unless it is there."""
    one, target = series.of(what), series.src(what)
    if (target / ".git").exists():
        return
    with ui.locked(".sourcelock"):
        if (target / ".git").exists():
            return
        if target.exists():
            raise ui.Fail(f"{ui.shown(target)} is not ours", "move it away")
        if (paths.SRC / what / ".git").exists():
            raise ui.Fail(f"{ui.shown(paths.SRC / what)} is of a kvmspf that knew no series",
                          f"remove {ui.shown(paths.BUILD)}, or name another in KVMSPF_BUILD")
        apt.packages(apt.PACKAGES)
        ui.need_space(6)
        paths.SRC.mkdir(parents=True, exist_ok=True)
        for left in paths.SRC.glob(f".new-{one.name}-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=paths.SRC, prefix=f".new-{one.name}-") as scratch, \
                ui.Progress(f"unpacking {one.name}") as progress:
            {"linux": unpack_linux, "qemu": unpack_qemu}[what](one, Path(scratch), target, progress)


def packaged(one, name, scratch, progress=None):
    """The folder that has the files of one of the kernel's packages.  It is the root if this
    machine's own apt knows the package, else in `scratch`."""
    if not one.suite:
        apt.packages([name])
        return Path("/")
    apt.get([*apt.private("deb", one.suite), "download", name], f"fetch {name} from {one.suite}",
            cwd=scratch, progress=progress)
    ui.run(["dpkg-deb", "-x", newest(one, name, scratch, "deb"), scratch / "package"])
    return scratch / "package"


def unpack_linux(one, scratch, target, progress):
    """Unpack Debian's package of the kernel's source, which contains an archive."""
    where = packaged(one, one.package, scratch, progress)
    archive = where / "usr/src" / f"{one.package}.tar.xz"
    if not archive.exists():
        raise ui.Fail(f"{archive} is missing", f"run: apt-get install --reinstall {one.package}")
    ui.run(["tar", "-C", scratch, "-xf", archive], log=paths.LOG / "setup.log", progress=progress)
    have = patches.version("linux", scratch / one.package)
    if not f"{have}.".startswith(f"{one.version}."):
        raise ui.Fail(f"{one.package} is {have}, and {ui.shown(one.folder / 'base')} says "
                      f"{one.version}", "name a suite that has that version, or another version")
    adopt(scratch / one.package, target)


def debian_config(name):
    """The text of a kernel configuration of Debian's own, for example config.amd64_none_amd64."""
    one = series.of("linux")
    package = one.package.replace("source", "config")
    with tempfile.TemporaryDirectory() as scratch:
        where = packaged(one, package, Path(scratch))
        return lzma.decompress((where / "usr/src" / package / f"{name}.xz").read_bytes()).decode()


def unpack_qemu(one, scratch, target, progress):
    apt.get([*apt.private("deb-src", one.suite), "source", "--download-only", one.package],
            f"fetch QEMU's source from {one.suite}", cwd=scratch, progress=progress)
    ui.run(["dpkg-source", "--no-check", "-x", newest(one, one.package, scratch, "dsc"),
            scratch / "tree"], log=paths.LOG / "setup.log", progress=progress)
    # dpkg-source's notes about applied patches are not part of the source.
    shutil.rmtree(scratch / "tree" / ".pc", ignore_errors=True)
    adopt(scratch / "tree", target)


def newest(one, name, scratch, suffix):
    found = sorted(scratch.glob(f"{name}_{one.version}*.{suffix}"))
    if not found:
        raise ui.Fail(f"{one.suite} has no {name} {one.version}",
                      f"see {ui.shown(one.folder / 'base')}: the series is for that version")
    return found[-1]

# SPDX-License-Identifier: GPL-2.0-or-later
"""Install what is needed, and fetch the sources: Linux 6.12 and QEMU 10.0 as Debian has them."""

import argparse
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from spf import paths, ui

PACKAGES = """bc bison build-essential ccache cpio dpkg-dev flex git ipxe-qemu libattr1-dev libcap-ng-dev libelf-dev
libfdt-dev libglib2.0-dev libpixman-1-dev libslirp-dev libssl-dev liburing-dev linux-source-6.12 lz4 ninja-build perl
pkg-config python3-venv qemu-system-data rsync seabios shellcheck xz-utils zlib1g-dev""".split()
LINUX, CONFIG = "linux-source-6.12", "linux-config-6.12"
QEMU_SUITE = "trixie"
# QEMU 10 wants a newer meson than Debian 12 has.
MESON_SUITE = {"bookworm": "bookworm-backports"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"]
DATE = "2000-01-01T00:00:00Z"


def ready():
    """Everything that a build needs; nothing is done twice."""
    packages(PACKAGES)
    sources("linux")
    sources("qemu")
    meson()


# -- Debian packages --

def absent(names):
    done = ui.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names], check=False)
    have = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [n for n in names if n not in have]


def apt(words, what, **kw):
    log = paths.LOG / "apt.log"
    try:
        ui.run(APT + words, log=log, env={"DEBIAN_FRONTEND": "noninteractive"}, **kw)
    except ui.Fail as failure:
        raise ui.Fail(f"cannot {what}: {failure.what}",
                      f"check the network and apt's sources; see {ui.shown(log)}") from None


def packages(names):
    names = absent(names)
    if not names:
        return
    ui.need_root()
    if not shutil.which("apt-get"):
        raise ui.Fail("there is no apt-get here", "use Debian 12")
    with ui.locked(".aptlock"), ui.Progress(f"installing {len(names)} packages") as progress:
        apt(["update"], "fetch package lists", progress=progress)
        apt(["install", "--no-install-recommends", *names], f"install {' '.join(names[:4])}"
            + (" ..." if len(names) > 4 else ""), progress=progress)


def codename():
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    return found[1] if found else ""


# -- a private apt state: other suites for us, none of it for the machine --

def mirror():
    """The address of Debian's main archive as this machine's own apt knows it, whatever form its lists have."""
    listed = ui.run(["apt-get", "indextargets", "--format", "$(CREATED_BY)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"]).stdout
    rows = [line.split("|") for line in listed.splitlines() if line.startswith("Packages|")]
    for wanted in (codename(), "stable", "oldstable"):
        for _, release, component, address in rows:
            if release == wanted and component == "main" and "security" not in address:
                return address
    raise ui.Fail("apt's configuration names no Debian archive",
                  f"add the line of {codename() or 'Debian'} main to /etc/apt/sources.list")


def private():
    home = paths.BUILD / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    options = [f"Dir::Etc::sourcelist={home}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::Lists={home}/lists",
               f"Dir::Cache={home}/cache", "APT::Sandbox::User=root", "APT::Get::List-Cleanup=0"]
    words = [w for o in options for w in ("-o", o)]
    address, suite = mirror(), MESON_SUITE.get(codename())
    lines = [f"deb-src [signed-by={KEYRING}] {address} {QEMU_SUITE} main"]
    lines += [f"deb [signed-by={KEYRING}] {address} {suite} main"] if suite else []
    content = "\n".join(lines) + "\n"
    listed = home / "sources.list"
    if not listed.exists() or listed.read_text() != content or not ui.recall("apt"):
        ui.forget("apt")
        listed.write_text(content)
        apt([*words, "update"], f"fetch the package lists of {QEMU_SUITE}")
        ui.remember("apt", done=True)
    return words


# -- sources --

def git(where, *argv):
    who = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER")
           for k, v in (("NAME", "kvmspf"), ("EMAIL", "kvmspf@localhost"), ("DATE", DATE))}
    ui.run(["git", "-c", "core.autocrlf=false", "-C", where, *argv], env=who)


def adopt(new, target):
    """Make the unpacked source one commit, tag it, and only then give it its name."""
    git(new, "init", "-q", "-b", "master")
    # Commits of `patches edit` would start it, minutes of work beside a build or a measurement.
    git(new, "config", "gc.auto", "0")
    # Debian's .gitignore files would leave out files that the source has.
    git(new, "add", "--all", "--force")
    git(new, "commit", "-q", "--no-verify", "-m", "base")
    git(new, "tag", "base")
    target.parent.mkdir(parents=True, exist_ok=True)
    new.rename(target)


def sources(what):
    target = paths.SRC / what
    if (target / ".git").exists():
        return
    with ui.locked(".sourcelock"):
        if (target / ".git").exists():
            return
        if target.exists():
            raise ui.Fail(f"{ui.shown(target)} is not ours", "move it away")
        packages(PACKAGES)
        ui.need_space(6)
        paths.SRC.mkdir(parents=True, exist_ok=True)
        for left in paths.SRC.glob(f".new-{what}-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=paths.SRC, prefix=f".new-{what}-") as scratch, \
                ui.Progress(f"unpacking {what}") as progress:
            {"linux": unpack_linux, "qemu": unpack_qemu}[what](Path(scratch), target, progress)


def unpack_linux(scratch, target, progress):
    archive = Path("/usr/src") / f"{LINUX}.tar.xz"
    if not archive.exists():
        raise ui.Fail(f"{archive} is missing", f"run: apt-get install --reinstall {LINUX}")
    ui.run(["tar", "-C", scratch, "-xf", archive], log=paths.LOG / "setup.log", progress=progress)
    adopt(scratch / LINUX, target)


def debian_config(name):
    """The text of a kernel configuration of Debian's own, for example config.amd64_none_amd64."""
    packages([CONFIG])
    return lzma.decompress(Path(f"/usr/src/{CONFIG}/{name}.xz").read_bytes()).decode()


def unpack_qemu(scratch, target, progress):
    words = private()
    apt([*words, "source", "--download-only", "qemu"], f"fetch QEMU's source from {QEMU_SUITE}",
        cwd=scratch, progress=progress)
    found = sorted(scratch.glob("qemu_10.0*.dsc"))
    if not found:
        raise ui.Fail(f"{QEMU_SUITE} has no QEMU 10.0", "the series is for 10.0: see qemu-patches/README.md")
    ui.run(["dpkg-source", "--no-check", "-x", found[-1], scratch / "tree"], log=paths.LOG / "setup.log",
           progress=progress)
    # What dpkg-source noted about applied patches is not part of the source.
    shutil.rmtree(scratch / "tree" / ".pc", ignore_errors=True)
    adopt(scratch / "tree", target)


def meson():
    """A meson fit for QEMU 10, under build/ and nowhere else; where Debian's own is new enough, that one."""
    target = paths.TOOLS / "meson"
    if (target / "usr" / "bin" / "meson").exists():
        return
    if codename() not in MESON_SUITE:
        packages(["meson"])
        return
    with ui.locked(".sourcelock"):
        if target.exists():     # by another run, while this one waited
            return
        paths.TOOLS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=paths.TOOLS) as scratch:
            apt([*private(), "-t", MESON_SUITE[codename()], "download", "meson"], "fetch meson", cwd=scratch)
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
        raise ui.Fail("this machine lets us make no mount namespace", "give the container CAP_SYS_ADMIN")


def main(argv):
    argparse.ArgumentParser(prog="kvmspf setup", description=__doc__).parse_args(argv)
    check_machine()
    ready()
    from spf import patches
    for what in ("linux", "qemu"):
        ui.say(f"{what} {patches.version(what)}: {ui.shown(paths.SRC / what)}")
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's packages: install those of this machine's suite, and keep a private apt state for those
of other suites."""

import re
import shutil
from pathlib import Path

from spf import paths, ui

PACKAGES = """bc bison build-essential ccache cpio dpkg-dev flex git ipxe-qemu libattr1-dev
libcap-ng-dev libelf-dev libfdt-dev libglib2.0-dev libpixman-1-dev libslirp-dev
libssl-dev liburing-dev lz4 ninja-build perl pkg-config python3-venv qemu-system-data
rsync seabios shellcheck xz-utils zlib1g-dev""".split()
# QEMU needs a newer meson than Debian 12 has.
MESON_SUITE = {"bookworm": "bookworm-backports"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3",
       # Without this, apt only warns about lists that it cannot fetch, and the error comes later.
       "-o", "APT::Update::Error-Mode=any",
       # Another apt-get of the machine may be at work, such as an unattended upgrade.
       "-o", "DPkg::Lock::Timeout=600"]
# While another package's triggers wait for their turn, a package works already.
INSTALLED = ("installed", "triggers-awaited", "triggers-pending")


def absent(names):
    done = ui.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
                  check=False)
    have = {name for name, status in map(str.split, done.stdout.splitlines())
            if status in INSTALLED}
    return [n for n in names if n not in have]


def get(words, what, **kw):
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
        get(["update"], "fetch package lists", progress=progress)
        get(["install", "--no-install-recommends", *names], f"install {' '.join(names[:4])}"
            + (" ..." if len(names) > 4 else ""), progress=progress)


def codename():
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    return found[1] if found else ""


# -- a private apt state: other suites for us alone, not for the machine --

def mirror():
    """The address of Debian's main archive, from this machine's apt, in either form of its
    lists."""
    listed = ui.run(["apt-get", "indextargets", "--format",
                     "$(CREATED_BY)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"]).stdout
    rows = [line.split("|") for line in listed.splitlines() if line.startswith("Packages|")]
    for wanted in (codename(), "stable", "oldstable"):
        for _, release, component, address in rows:
            if release == wanted and component == "main" and "security" not in address:
                return address
    raise ui.Fail("apt's configuration names no Debian archive",
                  f"add the line of {codename() or 'Debian'} main to /etc/apt/sources.list")


def private(kind, suite):
    """The options that make apt-get use our own state, which knows this suite.  kind: deb or
    deb-src."""
    home = paths.BUILD / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    options = [f"Dir::Etc::sourcelist={home}/sources.list", "Dir::Etc::sourceparts=-",
               f"Dir::State::Lists={home}/lists",
               f"Dir::Cache={home}/cache", "APT::Sandbox::User=root", "APT::Get::List-Cleanup=0",
               # A package that this machine has in a newer version must not win.
               "Dir::State::status=/dev/null"]
    words = [w for o in options for w in ("-o", o)]
    listed, archive = home / "sources.list", f"[signed-by={KEYRING}] {mirror()} "
    line = f"{kind} {archive}{suite} main"
    have = listed.read_text().splitlines() if listed.exists() else []
    if line not in have or not ui.recall("apt"):
        ui.forget("apt")
        # Lists of a mirror that this machine no longer uses could not be fetched.
        listed.write_text("".join(f"{one}\n"
                                  for one in sorted({line,
                                                     *(one for one in have if archive in one)})))
        try:
            get([*words, "update"], f"fetch the package lists of {suite}")
        except ui.Fail:
            # A suite that does not exist must not stay, or no other could be fetched any more.
            listed.write_text("".join(f"{one}\n" for one in have))
            raise
        ui.remember("apt", done=True)
    return [*words, "-t", suite]

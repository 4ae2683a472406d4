# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's ppc64el packages, unpacked under build/; the machine's own apt does not hear of them."""

import re
import shutil

from spf import paths, setup, ui

ARCH, TRIPLET = "ppc64el", "powerpc64le-linux-gnu"
# What we link with, statically.
HEADERS = "libfdt-dev libglib2.0-dev libjson-c-dev libpcre2-dev liburing-dev zlib1g-dev".split()
# What runs there, each with all that it depends on.
PROGRAMS = "busybox-static libpython3-stdlib python3-minimal redis-tools".split()
LIBRARIES = (f"lib/{TRIPLET}", f"usr/lib/{TRIPLET}")
LOADER = "lib64/ld64.so.2"


def root():
    """The directory they are in."""
    with ui.locked(".foreignlock"):
        return _root(paths.TOOLS / ARCH)


def _root(target):
    if all((target / "usr/share/doc" / name).exists() for name in HEADERS + PROGRAMS):
        return target
    home = paths.BUILD / "apt" / ARCH
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(f"deb [signed-by={setup.KEYRING}] {setup.mirror()} {setup.codename()} main\n")
    (home / "status").touch()
    options = [f"APT::Architecture={ARCH}", f"APT::Architectures={ARCH}", f"Dir::Etc::sourcelist={home}/sources.list",
               "Dir::Etc::sourceparts=-", f"Dir::State::Lists={home}/lists", f"Dir::State::status={home}/status",
               f"Dir::Cache={home}/cache", "APT::Sandbox::User=root"]
    words = [w for o in options for w in ("-o", o)]
    setup.apt([*words, "update"], f"fetch the package lists of {ARCH}")
    setup.apt([*words, "download", *HEADERS], f"fetch libraries for {ARCH}", cwd=home / "cache/archives")
    # Nothing counts as installed, so that this fetches all dependencies.
    setup.apt([*words, "install", "--download-only", "--no-install-recommends", *PROGRAMS],
              f"fetch programs for {ARCH}")
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for package in (home / "cache/archives").glob("*.deb"):
        ui.run(["dpkg-deb", "-x", package, new])
    shutil.rmtree(target, ignore_errors=True)
    return new.rename(target)


def needed(file):
    said = ui.run(["readelf", "-d", file]).stdout
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", said)


def libraries(where, program):
    """The shared libraries that a program of `where` needs, and the loader: as paths from there."""
    found, wanted = {LOADER}, [program]
    while wanted:
        for name in needed(resolve(where, wanted.pop())):
            path = next((f"{d}/{name}" for d in LIBRARIES if resolve(where, f"{d}/{name}").exists()), None)
            if not path:
                raise ui.Fail(f"{program} for {ARCH} needs {name}, and no package has it", "see scripts/spf/foreign.py")
            if path not in found:
                found.add(path)
                wanted.append(path)
    return sorted(found)


def resolve(where, name):
    """The file that a name stands for; links may begin at the root, which is not ours."""
    path = where / name.lstrip("/")
    while path.is_symlink():
        link = path.readlink()
        path = where / str(link).lstrip("/") if link.is_absolute() else path.parent / link
    return path


def python(where):
    """Python with its library, and what of the latter's needs shared libraries that we need: name -> file."""
    library = resolve(where, "usr/bin/python3").name
    files = {str(p.relative_to(where)): p for p in (where / "usr/lib" / library).rglob("*") if p.is_file()}
    ctypes = next(name for name in files if "/_ctypes." in name)
    names = ["usr/bin/python3", *libraries(where, "usr/bin/python3"), *libraries(where, ctypes)]
    return files | {name: resolve(where, name) for name in names}

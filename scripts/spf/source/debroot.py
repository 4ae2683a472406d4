# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages that are unpacked under build/ and that the machine's own apt does not know:
those of ppc64el, those that would start a server if they were installed, and those of a newer
suite, with its libc.

A root is a directory with the packages' files.  Its name begins with its architecture.
"""

import re
import shutil
from pathlib import Path

from spf import paths, ui
from spf.source import apt

TRIPLETS = {"amd64": "x86_64-linux-gnu", "ppc64el": "powerpc64le-linux-gnu"}
LOADERS = {"amd64": "lib64/ld-linux-x86-64.so.2", "ppc64el": "lib64/ld64.so.2"}
TRIPLET = TRIPLETS["ppc64el"]
# Libraries that we link statically.
HEADERS = "libfdt-dev libglib2.0-dev libjson-c-dev libpcre2-dev liburing-dev zlib1g-dev".split()
# Programs that run on POWER, each with its dependencies.
PROGRAMS = "busybox-static libpython3-stdlib python3-minimal redis-tools".split()


def root():
    """The root of ppc64el."""
    return _unpacked("ppc64el", HEADERS, PROGRAMS)


def here():
    """The root of this machine's architecture and suite."""
    return _unpacked("amd64", [], ["memcached"])


def newer(suite, programs):
    """A root of this machine's architecture, with programs of another suite of Debian; words() runs
    them."""
    return _unpacked("amd64", [], programs, suite)


def words(where, program):
    """The words that run a program of newer(), for which this machine's libc may be too old."""
    folders = ":".join(str(where / d) for d in library_dirs(where))
    # A newer suite has these folders below usr.
    loader = next(f for f in (where / LOADERS[_arch(where)], where / "usr" / LOADERS[_arch(where)])
                  if f.exists())
    return [loader, "--library-path", folders, where / program]


def _arch(where):
    return where.name.partition("-")[0]


def _unpacked(arch, headers, programs, suite=""):
    with ui.locked(".foreignlock"):
        target = paths.TOOLS / (f"{arch}-{suite}-{programs[0]}" if suite else arch)
        if not all((target / "usr/share/doc" / name).exists() for name in headers + programs):
            _unpack(arch, headers, programs, target, suite or apt.codename())
        return target


def _unpack(arch, headers, programs, target, suite):
    home = paths.BUILD / "apt" / target.name
    shutil.rmtree(home / "cache/archives", ignore_errors=True)     # all that lies there is unpacked
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(f"deb [signed-by={apt.KEYRING}] {apt.mirror()} "
                                       f"{suite} main\n")
    (home / "status").touch()
    options = [f"APT::Architecture={arch}", f"APT::Architectures={arch}",
               f"Dir::Etc::sourcelist={home}/sources.list",
               "Dir::Etc::sourceparts=-", f"Dir::State::Lists={home}/lists",
               f"Dir::State::status={home}/status",
               f"Dir::Cache={home}/cache", "APT::Sandbox::User=root"]
    words = [w for o in options for w in ("-o", o)]
    apt.get([*words, "update"], f"fetch the package lists of {suite}, {arch}")
    if headers:
        apt.get([*words, "download", *headers], f"fetch libraries for {arch}",
                cwd=home / "cache/archives")
    # Nothing counts as installed, so that this fetches all dependencies.
    apt.get([*words, "install", "--download-only", "--no-install-recommends", *programs],
            f"fetch {' '.join(programs[:3])} for {target.name}")
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for package in (home / "cache/archives").glob("*.deb"):
        ui.run(["dpkg-deb", "-x", package, new])
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)


def needed(file):
    said = ui.run(["readelf", "-d", file]).stdout
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", said)


def library_dirs(where):
    return f"lib/{TRIPLETS[_arch(where)]}", f"usr/lib/{TRIPLETS[_arch(where)]}"


def libraries(where, program):
    """The shared libraries that a program of `where` needs, and the loader, as paths relative to
    `where`."""
    found, wanted = {LOADERS[_arch(where)]}, [program]
    while wanted:
        for name in needed(resolve(where, wanted.pop())):
            path = next((f"{d}/{name}" for d in library_dirs(where)
                         if resolve(where, f"{d}/{name}").exists()), None)
            if not path:
                raise ui.Fail(f"{program} for {where.name} needs {name}, and no package has it",
                              "see scripts/spf/source/debroot.py")
            if path not in found:
                found.add(path)
                wanted.append(path)
    return sorted(found)


def loaded(program):
    """The same for a program of this machine, by its own loader, as absolute paths."""
    done = ui.run(["ldd", program], check=False)
    if done.returncode:
        raise ui.Fail(f"{ui.shown(program)} is not a program that this machine runs",
                      "name another one", 2)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def resolve(where, name):
    """The file that a name refers to.  Resolve absolute links within the root.  No root: this
    machine's own."""
    if not where:
        return Path(name)
    path = where / name.lstrip("/")
    while path.is_symlink():
        link = path.readlink()
        path = where / str(link).lstrip("/") if link.is_absolute() else path.parent / link
    return path


def python(where):
    """Python with its library and the extension modules that we need, and their shared libraries:
    name -> file."""
    library = resolve(where, "usr/bin/python3").name
    files = {str(p.relative_to(where)): p for p in (where / "usr/lib" / library).rglob("*")
             if p.is_file()}
    ctypes = next(name for name in files if "/_ctypes." in name)
    names = ["usr/bin/python3", *libraries(where, "usr/bin/python3"), *libraries(where, ctypes)]
    return files | {name: resolve(where, name) for name in names}

# SPDX-License-Identifier: GPL-2.0-or-later
"""A build, as kernbench does one: N compilers at once on libbpf, which is in the kernel's sources.

The guest's disk has this machine's own compiler, the sources, all headers that they include, and
the sums of the objects that the compiler made of them here.
"""

import shutil
from pathlib import Path

from spf import paths, series, ui
from spf.source import apt, debroot, fetch, patches

HEAD, TITLE = "Build", "gcc"
SERVERS, DOES = "compilers", "N compilers build a library"
ARCHES = ("x86",)
PACKAGES = ("build-essential", "libelf-dev", "zlib1g-dev")
VALUE_BYTES = None
# An absolute path: PATH may find ccache first.
GCC = "/usr/bin/gcc"
WHERE = "/src/tools/lib/bpf"
COMPILE = (f"{GCC} -O0 -fPIC -D_LARGEFILE64_SOURCE -D_FILE_OFFSET_BITS=64 -I{WHERE} "
           "-I/src/tools/lib -I/src/tools/include -I/src/tools/include/uapi")


def memory_mib(_data_mib, servers):
    """The disk in the page cache, and the memory of each compiler."""
    return 70 + 80 * servers


def disk_mib(_data_mib):
    return 70


def seconds(_data_mib):
    """Ten times as long as emulated compilers took on two cores."""
    return 1800


def what(settings):
    return (f"the {settings['keys']} files of libbpf are compiled, {settings['servers']} at once, "
            "until each object matched its checksum")


def version():
    apt.packages(PACKAGES)
    fetch.sources("linux")
    said = ui.run([GCC, "--version"]).stdout.splitlines()[0]
    return f"{said.removeprefix('gcc ')}, libbpf of Linux {patches.version('linux')}"


def files(_root):
    return {"bin/load": paths.SCRIPTS / "guest/load-build"}


def _compiler(directory):
    for program in (GCC, *(shutil.which(ui.run([GCC, f"-print-prog-name={name}"]).stdout.strip())
                           for name in ("cc1", "as"))):
        for path in (program, *debroot.loaded(program)):
            _copy(path, Path(directory, path.lstrip("/")))


def _copy(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def _sources(directory, file):
    """The file and the headers that it includes; the kernel's are below /src."""
    source = series.src("linux")
    words = [*COMPILE.replace("/src/", f"{source}/").split(), "-M",
             source / WHERE.removeprefix("/src/") / file]
    for name in ui.run(words).stdout.replace("\\\n", " ").split()[1:]:
        path = Path(name).resolve()
        _copy(path, Path(directory, "src", path.relative_to(source)) if path.is_relative_to(source)
              else
              Path(directory, name.lstrip("/")))


def make(directory, _data_mib, _servers):
    names = sorted(path.name
                   for path in (series.src("linux") / WHERE.removeprefix("/src/")).glob("*.c"))
    _compiler(directory)
    for name in names:
        _sources(directory, name)
    Path(directory, "tmp").mkdir()
    Path(directory, "names").write_text("".join(f"{name}\n" for name in names))
    # The guest's load-build runs this, after it has mounted memory on tmp; make() does, for the
    # sums.
    Path(directory, "compile").write_text(f'exec chroot "$1" {COMPILE} -c {WHERE}/"$2" -o '
                                          '/tmp/"$2".o\n')
    for name in names:
        ui.run(["sh", f"{directory}/compile", directory, name])
    objects = [f"{name}.o" for name in names]
    Path(directory, "sums").write_text(ui.run(["md5sum", *objects], cwd=f"{directory}/tmp").stdout)
    for name in objects:
        Path(directory, "tmp", name).unlink()
    return [len(names)]

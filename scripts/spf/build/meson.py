# SPDX-License-Identifier: GPL-2.0-or-later
"""Build this repository's own C, each flavour in a directory of its own; for POWER with Debian's
cross compiler."""

import functools
import json
import shutil

from spf import paths, series, ui
from spf.source import apt, debroot, patches

PACKAGES = ["build-essential", "meson", "ninja-build", "pkg-config"]
AGENT_PACKAGES = [*PACKAGES, "libjson-c-dev"]
BENCH_PACKAGES = [*AGENT_PACKAGES, "libglib2.0-dev", "liburing-dev"]
POWER_PACKAGES = ["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"]
# Only pkg-config uses sys_root: the compiler has a libc of its own.
POWER = """[binaries]
c = 'powerpc64le-linux-gnu-gcc'
ar = 'powerpc64le-linux-gnu-ar'
strip = 'powerpc64le-linux-gnu-strip'
pkgconfig = 'pkg-config'
[properties]
sys_root = '{root}'
pkg_config_libdir = '{root}/usr/lib/powerpc64le-linux-gnu/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'ppc64'
cpu = 'ppc64le'
endian = 'little'
"""


def is_at_home(where):
    """Whether meson set this directory up here, for these sources.  A directory that was copied or
    moved with its repository would build the sources of the old place."""
    try:
        set_up = json.loads((where / "meson-info" / "meson-info.json").read_text())["directories"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (set_up["source"], set_up["build"]) == (str(paths.ROOT), str(where))


def build(name, parts, *options, env=None):
    """Bring the build directory of this name up to date and return it.  The options take effect
    only when the directory is first set up."""
    where = paths.BUILD / "meson" / name
    log = paths.LOG / f"meson-{name}.log"
    with ui.locked(f".meson-{name}"):
        if not (where / "build.ninja").exists() or not is_at_home(where):
            shutil.rmtree(where, ignore_errors=True)
            ui.run(["/usr/bin/meson", "setup", f"-Dparts={parts}", *options, where, paths.ROOT],
                   log=log, env=env)
        ui.run(["ninja", "-C", where], log=log)
    return where


def agent():
    """The static spf-agent for this machine's guests."""
    apt.packages(AGENT_PACKAGES)
    return build("agent", "guest-agent") / "guest-agent" / "spf-agent"


def spfctl():
    """spfctl with ASan and UBSan, for tests."""
    apt.packages([*AGENT_PACKAGES, "libvirt-dev"])
    return build("spfctl-sanitized", "scripts/spfctl",
                 "-Db_sanitize=address,undefined") / "scripts/spfctl/spfctl"


def agent_power():
    """The static spf-agent for ppc64le guests."""
    apt.packages([*AGENT_PACKAGES, *POWER_PACKAGES])
    return build("agent-ppc64le", "guest-agent", *cross_power()) / "guest-agent" / "spf-agent"


def cross_power():
    cross = paths.TOOLS / "ppc64el.ini"
    cross.write_text(POWER.format(root=debroot.root()))
    return "--cross-file", str(cross)


def cross_bare():
    """As cross_power(), but without ppc64el libraries besides C's own."""
    cross = paths.TOOLS / "ppc64el-bare.ini"
    cross.parent.mkdir(parents=True, exist_ok=True)
    cross.write_text(POWER.format(root="/nonexistent"))
    return "--cross-file", str(cross)


@functools.cache
def lab_init():
    """Process 1 of a lab without a root file system.  Build it once: labs that run side by side
    would wait for each other here."""
    apt.packages(PACKAGES)
    return build("lab-init", "scripts/lab") / "scripts/lab/init"


@functools.cache
def lab_init_power():
    apt.packages([*PACKAGES, *POWER_PACKAGES])
    return build("lab-init-ppc64le", "scripts/lab", *cross_bare()) / "scripts/lab/init"


STATIC = ("-Dprefer_static=true", "-Dc_link_args=-static")


def bench():
    """Build the programs of bench/; return their directory."""
    apt.packages(BENCH_PACKAGES)
    return build("bench", "bench") / "bench"


def plugins(qemu="patched", folder="bench/plugin"):
    """Build the emulator's plugins with the header of our QEMU, patched or edit; return their
    directory."""
    apt.packages(BENCH_PACKAGES)
    where = series.edit("qemu") if qemu == "edit" else patches.sync("qemu")[0]
    return build(f"{folder.replace('/', '-')}-{qemu}", folder,
                 f"-Dc_args=-I{where / 'include' / 'qemu'}") / folder


def bench_static():
    """As bench(), for a lab without shared libraries."""
    apt.packages(BENCH_PACKAGES)
    return build("bench-static", "bench", *STATIC) / "bench"


def bench_power():
    """As bench(), for ppc64le, and the programs of tests/power; return the directory above both."""
    apt.packages([*BENCH_PACKAGES, *POWER_PACKAGES])
    return build("bench-ppc64le", "bench,tests/power", *STATIC, *cross_power())

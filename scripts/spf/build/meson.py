# SPDX-License-Identifier: GPL-2.0-or-later
"""Build this repository's own C, each flavour in a directory of its own; for POWER with Debian's
cross compiler."""

import json
import shutil

from spf import paths, series, ui
from spf.source import apt, debroot, patches

AGENT_PACKAGES = ["build-essential", "libjson-c-dev", "meson", "ninja-build", "pkg-config"]
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


STATIC = ("-Dprefer_static=true", "-Dc_link_args=-static")
BENCH_PACKAGES = ["build-essential", "libglib2.0-dev", "libjson-c-dev", "liburing-dev", "meson",
                  "ninja-build",
                  "pkg-config"]


def bench():
    """Build the programs of bench/; return their directory."""
    apt.packages(BENCH_PACKAGES)
    return build("bench", "bench") / "bench"


def plugins(qemu="patched"):
    """Build the emulator's plugins with the header of our QEMU, patched or edit; return their
    directory."""
    apt.packages(BENCH_PACKAGES)
    where = series.edit("qemu") if qemu == "edit" else patches.sync("qemu")[0]
    return build(f"plugins-{qemu}", "bench/plugin",
                 f"-Dc_args=-I{where / 'include' / 'qemu'}") / "bench/plugin"


def bench_static():
    """As bench(), for a lab without shared libraries."""
    apt.packages(BENCH_PACKAGES)
    return build("bench-static", "bench", *STATIC) / "bench"


def bench_power():
    """As bench(), for ppc64le, and the programs of tests/power; return the directory above both."""
    apt.packages([*BENCH_PACKAGES, *POWER_PACKAGES])
    return build("bench-ppc64le", "bench,tests/power", *STATIC, *cross_power())

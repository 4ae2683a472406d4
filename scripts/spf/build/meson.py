# SPDX-License-Identifier: GPL-2.0-or-later
"""Build this repository's own C, each flavour in a directory of its own; for POWER with Debian's cross compiler."""

from spf import paths, series, ui
from spf.source import apt, debroot, patches

AGENT_PACKAGES = ["build-essential", "libjson-c-dev", "meson", "ninja-build", "pkg-config"]
POWER_PACKAGES = ["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"]
# sys_root is for pkg-config: the compiler has a libc of its own.
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


def build(name, parts, *options, env=None):
    """Bring the build directory of this name up to date; returns it.  Its options are those of its first time."""
    where = paths.BUILD / "meson" / name
    log = paths.LOG / f"meson-{name}.log"
    with ui.locked(f".meson-{name}"):
        if not (where / "build.ninja").exists():
            ui.run(["/usr/bin/meson", "setup", f"-Dparts={parts}", *options, where, paths.ROOT], log=log, env=env)
        ui.run(["ninja", "-C", where], log=log)
    return where


def agent():
    """The static spf-agent for this machine's guests."""
    apt.packages(AGENT_PACKAGES)
    return build("agent", "guest-agent") / "guest-agent" / "spf-agent"


def spfctl():
    """spfctl with ASan and UBSan, which is how tests want it."""
    apt.packages([*AGENT_PACKAGES, "libvirt-dev"])
    return build("spfctl-sanitized", "scripts/spfctl", "-Db_sanitize=address,undefined") / "scripts/spfctl/spfctl"


def agent_power():
    """The same for ppc64le guests."""
    apt.packages([*AGENT_PACKAGES, *POWER_PACKAGES])
    return build("agent-ppc64le", "guest-agent", *cross_power()) / "guest-agent" / "spf-agent"


def cross_power():
    cross = paths.TOOLS / "ppc64el.ini"
    cross.write_text(POWER.format(root=debroot.root()))
    return "--cross-file", str(cross)


STATIC = ("-Dprefer_static=true", "-Dc_link_args=-static")
BENCH_PACKAGES = ["build-essential", "libglib2.0-dev", "libjson-c-dev", "liburing-dev", "meson", "ninja-build",
                  "pkg-config"]


def bench():
    """The programs of bench/; the directory that has them."""
    apt.packages(BENCH_PACKAGES)
    return build("bench", "bench") / "bench"


def plugins(qemu="patched"):
    """The emulator's plugins, by the header of this QEMU of ours, patched or edit; the directory that has them."""
    apt.packages(BENCH_PACKAGES)
    where = series.edit("qemu") if qemu == "edit" else patches.sync("qemu")[0]
    return build(f"plugins-{qemu}", "bench/plugin", f"-Dc_args=-I{where / 'include' / 'qemu'}") / "bench/plugin"


def bench_static():
    """The same for a lab without shared libraries."""
    apt.packages(BENCH_PACKAGES)
    return build("bench-static", "bench", *STATIC) / "bench"


def bench_power():
    """The same for ppc64le, and what tests/power has; the directory above both."""
    apt.packages([*BENCH_PACKAGES, *POWER_PACKAGES])
    return build("bench-ppc64le", "bench,tests/power", *STATIC, *cross_power())

# SPDX-License-Identifier: GPL-2.0-or-later
"""Configure, build and install QEMU."""

import shutil
from pathlib import Path

from spf import series, ui
from spf.build import meson, sandbox
from spf.source import apt, debroot

COMMON = """--without-default-features --disable-install-blobs --disable-download --disable-werror
--enable-kvm --enable-system --enable-fdt=system""".split()
OPTIONS = """--target-list=x86_64-softmmu,ppc64-softmmu --enable-tcg --enable-tools --enable-plugins
--enable-virtfs --enable-attr --enable-cap-ng --enable-slirp --enable-linux-io-uring
--enable-vhost-net --enable-vhost-kernel --enable-vhost-user --enable-vhost-vdpa""".split()
# Debugging information takes a fifth of a build.  Only the builds with sanitizers need it.
PLAIN = ["--disable-debug-info"]
# "alone" is for `patches check`, which builds each patch.
MORE = {"asan": ["--enable-asan", "--enable-ubsan"], "alone": [*PLAIN, "--enable-werror"]}
POWER = ["--target-list=ppc64-softmmu", *PLAIN, "--static",
         "--cross-prefix=powerpc64le-linux-gnu-"]
PROGRAMS = ("qemu-system-x86_64", "qemu-system-ppc64", "qemu-img", "qemu-io")
TESTS = ("tests/qtest/kvm-spf-test",)
FIRMWARE = (("/usr/share/seabios", "*.bin"), ("/usr/share/qemu", "*"),
            ("/usr/lib/ipxe/qemu", "*.rom"))


def programs(src, flavour="patched"):
    if flavour == "power":
        return ["qemu-system-ppc64"]
    # `patches check` also builds trees from before the patch that adds the test.
    return [*PROGRAMS, *(t for t in TESTS if (src / f"{t}.c").exists())]


def options(flavour):
    if flavour == "power":
        return [*COMMON, *POWER]
    return [*COMMON, *OPTIONS, *MORE.get(flavour, PLAIN)]


def environment():
    where = f"{sandbox.MOUNT}/tools/meson/usr"
    return {"PATH": f"{where}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{where}/lib/python3/dist-packages"}


def compiler(flavour):
    """configure's arguments for the compiler, and for the libraries of this flavour."""
    if flavour != "power":
        return ["--cc=ccache gcc"], {}
    where = f"{sandbox.MOUNT}/tools/{debroot.root().name}"
    # meson does not ask pkg-config for libfdt: it looks in the compiler's own search path, to which
    # -B adds a folder.
    return [f"--cc=ccache powerpc64le-linux-gnu-gcc -B{where}/usr/lib/{debroot.TRIPLET}/",
            f"--extra-cflags=-isystem {where}/usr/include"], {
        "PKG_CONFIG": "pkg-config", "PKG_CONFIG_SYSROOT_DIR": where,
        "PKG_CONFIG_LIBDIR": f"{where}/usr/lib/{debroot.TRIPLET}/pkgconfig"}


def compile_tree(src, target, flavour="patched"):
    log, obj, words = sandbox.fresh(target), series.obj(target), options(flavour)
    cc, found = compiler(flavour)
    env = environment() | found
    with ui.Progress(f"building {series.label(target)}", 1800 / sandbox.jobs()) as progress:
        # config.status appears before meson has finished; build.ninja and our own mark say that it
        # has.
        mark, key = obj / "kvmspf.configured", ui.digest(*words)
        if not mark.exists() or mark.read_text() != key:
            shutil.rmtree(obj, ignore_errors=True)
            sandbox.run(src, obj, ["../src/configure", "--python=/usr/bin/python3", *cc, *words],
                        log, env)
            mark.write_text(key)
        sandbox.run(src, obj, ["ninja", f"-j{sandbox.jobs()}", *programs(src, flavour)], log, env,
                    sandbox.counted(progress))


def build(target, src, flavour):
    compile_tree(src, target, flavour)
    place(series.obj(target), series.out(target), programs(src, flavour))


def place_firmware(share):
    share.mkdir(parents=True, exist_ok=True)
    for directory, pattern in FIRMWARE:
        for source in sorted(Path(directory).glob(pattern)):
            link = share / source.name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(source)


def place(obj, out, programs):
    """bin/ and share/qemu/ as an installed QEMU has them, so that it finds its firmware by
    itself."""
    place_firmware(out / "share" / "qemu")
    for program in programs:
        sandbox.put(obj / program, out / "bin" / Path(program).name)


def inputs(flavour):
    if flavour != "power":
        return options(flavour)
    apt.packages(meson.POWER_PACKAGES)
    return [*options(flavour), sandbox.compiler("powerpc64le-linux-gnu-gcc")]

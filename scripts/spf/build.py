# SPDX-License-Identifier: GPL-2.0-or-later
"""Build kernels, QEMU and the kernel's KVM selftests."""

import argparse
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

from spf import foreign, lab, meson, patches, paths, setup, ui

TARGETS = {
    "linux-stock": "Debian's 6.12 as it is, the lab's configuration",
    "linux-patched": "the same with kvm-patches",
    "linux-debug": "the patched kernel with KASAN, lockdep and page table checks",
    "linux-preempt": "the patched kernel, preemptible, with lockdep and checks of what may sleep",
    "linux-planted": "the patched kernel with tests/torture/planted.patch",
    "linux-planted-preempt": "the same, preemptible",
    "linux-kcsan": "the patched kernel with KCSAN, which finds data races",
    "linux-rt": "the patched kernel with PREEMPT_RT",
    "linux-up": "the patched kernel for one CPU, and so without locks of VMAs",
    "linux-cloud": "the patched kernel as Debian configures it for clouds, for a lab",
    "linux-modules": "the patched kernel with KVM as modules",
    "linux-edit": "what lies in build/edit/linux, committed or not",
    "linux-power": "the patched kernel for POWER (powernv), 64 KiB pages",
    "linux-power4k": "the same with 4 KiB pages",
    "linux-poweredit": "what lies in build/edit/linux for POWER, 64 KiB pages",
    "qemu": "Debian's QEMU 10.0 with qemu-patches",
    "qemu-edit": "what lies in build/edit/qemu",
    "qemu-power": "the patched QEMU for POWER hosts, static, with KVM alone",
    "qemu-asan": "the patched QEMU with ASan and UBSan, for KVMSPF_QEMU=asan kvmspf test qemu",
    "selftests": "tools/testing/selftests/kvm of the patched kernel, static",
    "selftests-edit": "the same of build/edit/linux",
    "mmtests": "tools/testing/selftests/mm of the patched kernel",
}
GROUPS = {"linux": ("linux-stock", "linux-patched"), "all": ("qemu", "linux-stock", "linux-patched", "selftests")}

# Compilers see every tree at one place, so that flavours, clones and CI share what ccache holds.  It believes the
# dependency files: to preprocess each source once more would be a fifth of a cold build.
MOUNT = "/mnt"
SANDBOX = ('mount -t tmpfs kvmspf "$1"; mkdir "$1/src" "$1/obj" "$1/tools"; mount --bind "$2" "$1/src"; '
           'mount --bind "$3" "$1/obj"; mount --bind "$4" "$1/tools"; cd "$1/obj"; shift 4; exec "$@"')
REPRODUCIBLE = {"KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "kvmspf",
                "KBUILD_BUILD_HOST": "lab", "KBUILD_BUILD_VERSION": "1", "CCACHE_NOHASHDIR": "1",
                "CCACHE_SLOPPINESS": "time_macros", "CCACHE_DEPEND": "1"}

# An empty LOCALVERSION keeps a "+" for uncommitted work out of the release's name.
MAKE = ["make", "-C", f"{MOUNT}/src", f"O={MOUNT}/obj", "HOSTCC=ccache gcc", "CC=ccache gcc", "LOCALVERSION="]

# What differs from one architecture's kernel to the other's: make's words, the image, where its options are.
Arch = namedtuple("Arch", "words image kconfig")
X86 = Arch([], "arch/x86/boot/bzImage", ("arch/x86", "arch/x86/kvm"))
POWER = Arch(["ARCH=powerpc", "CROSS_COMPILE=powerpc64le-linux-gnu-", "CC=ccache powerpc64le-linux-gnu-gcc"],
             "vmlinux", ("arch/powerpc", "arch/powerpc/kvm", "arch/powerpc/platforms", "arch/powerpc/platforms/powernv"))
# Whose tree a flavour is built from, where that is not its own name.
TREES = {"power": "patched", "power4k": "patched", "poweredit": "edit", "asan": "patched", "planted-preempt": "planted"}

# Flavours that are laid over a configuration of Debian's, by its name, and not over ours.
DEBIAN = {"cloud": "config.amd64_none_cloud-amd64"}

QEMU_COMMON = """--without-default-features --disable-install-blobs --disable-download --disable-werror --enable-kvm
--enable-system --enable-fdt=system""".split()
QEMU_OPTIONS = """--target-list=x86_64-softmmu,ppc64-softmmu --enable-tcg --enable-tools --enable-plugins --enable-virtfs
--enable-attr --enable-cap-ng --enable-slirp --enable-linux-io-uring --enable-vhost-net --enable-vhost-kernel
--enable-vhost-user --enable-vhost-vdpa""".split()
# alone: each patch by itself, for `patches check`.
QEMU_MORE = {"asan": ["--enable-asan", "--enable-ubsan"], "alone": ["--enable-werror"]}
QEMU_POWER = "--target-list=ppc64-softmmu --disable-debug-info --static --cross-prefix=powerpc64le-linux-gnu-".split()
QEMU_PROGRAMS = ("qemu-system-x86_64", "qemu-system-ppc64", "qemu-img", "qemu-io")
QEMU_TESTS = ("tests/qtest/kvm-spf-test",)
MM_PACKAGES = ["libcap-dev", "libnuma-dev"]
FIRMWARE = (("/usr/share/seabios", "*.bin"), ("/usr/share/qemu", "*"), ("/usr/lib/ipxe/qemu", "*.rom"))


def jobs():
    return len(os.sched_getaffinity(0))


def sandbox(src, obj, argv, log, env=None, progress=None):
    obj.mkdir(parents=True, exist_ok=True)
    paths.TOOLS.mkdir(parents=True, exist_ok=True)
    ui.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", SANDBOX, "sh", MOUNT, src, obj,
            paths.TOOLS, *argv], log=log, env={**REPRODUCIBLE, **(env or {})}, progress=progress)


def counted(progress):
    """How far a log has come by what ninja, or meson's test, counts."""
    def note(log):
        with open(log, "rb") as f:
            f.seek(max(0, os.path.getsize(log) - 4096))
            found = re.findall(rb"^(?:\[| *)(\d+)/(\d+)[] ]", f.read(), re.M)
        progress("%d/%d" % tuple(map(int, found[-1])) if found else "")
    return note


def fresh(name):
    log = paths.LOG / f"build-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    return log


def put(source, target):
    """A finished file takes its place at once, whatever still runs from the old one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, temporary)
    temporary.replace(target)


def compiler(name="gcc"):
    return ui.run([name, "--version"]).stdout.splitlines()[0]


# -- trees --

def tree(what, flavour):
    """The source tree of a flavour, brought up to date, and a key that changes whenever it does."""
    setup.sources(what)
    flavour = TREES.get(flavour, flavour)
    if flavour == "stock":
        return paths.SRC / what, patches.base(what)
    if flavour == "edit":
        where = paths.EDIT / what
        if not where.exists():
            raise ui.Fail(f"there is no {ui.shown(where)}", f"run: kvmspf patches edit {what}")
        return where, patches.state(where)
    if flavour == "planted":
        return planted(what)
    return patches.sync(what)


def planted(what):
    """The patched tree, and what the torture plants in it, in a worktree of its own."""
    _, head = patches.sync(what)
    patch, where, name = paths.ROOT / "tests/torture/planted.patch", paths.TREE / f"{what}-planted", f"tree-{what}-planted"
    key = ui.digest(head, patch)
    if ui.recall(name).get("key") != key or not (where / ".git").exists():
        with ui.locked(".treelock"):
            ui.forget(name)
            patches.worktree(what, where, head)
            patches.git(where, "apply", "--whitespace=nowarn", "-C1", patch)
            ui.remember(name, key=key)
    return where, key


# -- the kernel --

def fragments(flavour):
    base = flavour if flavour in DEBIAN else "power" if arch(flavour) == POWER else "lab"
    files = [paths.SCRIPTS / "kernel" / f"{name}.config" for name in dict.fromkeys((base, *flavour.split("-")))]
    return [file for file in files if file.exists()]


def arch(flavour):
    return POWER if flavour.startswith("power") else X86


def wanted(files):
    """Option -> line; a later file wins.  What stands below "# optional" need not exist."""
    lines, optional = {}, set()
    for file in files:
        below = False
        for line in file.read_text().splitlines():
            below = below or line == "# optional"
            found = re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line)
            if found:
                lines[found[1]] = line
                if below:
                    optional.add(found[1])
    return lines, optional


def missing(config, files):
    have = set(config.read_text().splitlines())
    lines, optional = wanted(files)
    return [line for name, line in lines.items() if name not in optional and line not in have and
            not (line.endswith("is not set") and not any(h.startswith(name + "=") for h in have))]


def configure(src, obj, files, log, machine):
    key = ui.digest(*files, *[p for d in ("mm", "virt/kvm", *machine.kconfig) for p in sorted((src / d).glob("Kconfig*"))])
    mark = obj / "kvmspf.config"
    if mark.exists() and mark.read_text() == key and (obj / ".config").exists():
        return
    mark.unlink(missing_ok=True)
    merged = obj / "kvmspf.fragment"
    merged.write_text("\n".join(wanted(files)[0].values()) + "\n")
    debian = DEBIAN.get(files[0].stem)
    if debian:
        (obj / ".config").write_text(setup.debian_config(debian))
    else:
        sandbox(src, obj, [*MAKE, *machine.words, "tinyconfig"], log, env={"KCONFIG_ALLCONFIG": ""})
    with open(obj / ".config", "a") as config:
        config.write(merged.read_text())
    sandbox(src, obj, [*MAKE, *machine.words, "olddefconfig"], log)
    lost = missing(obj / ".config", files)
    if lost:
        raise ui.Fail(f"the kernel's configuration did not take {', '.join(lost[:5])}",
                      "correct scripts/kernel/*.config")
    mark.write_text(key)


def build_kernel(name, src, flavour):
    obj, files, machine = paths.OBJ / name, fragments(flavour), arch(flavour)
    compile_kernel(src, obj, files, name, machine)
    have = (obj / ".config").read_text()
    for option in sorted(wanted(files)[1]):
        if flavour != "stock" and f"{option}=y" not in have:
            ui.say(f"{name}: this tree has no {option}")
    for file in {"vmlinux", "System.map", ".config", machine.image}:
        put(obj / file, paths.OUT / name / Path(file).name.replace(".config", "config"))


def compile_kernel(src, obj, files, name, machine=X86):
    """files: the configuration's fragments.  For `patches check` too, which builds trees of its own."""
    log = fresh(name)
    obj.mkdir(parents=True, exist_ok=True)
    with ui.Progress(f"building {name}") as progress:
        configure(src, obj, files, log, machine)
        # Of a distribution's modules there are thousands, and nobody loads them.
        modules = ["modules"] if files[0].stem not in DEBIAN and \
            "CONFIG_MODULES=y\n" in (obj / ".config").read_text() else []
        sandbox(src, obj, [*MAKE, *machine.words, f"-j{jobs()}", Path(machine.image).name, *modules], log,
                progress=counted(progress))


# -- QEMU --

def qemu_programs(src, flavour="patched"):
    if flavour == "power":
        return ["qemu-system-ppc64"]
    # A test is there from the patch on that brings it.
    return [*QEMU_PROGRAMS, *(t for t in QEMU_TESTS if (src / f"{t}.c").exists())]


def qemu_options(flavour):
    if flavour == "power":
        return [*QEMU_COMMON, *QEMU_POWER]
    return [*QEMU_COMMON, *QEMU_OPTIONS, *QEMU_MORE.get(flavour, ())]


def qemu_environment():
    where = f"{MOUNT}/tools/meson/usr"
    return {"PATH": f"{where}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{where}/lib/python3/dist-packages"}


def qemu_compiler(flavour):
    """What configure is told of the compiler, and where this flavour's libraries are."""
    if flavour != "power":
        return ["--cc=ccache gcc"], {}
    where = f"{MOUNT}/tools/{foreign.root().name}"
    # libfdt is not asked of pkg-config, and meson looks for it where the compiler says that it does.
    return [f"--cc=ccache powerpc64le-linux-gnu-gcc -B{where}/usr/lib/{foreign.TRIPLET}/",
            f"--extra-cflags=-isystem {where}/usr/include"], {
        "PKG_CONFIG": "pkg-config", "PKG_CONFIG_SYSROOT_DIR": where,
        "PKG_CONFIG_LIBDIR": f"{where}/usr/lib/{foreign.TRIPLET}/pkgconfig"}


def compile_qemu(src, obj, name, flavour="patched"):
    log, options = fresh(name), qemu_options(flavour)
    cc, found = qemu_compiler(flavour)
    env = qemu_environment() | found
    with ui.Progress(f"building {name}") as progress:
        # config.status appears before meson is through; what says that it was is build.ninja and our own mark.
        mark, key = obj / "kvmspf.configured", ui.digest(*options)
        if not mark.exists() or mark.read_text() != key:
            shutil.rmtree(obj, ignore_errors=True)
            sandbox(src, obj, ["../src/configure", "--python=/usr/bin/python3", *cc, *options], log, env)
            mark.write_text(key)
        sandbox(src, obj, ["ninja", f"-j{jobs()}", *qemu_programs(src, flavour)], log, env, counted(progress))


def build_qemu(name, src, flavour):
    compile_qemu(src, paths.OBJ / name, name, flavour)
    place_qemu(paths.OBJ / name, paths.OUT / name, qemu_programs(src, flavour))


def place_firmware(share):
    share.mkdir(parents=True, exist_ok=True)
    for directory, pattern in FIRMWARE:
        for source in sorted(Path(directory).glob(pattern)):
            link = share / source.name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(source)


def place_qemu(obj, out, programs):
    """bin/ and share/qemu/ as an installed QEMU has them, so that it finds its firmware by itself."""
    place_firmware(out / "share" / "qemu")
    for program in programs:
        put(obj / program, out / "bin" / Path(program).name)


# -- selftests --

def make_selftests(src, obj, log, folder, *words, progress=None):
    """The selftests' makefiles write into the source tree unless told otherwise; headers go beside the objects."""
    (obj / folder).mkdir(parents=True, exist_ok=True)
    sandbox(src, obj, ["make", "-C", f"{MOUNT}/src", f"O={MOUNT}/obj/headers", "HOSTCC=ccache gcc",
                       f"INSTALL_HDR_PATH={MOUNT}/obj/usr", "headers_install"], log)
    sandbox(src, obj, ["make", "-C", f"{MOUNT}/src/tools/testing/selftests/{folder}", "ARCH=x86_64",
                       f"OUTPUT={MOUNT}/obj/{folder}", f"KHDR_INCLUDES=-isystem {MOUNT}/obj/usr/include", *words,
                       f"-j{jobs()}"], log, progress=progress)


def build_selftests(name, src, _flavour):
    obj, log = paths.OBJ / name, fresh(name)
    with ui.Progress(f"building {name}") as progress:
        make_selftests(src, obj, log, "kvm", "CC=ccache gcc", "LDFLAGS=-static -pthread", progress=counted(progress))
    for program in (obj / "kvm").rglob("*"):
        if program.is_file() and os.access(program, os.X_OK) and program.suffix == "":
            put(program, paths.OUT / name / program.relative_to(obj / "kvm"))


def build_mmtests(name, src, _flavour):
    """What this makefile writes into the source tree all the same is ignored by git.  One test misses a definition."""
    obj, log, out = paths.OBJ / name, fresh(name), paths.OUT / name
    with ui.Progress(f"building {name}") as progress:
        make_selftests(src, obj, log, "mm", "CC=gcc", "EXTRA_CFLAGS=-DKSFT_SKIP=4", progress=counted(progress))
    for program in [*(obj / "mm").iterdir(), *(src / "tools/testing/selftests/mm").glob("*.sh")]:
        if program.is_file() and os.access(program, os.X_OK):
            put(program, out / program.name)


def qemu_inputs(flavour):
    if flavour != "power":
        return qemu_options(flavour)
    setup.packages(meson.POWER_PACKAGES)
    return [*qemu_options(flavour), compiler("powerpc64le-linux-gnu-gcc")]


def mm_inputs(_flavour):
    setup.packages(MM_PACKAGES)
    return MM_PACKAGES


# -- the verb --

def kernel_inputs(flavour):
    if arch(flavour) == POWER:
        setup.packages(meson.POWER_PACKAGES)
        return [*fragments(flavour), *MAKE, *POWER.words, compiler("powerpc64le-linux-gnu-gcc")]
    return [*fragments(flavour), *MAKE]


RECIPES = {"linux": ("linux", build_kernel, kernel_inputs),
           "qemu": ("qemu", build_qemu, qemu_inputs),
           "selftests": ("linux", build_selftests, lambda f: []),
           "mmtests": ("linux", build_mmtests, mm_inputs)}


def build(target):
    """Build a target unless it is up to date; says whether it did."""
    kind, _, flavour = target.partition("-")
    flavour = flavour or "patched"
    what, recipe, inputs = RECIPES[kind]
    name = f"{kind}-{flavour}"

    def look():
        src, key = tree(what, flavour)
        key = ui.digest(key, *inputs(flavour), compiler())
        return src, key, ui.recall(name).get("key") == key and (paths.OUT / name).exists()

    if look()[2]:
        return False
    with ui.locked():
        src, key, current = look()
        if current:
            return False
        ui.need_space(1 if paths.OUT.exists() else 12)
        ui.forget(name)
        recipe(name, src, flavour)
        # Somebody may have saved a file of the edit tree meanwhile: then this is not what lies there now.
        if look()[1] == key:
            ui.remember(name, key=key)
    return True


def bring_up_to_date(kernel, qemu="patched"):
    """What `lab` is about to use, where it is ours to build."""
    setup.ready()
    if qemu in ("patched", "edit", "asan"):
        build("qemu" if qemu == "patched" else f"qemu-{qemu}")
    if kernel in lab.FLAVOURS:
        build(f"linux-{kernel}")


def parser():
    p = argparse.ArgumentParser(
        prog="kvmspf build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="targets (default: all):\n" + "\n".join(
            [f"  {n:16}{t}" for n, t in TARGETS.items()] +
            [f"  {n:16}{' '.join(t)}" for n, t in GROUPS.items()]) + f"\n\nResults are put in {ui.shown(paths.OUT)}.")
    p.add_argument("target", nargs="*", default=["all"])
    return p


def main(argv):
    args = parser().parse_args(argv)
    unknown = [t for t in args.target if t not in TARGETS and t not in GROUPS]
    if unknown:
        raise ui.Fail(f"unknown target '{unknown[0]}'", "kvmspf build --help lists them", 2)
    ui.need_root()
    setup.ready()
    for target in [t for name in args.target for t in GROUPS.get(name, (name,))]:
        if not build(target):
            ui.say(f"{target}: up to date")
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels: their configuration, and how they are built."""

import re
import shutil
from collections import namedtuple
from pathlib import Path

from spf import paths, series, ui
from spf.build import meson, sandbox
from spf.source import apt, fetch, patches

# An empty LOCALVERSION keeps a "+" for uncommitted work out of the release's name.
MAKE = ["make", "-C", f"{sandbox.MOUNT}/src", f"O={sandbox.MOUNT}/obj", "HOSTCC=ccache gcc",
        "CC=ccache gcc", "LOCALVERSION="]

# The kernels of two architectures differ in make's words, the image, and the folders of options.
Arch = namedtuple("Arch", "words image kconfig")
X86 = Arch([], "arch/x86/boot/bzImage", ("arch/x86", "arch/x86/kvm"))
POWER = Arch(["ARCH=powerpc", "CROSS_COMPILE=powerpc64le-linux-gnu-",
              "CC=ccache powerpc64le-linux-gnu-gcc"],
             "vmlinux", ("arch/powerpc", "arch/powerpc/kvm", "arch/powerpc/platforms",
                         "arch/powerpc/platforms/powernv"))


def fragments(flavour):
    """The fragments of scripts/kernel, each followed by the series' override of it."""
    base = "power" if arch(flavour) == POWER else "lab"
    folders = (paths.SCRIPTS / "kernel", series.of("linux").folder)
    return [file for name in dict.fromkeys((base, *flavour.split("-"))) for folder in folders
            if (file := folder / f"{name}.config").exists()]


def arch(flavour):
    return POWER if flavour.startswith("power") else X86


def wanted(files):
    """Option -> line; a later file wins.  Options below "# optional" need not exist."""
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


def configure(src, obj, files, log, machine, debian=None):
    """debian: the configuration of Debian's that the fragments are laid over; None: tinyconfig."""
    key = ui.digest(debian, *files, *[p for d in ("mm", "virt/kvm", *machine.kconfig)
                                      for p in sorted((src / d).glob("Kconfig*"))])
    mark = obj / "kvmspf.config"
    if mark.exists() and mark.read_text() == key and (obj / ".config").exists():
        return
    mark.unlink(missing_ok=True)
    merged = obj / "kvmspf.fragment"
    merged.write_text("\n".join(wanted(files)[0].values()) + "\n")
    if debian:
        (obj / ".config").write_text(fetch.debian_config(debian))
    else:
        sandbox.run(src, obj, [*MAKE, *machine.words, "tinyconfig"], log,
                    env={"KCONFIG_ALLCONFIG": ""})
    with open(obj / ".config", "a") as config:
        config.write(merged.read_text())
    sandbox.run(src, obj, [*MAKE, *machine.words, "olddefconfig"], log)
    lost = missing(obj / ".config", files)
    if lost:
        raise ui.Fail(f"the kernel's configuration did not take {', '.join(lost[:5])}",
                      "correct scripts/kernel/*.config")
    mark.write_text(key)


def begin_with_patched(obj, src):
    """Begin with a copy of the patched kernel's objects, so that make compiles what differs, by
    planted.patch or the release's name, and gets nothing else from ccache.  @src is the tree of the
    patched kernel but for uncommitted changes.  All copies get one time: only those changes are
    later."""
    label, other = series.label("linux-patched"), series.obj("linux-patched")
    with ui.locked(f".build-{label}"):
        # Of the same patches, and whole?
        heads = {patches.text(tree, "rev-parse", "HEAD")
                 for tree in (src, series.tree("linux", "patched"))}
        if obj.exists() or not ui.recall(label) or len(heads) > 1:
            return
        part = obj.with_name(f".{obj.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        ui.run(["cp", "-a", other, part])
        mark = part / "kvmspf.config"
        mark.touch()
        ui.run(["find", part, "-type", "f", "-exec", "touch", "-r", mark, "{}", "+"])
        for name in patches.text(src, "diff", "--name-only", "HEAD").splitlines():
            (src / name).touch()
        part.rename(obj)


def build(target, src, flavour):
    obj, files, machine = series.obj(target), fragments(flavour), arch(flavour)
    if flavour == "planted":
        begin_with_patched(obj, src)
    compile_tree(src, target, files, machine)
    have = (obj / ".config").read_text()
    for option in sorted(wanted(files)[1]):
        if flavour != "stock" and f"{option}=y" not in have:
            ui.say(f"{series.label(target)}: this tree has no {option}")
    for file in {"vmlinux", "System.map", ".config", machine.image}:
        sandbox.put(obj / file, series.out(target) / Path(file).name.replace(".config", "config"))


def compile_tree(src, target, files, machine=X86):
    """files: the configuration's fragments.  `patches check` calls this as well, for trees of its
    own."""
    log, obj = sandbox.fresh(target), series.obj(target)
    obj.mkdir(parents=True, exist_ok=True)
    with ui.Progress(f"building {series.label(target)}", 1500 / sandbox.jobs()) as progress:
        configure(src, obj, files, log, machine)
        modules = ["modules"] if "CONFIG_MODULES=y\n" in (obj / ".config").read_text() else []
        sandbox.run(src, obj, [*MAKE, *machine.words, f"-j{sandbox.jobs()}",
                               Path(machine.image).name, *modules], log,
                    progress=sandbox.counted(progress))


def inputs(flavour):
    if arch(flavour) == POWER:
        apt.packages(meson.POWER_PACKAGES)
        return [*fragments(flavour), *MAKE, *POWER.words,
                sandbox.compiler("powerpc64le-linux-gnu-gcc")]
    return [*fragments(flavour), *MAKE]

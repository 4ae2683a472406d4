# SPDX-License-Identifier: GPL-2.0-or-later
"""Build kernels, QEMU and the kernel's KVM selftests."""

import os
import subprocess
from pathlib import Path

from spf import arguments, paths, series, ui
from spf.build import kernels, qemus, sandbox, selftests
from spf.source import fetch, patches, setup

TARGETS = {
    "linux-stock": "Debian's kernel, unpatched, in the lab's configuration",
    "linux-patched": "the same with kvm-patches",
    "linux-debug": "the patched kernel with KASAN, lockdep and page table checks",
    "linux-preempt": "the patched kernel, preemptible, with lockdep and sleep checks",
    "linux-planted": "the patched kernel with the series' planted.patch",
    "linux-planted-preempt": "the same, preemptible",
    "linux-kcsan": "the patched kernel with KCSAN, which finds data races",
    "linux-rt": "the patched kernel with PREEMPT_RT",
    "linux-dax": "the patched kernel with DAX",
    "linux-up": "the patched kernel for one CPU, and so without locks of VMAs",
    "linux-modules": "the patched kernel with KVM as modules",
    "linux-edit": "what lies in the edit tree (kvmspf patches edit linux), committed or not",
    "linux-power": "the patched kernel for POWER (powernv), 64 KiB pages",
    "linux-power4k": "the same with 4 KiB pages",
    "linux-poweredit": "what lies in the edit tree for POWER, 64 KiB pages",
    "qemu": "Debian's QEMU with qemu-patches",
    "qemu-edit": "what lies in the edit tree (kvmspf patches edit qemu)",
    "qemu-power": "the patched QEMU for POWER hosts, static, with KVM alone",
    "qemu-asan": "the patched QEMU with ASan and UBSan, for KVMSPF_QEMU=asan kvmspf test qemu",
    "selftests": "tools/testing/selftests/kvm of the patched kernel, static",
    "selftests-edit": "the same of the edit tree",
    "mmtests": "tools/testing/selftests/mm of the patched kernel",
}
# The kernels that the x86 lab boots.
FLAVOURS = ("patched", "stock", "debug", "preempt", "planted", "planted-preempt", "kcsan", "rt",
            "up", "dax", "modules", "edit")
QEMUS = ("patched", "edit", "asan")
GROUPS = {"linux": ("linux-stock", "linux-patched"), "all": ("qemu", "linux-stock", "linux-patched",
                                                             "selftests")}
# The tree that a flavour is built from, if it has another name.
TREES = {"power": "patched", "power4k": "patched", "poweredit": "edit", "asan": "patched",
         "planted-preempt": "planted"}


def tree(what, flavour):
    """Bring a flavour's source tree up to date; return it, and a key that changes whenever the tree
    does."""
    fetch.sources(what)
    flavour = TREES.get(flavour, flavour)
    if flavour == "stock":
        return series.src(what), patches.base(what)
    if flavour == "edit":
        where = series.edit(what)
        if not where.exists():
            raise ui.Fail(f"there is no {ui.shown(where)}",
                          f"run: kvmspf patches edit {what}{series.words(what)}")
        return where, patches.state(where)
    if flavour == "planted":
        return planted(what)
    return patches.sync(what)


def planted(what):
    """A worktree of the patched tree with planted.patch on top."""
    _, head = patches.sync(what)
    one = series.of(what)
    patch, where = one.folder / "planted.patch", series.tree(what, "planted")
    name = f"tree-{one.name}-planted"
    if not patch.exists():
        raise ui.Fail(f"the series {one.name} has no planted.patch", "leave out what is planted")
    key = ui.digest(head, patch)
    if ui.recall(name).get("key") != key or not (where / ".git").exists():
        with ui.locked(".treelock"):
            ui.forget(name)
            patches.worktree(what, where, head)
            patches.git(where, "apply", "--whitespace=nowarn", "-C1", patch)
            ui.remember(name, key=key)
    return where, key


RECIPES = {"linux": ("linux", kernels.build, kernels.inputs),
           "qemu": ("qemu", qemus.build, qemus.inputs),
           "selftests": ("linux", selftests.build, lambda f: []),
           "mmtests": ("linux", selftests.build_mm, selftests.mm_inputs)}


def build(target):
    """Build a target unless it is up to date; return whether it was built."""
    kind, _, flavour = target.partition("-")
    flavour = flavour or "patched"
    what, recipe, inputs = RECIPES[kind]
    target = f"{kind}-{flavour}"
    stamp = series.label(target)

    def look():
        src, key = tree(what, flavour)
        key = ui.digest(key, *inputs(flavour), sandbox.compiler())
        return src, key, ui.recall(stamp).get("key") == key and series.out(target).exists()

    if look()[2]:
        return False
    if target == "linux-planted" and not series.obj(target).exists():
        build("linux-patched")      # which has most of its objects
    with ui.locked(f".build-{stamp}"):
        src, key, current = look()
        if current:
            return False
        ui.need_space(1 if paths.OUT.exists() else 12)
        ui.forget(stamp)
        recipe(target, src, flavour)
        # If a file of the edit tree was saved meanwhile, the build is out of date.
        if look()[1] == key:
            ui.remember(stamp, key=key)
    return True


def file(kernel):
    """The kernel that the user named by its path."""
    path = Path(kernel).resolve()
    if not path.is_file():
        raise ui.Fail(f"'{kernel}' is neither a kernel's flavour nor a file",
                      f"say one of {', '.join(FLAVOURS)}, or a bzImage's path", 2)
    return path


def program(qemu):
    """The QEMU that the user named by its path."""
    path, todo = Path(qemu).resolve(), "say patched, edit or the path of a qemu-system-x86_64"
    if not os.access(path, os.X_OK) or not path.is_file():
        raise ui.Fail(f"'{qemu}' is not a program", todo, 2)
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, errors="replace",
                              timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if "QEMU" not in said:
        raise ui.Fail(f"'{qemu}' is not a QEMU", todo, 2)
    return path


def bring_up_to_date(kernel, qemu="patched"):
    """Build what `lab` is about to use, unless it is a file that the user named.  Refuse a wrong
    name before anything is built."""
    if kernel not in FLAVOURS:
        file(kernel)
    if qemu not in QEMUS:
        program(qemu)
    setup.ready()
    if qemu in QEMUS:
        build("qemu" if qemu == "patched" else f"qemu-{qemu}")
    if kernel in FLAVOURS:
        build(f"linux-{kernel}")


def parser():
    texts = TARGETS | {name: " ".join(of) for name, of in GROUPS.items()}
    p = arguments.Parser(
        prog="kvmspf build", description=__doc__,
        epilog=f"targets (default: all):\n{arguments.rows(texts)}\n\n"
               f"Results go to {ui.shown(paths.OUT)}.")
    series.option(p)
    p.add_argument("target", nargs="*", default=["all"])
    return p


def main(argv):
    args = parser().parse_args(argv)
    series.use(args.series)
    unknown = [t for t in args.target if t not in TARGETS and t not in GROUPS]
    if unknown:
        raise ui.Fail(f"unknown target '{unknown[0]}'", "kvmspf build --help lists them", 2)
    ui.need_root()
    setup.ready()
    for target in [t for name in args.target for t in GROUPS.get(name, (name,))]:
        if not build(target):
            ui.say(f"{target}: up to date")
    return 0

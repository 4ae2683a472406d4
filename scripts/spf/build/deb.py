# SPDX-License-Identifier: GPL-2.0-or-later
"""Make Debian packages."""

import shutil
from collections import namedtuple

from spf import arguments, paths, series, ui
from spf.build import debs, kernel_deb, qemu_deb, selftest_deb
from spf.source import apt

PACKAGES = ["build-essential", "debhelper", "libjson-c-dev", "meson", "pkg-config"]
# folder: the source, with the debian/ that says how it is built; packages: Debian's packages that
# the build needs, beside PACKAGES; what: a line for --help.
Package = namedtuple("Package", "folder packages what")
TARGETS = {"agent": Package("guest-agent", [], "spf-agent, for guests; one static program"),
           "spfctl": Package("scripts/spfctl", ["libvirt-dev"],
                             "spfctl, for hosts, with a timer for node_exporter")}
# In gigabytes.
ROOM = 0.1
# The long ones last.
ALL = ("agent", "spfctl", "selftests", "qemu", "kernel")


def build(target):
    """The package's file in build/out/deb."""
    package = TARGETS[target]
    apt.packages([*PACKAGES, *package.packages])
    ui.need_space(ROOM)
    with ui.locked(f".deb-{target}"):
        made = built(target, package)
        return debs.put([made], f"{made.name.partition('_')[0]}_*.deb")[0]


def built(target, package):
    """dpkg-buildpackage works in a copy of the folder, of bench/lib and of meson's files."""
    work = paths.BUILD / "deb" / target
    shutil.rmtree(work, ignore_errors=True)
    source = work / "source"
    for folder in (package.folder, "bench/lib"):
        shutil.copytree(paths.ROOT / folder, source / folder)
    for name in ("meson.build", "meson_options.txt"):
        shutil.copy(paths.ROOT / name, source)
    (source / package.folder / "debian").rename(source / "debian")
    log = paths.LOG / f"deb-{target}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with ui.Progress(f"building the package of {target}") as progress:
        ui.run(["dpkg-buildpackage", "--build=binary", "--no-sign"], cwd=source, log=log,
               progress=progress)
    made, = [deb for deb in work.glob("*.deb") if "-dbgsym_" not in deb.name]
    return made


def main(argv):
    p = arguments.Parser(prog="kvmspf deb", description=__doc__,
                         epilog="targets:\n" + arguments.rows({
                             **{name: target.what for name, target in TARGETS.items()},
                             "kernel": "the patched kernel and its headers, for hosts",
                             "qemu": "QEMU for x86 with the patches for users",
                             "selftests": "the kernel's tests of KVM, for hosts",
                             "all": "all of these"}))
    p.add_argument("target", choices=sorted([*ALL, "all"]))
    p.add_argument("--config", choices=sorted(kernel_deb.CONFIGS), default="cloud-amd64",
                   help="kernel: Debian's configuration, or the lab's (default cloud-amd64)")
    series.option(p)
    args = p.parse_args(argv)
    series.use(args.series)
    ui.need_root()
    for target in ALL if args.target == "all" else [args.target]:
        made = (kernel_deb.build(args.config) if target == "kernel" else
                qemu_deb.build() if target == "qemu" else
                [selftest_deb.build() if target == "selftests" else build(target)])
        print(*map(ui.shown, made), sep="\n", flush=True)
    return 0

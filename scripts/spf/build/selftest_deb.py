# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's KVM selftests as a Debian package: static programs, for a host that runs the
kernel's package."""

import email.utils
import gzip
import shutil

from spf import paths, series, ui
from spf.build import debs, kernel_deb, targets
from spf.source import apt

NAME = "kvm-spf-selftests"
CONTROL = """Package: {package}
Version: {version}
Architecture: amd64
Maintainer: {name} <{mail}>
Installed-Size: {size}
Section: kernel
Priority: optional
Description: KVM selftests of a kernel with speculative page faults
 The programs of tools/testing/selftests/kvm of the kernel that resolves the
 faults of guest memory without the mmap_lock. They are in
 /usr/lib/{package}, need /dev/kvm, and boot guests of a few
 instructions of their own.
 .
 speculative_faults_test shows whether this host's kernel has the tiers, and
 that each resolves what it has to.
"""
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Linux
Source: https://www.kernel.org

Files: *
Copyright: 1991-2026 the authors of Linux, and of KVM speculative faults
License: GPL-2
 On Debian systems, the full text of version 2 of the licence is in
 /usr/share/common-licenses/GPL-2.
"""
CHANGELOG = """{package} ({version}) unstable; urgency=medium

  * The selftests of the kernel's package of this version.

 -- {name} <{mail}>  {date}
"""
# They run on hosts of any age, and the kernel's makefiles choose how they are compiled.
OVERRIDES = "".join(f"{NAME}: {tag}\n" for tag in ("hardening-no-pie *", "no-manual-page *",
                                                   "statically-linked-binary *"))


def build():
    """The package's file in build/out/deb."""
    apt.packages(["binutils"])
    targets.build("selftests")
    one = series.of("linux")
    who = kernel_deb.maintainer(one.folder)
    words = {"package": NAME, "version": f"{kernel_deb.upstream(one.package)}+spf1",
             "name": who["DEBFULLNAME"], "mail": who["DEBEMAIL"],
             "date": email.utils.formatdate(int(who["SOURCE_DATE_EPOCH"])).replace("-0", "+0")}
    with ui.locked(".deb-selftests"):
        return pack(series.out("selftests-patched"), words, who)


def pack(programs, words, who):
    work = paths.BUILD / "deb" / "selftests"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    library, about = root / "usr/lib" / NAME, root / "usr/share/doc" / NAME
    shutil.copytree(programs, library)
    ui.run(["strip", *(p for p in library.rglob("*") if p.is_file())])
    about.mkdir(parents=True)
    (about / "copyright").write_text(COPYRIGHT)
    (about / "changelog.Debian.gz").write_bytes(
        gzip.compress(CHANGELOG.format(**words).encode(), 9, mtime=0))
    overrides = root / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    (overrides / NAME).write_text(OVERRIDES)
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() or library in path.parents else 0o644)
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) >> 10
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(CONTROL.format(size=size, **words))
    made = work / f"{NAME}_{words['version']}_amd64.deb"
    ui.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, made], env=who)
    return debs.put([made], f"{NAME}_*.deb")[0]

# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU as Debian packages: Debian's source with our patches for users in debian/patches.

Of Debian's packages only those that an x86 host installs are made.  They take the place of
Debian's, and have the same features, without qemu-system-x86_64-microvm.
"""

import email.utils
import re
import shutil

from spf import paths, series, ui
from spf.build import buildroot, debs, kernel_deb, sandbox
from spf.source import fetch, patches, rows

# qemu-system-data is Debian's own: it is the same for all, and needs cross compilers to build.
# debian/rules cannot do without its paragraph.  Nor can it without the guest agent's, which has
# none of our patches.
PARAGRAPHS = set("""qemu qemu-system-x86 qemu-system-common qemu-system-gui
qemu-system-modules-spice qemu-system-modules-opengl qemu-block-extra qemu-utils qemu-guest-agent
qemu-system-data""".split())
FIELD = re.compile(r"^(?:Source|Package): (\S+)", re.M)
TARGETS = "i386-softmmu,x86_64-softmmu"
# The installed files that ninja has to make; configure has made the .json.
INSTALLED = """$$(${MESON} introspect --installed b/qemu | \\
	    sed 's/, "/\\n"/g' | sed -n '/json":/d; s,^{*"${CURDIR}/b/qemu/\\([^"]*\\)":.*,\\1,p')"""
# A file of debian/, a text in it, and its replacement.
EDITS = (("control.mk", "system-packages := arm mips ppc riscv s390x sparc x86 misc\n",
          "system-packages := x86\n"),
         ("rules", "$(filter qemu-system,${BUILD_PACKAGES})",
          "$(filter qemu-system-x86,${BUILD_PACKAGES})"),
         ("rules", "\t\t${QEMU_CONFIGURE_OPTIONS} ||",
          f"\t\t--target-list={TARGETS} ${{QEMU_CONFIGURE_OPTIONS}} ||"),
         # QEMU's tests, which are not run here, are two fifths of the work.
         ("rules", "\t${NINJA} -C b/qemu\n", f"\t${{NINJA}} -C b/qemu {INSTALLED}\n"),
         ("rules", "${NINJA} -C b/qemu install\n", "${MESON} install -C b/qemu --no-rebuild\n"),
         # A second build, of a program whose machine qemu-system-x86_64 has as well.
         ("rules", "qemu-builds += $(if $(filter ${DEB_HOST_ARCH}-${enable-system},amd64-y),"
                   "microvm)\n", ""),
         ("rules", "dh_shlibdeps -a -Nqemu-user", "dh_shlibdeps -a"))
ENTRY = """qemu ({version}) {suite}; urgency=medium

  * debian/patches/kvm-spf: show and choose how KVM resolves the faults of a
    guest's memory: the kvm-spf device, its QMP commands, and the property
    speculative-faults of -accel kvm.
  * Build the packages of an x86 host only, without
    qemu-system-x86_64-microvm.

 -- {name} <{mail}>  {date}

"""
# Skip QEMU's tests: they are for all targets, and Debian ran them for this version.
PROFILES = "nocheck,pkg.qemu.use-upstream-vdso"
# In gigabytes, and seconds on one CPU.
ROOM, SECONDS = 5, 3000


def versions(changelog):
    """Debian's version, and ours."""
    debian = re.match(r"\w+ \((\S+)\)", changelog)[1]
    return debian, f"{debian}+spf1"


def edit(folder, one, ours, who):
    """Add our patches to Debian's packaging, and leave out the packages that we do not make."""
    for name, old, new in EDITS:
        text = (folder / name).read_text()
        if text.count(old) != 1:
            raise ui.Fail(f"{one.package}'s debian/{name} no longer has '{old.strip()}'",
                          "adapt scripts/spf/build/qemu_deb.py")
        (folder / name).write_text(text.replace(old, new))
    # control is made of control-in, and has to stay the newer one.
    for name in ("control-in", "control"):
        kept = [part for part in (folder / name).read_text().split("\n\n")
                if (found := FIELD.search(part)) and found[1] in PARAGRAPHS]
        (folder / name).write_text("\n\n".join(kept).rstrip("\n") + "\n")
    (folder / "patches/kvm-spf").mkdir()
    with open(folder / "patches/series", "a", encoding="ascii") as listed:
        for patch in ours:
            shutil.copy(patch, folder / "patches/kvm-spf")
            listed.write(f"kvm-spf/{patch.name}\n")
    changelog = folder / "changelog"
    text = changelog.read_text()
    date = email.utils.formatdate(int(who["SOURCE_DATE_EPOCH"])).replace("-0000", "+0000")
    changelog.write_text(ENTRY.format(version=versions(text)[1], suite=one.suite, date=date,
                                      name=who["DEBFULLNAME"], mail=who["DEBEMAIL"]) + text)


def prepared(one, root, work, log, progress):
    """The source package in work/source, made again when Debian's version, our patches or this
    recipe change."""
    buildroot.run(root, work, ["sh", "-ec", f"""
        apt-get -q -o APT::Update::Error-Mode=any update
        apt-cache showsrc --only-source {one.package} | sed -n 's/^Version: //p' >newest"""], log,
                  progress=progress)
    ours = patches.files("qemu", rows.USERS)
    who = kernel_deb.maintainer(*ours)
    key = ui.digest(work / "newest", ENTRY, EDITS, sorted(PARAGRAPHS), who,
                    *(part for patch in ours for part in (patch.name, patch)))
    mark = work / "kvmspf.prepared"
    if mark.exists() and mark.read_text() == key:
        return
    shutil.rmtree(work)
    buildroot.run(root, work, ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "source",
                               "--download-only", one.package], log, progress=progress)
    dsc = fetch.newest(one, one.package, work, "dsc")
    buildroot.run(root, work, ["dpkg-source", "--no-check", "--skip-patches", "-x", dsc.name,
                               "source"], log, progress=progress)
    edit(work / "source/debian", one, ours, who)
    # No fuzz: dpkg-source refuses it.
    buildroot.run(root, work, ["dpkg-source", "--before-build", "source"], log, progress=progress)
    buildroot.run(root, work, ["eatmydata", "apt-get", "-y", "-q", "build-dep", "--arch-only",
                               "--no-install-recommends", "-P", PROFILES, "./source"], log,
                  progress=progress)
    buildroot.run(root, work, ["apt-get", "clean"], log)
    mark.write_text(key)


def compiled(root, work, log):
    for old in work.glob("*.deb"):
        old.unlink()
    options = f"nocheck noautodbgsym terse parallel={sandbox.jobs()}"
    with ui.Progress("building QEMU's packages", SECONDS / sandbox.jobs()) as progress:
        buildroot.run(root, work, ["sh", "-ec", "cd source; exec \"$@\"", "sh",
                                   "dpkg-buildpackage", "--build=any", "--no-pre-clean",
                                   "--no-sign", f"--build-profiles={PROFILES}"], log,
                      {"DEB_BUILD_OPTIONS": options, "DEB_CFLAGS_STRIP": "-g"},
                      sandbox.counted(progress))


def build():
    """The packages' files in build/out/deb.  An interrupted build goes on where it was, and a
    finished one is not repeated."""
    one = series.of("qemu")
    work = series.obj("qemu-deb")
    if not work.exists():
        ui.say(f"QEMU's packages need {ROOM} GB in {ui.shown(paths.BUILD)}")
        ui.need_space(ROOM)
    # It takes long, and shares nothing with the other builds.
    with ui.locked(".qemu-deb"):
        log = sandbox.fresh("qemu-deb")
        root = buildroot.made(one.suite, log)
        with ui.Progress("unpacking QEMU's source package and what it needs", 300) as progress:
            prepared(one, root, work, log, progress)
        mark = work / "kvmspf.built"
        # dpkg-buildpackage would not go on, but compile everything again: it has taken the patches
        # off the finished tree, so that configure is newer than its output.
        if not mark.exists():
            compiled(root, work, log)
            mark.touch()
    made = [package for package in sorted(work.glob("*.deb")) if "guest-agent" not in package.name]
    return debs.put(made, "qemu-*.deb")

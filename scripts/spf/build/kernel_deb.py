# SPDX-License-Identifier: GPL-2.0-or-later
"""The patched kernel as Debian packages, by the kernel's own `bindeb-pkg`."""

from spf import paths, series, ui
from spf.build import debs, kernels, sandbox, targets
from spf.source import apt, fetch, patches

# A name, and the configuration of Debian's that it stands for; None: the lab's own.
CONFIGS = {"cloud-amd64": "config.amd64_none_cloud-amd64", "amd64": "config.amd64_none_amd64",
           "lab": None}
# Gigabytes of a build, and its seconds on one CPU.
NEEDS = {"cloud-amd64": (4, 8000), "amd64": (14, 18000), "lab": (2, 1500)}
COMPILED = b"\n  CC "
PACKAGES = ["debhelper", "kmod", "libssl-dev", "rsync"]
# `make bindeb-pkg` in its two steps.  Between them the changelog gets a date that does not change
# with the day.
RECIPE = """
set -e
# What make leaves of a build that was interrupted while it packed.
rm -rf debian made
"$@" bzImage modules
"$@" run-command \
	KBUILD_RUN_COMMAND='+$(MAKE) -f $(srctree)/scripts/Makefile.package debian'
sed -i "s/^ -- \\(.*>\\)  .*/ -- \\1  $(date -R -u -d @$SOURCE_DATE_EPOCH)/" debian/changelog
"$@" run-command KBUILD_RUN_COMMAND="+dpkg-buildpackage --build=binary --no-pre-clean \
--unsigned-changes --no-check-builddeps -R'make -f debian/rules' -j1 -a$(cat debian/arch)"
mkdir made
mv ../*.deb made
"""


def fragments(config):
    folder = paths.SCRIPTS / "kernel"
    return kernels.fragments("patched") if config == "lab" else [folder / "deb.config"]


def upstream(package):
    """Debian's version of the source; if it is not installed, the kernel's and -1."""
    have = patches.version("linux")
    text = ui.run(["dpkg-query", "-W", "-f", "${Version}", package], check=False).stdout.strip()
    if text and text.partition("-")[0] != have:
        source = ui.shown(series.src("linux"))
        raise ui.Fail(f"{package} is {text} now, and {source} is {have}",
                      f"remove {source} to package the newer one")
    return text or f"{have}-1"


def maintainer(*files):
    """The variables that date and sign a package.  Its date is that of the last change of these
    files."""
    when = ui.run(["git", "-c", "safe.directory=*", "-C", paths.ROOT, "log", "-1", "--format=%ct",
                   "--", *files], check=False).stdout.strip()
    return {"SOURCE_DATE_EPOCH": when or "946684800",
            "DEBFULLNAME": "KVM speculative faults", "DEBEMAIL": "kvm-spf@lists.invalid"}


def environment(one):
    return {**maintainer(one.folder), "KDEB_CHANGELOG_DIST": "unstable",
            "KDEB_PKGVERSION": f"{upstream(one.package)}+spf1", "KDEB_COMPRESS": "xz"}


def compiled(config, tree, obj, files, log):
    make = [*(word for word in kernels.MAKE if not word.startswith("LOCALVERSION")),
            "LOCALVERSION=+spf1", f"-j{sandbox.jobs()}"]
    step = ui.Progress(f"building the kernel's package, {config}",
                       NEEDS[config][1] / sandbox.jobs())
    with ui.locked(), step as progress:
        kernels.configure(tree, obj, files, log, kernels.X86, CONFIGS[config])
        sandbox.run(tree, obj, ["sh", "-c", RECIPE, "sh", *make], log,
                    environment(series.of("linux")),
                    lambda log: progress(f"{log.read_bytes().count(COMPILED)} files"))


def build(config):
    """The packages' files in build/out/deb.  An interrupted build goes on where it was, and a
    finished one is not repeated."""
    apt.packages(PACKAGES)
    fetch.sources("linux")
    tree, _ = patches.sync("linux")
    target = f"linux-deb-{config}"
    obj, files, log = series.obj(target), fragments(config), sandbox.fresh(target)
    if not obj.exists():
        ui.need_space(NEEDS[config][0])
        if config == "lab":
            targets.build("linux-patched")      # which has nearly all of its objects
            kernels.begin_with_patched(obj, tree)
        obj.mkdir(parents=True, exist_ok=True)
    mark = obj / "kvmspf.built"
    key = ui.digest(patches.key("linux"), RECIPE, environment(series.of("linux")), *files)
    if not mark.exists() or mark.read_text() != key:
        mark.unlink(missing_ok=True)
        compiled(config, tree, obj, files, log)
        mark.write_text(key)
    made = [package for package in sorted((obj / "made").glob("*.deb"))
            # The C library's headers stay Debian's.
            if "linux-libc-dev" not in package.name]
    # The same names in each configuration: a test must not replace what somebody wants to install.
    return debs.put(made, "linux-image-*+spf1*.deb", "linux-headers-*+spf1*.deb",
                    folder="lab" if config == "lab" else "")

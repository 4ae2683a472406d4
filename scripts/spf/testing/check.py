# SPDX-License-Identifier: GPL-2.0-or-later
"""`patches check`: check that the series is complete, applies without fuzz, has no complaint of
checkpatch, and that each patch builds alone."""

import re
import subprocess

from spf import arguments, limits, paths, series, ui
from spf.source import fetch, mail, patches, rows
from spf.build import kernels, qemus
from spf.lab import x86
from spf.testing import configs

ZERO = "From " + "0" * 40 + " "


def listed(what):
    """Check that the series names every patch, and nothing else, in the order of their numbers."""
    directory = series.of(what).folder
    names = [p.name for p in patches.files(what)]
    stray = sorted({p.name for p in patches.numbered(directory)} - set(names))
    if stray:
        raise ui.Fail(f"{ui.shown(directory)}/series does not name {stray[0]}",
                      "kvmspf patches refresh")
    if names != sorted(names) or len(names) != len(set(names)):
        raise ui.Fail(f"{ui.shown(directory)}/series is not in the order of the numbers",
                      "kvmspf patches refresh")


def form(patch):
    """Check that a patch is the output of git format-patch without the parts that change from day
    to day."""
    text = patch.read_text(errors="replace")
    if not text.startswith(ZERO):
        return "begins with a commit's name; use kvmspf patches refresh"
    if not re.search(r"^Subject: \[PATCH\] \S", text, re.M):
        return "has no plain [PATCH] subject"
    if re.search(r"^-- \n\d+\.\d+", text, re.M):
        return "ends with a version of git"
    return ""


def checkpatch(what, files):
    """Run the tree's own checkpatch; return its complaints, one a line.  It takes seconds to start,
    so it runs once for all patches."""
    tree = series.src(what)
    # The kernel's script has --strict; QEMU's is strict by default.
    words = ["--strict"] if what == "linux" else []
    done = subprocess.run(["perl", "scripts/checkpatch.pl", "--terse", "--no-summary", *words,
                           *files], cwd=tree, capture_output=True, text=True, errors="replace",
                          preexec_fn=ui.die_with_parent)
    lines = [line for line in done.stdout.splitlines()
             if re.search(r": (ERROR|WARNING|CHECK):", line)]
    # checkpatch asks about a new file without a MAINTAINERS entry. Out of the tree there is no
    # answer. The kernel series changes a header that QEMU's script could fetch from no kernel.  A
    # Fixes: tag can name no commit: Debian's source is one commit here.
    lines = [line for line in lines if "does MAINTAINERS need updating" not in line
             and "WARNING: Unknown commit id" not in line
             and "are you using scripts/update-linux-headers.sh" not in line]
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout.strip()):
        lines.append(f"checkpatch itself failed: {ui.last_line(done.stderr)}")
    return lines


def alone(what, number, commit, boot):
    """Build one commit of the series: the kernel with the option on and off."""
    tree = series.tree(what, "check")
    patches.worktree(what, tree, commit)
    if what == "qemu":
        qemus.compile_tree(tree, "qemu-check", "alone")
        return
    files = kernels.fragments("patched")
    off = paths.OBJ / "off.config"
    paths.OBJ.mkdir(parents=True, exist_ok=True)
    off.write_text("# CONFIG_SPECULATIVE_FAULT is not set\n")
    for name, more in (("off", [off]), ("on", [])):
        if name == "on" and not configs.offered(tree):
            continue
        target = f"linux-check-{name}"
        kernels.compile_tree(tree, target, files + more)
        if boot:
            result = x86.Lab(series.obj(target) / "arch/x86/boot/bzImage",
                             timeout=300).run(["true"])
            if not result.ok:
                why = result.what or (result.trouble + [f"status {result.status}"])[0]
                raise ui.Fail(f"patch {number}, option {name}, does not boot: {why}",
                              f"console log: {ui.shown(result.console)}")


def check(what, build_each=False, boot=False):
    listed(what)
    if patches.letters(what):
        mail.letters(what)
    rows.check(what)
    files = patches.files(what)
    commits = patches.apply(what)
    # Debian's packages have these alone.
    patches.apply(what, rows.USERS)
    complaints = [f"{patch.name} {wrong}" for patch in files if (wrong := form(patch))]
    complaints += checkpatch(what, files) if files else []
    for line in complaints:
        print(line)
    if complaints:
        raise ui.Fail(f"{what}: {len(complaints)} complaints about {len(files)} patches",
                      "correct the patches above")
    ui.say(f"{what} {patches.version(what)}: {len(files)} patches apply without fuzz, "
           "checkpatch has nothing to say")
    if build_each and not boot and what == "linux":
        configs.check_each(list(zip(files, commits)))
        ui.say(f"{what}: what the series changes compiles after each patch")
    elif build_each:
        with ui.locked():
            for number, (patch, commit) in enumerate(zip(files, commits), 1):
                ui.say(f"{what} {number}/{len(files)}: {patch.name}")
                alone(what, number, commit, boot)
        ui.say(f"{what}: every patch builds{' and boots' if boot else ''} alone")


def main(argv):
    p = arguments.Parser(prog="kvmspf patches",
                         description="The patch series: check, edit or refresh them, or write the "
                         "mails that would send them.")
    p.add_argument("action", choices=("check", "edit", "mail", "refresh"))
    p.add_argument("what", nargs="?", choices=("linux", "qemu"))
    p.add_argument("--build", action="store_true",
                   help="check: compile what the kernel series changes after each patch, option on "
                        "and off, or build QEMU")
    p.add_argument("--boot", action="store_true",
                   help="check: build the kernel after each patch, and boot it in the lab")
    p.add_argument("--configs", nargs="?", type=limits.seed, const=configs.SEED, metavar="SEED",
                   help="check: compile what the kernel series changes in 45 configurations, "
                        "20 of them random")
    p.add_argument("--reroll", type=limits.number(1, 99), default=1, metavar="N",
                   help="mail: the version of the series (default 1)")
    series.option(p)
    # So that --series may stand before `linux` as well.
    args = p.parse_intermixed_args(argv)
    series.use(args.series)
    ui.need_root()
    for what in (args.what,) if args.what else ("linux", "qemu"):
        fetch.sources(what)
        if args.action == "check":
            check(what, args.build or args.boot, args.boot)
            if args.configs is not None and what == "linux":
                configs.check(patches.sync(what)[0], args.configs)
        elif args.action == "edit":
            print(patches.edit(what))
        elif args.action == "mail":
            mail.main(what, args.reroll)
        else:
            patches.refresh(what)
            rows.refresh(what)
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series: apply, check, edit and refresh them."""

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from spf import paths, setup, ui

BRANCH = {"linux": "spf", "qemu": "svmfix"}
IDENTITY = {"GIT_AUTHOR_NAME": "kvmspf", "GIT_AUTHOR_EMAIL": "kvmspf@localhost",
            "GIT_COMMITTER_NAME": "kvmspf", "GIT_COMMITTER_EMAIL": "kvmspf@localhost",
            "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z"}
FORMAT = ["format-patch", "--zero-commit", "--no-numbered", "--no-signature", "--abbrev=12", "--no-renames",
          "--stat=72", "--diff-algorithm=histogram", "--no-attach", "--no-thread", "--quiet", "--subject-prefix=PATCH"]


def git(where, *argv, check=True, env=None, stdin=None):
    done = subprocess.run(["git", "-c", "core.quotePath=false", "-c", "gc.auto=0", "-c", "safe.directory=*",
                           "-c", "advice.detachedHead=false", "-C", str(where), *map(str, argv)],
                          input=stdin, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
                          preexec_fn=ui.die_with_parent)
    if check and done.returncode:
        raise ui.Fail(f"git {argv[0]} in {ui.shown(where)}: {ui.last_line(done.stderr.decode(errors='replace'))}",
                      "see git status there")
    return done


def text(where, *argv, **kw):
    return git(where, *argv, **kw).stdout.decode(errors="replace").strip()


def base(what):
    return text(paths.SRC / what, "rev-parse", "base^{commit}")


def state(where):
    """A key of a worktree as it is on disk, uncommitted work and new files included."""
    parts = [text(where, "rev-parse", "HEAD"), git(where, "diff", "HEAD", "--binary").stdout]
    for name in text(where, "ls-files", "--others", "--exclude-standard").splitlines():
        parts += [name, (Path(where) / name).read_bytes()]
    return ui.digest(*parts)


def series(what):
    """The patches in order.  No series is an empty one."""
    directory = paths.SERIES[what]
    listed = directory / "series"
    if not listed.exists():
        return []
    names = [line.split("#")[0].strip() for line in listed.read_text().splitlines()]
    result = [directory / n for n in names if n]
    for patch in result:
        if not patch.is_file():
            raise ui.Fail(f"{ui.shown(listed)} names {patch.name}, which does not exist", "kvmspf patches refresh")
    return result


def version(what):
    where = paths.SRC / what
    if what == "qemu":
        return (where / "VERSION").read_text().strip()
    found = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)", (where / "Makefile").read_text(), re.M)
    return ".".join(found)


# -- applying --

def commit(where, patch, parent, env):
    """One patch on top of `parent`, in an index of its own: no fuzz, no working tree touched."""
    # A context line that does not match is an error to git apply; only a shift of line numbers is let through.
    done = git(where, "apply", "--cached", "--whitespace=nowarn", patch, check=False, env=env)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").replace("error: ", "").strip().splitlines()
        raise ui.Fail(f"{patch.name} does not apply: {reason[0] if reason else 'no reason given'}",
                      "rebase the series with kvmspf patches edit")
    with tempfile.TemporaryDirectory() as scratch:
        message, body = Path(scratch) / "message", Path(scratch) / "patch"
        info = git(where, "mailinfo", message, body, stdin=patch.read_bytes()).stdout.decode()
        field = dict(re.findall(r"^(Author|Email|Subject|Date): (.*)$", info, re.M))
        full = f"{field.get('Subject', patch.stem)}\n\n{message.read_text()}".strip() + "\n"
    who = {"GIT_AUTHOR_NAME": field.get("Author", "kvmspf"), "GIT_AUTHOR_EMAIL": field.get("Email", "kvmspf@localhost"),
           "GIT_AUTHOR_DATE": field.get("Date", IDENTITY["GIT_AUTHOR_DATE"])}
    tree = text(where, "write-tree", env=env)
    return text(where, "commit-tree", tree, "-p", parent, "-F", "-", env={**IDENTITY, **who}, stdin=full.encode())


def apply(what):
    """The commits that the series makes on top of base."""
    where, parent, made = paths.SRC / what, base(what), []
    with tempfile.TemporaryDirectory() as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git(where, "read-tree", parent, env=env)
        for patch in series(what):
            parent = commit(where, patch, parent, env)
            made.append(parent)
    return made


def key(what):
    return ui.digest(base(what), *[part for p in series(what) for part in (p.name, p)])


def sync(what):
    """Bring the patched tree to what the series says; files that do not change keep their times."""
    where, wanted = paths.TREE / f"{what}-patched", key(what)
    known = ui.recall(f"tree-{what}")
    if known.get("key") != wanted or not (where / ".git").exists():
        with ui.locked(".treelock"):
            ui.forget(f"tree-{what}")
            head = (apply(what) or [base(what)])[-1]
            worktree(what, where, head)
            ui.remember(f"tree-{what}", key=wanted, head=head)
            known = ui.recall(f"tree-{what}")
    return where, known["head"]


def worktree(what, where, head):
    source = paths.SRC / what
    if (where / ".git").exists() and git(where, "rev-parse", "HEAD", check=False).returncode == 0:
        # Left by a git that was killed: no other works here, callers hold a lock.
        Path(where, text(where, "rev-parse", "--git-path", "index.lock")).unlink(missing_ok=True)
        git(where, "checkout", "--force", "--detach", head)
        git(where, "clean", "-fdq")
        return
    if where.exists():
        subprocess.run(["rm", "-rf", str(where)], check=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    git(source, "worktree", "prune")
    git(source, "worktree", "add", "--force", "--detach", where, head)


# -- edit and refresh --

def edit(what):
    where = paths.EDIT / what
    if (where / ".git").exists():
        ui.say(f"{ui.shown(where)} exists already, on top of it: {text(where, 'log', '-1', '--format=%s')}")
        return where
    head = (apply(what) or [base(what)])[-1]
    where.parent.mkdir(parents=True, exist_ok=True)
    git(paths.SRC / what, "worktree", "prune")
    git(paths.SRC / what, "worktree", "add", "--force", "-B", BRANCH[what], where, head)
    return where


def refresh(what):
    """Write the commits of the edit tree back as patch files; what has not changed stays as it is, byte for byte."""
    where, target = paths.EDIT / what, paths.SERIES[what]
    if not (where / ".git").exists():
        raise ui.Fail(f"there is no {ui.shown(where)}", f"run: kvmspf patches edit {what}")
    # HEAD is then somewhere in the series, and what follows would be lost.
    if any(Path(where, text(where, "rev-parse", "--git-path", d)).exists() for d in ("rebase-merge", "rebase-apply")):
        raise ui.Fail(f"a rebase is under way in {ui.shown(where)}", "git rebase --continue or --abort there, then again")
    if text(where, "status", "--porcelain", "--untracked-files=no"):
        ui.say(f"{ui.shown(where)} has uncommitted changes, which are left out")
    start = text(where, "merge-base", "HEAD", base(what))
    with tempfile.TemporaryDirectory() as scratch:
        git(where, *FORMAT, "-o", scratch, f"{start}..HEAD")
        fresh = {p.name: p.read_bytes() for p in sorted(Path(scratch).glob("*.patch"))}
    target.mkdir(parents=True, exist_ok=True)
    changed = 0
    for old in target.glob("*.patch"):
        if old.name not in fresh:
            old.unlink()
            changed += 1
    for name, content in fresh.items():
        if not (target / name).exists() or (target / name).read_bytes() != content:
            (target / name).write_bytes(content)
            changed += 1
    listed = "".join(f"{name}\n" for name in fresh)
    if not (target / "series").exists() or (target / "series").read_text() != listed:
        (target / "series").write_text(listed)
    ui.say(f"{ui.shown(target)}: {len(fresh)} patches, {changed} files changed")


def main(argv):
    p = argparse.ArgumentParser(prog="kvmspf patches", description=__doc__)
    p.add_argument("action", choices=("check", "edit", "refresh"))
    p.add_argument("what", nargs="?", choices=("linux", "qemu"))
    p.add_argument("--build", action="store_true", help="check: build after each patch, option on and off")
    p.add_argument("--boot", action="store_true", help="check: build, and boot each in the lab")
    p.add_argument("--configs", nargs="?", type=int, const=20261128, metavar="SEED",
                   help="check: compile what the kernel series changes in 40 configurations, 20 of them random")
    args = p.parse_args(argv)
    ui.need_root()
    for what in (args.what,) if args.what else ("linux", "qemu"):
        setup.sources(what)
        if args.action == "check":
            from spf import check
            check.check(what, args.build or args.boot, args.boot)
            if args.configs is not None and what == "linux":
                from spf import configs
                configs.check(sync(what)[0], args.configs)
        elif args.action == "edit":
            print(edit(what))
        else:
            refresh(what)
    return 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""The patch series: apply, check, edit and refresh them."""

import errno
import os
import re
import subprocess
import tempfile
from pathlib import Path

from spf import series, ui

BRANCH = "spf"
IDENTITY = {"GIT_AUTHOR_NAME": "kvmspf", "GIT_AUTHOR_EMAIL": "kvmspf@localhost",
            "GIT_COMMITTER_NAME": "kvmspf", "GIT_COMMITTER_EMAIL": "kvmspf@localhost",
            "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z"}
FORMAT = ["format-patch", "--zero-commit", "--no-numbered", "--no-signature", "--abbrev=12",
          "--no-renames",
          "--stat=72", "--diff-algorithm=histogram", "--no-attach", "--no-thread", "--quiet",
          "--subject-prefix=PATCH"]
# The cover letter of a series.  A person writes it: it is in no commit, and `series` does not name
# it.  A series of several parts has cover-letter-N-NAME for each instead.
LETTER = "0000-cover-letter.patch"


class DoesNotApply(ui.Fail):
    pass


def git(where, *argv, check=True, env=None, stdin=None):
    done = subprocess.run(["git", "-c", "core.quotePath=false", "-c", "gc.auto=0",
                           "-c", "core.autocrlf=false", "-c", "safe.directory=*",
                           "-c", "advice.detachedHead=false", "-C", str(where), *map(str, argv)],
                          input=stdin, capture_output=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
                          preexec_fn=ui.die_with_parent)
    said = done.stderr.decode(errors="replace") if done.returncode else ""
    for full in errno.EROFS, errno.ENOSPC:
        if os.strerror(full) in said:
            raise OSError(full, os.strerror(full), str(where))
    if check and done.returncode:
        reason = ui.last_line(said)
        raise ui.Fail(f"git {argv[0]} in {ui.shown(where)}: {reason}",
                      "see git status there")
    return done


def text(where, *argv, **kw):
    return git(where, *argv, **kw).stdout.decode(errors="replace").strip()


def base(what):
    return text(series.src(what), "rev-parse", "base^{commit}")


def state(where):
    """A key of a worktree as it is on disk, uncommitted work and new files included."""
    parts = [text(where, "rev-parse", "HEAD"), git(where, "diff", "HEAD", "--binary").stdout]
    # The .gitignore of Debian's kernel ignores all new files.
    for name in text(where, "ls-files", "--others", "--exclude=.*", "--exclude=*~").splitlines():
        parts += [name, (Path(where) / name).read_bytes()]
    return ui.digest(*parts)


def files(what, listed="series"):
    """The patches in order, or those that another file lists.  A folder without `series` has
    none."""
    directory = series.of(what).folder
    listed = directory / listed
    if not listed.exists():
        return []
    names = [line.split("#")[0].strip() for line in listed.read_text().splitlines()]
    result = [directory / n for n in names if n]
    for patch in result:
        if not patch.is_file():
            raise ui.Fail(f"{ui.shown(listed)} names {patch.name}, which does not exist",
                          "kvmspf patches refresh")
    return result


def numbered(directory):
    """The files of patches in a folder, without planted.patch and the cover letter."""
    return sorted(p for p in directory.glob("[0-9]*.patch") if p.name != LETTER)


def letters(what):
    """The files of cover letters that there are."""
    folder = series.of(what).folder
    one = folder / LETTER
    return sorted(folder.glob("cover-letter-*")) or ([one] if one.exists() else [])


def version(what, where=None):
    """The version of a source; of that of the series in use, unless `where` is another."""
    where = where or series.src(what)
    if what == "qemu":
        return (where / "VERSION").read_text().strip()
    found = re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)",
                       (where / "Makefile").read_text(), re.M)
    return ".".join(found)


# -- applying --

def commit(where, patch, parent, env):
    """Apply one patch on top of `parent`, without fuzz.  Use an index of its own, and touch no
    working tree."""
    # git apply refuses a context line that does not match.  It allows only a shift of line numbers.
    done = git(where, "apply", "--cached", "--whitespace=nowarn", patch, check=False, env=env)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").replace("error: ", "").strip().splitlines()
        raise DoesNotApply(f"{patch.name} does not apply: "
                           f"{reason[0] if reason else 'no reason given'}",
                           "kvmspf patches edit makes a worktree of the patches before it")
    with tempfile.TemporaryDirectory() as scratch:
        message, body = Path(scratch) / "message", Path(scratch) / "patch"
        info = git(where, "mailinfo", message, body, stdin=patch.read_bytes()).stdout.decode()
        field = dict(re.findall(r"^(Author|Email|Subject|Date): (.*)$", info, re.M))
        full = f"{field.get('Subject', patch.stem)}\n\n{message.read_text()}".strip() + "\n"
    who = {"GIT_AUTHOR_NAME": field.get("Author", "kvmspf"),
           "GIT_AUTHOR_EMAIL": field.get("Email", "kvmspf@localhost"),
           "GIT_AUTHOR_DATE": field.get("Date", IDENTITY["GIT_AUTHOR_DATE"])}
    tree = text(where, "write-tree", env=env)
    return text(where, "commit-tree", tree, "-p", parent, "-F", "-", env={**IDENTITY, **who},
                stdin=full.encode())


def apply(what, listed="series", made=None):
    """The commits that the series, or another file's list of it, makes on top of base.  A caller
    that gives a list has those before a patch that does not apply."""
    where, parent, made = series.src(what), base(what), [] if made is None else made
    with tempfile.TemporaryDirectory() as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git(where, "read-tree", parent, env=env)
        for patch in files(what, listed):
            parent = commit(where, patch, parent, env)
            made.append(parent)
    return made


def key(what):
    return ui.digest(base(what), *[part for p in files(what) for part in (p.name, p)])


def sync(what):
    """Bring the patched tree up to date with the series.  Files that do not change keep their
    times."""
    where, wanted, stamp = series.tree(what, "patched"), key(what), f"tree-{series.of(what).name}"
    known = ui.recall(stamp)
    if known.get("key") != wanted or not (where / ".git").exists():
        with ui.locked(".treelock"):
            ui.forget(stamp)
            head = (apply(what) or [base(what)])[-1]
            worktree(what, where, head)
            ui.remember(stamp, key=wanted, head=head)
            known = ui.recall(stamp)
    return where, known["head"]


def worktree(what, where, head):
    source = series.src(what)
    if (where / ".git").exists() and git(where, "rev-parse", "HEAD", check=False).returncode == 0:
        # A git that was killed left this lock: no other git works here, as callers hold a lock of
        # ours.
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
    where = series.edit(what)
    if (where / ".git").exists():
        last = text(where, "log", "-1", "--format=%s")
        ui.say(f"{ui.shown(where)} exists already, on top of it: {last}")
        return where
    made = [base(what)]
    try:
        apply(what, made=made)
    except DoesNotApply as failure:
        ui.say(f"{failure.what}; the worktree ends before it")
    where.parent.mkdir(parents=True, exist_ok=True)
    git(series.src(what), "worktree", "prune")
    git(series.src(what), "worktree", "add", "--force", "-B", BRANCH, where, made[-1])
    return where


def refresh(what):
    """Write the commits of the edit tree back as patch files.  A patch that has not changed stays
    the same, byte for byte."""
    where, target = series.edit(what), series.of(what).folder
    if not (where / ".git").exists():
        raise ui.Fail(f"there is no {ui.shown(where)}",
                      f"run: kvmspf patches edit {what}{series.words(what)}")
    # During a rebase HEAD is within the series, and the later commits would be lost.
    if any(Path(where, text(where, "rev-parse", "--git-path", d)).exists()
           for d in ("rebase-merge", "rebase-apply")):
        raise ui.Fail(f"a rebase is under way in {ui.shown(where)}",
                      "git rebase --continue or --abort there, then again")
    # Nor in a part of the series that was checked out to be built.
    if lost := text(where, "log", "--format=%h", f"HEAD..{BRANCH}", check=False).split():
        raise ui.Fail(f"in {ui.shown(where)} HEAD lacks {len(lost)} of the commits of {BRANCH}",
                      f"git checkout {BRANCH} there, or git branch -f {BRANCH} HEAD")
    if text(where, "status", "--porcelain", "--untracked-files=no"):
        ui.say(f"{ui.shown(where)} has uncommitted changes, which are left out")
    start = text(where, "merge-base", "HEAD", base(what))
    with tempfile.TemporaryDirectory() as scratch:
        git(where, *FORMAT, "-o", scratch, f"{start}..HEAD")
        fresh = {p.name: p.read_bytes() for p in sorted(Path(scratch).glob("*.patch"))}
    target.mkdir(parents=True, exist_ok=True)
    changed = 0
    for old in numbered(target):
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

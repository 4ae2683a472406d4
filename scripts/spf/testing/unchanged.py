# SPDX-License-Identifier: GPL-2.0-or-later
"""Remember which tests have passed, with which files, packages and host kernel."""

import os
import subprocess
import time

from spf import paths, series, ui

# The tests of each depth are part of the next.
DEPTHS = CORE, LONG = "core", "long"


def _output(*words):
    return subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout


def _packages():
    """Packages with their versions.  A package that a test installs does not invalidate an earlier
    pass."""
    return _output("dpkg-query", "--show").splitlines()


def _setting(name):
    """Whether this variable changes what a program does.  `kvmspf test` sets some to tell its
    programs the depth, and one is for the run as a whole."""
    return name.startswith("KVMSPF_") and name not in ("KVMSPF_DEPTH", "KVMSPF_TEST_MINUTES",
                                                       series.GUEST)


def everything():
    """A digest of our files, committed or not, of the running kernel and of the settings in the
    environment; None if git cannot tell which files are ours."""
    try:
        names = _output("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
                        "--exclude-standard").split("\0")
    except (OSError, subprocess.CalledProcessError):
        return None
    parts = [os.uname().release,
             *(f"{k}={v}" for k, v in sorted(os.environ.items()) if _setting(k))]
    for name in sorted(filter(None, names)):
        path = paths.ROOT / name
        if path.is_symlink():
            parts += [name, os.readlink(path)]
        elif path.is_file():
            parts += [name, path.stat().st_mode, path]
    return ui.digest(*parts)


def since(program, depth, inputs):
    """When the program passed with these inputs, as text; None if it has not.  A pass of all its
    tests counts for its core."""
    for passed_at in DEPTHS[DEPTHS.index(depth):]:
        known = ui.recall(_stamp(program, passed_at))
        same = inputs and known.get("inputs") == inputs
        if same and set(known["packages"]).issubset(_packages()):
            return known["when"]
    return None


def forget(program):
    """Forget an earlier pass before the program runs: it may fail now, or be killed."""
    for depth in DEPTHS:
        ui.forget(_stamp(program, depth))


def passed(program, depth, inputs):
    ui.remember(_stamp(program, depth), inputs=inputs, packages=_packages(),
                when=time.strftime("%Y-%m-%d %H:%M"))


def _stamp(program, depth):
    return f"test-{depth}-{program.parent.name}-{program.stem}"

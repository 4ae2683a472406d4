# SPDX-License-Identifier: GPL-2.0-or-later
"""Talk to the user, run programs, and remember which steps are done."""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from spf import paths

verbose = False
PR_SET_PDEATHSIG = 1
AUTOGROUP = Path("/proc/self/autogroup")
_libc = ctypes.CDLL(None, use_errno=True)


class Fail(Exception):
    """An error: what is wrong, and what to do about it.  It becomes one line on stderr and a status
    that is not 0."""

    def __init__(self, what, todo="", status=1):
        super().__init__(what)
        self.what, self.todo, self.status = what, todo, status

    def __str__(self):
        return f"{self.what}; {self.todo}" if self.todo else self.what


def say(text):
    print(f"kvmspf: {text}", file=sys.stderr, flush=True)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def session_nice():
    """The nice value of our session, or "" on a kernel without any.  A kernel with autogroups
    shares CPU time among sessions first, by that value, and a process's own counts within its
    session."""
    with contextlib.suppress(OSError):
        return AUTOGROUP.read_text(encoding="ascii").split()[-1]
    return ""


def set_session_nice(value):
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(value, encoding="ascii")


def duration(seconds):
    seconds = int(seconds)
    return f"{seconds // 60}:{seconds % 60:02d}"


def run(argv, log=None, env=None, cwd=None, check=True, progress=None, **kw):
    """Run a program quietly.  Its output goes to `log`, or is returned.  The kernel kills the
    program when we die."""
    argv = [str(a) for a in argv]
    if verbose:
        say("+ " + shlex.join(argv))
    environment = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
    if log is None:
        done = subprocess.run(argv, env=environment, cwd=cwd, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              text=True, errors="replace", preexec_fn=die_with_parent, **kw)
        if check and done.returncode:
            raise Fail(f"{Path(argv[0]).name} failed: {last_line(done.stderr or done.stdout)}",
                       "-v shows the command")
        return done
    session = session_nice()

    def in_a_session_like_ours():
        die_with_parent()
        if session:
            set_session_nice(session)

    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        out.write(f"+ {shlex.join(argv)}\n".encode())
        out.flush()
        child = subprocess.Popen(argv, env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                                 stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True,
                                 preexec_fn=in_a_session_like_ours, **kw)
        try:
            while True:
                try:
                    child.wait(0.5)
                    break
                except subprocess.TimeoutExpired:
                    if progress:
                        progress(log)
        except BaseException:
            # make and ninja remove half-written files on SIGTERM.
            for last in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(child.pid, last)
                    child.wait(5)
            child.wait()
            raise
    if check and child.returncode:
        raise Fail(f"{Path(argv[0]).name} failed: {first_error(log)}", f"see {shown(log)}")
    return child


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def first_error(log):
    """The line of a build log that most likely says what went wrong."""
    lines = Path(log).read_text(errors="replace").splitlines()
    start = max((i for i, line in enumerate(lines) if line.startswith("+ ")), default=0)
    for line in lines[start + 1:]:
        low = line.lower()
        if ("error:" in low.split()[:1]
                or any(sign in low
                       for sign in (" error:", "undefined reference", "no space left"))):
            return line.strip().replace("/mnt/src/", "")
    return last_line("\n".join(lines[start + 1:]))


def shown(path):
    """A path as the user would type it."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


class Progress:
    """A progress line.  On a terminal it is rewritten; elsewhere there is one line at the start and
    one at the end.

    The estimate is the time of the same step last time."""

    def __init__(self, name, first=0):
        """first: about how many seconds it takes, if this machine has never done it."""
        self.name, self.start, self.note = name, time.monotonic(), ""
        self.tty = sys.stderr.isatty() and not verbose
        self.usual = recall("time-" + name).get("seconds", first)

    def __enter__(self):
        if not self.tty:
            say(self.name + (f" (about {duration(self.usual)})" if self.usual > 20 else ""))
        return self

    def __call__(self, note=""):
        if self.tty:
            took = time.monotonic() - self.start
            left = f", about {duration(max(self.usual - took, 0))} left" if self.usual > 5 else ""
            note = f" {note}" if isinstance(note, str) and note else ""
            print(f"\r\033[Kkvmspf: {self.name}{note} {duration(took)}{left}", end="",
                  file=sys.stderr, flush=True)

    def __exit__(self, kind, value, trace):
        took = time.monotonic() - self.start
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr)
        if kind is None:
            remember("time-" + self.name, seconds=round(took, 1))
            if took > 2 or not self.tty:
                say(f"{self.name}: done in {duration(took)}")


def _stamp(name):
    return paths.STAMP / (name.replace("/", "-").replace(" ", "-") + ".json")


def remember(name, **facts):
    """Write the stamp of a finished step, after everything else, atomically and synced, so that an
    interrupted step never has a stamp."""
    target = _stamp(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}")
    with open(temporary, "w") as out:
        json.dump(facts, out)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(target)


def recall(name):
    try:
        return json.loads(_stamp(name).read_text())
    except (OSError, ValueError):
        return {}


def forget(name):
    with contextlib.suppress(FileNotFoundError):
        _stamp(name).unlink()


def digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        elif not isinstance(part, bytes):
            part = str(part).encode()
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _held_by_parent(lock):
    """Whether we already hold this lock.  `flock FILE kvmspf build` passes its lock down as an open
    file; taking it again would wait for ever."""
    own = os.stat(lock)
    for name in os.listdir("/proc/self/fd"):
        try:
            here = os.stat(int(name))
            if (here.st_dev, here.st_ino) != (own.st_dev, own.st_ino):
                continue
            if "FLOCK" in Path(f"/proc/self/fdinfo/{name}").read_text():
                return True
        except (OSError, ValueError):
            continue
    return False


# A lock for the threads of this process by the file's name: they share what it holds of the file.
_threads = {}


@contextlib.contextmanager
def locked(name=".buildlock"):
    paths.BUILD.mkdir(parents=True, exist_ok=True)
    lock = paths.BUILD / name
    lock.touch()
    with _threads.setdefault(name, threading.RLock()):
        if _held_by_parent(lock):
            yield
            return
        with open(lock) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another build to end")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def need_root():
    if os.geteuid():
        raise Fail("this needs root (mounts, packages, /dev/kvm)", "run it with sudo")


def need_space(gigabytes):
    paths.BUILD.mkdir(parents=True, exist_ok=True)
    disk = os.statvfs(paths.BUILD)
    free = disk.f_bavail * disk.f_frsize / 1e9
    if free < gigabytes:
        raise Fail(f"{shown(paths.BUILD)} has {free:.1f} GB free and needs {gigabytes}",
                   "make room, or point KVMSPF_BUILD elsewhere")

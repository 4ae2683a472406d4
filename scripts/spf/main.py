# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf: build, boot, try, measure and test speculative faults for KVM."""

import errno
import importlib
import os
import re
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # Replace the package's own folder, which Python put here: a module in it may have the name of
    # one in the library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from spf import paths, ui  # noqa: E402

VERBS = {
    "compare": ("compare.verb", "guest boot and load with speculation off, vma-lock, on"),
    "report": ("compare.show", "show a result again, as a table and as report.html"),
    "test": ("testing.verb", "run the tests, or the groups named"),
    "lab": ("lab.verb", "boot the patched host here and run a command in it"),
    "build": ("build.targets", "build kernels, QEMU, selftests"),
    "setup": ("source.setup", "install what is needed and fetch the sources"),
    "patches": ("testing.check", "check, edit or refresh the patch series"),
    "bundle": ("lab.bundle", "make a directory that runs fault storms on any x86-64 Linux"),
    "deb": ("build.deb", "make Debian packages"),
}


def usage():
    lines = ["usage: kvmspf [-v] VERB [ARGUMENT...]", "", __doc__.split("\n")[0], ""]
    lines += [f"  {verb:9}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(lines + ["", "kvmspf VERB --help tells more."])


def version():
    return re.search(r"version: '([^']+)'", (paths.ROOT / "meson.build").read_text())[1]


def trouble(error):
    """An error of the system as a line that says what to do."""
    what = f"{ui.shown(error.filename)}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ui.Fail(f"{what}no space is left",
                       "make room, or point KVMSPF_BUILD and --out elsewhere")
    if error.errno == errno.ENOENT and error.filename and "/" not in str(error.filename):
        return ui.Fail(f"there is no program '{error.filename}' in PATH",
                       "run kvmspf setup, or mend PATH")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ui.Fail(f"{what}{error.strerror}",
                       "make it writable, or point KVMSPF_BUILD elsewhere")
    return ui.Fail(f"{what}{error.strerror or error}", "kvmspf -v shows what is run")


def stop(number, _frame):
    raise KeyboardInterrupt(number)


def main(argv):
    while argv and argv[0] in ("-v", "--verbose"):
        ui.verbose, argv = True, argv[1:]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"kvmspf {version()}")
        return 0
    verb = argv[0]
    if verb not in VERBS:
        raise ui.Fail(f"unknown verb '{verb}'", "kvmspf --help lists the verbs", 2)
    if os.environ.get("KVMSPF_LAB") and verb != "compare":
        raise ui.Fail(f"this is the lab already, and 'kvmspf {verb}' is for the machine around it",
                      "leave it first")
    return importlib.import_module("spf." + VERBS[verb][0]).main(argv[1:]) or 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    try:
        try:
            status = main(sys.argv[1:])
        except SystemExit as leave:         # argparse exits with its text still in the buffer
            status = leave.code
        sys.stdout.flush()
    except ui.Fail as failure:
        ui.say(str(failure))
        status = failure.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except OSError as error:
        failure = trouble(error)
        ui.say(str(failure))
        status = failure.status
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt as why:
        number = why.args[0] if why.args else signal.SIGINT
        ui.say("interrupted")
        status = 128 + number
    sys.exit(status)

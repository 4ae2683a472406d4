# SPDX-License-Identifier: GPL-2.0-or-later
"""kvmspf: build, boot, try, measure and test speculative faults for KVM."""

import importlib
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # The package, not the modules in it: a module here may have the name of one in the library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from spf import ui  # noqa: E402

VERBS = {
    "compare": ("compare.verb", "guest boot and database load with speculation off, vma-lock, on"),
    "test": ("testing.verb", "run the tests, or the groups named"),
    "lab": ("lab.verb", "boot the patched host here and run a command in it"),
    "build": ("build.targets", "build kernels, QEMU, selftests"),
    "setup": ("source.setup", "install what is needed and fetch the sources"),
    "patches": ("testing.check", "check, edit or refresh the patch series"),
    "deb": ("build.deb", "make Debian packages"),
}


def usage():
    lines = ["usage: kvmspf [-v] VERB [ARGUMENT...]", "", __doc__.split("\n")[0], ""]
    lines += [f"  {verb:9}{text}" for verb, (_, text) in VERBS.items() if available(verb)]
    return "\n".join(lines + ["", "kvmspf VERB --help tells more."])


def available(verb):
    return (Path(__file__).parent / (VERBS[verb][0].replace(".", "/") + ".py")).exists()


def stop(number, _frame):
    raise KeyboardInterrupt(number)


def main(argv):
    while argv and argv[0] in ("-v", "--verbose"):
        ui.verbose, argv = True, argv[1:]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    verb = argv[0]
    if verb not in VERBS or not available(verb):
        raise ui.Fail(f"unknown verb '{verb}'", "kvmspf --help lists the verbs", 2)
    return importlib.import_module("spf." + VERBS[verb][0]).main(argv[1:]) or 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    try:
        status = main(sys.argv[1:])
    except ui.Fail as failure:
        ui.say(str(failure))
        status = failure.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except KeyboardInterrupt as why:
        number = why.args[0] if why.args else signal.SIGINT
        ui.say("interrupted")
        status = 128 + number
    sys.exit(status)

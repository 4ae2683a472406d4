#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run QEMU's own check-qtest with Debian's QEMU unchanged and with ours, and show where they
differ.  Only our own test should.

Debian's source has no firmware.  Where the firmware of Debian's packages is not QEMU's own, a test
may fail with both.
"""

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "scripts")]

from tests.suites import outcomes  # noqa: E402
from spf import arguments, paths, series, ui  # noqa: E402
from spf.source import apt, setup  # noqa: E402
from spf.build import qemus, sandbox, targets  # noqa: E402
from spf.lab import accel  # noqa: E402

FLAVOURS = ("stock", "patched")
# Firmware of ppce500 and mpc8544ds, which tests of all machines start; QEMU has another name for
# it.
PACKAGES = ["u-boot-qemu"]
UBOOT = ("u-boot.e500", "/usr/lib/u-boot/qemu-ppce500/uboot.elf")
# A test's limit is for an idle machine.  Allow for a slow emulator.
TIMES = 5
OURS = "kvm-spf"
# The tests use any /dev/kvm that opens, and may then wait for guests that do not run: hide it.  A
# test that fails is a result, and not a failure of make.
RUN = """[ "$1" = kvm ] || [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm
shift
make "$@" || test -s meson-logs/testlog.json"""


def parts(text):
    """{test: result} of lines of TAP."""
    return {name: "fail" if bad else "skip" if skipped else "pass" for bad, name, skipped in
            re.findall(r"^(not )?ok \d+ (\S+)( # SKIP)?", text, re.M)}


def place_firmware(share):
    qemus.place_firmware(share)
    name, target = UBOOT
    if not (share / name).is_symlink():
        (share / name).symlink_to(target)


def results(flavour):
    """{test: result} of one QEMU, with the parts of each test."""
    src, _ = targets.tree("qemu", flavour)
    target = f"qemu-qtest-{flavour}"
    obj = series.obj(target)
    with ui.locked():
        qemus.compile_tree(src, target, flavour)
        place_firmware(obj / "qemu-bundle/usr/local/share/qemu")
    said = obj / "meson-logs/testlog.json"
    said.unlink(missing_ok=True)
    log = sandbox.fresh(target)
    with ui.Progress(f"check-qtest, {flavour}") as progress:
        sandbox.run(src, obj,
                    ["sh", "-ec", RUN, "sh", accel.choose(series.qemu(), series.kernel("stock")),
                     "check-qtest", f"-j{sandbox.jobs()}", f"TIMEOUT_MULTIPLIER={TIMES}"],
                    log, qemus.environment(), sandbox.counted(progress))
    found = {}
    for line in said.read_text(encoding="utf-8", errors="replace").splitlines():
        test = json.loads(line)
        program = test["name"].rpartition(" / ")[2]
        found[program] = {"OK": "pass"}.get(test["result"], test["result"].lower())
        found |= {f"{program}: {part}": result
                  for part, result in parts(test.get("stdout", "")).items()}
    (paths.LOG / f"{series.label(target)}.json").write_text(json.dumps(found, indent=1))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=arguments.Help)
    parser.parse_args()
    ui.need_root()
    setup.ready()
    apt.packages(PACKAGES)
    return outcomes.tell({flavour: results(flavour) for flavour in FLAVOURS}, OURS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        sys.exit(f"qtest: {failure}")

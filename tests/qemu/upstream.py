#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own qtests of the targets that we build, on the patched QEMU: what `make check-qtest` runs there."""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from spf import build, paths, setup, ui  # noqa: E402

SUITES = ("qtest-x86_64", "qtest-ppc64")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--flavour", choices=("patched", "edit", "stock"), default="patched",
                   help="stock: without the series")
    p.add_argument("test", nargs="*", help="only these, as meson calls them: qtest-x86_64/kvm-spf-test")
    args = p.parse_args()
    setup.ready()
    src, _ = build.tree("qemu", args.flavour)
    name = f"qemu-upstream-{args.flavour}"
    obj = paths.OBJ / name
    with ui.locked():
        build.compile_qemu(src, obj, name)
        # Tests run QEMU from where it was built, and Debian's source lacks the firmware.
        build.place_firmware(obj / "qemu-bundle/usr/local/share/qemu")
        log = paths.LOG / f"{name}.log"
        which = args.test or [w for suite in SUITES for w in ("--suite", suite)]
        with ui.Progress("QEMU's own tests") as progress:
            words = ["meson", "test", "--no-suite", "slow", "--no-suite", "thorough", "-t", "10", *which]
            build.sandbox(src, obj, words, log, build.qemu_environment(), progress)
    print("\n".join(re.findall(r"^(?:Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout): +\d+", log.read_text(),
                               re.M)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Fail as failure:
        sys.exit(f"upstream: {failure}")

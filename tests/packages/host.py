# SPDX-License-Identifier: GPL-2.0-or-later
"""What the operator's tests share: the commands of docs/operating.md, and a disk with Debian 13 and
what such commands install there."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.lib import debian_disk
from spf import paths, ui

HERE = Path(__file__).resolve().parent
SUITE = "trixie"
# What a kernel needs to run under the emulator without false alarms.
QUIET = ("mitigations=off nokaslr tsc=reliable no_timer_check watchdog_thresh=60 "
         "rcupdate.rcu_cpu_stall_timeout=120")


def blocks(heading):
    """The text of the code below a heading of the document."""
    text = (paths.ROOT / "docs/operating.md").read_text()
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```\n", section, re.M | re.S)


def steps(*headings):
    """[(command, what the document says that it prints)]"""
    return [(command, said) for heading in headings for block in blocks(heading)
            for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)]


def plain(text):
    """Of a text, what is the same on every host: no numbers, no widths, no reason of an abort."""
    return [[re.sub(r"^(-|N(us|ms|s)?|[a-z]+-[a-z]+|unsupported)$", "N",
                    re.sub(r"\d[\d.]*", "N", word)) for word in line.split()]
            for line in text.splitlines() if line.strip()]


def disk(name, commands, files):
    """A folder with `disk`, on which the commands ran where the files are, and with the patched
    kernel and its initramfs."""
    folder = paths.BUILD / "debian" / f"{SUITE}-{name}"
    script, stamp = HERE / "host-disk", f"disk-{name}"
    key = ui.digest(script, commands, *files)
    if ui.recall(stamp).get("key") == key and (folder / "disk").exists():
        return folder
    ui.forget(stamp)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=paths.BUILD) as layers:
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh",
                               script, debian_disk.made(SUITE), layers, folder, commands, *files],
                              capture_output=True, text=True, errors="replace")
    log = paths.LOG / f"{name}-install.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ui.Fail(f"the packages did not install: {ui.last_line(done.stderr)}",
                      f"see {ui.shown(log)}")
    ui.remember(stamp, key=key)
    return folder

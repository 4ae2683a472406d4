# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: run the kernel's own tests, and print a line of JSON for each.  Arguments: off or on,
a folder, then the tests.

In the folder of selftests/mm a test is a category of run_vmtests.sh.  In that of selftests/kvm it
is a program, perhaps with arguments.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = {"off": ("0", "0"), "on": ("2", "1")}
FILES = ("/sys/module/kvm/parameters/speculative_faults", "/proc/sys/vm/speculative_user_faults")
# Time limits of a program, and of a category of many programs.
KVM_LIMIT, MM_LIMIT = 300, 900
# kselftest's status for a test that cannot be run here.
STATUS = {0: "pass", 4: "skip"}
MM = "run_vmtests.sh"


def say(test, result, **more):
    print(json.dumps({"test": test, "result": result, **more}), flush=True)


def run(words, where, limit):
    """Run a test; return (its status, or None if it did not end; its output; seconds)."""
    start = time.monotonic()
    child = subprocess.Popen(words, cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace",
                             start_new_session=True)
    try:
        out, _ = child.communicate(timeout=limit)
        status = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, _ = child.communicate()
        status = None
    print(f"== {' '.join(map(str, words))}: {status}\n{out}", file=sys.stderr, flush=True)
    return status, out, round(time.monotonic() - start, 1)


def parts(lines):
    """The results of a test's parts, from lines of TAP and from those of uffd-unit-tests.  Numbers
    in them differ from run to run."""
    for line in lines:
        found = re.match(r"(?:# )*(not )?ok (\d+) ?(.*)", line)
        if found:
            skipped = re.search(r"#\s*(SKIP|XFAIL)", found[3], re.I)
            name = re.sub(r"\s*#\s*(SKIP|XFAIL).*", "", found[3], flags=re.I)
            yield f"{found[2]} {re.sub(r'[0-9]+', 'N', name)}", \
                "fail" if found[1] else skipped[1].lower() if skipped else "pass"
        found = re.match(r"(?:# )*Testing (.*)\.\.\. (done|skipped|failed)", line)
        if found:
            yield found[1], {"done": "pass", "skipped": "skip", "failed": "fail"}[found[2]]


def kvm(folder, names):
    for name in names:
        program, *words = name.split()
        before = speculative()
        status, out, seconds = run([folder / program, *words], "/tmp", KVM_LIMIT)
        result = "timeout" if status is None else STATUS.get(status, f"fail, status {status}")
        say(name, result, seconds=seconds, speculative=speculative() - before)
        for part, said in parts(out.splitlines()):
            say(f"{name}: {part}", said)


def mm(folder, categories):
    """run_vmtests.sh prints, for each program, a line "# running PROGRAM", its output, and [PASS],
    [SKIP] or [FAIL]."""
    where = Path(shutil.copytree(folder, "/tmp/mm"))
    # Some programs make a directory there.
    subprocess.run(["mount", "-t", "tmpfs", "tmp", "/mnt"], check=True)
    for category in categories:
        before = speculative()
        status, out, seconds = run([where / MM, "-t", category], where, MM_LIMIT)
        program, lines = None, []
        for line in out.splitlines():
            found = re.match(r"# running (?:bash )?(?:\./)?(.*)", line)
            ended = re.match(r"# \[(PASS|SKIP|FAIL)\]$", line)
            if found:
                program, lines = f"{category}: {re.sub(r'[0-9]+$', 'N', found[1])}", []
            elif ended and program:
                say(program, ended[1].lower())
                for part, said in parts(lines):
                    say(f"{program}: {part}", said)
                program = None
            else:
                lines.append(line)
        if program:
            say(program, "timeout")
        say(category, "timeout" if status is None else "ran", seconds=seconds,
            speculative=speculative() - before)


def speculative():
    """How many faults tier 1 has resolved so far."""
    return int(re.search(r"^spf_success (\d+)", Path("/proc/vmstat").read_text(), re.M)[1])


def main(setting, folder, *names):
    for file, value in zip(FILES, SETTINGS[setting]):
        Path(file).write_text(value)
    folder = Path(folder)
    (mm if (folder / MM).exists() else kvm)(folder, names)


if __name__ == "__main__":
    main(*sys.argv[1:])

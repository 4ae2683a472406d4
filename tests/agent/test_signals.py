# SPDX-License-Identifier: GPL-2.0-or-later
"""spf-agent run and signals: a signal that is sent to the agent alone reaches the command, the
figures are written, and no process is left behind."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import unittest
from signal import SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2

from tests.agent.case import Case

LIMIT = 120
# Each command first prints its process ID.
DIES = "ulimit -c 0; echo $$; exec sleep 600"
CLEANS_UP = "trap 'sleep 1; exit 7' TERM; echo $$; while :; do sleep 0.1; done"
IGNORES = "trap '' TERM; echo $$; read line; exit 5"
# Out of the terminal's reach: it ends with the number of the first signal that it had.
ASIDE = """import os, signal, sys
os.setsid()
both = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, both)
print(os.getpid(), flush=True)
sys.exit(signal.sigwait(both))
"""
INHERITS = """import os, signal
print(os.getpid(), flush=True)
with open("/proc/self/status") as f:
    blocked = [int(line.split()[1], 16) for line in f if line.startswith("SigBlk")]
os._exit(blocked != [0] or signal.getsignal(signal.SIGCHLD) != signal.SIG_IGN)
"""


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ignore_children():
    signal.signal(SIGCHLD, signal.SIG_IGN)


class Signals(Case):
    def setUp(self):
        super().setUp()
        # Programs that a shell without job control starts with `&` ignore these, and so would the
        # command.
        for number in SIGINT, SIGQUIT:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
                self.addCleanup(signal.signal, number, signal.SIG_IGN)

    def start(self, *command, **kw):
        self.bar.__enter__()
        self.addCleanup(self.bar.__exit__)
        self.out = self.directory / "out"
        process = subprocess.Popen(self.words("run", "--json", "-o", self.out, "--", *command),
                                   stdout=subprocess.PIPE, text=True, **kw)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process, int(process.stdout.readline())

    def ends(self, process, status):
        self.assertEqual(process.wait(timeout=LIMIT), status)
        figures = json.loads(self.out.read_text())
        self.assertEqual(figures["status"], status)
        self.assertEqual(list(figures["faults"]), ["fast", "speculative", "vma-lock", "mmap-lock"])

    def test_a_command_that_dies_of_it(self):
        for number in (SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2):
            with self.subTest(signal=number):
                process, child = self.start("sh", "-c", DIES)
                process.send_signal(number)
                self.ends(process, 128 + number)
                self.assertTrue(is_gone(child))

    def test_a_command_that_handles_it(self):
        """The agent waits for the command's clean-up, and exits with the command's status."""
        process, child = self.start("sh", "-c", CLEANS_UP)
        process.send_signal(SIGTERM)
        self.ends(process, 7)
        self.assertTrue(is_gone(child))

    def test_a_command_that_ignores_it(self):
        process, child = self.start("sh", "-c", IGNORES, stdin=subprocess.PIPE)
        process.send_signal(SIGTERM)
        process.stdin.close()
        self.ends(process, 5)
        self.assertTrue(is_gone(child))

    def test_the_terminals_own_is_not_passed_on(self):
        """The terminal sends ^C to its group.  The agent does not pass it on to a command outside
        of that group."""
        host, port = pty.openpty()
        self.addCleanup(os.close, host)

        def in_terminal():
            os.setsid()
            fcntl.ioctl(port, termios.TIOCSCTTY, 0)

        process, _ = self.start(sys.executable, "-c", ASIDE, stdin=port, preexec_fn=in_terminal)
        os.close(port)
        os.write(host, b"\3")
        # The terminal shows it after it has sent the signal.
        self.assertIn(b"^C", os.read(host, 100))
        process.send_signal(SIGTERM)
        self.ends(process, SIGTERM)

    def test_an_ignored_child_is_waited_for_all_the_same(self):
        process, _ = self.start("sh", "-c", "echo $$; exit 4", preexec_fn=ignore_children)
        self.ends(process, 4)

    def test_the_command_starts_with_the_signals_that_we_had(self):
        process, _ = self.start(sys.executable, "-c", INHERITS, preexec_fn=ignore_children)
        self.ends(process, 0)


if __name__ == "__main__":
    unittest.main()

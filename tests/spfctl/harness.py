# SPDX-License-Identifier: GPL-2.0-or-later
"""Helpers for the tests of spfctl: the program, QEMUs, and servers in a folder of their own."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from tests.spfctl import server
from spf.source import apt
from spf.build import meson

OLD_QEMU = "/usr/bin/qemu-system-x86_64"
TOO_OLD = "this QEMU has no kvm-spf: it is too old, or not patched"
GARBAGE = "what listens there does not speak QMP"
SLOW = "no answer within 0.5 s; a QMP socket serves one client at a time"
# The timeout for a server that is not expected to be late.
PATIENCE = "60"


def program():
    """Install the packages that the tests use, and build spfctl."""
    apt.packages(["qemu-system-x86", "python3-prometheus-client"])
    return meson.spfctl()


class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = program()

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.dir = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def run_it(self, *words):
        return subprocess.run([self.program, *words], capture_output=True, text=True, timeout=300)

    def check(self, words, status, errors):
        done = self.run_it(*words)
        self.assertEqual((done.stderr.splitlines(), done.returncode),
                         ([f"spfctl: {e}" for e in errors], status))
        return done.stdout

    def start(self, *words, **kw):
        """spfctl in the background; its output is a pipe unless `kw` says otherwise."""
        kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kw}
        return self.kill_later(subprocess.Popen([self.program, *words], **kw))

    def kill_later(self, child):
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                self.stack.callback(pipe.close)
        self.stack.callback(child.wait)
        self.stack.callback(child.kill)
        return child

    def wait_for(self, child, path):
        while not path.exists():
            self.assertIsNone(child.poll())
            time.sleep(0.01)
        return path, child

    def qemu(self, name, program=OLD_QEMU, *words):
        path = self.dir / name
        return self.wait_for(self.kill_later(subprocess.Popen(
            [program, "-machine", "none", "-accel", "tcg", "-nodefaults", "-display", "none",
             "-qmp", f"unix:{path},server=on,wait=off", *words], stderr=subprocess.DEVNULL)), path)

    def serve(self, name, *args, **kw):
        path = self.dir / name
        self.stack.callback(server.Server(path, *args, **kw).close)
        return path

    def vm(self, file, name, *answers, **kw):
        """A server that answers as a QEMU does."""
        vm = server.Vm(self.dir / file, name, *answers, **kw)
        self.stack.callback(vm.close)
        return vm

    def process(self, file, name, *answers):
        """Start the server in a process of its own."""
        path = self.dir / file
        child = self.kill_later(subprocess.Popen([sys.executable, server.__file__, path, name,
                                                  *map(json.dumps, answers)]))
        return self.wait_for(child, path)

    def stale(self, name):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.dir / name))
        return self.dir / name


def samples(text):
    """(name, labels, value) of all samples, as the reference parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families
    return [(s.name, s.labels, s.value) for family in text_string_to_metric_families(text)
            for s in family.samples]

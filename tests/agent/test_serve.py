# SPDX-License-Identifier: GPL-2.0-or-later
"""spf-agent serve, with ASan and UBSan: a pseudo-terminal is the port, a file the device."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import tempfile
import tty
import unittest
from pathlib import Path

from tests.agent import programs
from tests.agent.bar import Bar

AGENT = None
F_OFD_SETLK = 37
LIMIT = 60
# The contents of /etc/passwd for the agent alone; this machine's own file does not change.
USERS = "root:x:0:0::/root:/bin/sh\nnobody:x:61234:61235::/:/bin/false\n"
OURS = "spf-agent:x:987:986::/:/bin/false\n"
WITH_USERS = 'mount --bind "$1" /etc/passwd && shift && exec "$@"'


def setUpModule():
    global AGENT
    AGENT = programs.sanitized()


class Server:
    """A serving agent, and the host's end of its port."""

    def __init__(self, directory, *words, users=USERS + OURS):
        self.host, port = pty.openpty()
        tty.setraw(port)
        self.marks = directory / "marks"
        passwd = directory / "passwd"
        passwd.write_text(users)
        # LeakSanitizer needs ptrace, and a process that dropped its privileges cannot be traced.
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", WITH_USERS, "sh", passwd, AGENT, "--device",
             directory / "bar",
             "serve", "--port", os.ttyname(port), "--marks", self.marks, *words],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        self.kept, self.buffer = port, b""

    def send(self, data):
        os.write(self.host, data)

    def line(self):
        while b"\n" not in self.buffer:
            if not select.select([self.host], [], [], LIMIT)[0]:
                raise AssertionError(f"no answer; there is {self.buffer!r}")
            self.buffer += os.read(self.host, 65536)
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def ask(self, name, arguments=None, **more):
        request = {"execute": name, **more} | ({} if arguments is None
                                               else {"arguments": arguments})
        self.send(json.dumps(request).encode() + b"\n")
        return json.loads(self.line())

    def end(self):
        self.process.terminate()
        said = self.process.communicate(timeout=LIMIT)[1]
        os.close(self.host)
        os.close(self.kept)
        return said


class Case(unittest.TestCase):
    words = ()
    users = USERS + OURS
    said = ""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.bar = Bar(self.directory / "bar")
        self.bar.__enter__()
        self.addCleanup(self.bar.__exit__)
        self.server = Server(self.directory, *self.words, users=self.users)
        self.addCleanup(self.finish)

    def finish(self):
        said = self.server.end()
        self.assertEqual((self.server.process.returncode, said), (-15, self.said))

    def error(self, name, arguments=None):
        answer = self.server.ask(name, arguments)
        self.assertNotIn("return", answer)
        return answer["error"]["desc"]


class Requests(Case):
    def test_sync_ping_info(self):
        self.server.send(b'{"half a request\xff{"execute":"guest-sync-delimited",'
                         b'"arguments":{"id":123456789012}}\n')
        self.assertEqual(self.server.line(), b'\xff{"return":123456789012}')
        self.assertEqual(self.server.ask("guest-ping", id="x"), {"return": {}, "id": "x"})
        info = self.server.ask("guest-info")["return"]
        self.assertEqual(sorted(c["name"] for c in info["supported_commands"] if c["enabled"]),
                         ["guest-info", "guest-ping", "guest-sync-delimited", "spf-load",
                          "spf-mark", "spf-marks", "spf-snapshot"])

    def test_snapshot(self):
        self.bar.counters((1, 2, 3, 4))
        got = self.server.ask("spf-snapshot")["return"]
        self.assertEqual(got["faults"], {"fast": 1, "speculative": 2, "vma-lock": 3,
                                         "mmap-lock": 4})
        self.assertNotIn("per-vcpu", got)
        self.assertEqual(len(self.server.ask("spf-snapshot",
                                             {"per-vcpu": True})["return"]["per-vcpu"]), 2)

    def test_snapshot_of_a_sick_device(self):
        self.bar.set32("NR_RECORDS", 1 << 31)
        self.assertIn("records", self.error("spf-snapshot", {"per-vcpu": True}))
        self.assertIn("return", self.server.ask("spf-snapshot"))

    def test_marks(self):
        before = self.server.ask("spf-snapshot")["return"]
        mark = self.server.ask("spf-mark", {"name": "warm"})["return"]
        self.assertEqual(mark["name"], "warm")
        self.assertGreater(mark["guest-ns"], before["guest-ns"])
        self.assertGreater(mark["host-ns"], before["host-ns"])
        self.assertEqual(self.server.ask("spf-marks")["return"], [mark])

    def test_marks_of_others_are_told_to_who_follows(self):
        self.mark("first")
        told = self.server.ask("spf-marks", {"follow": True})["return"]
        self.mark("second")
        event = json.loads(self.server.line())
        self.assertEqual([m["name"] for m in told], ["first"])
        self.assertEqual((event["event"], event["data"]["name"]), ("SPF_MARK", "second"))
        self.assertGreater(event["data"]["host-ns"], told[0]["host-ns"])
        self.server.ask("spf-marks", {"follow": False})
        self.mark("third")
        self.assertEqual([m["name"] for m in self.server.ask("spf-marks")["return"]],
                         ["first", "second", "third"])

    def mark(self, name):
        subprocess.run([AGENT, "--device", self.bar.path, "mark", "--marks", self.server.marks,
                        name], check=True)

    def names(self):
        return [m["name"] for m in self.server.ask("spf-marks")["return"]]

    def test_a_full_file_drops_its_oldest_marks(self):
        """The newest marks are there; the file never grows past its bound, and says how much it has
        dropped."""
        names = [f"{i:064}" for i in range(1500)]
        size = dropped = 0
        for name in names:
            self.assertIn("return", self.server.ask("spf-mark", {"name": name}))
            size, before = self.server.marks.stat().st_size, size
            self.assertLessEqual(size, 64 << 10)
            dropped += size < before
        self.assertGreaterEqual(dropped, 2)
        left = self.names()
        self.assertEqual(left, names[-len(left):])
        self.assertGreater(len(left), 250)
        heading, *lines = self.server.marks.read_text(encoding="ascii").splitlines(keepends=True)
        lost = sum(len(line) for line in lines) // len(lines) * (len(names) - len(left))
        self.assertRegex(heading, r"^# \d+ bytes of older marks were dropped\n$")
        # All lines have one length, except for the number of digits of a time.
        self.assertAlmostEqual(int(heading.split()[1]), lost, delta=len(names) * 4)

    def test_a_host_that_follows_is_told_each_mark_once_while_others_are_dropped(self):
        self.assertEqual(self.server.ask("spf-marks", {"follow": True})["return"], [])
        names = [f"{i:064}" for i in range(1500)]
        told = []
        for name in names:
            self.server.send(json.dumps({"execute": "spf-mark",
                                         "arguments": {"name": name}}).encode() + b"\n")
            # The answer and the event, in either order.
            said = [json.loads(self.server.line()) for _ in range(2)]
            told += [s["data"]["name"] for s in said if "event" in s]
        self.assertEqual(told, names)
        # Another program empties the file: the host gets later marks, too.
        self.assertTrue(self.server.marks.read_text().startswith("# "))
        os.truncate(self.server.marks, 0)
        self.mark("anew")
        self.assertEqual(json.loads(self.server.line())["data"]["name"], "anew")

    def test_many_processes_at_once_lose_no_mark(self):
        """The file is full and drops what is old meanwhile: no line is torn, none of the newest
        lost."""
        self.server.ask("guest-ping")
        for i in range(1000):
            self.server.ask("spf-mark", {"name": f"{i:064}"})
            before = self.server.marks.stat().st_size
            if before > 60 << 10:
                break
        names = [f"{part}-{i:060}" for part in "abcd" for i in range(40)]
        script = ('for i in $(seq 0 39); do '
                  '"$0" --device "$1" mark --marks "$2" "$3-$(printf %060d "$i")" || exit 1; done')
        words = ["sh", "-c", script, programs.static(), self.bar.path, self.server.marks]
        children = [subprocess.Popen([*words, part]) for part in "abcd"]
        self.assertEqual([child.wait(timeout=300) for child in children], [0] * 4)
        self.assertLess(self.server.marks.stat().st_size, before)
        self.assertEqual(sorted(n for n in self.names() if n[0] in "abcd"), names)
        heading, *lines = self.server.marks.read_text(encoding="ascii").splitlines()
        self.assertTrue(heading.startswith("# "))
        lengths = {(len(line.split()), len(line.split()[0])) for line in lines}
        self.assertEqual(lengths, {(3, 62), (3, 64)})

    def test_junk_in_the_file_is_dropped_for_marks(self):
        self.server.ask("guest-ping")
        with open(self.server.marks, "ab") as f:
            f.write(b"\0not a mark " * 6000)
        self.assertEqual(self.names(), [])
        self.server.ask("spf-mark", {"name": "x"})
        self.assertEqual(self.names(), ["x"])
        self.assertLess(self.server.marks.stat().st_size, 1000)

    def test_a_lock_that_is_never_given_back(self):
        """Only the file's owner can do this. The server goes on serving."""
        self.server.ask("guest-ping")
        self.assertEqual(self.server.marks.stat().st_mode & 0o777, 0o600)
        with open(self.server.marks, "r+b") as f:
            fcntl.fcntl(f, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            self.assertIn("cannot lock the marks", self.error("spf-mark", {"name": "x"}))
            self.assertIn("cannot lock the marks", self.error("spf-marks"))
            self.assertIn("return", self.server.ask("guest-ping"))
        self.assertIn("return", self.server.ask("spf-mark", {"name": "x"}))

    def test_load(self):
        page = os.sysconf("SC_PAGESIZE")
        for pattern in ("sequential", "random", "stride"):
            got = self.server.ask("spf-load",
                                  {"bytes": 100 * page, "threads": 1, "pattern": pattern})["return"]
            self.assertEqual((got["pages"], got["page-size"], got["pattern"]), (100, page, pattern))

    def test_load_is_bounded(self):
        for wrong in ({}, {"bytes": 0}, {"bytes": -1}, {"bytes": 1 << 62}, {"bytes": 1 << 64},
                      {"bytes": "1"}, {"bytes": 1.5},
                      {"bytes": 1, "threads": 0}, {"bytes": 1, "threads": 100000},
                      {"bytes": 1, "pattern": "x"},
                      {"bytes": 1, "pattern": 1}, {"bytes": 1, "more": 1}):
            with self.subTest(arguments=wrong):
                self.error("spf-load", wrong)

    def test_wrong_requests_are_answered_and_the_next_is_served(self):
        for line in (b"{", b"[]", b"1", b'"x"', b"null", b"{}", b'{"execute":1}',
                     b'{"execute":"guest-ping"}}',
                     b'{"execute":"guest-ping"} {}', b'{"execute":"guest-ping","more":1}',
                     b"{'execute':'guest-ping'}",
                     b'{"execute":"guest-ping","arguments":[]}',
                     b'{"execute":"guest-ping","arguments":{"x":1}}',
                     b'{"execute":"guest-ping\\u0000"}', b'{"execute":"guest-ping"}\0',
                     b'{"execute":"\x80"}',
                     b'{"execute":"nothing"}', b'{"execute":"spf-mark"}',
                     b'{"execute":"spf-mark","arguments":{"name":"a\\u0000"}}',
                     b'{"execute":"spf-mark","arguments":{"name":"a b"}}',
                     b'{"execute":"guest-sync-delimited"}',
                     b'{"execute":"guest-sync-delimited","arguments":{"id":"1"}}', b'{"a":' * 100,
                     b"[" * 4000):
            with self.subTest(line=line):
                self.server.send(line + b"\n")
                self.assertIn("error", json.loads(self.server.line()))
        self.assertEqual(self.server.ask("guest-ping"), {"return": {}})

    def test_empty_lines_are_nothing(self):
        self.server.send(b"\n\r\n \t\n")
        self.assertEqual(self.server.ask("guest-ping"), {"return": {}})

    def test_too_long_a_request(self):
        for length in (4097, 100000):
            self.server.send(b'{"execute":"' + b"x" * length)
            self.server.send(b'"}\n')
            self.assertIn("too long", json.loads(self.server.line())["error"]["desc"])
            self.assertEqual(self.server.ask("guest-ping"), {"return": {}})
        self.server.send(b"x" * 5000 + b"\xff")
        self.assertEqual(self.server.ask("guest-ping"), {"return": {}})

    def test_pieces_and_many_at_once(self):
        for byte in b'{"execute":"guest-ping","id":0}\n':
            self.server.send(bytes([byte]))
        self.server.send(b"".join(b'{"execute":"guest-ping","id":%d}\n' % i for i in range(1, 100)))
        self.assertEqual([json.loads(self.server.line())["id"] for _ in range(100)],
                         list(range(100)))


class Blocked(Case):
    words = ("--block", "spf-load,spf-mark")

    def test_block(self):
        self.assertIn("blocked", self.error("spf-load", {"bytes": 4096}))
        self.assertIn("return", self.server.ask("spf-snapshot"))
        info = self.server.ask("guest-info")["return"]["supported_commands"]
        self.assertEqual([c["name"] for c in info if not c["enabled"]], ["spf-mark", "spf-load"])


class Allowed(Case):
    words = ("--allow", "guest-ping", "--max-load", "8K")

    def test_allow(self):
        self.assertIn("blocked", self.error("guest-info"))
        self.assertIn("return", self.server.ask("guest-ping"))


class Bounded(Case):
    words = ("--max-load", "8K")

    def test_limit_of_load(self):
        self.assertIn("from 1 to 8192", self.error("spf-load", {"bytes": 8193}))
        self.assertIn("return", self.server.ask("spf-load", {"bytes": 8192}))


class Privileges(Case):
    user, group = 987, 986

    def test_dropped_for_good(self):
        self.server.ask("guest-ping")
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        self.assertEqual((status["Uid"], status["Gid"]),
                         tuple("\t".join([str(n)] * 4) for n in (self.user, self.group)))
        self.assertEqual((status["Groups"].strip(), status["NoNewPrivs"], int(status["CapEff"], 16),
                          int(status["CapPrm"], 16)),
                         ("", "1", 0, 0))


class PrivilegesOfAnother(Privileges):
    words = ("--user", "nobody")
    user, group = 61234, 61235


class PrivilegesWithoutOurUser(Privileges):
    """As after the program was copied to a machine without the package."""
    users = USERS
    user, group = 61234, 61235
    said = "spf-agent: there is no user spf-agent: serving as nobody; create it, or name a --user\n"


class PrivilegesWithoutNobody(PrivilegesWithoutOurUser):
    users = "root:x:0:0::/root:/bin/sh\n"
    user = group = 65534


class Refused(unittest.TestCase):
    def test_no_port_and_no_user(self):
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            Bar(directory / "bar")
            for words, status, says in ((["--port", directory / "no"], 3, "cannot open"),
                                        ([], 3, "no port org.kvmspf.agent.0"),
                                        (["--port", "/dev/null", "--user", "no-such"], 2,
                                         "no user 'no-such'")):
                done = subprocess.run([AGENT, "--device", directory / "bar", "serve", "--marks",
                                       directory / "marks", *words],
                                      capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (status, 1),
                                 done.stderr)
                self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()

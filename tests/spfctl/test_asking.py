# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs spfctl asks, how long it waits, and how it tells them apart."""

import json
import os
import socket
import unittest

from tests.spfctl import server
from tests.spfctl.harness import OLD_QEMU, PATIENCE, SLOW, TOO_OLD, Test

MANY = {"faults": dict.fromkeys(server.TIERS, 10 ** 7 + 1)}
LATER = {"host-ns": 2 * 10 ** 9 + 1}


def greeting_only():
    return server.lines(server.GREETING)


class Asking(Test):
    def test_mute_peers_share_one_deadline(self):
        """spfctl connects to all VMs before it gives up the first: none waits until another's time
        is over."""
        names = [f"{n}" for n in range(6)]
        listeners = {}
        for name in names:
            listeners[name] = self.stack.enter_context(socket.socket(socket.AF_UNIX))
            listeners[name].bind(str(self.dir / name))
            listeners[name].listen(8)
        child = self.start("-t", PATIENCE, "--json", "-D", self.dir)
        clients = {name: listener.accept()[0] for name, listener in listeners.items()}
        # Only now does one after the other answer, the last first.
        for name in reversed(names):
            with clients[name] as client:
                client.sendall(server.session(server.answer(), name))
        out, errors = child.communicate(timeout=300)
        self.assertEqual((errors, child.returncode), ("", 0))
        self.assertEqual([vm["domain"] for vm in json.loads(out)["vms"]], names)

    def test_mute_peers_hold_up_no_other(self):
        for name in "abcdef":
            self.serve(name, greeting_only())
        self.serve("g", server.session(server.answer(), "g"))
        out = json.loads(self.check(["-t", "0.5", "--json", "-D", self.dir], 1,
                                    [f"{self.dir}/{name}: {SLOW}" for name in "abcdef"]))
        self.assertEqual([vm.get("available") for vm in out["vms"]], [None] * 6 + [True])

    def test_only_the_one_named_is_asked(self):
        wanted, other = self.vm("db1", "db1"), self.vm("db2", "db2")
        self.check(["-t", PATIENCE, "--json", "-D", self.dir, "db1"], 0, [])
        self.assertIn("query-kvm-spf", wanted.heard)
        self.assertEqual(other.connections, 0)

    def test_a_name_that_only_qemu_knows(self):
        """spfctl asks other VMs for their names, and for nothing else."""
        wanted, other = self.vm("a", "db1"), self.vm("b", "db2")
        vm, = json.loads(self.check(["-t", PATIENCE, "--json", "-D", self.dir, "db1"], 0,
                                    []))["vms"]
        self.assertEqual(vm["source"], str(self.dir / "a"))
        self.assertIn("query-kvm-spf", wanted.heard)
        self.assertIn("query-name", other.heard)
        self.assertNotIn("query-kvm-spf", other.heard)

    def test_a_mute_peer_takes_no_time_from_the_one_named(self):
        """spfctl waits for all names until the timeout, and asks the VM of that name after it."""
        self.vm("a", "db1")
        self.serve("b", greeting_only())
        vm, = json.loads(self.check(["-t", "0.5", "--json", "-D", self.dir, "db1"], 0, []))["vms"]
        self.assertTrue(vm["available"])

    def test_a_name_may_be_where_it_is(self):
        self.vm("a", "db1")
        path = self.dir / "b"
        self.vm("b", "db1")
        vm, = json.loads(self.check(["-t", PATIENCE, "--json", "-D", self.dir, path], 0, []))["vms"]
        self.assertEqual(vm["source"], str(path))

    def test_set_mode_refuses_a_name_that_two_have(self):
        uuids = [f"11111111-2222-3333-4444-55555555555{n}" for n in range(2)]
        (a, first), (b, second) = (self.qemu(name, OLD_QEMU, "-name", "db1", "-uuid", uuid)
                                   for name, uuid in zip("ab", uuids))
        self.check(["--set-mode", "on", "-D", self.dir, "db1"], 1, [
            "db1: more than one VM has this name; say which by --socket, or by one of these "
            "instead of the name",
            f"{a}: a VM 'db1', process {first.pid}, UUID {uuids[0]}",
            f"{b}: a VM 'db1', process {second.pid}, UUID {uuids[1]}"])
        # The path of a socket names only one of them.
        self.check(["--set-mode", "on", "-D", self.dir, a], 1, [f"db1: {TOO_OLD}"])

    def test_set_mode_asks_nobody_before_it_knows(self):
        first, second = self.vm("a", "db1"), self.vm("db1", "db1")
        self.assertEqual(self.run_it("-t", PATIENCE, "--set-mode", "on", "-D", self.dir,
                                     "db1").returncode, 1)
        for vm in (first, second):
            self.assertIn("query-name", vm.heard)
            self.assertNotIn("kvm-spf-set-mode", vm.heard)

    def test_another_vm_on_the_same_socket_counts_anew(self):
        """Another VM has higher counters, and those of the first are no base for its rates."""
        # Its clock goes on: a clock that went back would count anew in the same VM.
        path, old = self.process("s", "db1", *(server.answer(**{"host-ns": 1 + n * 10 ** 9})
                                               for n in range(1000)))
        child = self.start("-d", "0.2", "-t", PATIENCE, "-s", path)
        head, first = (child.stdout.readline() for _ in range(2))
        self.assertRegex(head + first, r"MODE.*\ndb1 +on +1( +0){5} ")
        # A VM of the same name that has been up for long, and whose clock stands still.
        new, _ = self.process("new", "db1", server.answer(**MANY, **{"host-ns": 10 ** 12}))
        os.rename(new, path)
        old.kill()
        while "counting anew" not in (row := child.stdout.readline()):
            self.assertRegex(row, "^db1 +(on +1( +0){5} |the VM went away)")
        for _ in range(3):
            self.assertIn("counting anew", child.stdout.readline())

    def test_the_same_vm_has_rates(self):
        self.vm("s", "db1", server.answer(), server.answer(**MANY, **LATER))
        table = self.check(["-n", "1", "-d", "0.01", "-t", PATIENCE, "-D", self.dir], 0, [])
        self.assertRegex(table.splitlines()[1], r"^db1 +on +1( +5000000){4} +0 - ")


class Vcpus(Test):
    def test_large_vms(self):
        """spfctl accepts an answer of half a MiB if it asked for the vCPUs."""
        vcpus = [{"index": n,
                  **{k: v for k, v in server.answer().items()
                     if k in ("faults", "aborts", "latency")}}
                 for n in range(1024)]
        path = self.serve("s", server.session(server.answer(vcpus=1024, **{"per-vcpu": vcpus}),
                                              "big"))
        vm, = json.loads(self.check(["-t", PATIENCE, "--json", "--per-vcpu", "-s", path], 0,
                                    []))["vms"]
        self.assertEqual([v["index"] for v in vm["per-vcpu"]], list(range(1024)))
        self.assertEqual(vm["per-vcpu"][7]["faults"], dict.fromkeys(server.TIERS, 1))
        self.assertEqual(vm["per-vcpu"][7]["latency"]["buckets"][:5], [0, 0, 0, 1, 3])
        self.check(["-t", PATIENCE, "--json", "-s", path], 1,
                   [f"{path}: a line longer than 65536 bytes is not QMP"])

    def test_answers_that_are_none(self):
        for name, vcpus in (("a", 1), ("b", [1]), ("c", [{}])):
            path = self.serve(name, server.session(server.answer(**{"per-vcpu": vcpus}), name))
            self.check(["-t", PATIENCE, "--json", "--per-vcpu", "-s", path], 1, [
                f"{path}: its answer to query-kvm-spf has no valid "
                f"{'index' if vcpus == [{}] else 'per-vcpu'}"])


if __name__ == "__main__":
    unittest.main()

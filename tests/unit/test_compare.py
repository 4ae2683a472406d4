# SPDX-License-Identifier: GPL-2.0-or-later
"""compare's plan, watcher, files, texts and refusals; nothing here starts a guest."""

import contextlib
import csv
import html.parser
import io
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import types
import unittest
from pathlib import Path
from unittest import mock

from tests.unit import compare_sample
from spf import kvmparam, paths, ui
from spf.lab import holders, image, power, qmp
from spf.report import document, spreadsheet, svg, table
from spf.compare import execution, figures, hosts, loads, needs, plan, runner, simulated, verb
from spf.compare.watcher import Watcher
from spf.compare.loads import memcached, redis


class Plan(unittest.TestCase):
    def test_each_round_holds_each_kind_once(self):
        jobs = plan.jobs(["off", "vma-lock", "on"], ["quiet", "busy"], 5, 1)
        self.assertEqual(jobs[0]["id"], "warm-up")
        self.assertEqual(len(jobs), 31)
        for number in range(1, 6):
            self.assertEqual(len({(j["mode"], j["vmm"]) for j in jobs if j["round"] == number}), 6)
        self.assertEqual(len({j["id"] for j in jobs}), 31)

    def test_seed_decides_the_order(self):
        args = (["off", "on"], ["quiet", "busy"], 5)
        self.assertEqual(plan.jobs(*args, 3), plan.jobs(*args, 3))
        self.assertNotEqual(plan.jobs(*args, 3), plan.jobs(*args, 4))

    def test_a_new_host_warms_up_again_and_repeats_nothing(self):
        jobs = plan.jobs(["off", "on"], ["quiet"], 2, 1)
        events = [{**j, "event": "run", "life_s": 10.0} for j in jobs[:3]]
        rest = plan.left(jobs, events, restart=True)
        self.assertEqual([j["id"] for j in rest], ["warm-up"] + [j["id"] for j in jobs[3:]])
        self.assertEqual(plan.estimate(jobs[3:], events), 20.0)

    def test_storms_of_each_vmm_up_to_all_vcpus(self):
        storms = plan.storms(["off", "on"], ["quiet", "busy"], 6, 5, 8)
        self.assertEqual([job["id"] for job in storms],
                         [f"storm-{vmm}-{n}" for vmm in ("quiet", "busy") for n in (1, 2, 4, 6)])
        self.assertEqual(["--neighbour" in job["storm"] for job in storms],
                         [False] * 4 + [True] * 4)
        events = [{"event": "storm", "id": storms[0]["id"]}]
        self.assertEqual(plan.left(storms, events, restart=True), storms[1:])
        self.assertEqual(plan.estimate(storms, []), 8 * 10)


class Holders(unittest.TestCase):
    SYMBOLS = """ffffffff81000010 t proc_pid_schedstat
ffffffff81000100 T _raw_spin_lock
ffffffff81000200 T lru_add
ffffffff81000300 T down_read
ffffffff82000000 D something
"""

    def test_sections_of_a_storm_are_those_from_the_gate_to_the_last_vcpu(self):
        boot = ["total 9 900 900 900", "fetch 0x0 0xffffffff81000304 900 0 900 900"]
        storm = ["total 5 4 200 100", "fetch 0x40 0xffffffff81000304 3 0 150 100",
                 "fetch 0x40 0xffffffff81000204 1 0 50 0",
                 "spin 8 0xffffffff81000110 0xffffffff82000010 0xffffffff81000108 "
                 "0xffffffff81000208 0xffffffff81000208"]
        nothing = ["total 1 0 0 0"]
        # Two vCPUs: twice before all begin, then when each has ended.
        parts = [boot, nothing, storm, storm, boot, nothing, nothing, storm, boot]
        with tempfile.TemporaryDirectory() as here:
            map_file, out = Path(here, "System.map"), Path(here, "lines")
            map_file.write_text(self.SYMBOLS)
            out.write_text("".join("\n".join([*part, "end"]) + "\n" for part in parts))
            self.assertEqual(holders.mark(map_file), 0xffffffff81000010)
            first, second = holders.of_runs(out, map_file, [2, 2], 200)
        self.assertEqual((first["fetches"], first["took_ns"], first["waited_ns"]), (8, 400, 200))
        self.assertEqual(first["lines"], [{"fetches": 8, "took_ns": 400, "waited_ns": 200,
                                           "by": {"down_read": 6, "lru_add": 2}}])
        self.assertEqual(first["spins"],
                         [{"in": "_raw_spin_lock", "for": ["lru_add"], "spun_ns": 2 * 8 * 200}])
        self.assertEqual(second["fetches"], 4)


class Simulated(unittest.TestCase):
    def test_what_a_socket_has_room_for_shares_a_host(self):
        self.assertEqual(simulated.hosts(simulated.sizes(128)), [[128], [1, 8, 16, 32, 64]])
        self.assertEqual(simulated.hosts(simulated.sizes(2)), [[1, 2]])
        self.assertEqual(simulated.hosts(simulated.sizes(100)), [[100], [1, 8, 16, 32, 64]])
        self.assertEqual([simulated.shape(n) for n in (1, 16, 17, 64, 128)],
                         [(2, 1, 1), (17, 1, 1), (20, 1, 2), (68, 1, 4), (136, 2, 8)])
        self.assertEqual([simulated.shape(n, 64) for n in (16, 64, 128)],
                         [(17, 1, 1), (65, 1, 1), (130, 2, 2)])

    def test_an_interrupt_ends_the_hosts_that_run(self):
        stop, ended = threading.Event(), []

        def run(point):
            if point and stop.wait(60):
                ended.append(point)
            return point

        with contextlib.redirect_stderr(io.StringIO()), \
                mock.patch.object(simulated, "at_once", return_value=2), \
                mock.patch.object(ui, "remember"):
            hosts_done = simulated.on_each([0, 1, 2, 3], lambda _: 1, run, stop, "hosts")
            self.assertEqual(next(hosts_done), 0)
            with self.assertRaises(KeyboardInterrupt):
                hosts_done.throw(KeyboardInterrupt())
        self.assertIn(1, ended)
        self.assertNotIn(3, ended)

    def test_no_vcpus_share_a_page_table(self):
        for pages in (64, 128, 256, 512, 1024):
            self.assertGreaterEqual(pages * simulated.stride(pages), 2 << 20)
        self.assertEqual(simulated.stride(512), 4096)


class Watch(unittest.TestCase):
    def setUp(self):
        self.jobs = plan.jobs(["off"], ["quiet"], 1, 1)
        self.watcher = Watcher(self.jobs, io.StringIO())
        self.said = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.said))

    def test_lines_may_come_in_pieces_and_among_others(self):
        line = json.dumps({"event": "begin", **self.jobs[0]}).encode() + b"\n"
        self.watcher.feed(b"noise\n[1]\n" + line[:9])
        self.watcher.feed(line[9:])
        self.assertEqual(self.watcher.begun["id"], "warm-up")

    def test_a_host_that_went_down_costs_the_life_it_was_in(self):
        self.watcher.feed(json.dumps({"event": "begin", **self.jobs[1]}).encode() + b"\n")
        self.watcher.lost("lab: stall")
        discard = self.watcher.of("discard")[0]
        self.assertEqual((discard["kind"], discard["mode"], discard["id"]),
                         ("host", "off", self.jobs[1]["id"]))
        self.assertIn("thrown away", self.said.getvalue())


class Refusals(unittest.TestCase):
    def refused(self, *argv):
        with self.assertRaises(ui.Fail) as caught:
            args = verb.parser().parse_args(argv)
            needs.check(args)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        self.assertIn("; ", text)
        self.assertNotEqual(caught.exception.status, 0)
        return text

    def test_unknown_mode(self):
        self.assertIn("off, vma-lock, on", self.refused("--modes", "off,fast"))

    def test_too_little_memory(self):
        self.assertRegex(self.refused("--data", "2G", "--memory", "1G"), r"use --memory \d+M")

    def test_more_than_the_machine_has(self):
        self.assertIn("free", self.refused("--memory", "900T"))

    def test_numbers(self):
        for argv in (("--runs", "0"), ("--vcpus", "-1"), ("--vcpus", "513"), ("--data", "much"),
                     ("--data", "4M"),
                     ("--frobnicate",), ("--modes", ","), ("--memory", "0")):
            self.refused(*argv)

    def test_a_power_host_is_emulated(self):
        args = verb.parser().parse_args(["--arch", "power", "--host", "here"])
        with self.assertRaisesRegex(ui.Fail, "leave out --host here"):
            hosts.choose(args)

    def test_databases_that_power_has_not(self):
        args = verb.parser().parse_args(["--arch", "power", "--load", "memcached"])
        with self.assertRaisesRegex(ui.Fail, "has no load 'memcached'; leave out --load"):
            hosts.choose(args)

    def test_a_machine_too_small_for_a_simulated_guest(self):
        with mock.patch.object(simulated, "free_mib", return_value=6000):
            self.assertRegex(self.refused("--simulate", "128"),
                             "128 vCPUs takes [0-9]{4,5}; use a smaller --simulate")
            needs.check(verb.parser().parse_args(["--simulate", "16"]))

    def test_kernels_that_power_has_not(self):
        with self.assertRaisesRegex(ui.Fail, "no stock kernel for POWER; say one of patched"):
            power.kernel_path("stock")

    def test_the_hint_is_enough(self):
        for argv in (["--data", "900M"], ["--load", "build", "--servers", "12"]):
            need = int(re.search(r"--memory (\d+)M", self.refused(*argv)).group(1))
            args = verb.parser().parse_args([*argv, "--memory", f"{need}M"])
            with mock.patch.object(needs, "host_memory_mib", return_value=1):
                needs.check(args)

    def test_a_build_has_no_size(self):
        self.assertIn("always the same; leave out --data",
                      self.refused("--load", "build", "--data", "64M"))
        hint = self.refused("--load", "build", "--memory", "256M")
        self.assertIn("fewer --servers", hint)
        self.assertNotRegex(hint, "data|None")
        args = verb.parser().parse_args(["--load", "build", "--vcpus", "96", "--servers", "96",
                                         "--memory", "8G"])
        with mock.patch.object(needs, "host_memory_mib", return_value=1):
            needs.check(args)
        self.assertIsNone(args.data)


class Archive(unittest.TestCase):
    def test_entries_are_found_again(self):
        cpio = image.Cpio()
        cpio.file("a/b/c", b"hello", 0o755)
        cpio.link("d", "a/b/c")
        data = cpio.finish()
        names, at = [], 0
        while True:
            self.assertEqual(data[at:at + 6], b"070701")
            field = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
            name = data[at + 110:at + 110 + field[11] - 1].decode()
            body = at + 110 + field[11] + -(110 + field[11]) % 4
            if name == "TRAILER!!!":
                break
            names.append((name, data[body:body + field[6]]))
            at = body + field[6] + -field[6] % 4
        self.assertEqual(names, [("a", b""), ("a/b", b""), ("a/b/c", b"hello"), ("d", b"a/b/c")])
        self.assertEqual(len(data) % 512, 0)


class Guest(unittest.TestCase):
    # Words of the shell, names of the initramfs' other files, and programs that xargs and the
    # data's own script call.
    BUILTIN = set("case cd do done echo esac exec kill printf read until wait while".split())
    PROGRAMS = {"db-load", "load", "memcached", "redis-server", "spf-agent"}
    BY_OTHERS = {"chroot", "sh"}

    def test_each_command_is_a_link_to_busybox_and_no_other(self):
        """Debian's shell finds its applets without; xargs and chroot do not."""
        called = set()
        for script in (paths.SCRIPTS / "guest").iterdir():
            text = re.sub(r"\\\n|'[^']*'|\$\(\(.*?\)\)|(^|\s)#.*", " ", script.read_text(),
                          flags=re.M)
            words = set(re.findall(r"(?:^|[|;&({]|\b(?:until|while|if) )\s*([a-z][\w-]*)\s", text,
                                   re.M))
            called |= words - set(re.findall(r"^(\w+)\(\)", text, re.M))
        self.assertEqual(sorted(called - self.BUILTIN - self.PROGRAMS | self.BY_OTHERS),
                         image.APPLETS)


class Data(unittest.TestCase):
    def test_size_is_what_was_asked(self):
        for mib, servers in ((64, 8), (128, 8), (1024, 3)):
            keys = redis.keys_per_server(mib, servers)
            self.assertAlmostEqual(keys * servers * redis.KEY_BYTES / 2**20, mib, delta=mib * 0.01)

    def test_memcached_gets_whole_commands_of_different_keys(self):
        with tempfile.TemporaryDirectory() as directory:
            answers = memcached.make(directory, 1, 2)
            keys = []
            for name in ("0.set", "1.set"):
                *sets, last, rest = Path(directory, name).read_bytes().split(b"\r\n")
                self.assertEqual((last, rest), (b"quit", b""))
                keys += [line.split()[1] for line in sets[::2]]
                self.assertEqual({len(value) for value in sets[1::2]}, {memcached.VALUE_BYTES})
        self.assertEqual([len(set(keys))], answers)


class Image(unittest.TestCase):
    def setUp(self):
        self.cache = self.enterContext(tempfile.TemporaryDirectory())
        self.made = []

    def kind(self, version="1", value_bytes=1):
        def make(directory, *_):
            Path(directory, "x").write_text(version)
            self.made.append(version)
            return [2, 3]
        load = types.SimpleNamespace(VALUE_BYTES=value_bytes, version=lambda: version, make=make,
                                     __file__=__file__)
        return mock.patch.dict(loads.KINDS, {"mine": load})

    def test_large_data_have_room_in_theirs(self):
        work, image_file = Path(self.cache, "work"), Path(self.cache, "image")
        work.mkdir()
        size = 4000 << 20
        (work / "x").touch()
        os.truncate(work / "x", size)       # a hole, which takes no space in the image either
        loads.image(work, image_file)
        said = subprocess.run(["/sbin/dumpe2fs", "-h", image_file], capture_output=True, text=True,
                              check=True).stdout
        blocks, of = (int(re.search(rf"^{name}: *(\d+)", said, re.M)[1])
                      for name in ("Free blocks", "Block size"))
        self.assertGreater(blocks * of, size)
        self.assertLessEqual(image_file.stat().st_size >> 20, loads.image_mib(4001))

    def test_what_mke2fs_cannot_do_is_one_line_of_its_own(self):
        with self.assertRaisesRegex(ui.Fail, "^mke2fs failed: ") as caught:
            loads.image(self.cache, "/nonexistent/image")
        self.assertNotIn("\n", str(caught.exception))

    def test_it_is_as_old_as_what_it_holds(self):
        with self.kind("1"):
            first = loads.ensure(self.cache, "mine", 8, 2)
            self.assertEqual(loads.ensure(self.cache, "mine", 8, 2), first)
        self.assertEqual((self.made, first["version"], first["answers"], first["keys"]),
                         (["1"], "1", [2, 3], 5))
        with self.kind("2"):
            second = loads.ensure(self.cache, "mine", 8, 2)
        self.assertEqual((self.made, second["version"], second["image"]),
                         (["1", "2"], "2", first["image"]))
        self.assertEqual(sorted(os.listdir(self.cache)), ["mine-2x8M.ext4", "mine-2x8M.json"])

    def test_one_for_all_numbers_of_compilers(self):
        with self.kind(value_bytes=None):
            for servers in (1, 2):
                loads.ensure(self.cache, "mine", None, servers)
        self.assertEqual((self.made, sorted(os.listdir(self.cache))),
                         (["1"], ["mine.ext4", "mine.json"]))

    def test_space_is_asked_for_files_and_image(self):
        with mock.patch.object(ui, "need_root"), mock.patch.object(hosts, "choose"), \
                mock.patch.object(needs, "host_memory_mib", return_value=1), \
                mock.patch.object(ui, "need_space",
                                  side_effect=ui.Fail("no")) as asked, self.assertRaises(ui.Fail):
            verb.main(["--load", "memcached", "--data", "8G", "--memory", "32G"])
        self.assertGreater(asked.call_args.args[0], 2 * 8.192)


class Limit(unittest.TestCase):
    def load_timeout(self, *argv):
        args = verb.parser().parse_args(argv)
        told = []

        def run(plan_file, *_):
            told.append(json.loads(plan_file.read_text())["load_timeout"])
            return ""

        build = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (build / "compare").mkdir()
        host, jobs = types.SimpleNamespace(stage=False, run=run), plan.jobs(["on"], ["quiet"], 1, 1)
        with mock.patch.object(needs, "host_memory_mib",
                               return_value=1), mock.patch.object(paths, "BUILD", build):
            needs.check(args)
            execution.carry_out(args, host, {}, jobs, io.StringIO())
        return told[0]

    def test_a_build_has_time_and_data_take_it(self):
        self.assertGreater(self.load_timeout("--load", "build", "--vcpus", "4"), 10 * 157)
        self.assertEqual(self.load_timeout("--data", "512M") - self.load_timeout("--data", "64M"),
                         448)


class Protocol(unittest.TestCase):
    def serve(self, answers):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        path = os.path.join(directory, "qmp")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()

        def talk():
            peer, _ = server.accept()
            with peer, peer.makefile("rb") as lines:
                peer.sendall(b'{"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": []}}\n')
                for answer in [b'{"return": {}}\n', *answers]:
                    lines.readline()
                    peer.sendall(answer)
            server.close()
        thread = threading.Thread(target=talk)
        thread.start()
        self.addCleanup(thread.join)
        return path

    def test_events_errors_and_the_end(self):
        path = self.serve([b'{"event": "STOP"}\n{"return": 5}\n',
                           b'{"error": {"class": "GenericError", "desc": "no"}}\n'])
        client = qmp.QMP(path, timeout=5)
        self.assertEqual(client.execute("x"), 5)
        self.assertEqual(client.events, [{"event": "STOP"}])
        with self.assertRaisesRegex(qmp.QMPError, "y: no"):
            client.execute("y")
        with self.assertRaises(qmp.QMPError):
            client.execute("z")
        client.close()

    def test_no_socket(self):
        with self.assertRaises(qmp.QMPError):
            qmp.QMP("/nonexistent/qmp", timeout=0.1)

    def test_stats_are_summed_and_absent_ones_are_not_zero(self):
        answer = [{"stats": [{"name": "exits", "value": 2}, {"name": "hist", "value": [1, 2]}]},
                  {"stats": [{"name": "exits", "value": 3}]}]
        self.assertEqual(qmp.sum_vcpu_stats(answer, kvmparam.COUNTERS), {"exits": 5})
        self.assertIsNone(qmp.sum_vcpu_stats([{"stats": []}], kvmparam.COUNTERS))


class Mode(unittest.TestCase):
    def test_written_and_read_back(self):
        with tempfile.NamedTemporaryFile() as f:
            kvmparam.write(2, f.name)
            self.assertEqual(kvmparam.read(f.name), 2)
        self.assertIsNone(kvmparam.read("/nonexistent"))


class Timeouts(unittest.TestCase):
    def test_from_generous_to_fitting(self):
        timeouts = runner.Timeouts(138)
        self.assertEqual(timeouts.get(), 138)
        for seconds in (8, 10, 9):
            timeouts.add(seconds)
        self.assertEqual(timeouts.get(), 50)


class Balanced(html.parser.HTMLParser):
    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__()
        self.stack, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.outside += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag


class Output(unittest.TestCase):
    def kinds(self):
        return (compare_sample.results(),
                compare_sample.results(("stock",), counted=False, discards=False),
                compare_sample.results(("off", "on"), runs=2), compare_sample.results(load="build"))

    def test_report_is_whole_and_asks_for_nothing(self):
        for results in self.kinds():
            page = document.html(results)
            checker = Balanced()
            checker.feed(page)
            self.assertEqual((checker.stack, checker.outside), ([], []))
            self.assertIsNone(re.search(r"url\(|@import|<script|>nan|None", page))

    def test_report_has_every_curve(self):
        page = document.html(compare_sample.results())
        # Rates over time; of storms, here and on simulated hosts, the rates, the tails of touches
        # and of the busy VMM's calls.
        self.assertEqual(page.count("<polyline"), 2 * 3 + 2 * (2 * (3 + 1) + 3 * 3))
        self.assertNotIn("<polyline", document.html({**compare_sample.results(), "storms": [],
                                                     "runs": [], "simulated": None}))

    def test_the_simulated_hosts_have_their_spread_and_their_name(self):
        results = compare_sample.results()
        page = document.html(results)
        self.assertEqual(page.count('class="where simulated"'), 8)
        # A tile says whose figure it is, relative to mode off.
        self.assertEqual(page.count(", in mode on; "), page.count('class="card tile"'))
        self.assertRegex(page, "where simulated.>simulated</span><span[^>]*>"
                               "Fault storm, 64 vCPUs, busy VMM")
        for vmm in ("quiet", "busy"):
            start = page.index(f"Faults a virtual second by vCPUs, simulated, {vmm} VMM")
            card = page[start:page.index("</section>", start)]
            # A bar for each number of vCPUs and mode, lowest to highest seed.
            self.assertEqual(len(re.findall(r'class="spread (?:off|vma-lock|on)"', card)), 6 * 3)
        said = [line for line in results["conclusions"] if "simulated fault storm" in line]
        self.assertEqual(len(said), 4)
        self.assertEqual(len([line for line in results["conclusions"]
                              if "simulated guest boot" in line]), 2)
        self.assertIn("Database load on a simulated host, 32 vCPUs", table.text(results))
        self.assertIn("Guest boot, simulated, 32 vCPUs", page)
        self.assertIn("Build on a simulated host", table.text(compare_sample.results(load="build")))
        self.assertIn("seeds", results["method"][-1])
        self.assertIn("Simulated fault storm, busy VMM", table.text(results))

    def test_a_simulated_host_that_gave_nothing_is_in_the_notes(self):
        results = compare_sample.results()
        results["simulated"]["hosts"][3]["failed"] = "timeout: it did not end"
        results["simulated"]["hosts"][0]["host_trouble"] = ["WARNING: CPU: 0"]
        said = " ".join(figures.notes(results))
        self.assertIn("A simulated host of 68 CPUs with seed 2 gave nothing: timeout: it did", said)
        self.assertIn("complained during 1 of 10 simulated hosts;", said)

    def test_results_of_before_there_were_storms(self):
        results = compare_sample.results()
        del results["storms"]
        for run in results["runs"]:
            del run["faults_over_time"], run["load"]["began_s"]
        del results["simulated"]
        self.assertNotIn("<polyline", document.html(results))
        self.assertNotIn("Fault storm", table.text(results))

    def test_spreadsheets_have_a_line_for_each_run(self):
        results = compare_sample.results()
        files = {name: list(csv.DictReader(io.StringIO(text)))
                 for name, text in spreadsheet.files(results).items()}
        self.assertEqual([run["boot.total_s"] for run in files["runs.csv"]],
                         [str(r["boot"]["total_s"]) for r in results["runs"]])
        self.assertEqual(len(files["storms.csv"]), 2 * 4 * 3 * 5)
        self.assertEqual({(row["vmm"], row["neighbours.mmap.count"])
                          for row in files["storms.csv"]}, {("quiet", ""), ("busy", "2000")})

    def test_report_escapes(self):
        results = compare_sample.results()
        results["discards"][0]["detail"] = "<b>&"
        self.assertIn("&lt;b&gt;&amp;", document.html(results))

    def test_table_is_aligned(self):
        for results in self.kinds():
            lines = table.text(results).splitlines()
            start = lines.index(next(line for line in lines if line.startswith("Guest boot")))
            at = lines[start + 2].index("median s") + len("median s")
            self.assertRegex(lines[start + 3][:at], r"\d\.\d\d$")

    def test_table_fits_a_terminal(self):
        for results in self.kinds():
            self.assertEqual([line for line in table.text(results).splitlines()
                              if len(line) > table.WIDTH], [])

    def test_json_round_trip(self):
        results = compare_sample.results()
        self.assertEqual(json.loads(json.dumps(results)), results)
        self.assertEqual((results["schema"], results["schema_version"]), ("kvmspf-compare", 2))

    def test_results_name_what_the_image_was_made_with(self):
        sample = compare_sample.results(load="build")
        args = verb.parser().parse_args(["--load", "build"])
        needs.check(args)
        watcher = Watcher([], io.StringIO())
        watcher.events = [{"event": "host", **sample["platform"]["host"]},
                          *({"event": "run", **run} for run in sample["runs"])]
        host = types.SimpleNamespace(facts=lambda: dict(sample["platform"]), storm_mib=8)
        results = figures.assemble(args, host, watcher,
                                   {"version": "of then", "keys": 22, "image_sha256": "0"}, 1)
        self.assertEqual(results["platform"]["build"], "of then")
        self.assertEqual([results["settings"][key] for key in ("data_mib", "value_bytes")],
                         [None, None])
        self.assertIn("gcc of then: the 22 files", results["platform_text"]["Load"])

    def test_nothing_is_said_about_a_mode_that_did_not_run(self):
        results = compare_sample.results(modes=("vma-lock", "on"))
        self.assertFalse([line for line in results["conclusions"] if " VMM, " in line])
        self.assertFalse([c for c in results["summary"] if "ratio" in c["boot"]
                          or "ratio" in c["load"]])
        self.assertNotIn("no difference", table.text(results))
        self.assertNotIn("Time relative to off", document.html(results))

    def test_a_kernel_that_complained_is_in_the_notes(self):
        results = compare_sample.results()
        for one in (results["storms"][2], results["runs"][0]):
            one["host_trouble"] = ["WARNING: CPU: 0"]
        said = " ".join(figures.notes(results))
        self.assertIn("complained during 1 of 30 runs;", said)
        self.assertIn("complained during 1 of 8 storms;", said)

    def test_steps_of_an_axis(self):
        self.assertEqual([svg.nice_step(t) for t in (4, 11, 0.7, 30000)], [1, 5, 0.2, 10000])

    def test_an_interrupted_write_leaves_the_old_result(self):
        with tempfile.TemporaryDirectory() as directory:
            figures.write(Path(directory), compare_sample.results())
            self.assertEqual(sorted(os.listdir(directory)),
                             ["report.html", "results.json", "runs.csv", "storms.csv"])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: boot a kernel on this machine's own root, as a host whose KVM works, and run a command in it."""

import argparse
import contextlib
import importlib
import os
import re
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from spf import accel, paths, qmp, ui

# The lab's own failures; a command's status is passed on as it is.
LAB_FAILED = 125
BEAT = 5
FLAVOURS = ("patched", "stock", "debug", "preempt", "planted", "planted-preempt", "kcsan", "rt", "up", "cloud",
            "modules", "edit")
# Seconds without a sign of life while the host boots; a kernel with KASAN and lockdep takes 40 for it.
BOOT_STALL = {"debug": 180}
# Labs of another kind, and where they are.
SERIAL = {"ept": "lab_ept", "power": "lab_power", "power10": "lab_power"}
# More CPUs than the machine has only makes the emulator's threads wait for each other: booting costs 3.8 s of CPU
# time with four, 2.3 s with two.
DEFAULT_CPUS = max(2, len(os.sched_getaffinity(0)))
TROUBLE = re.compile(r"Kernel panic|\bBUG(: | \S+ \()|\bOops\b|WARNING: |INFO: (possible|task|rcu)|rcu: INFO|"
                     r"soft lockup|general protection fault|double fault|kernel BUG at|Call Trace:.*TASK|KASAN")
# Emulated processors and nested guests are not what these were written for; the last two are Bochs's.
HARMLESS = re.compile(r"XSAVE consistency problem|topology_common\.c.*parse_legacy|xstate\.c.*fpu__init_system_xstate")


@dataclass
class Result:
    """How a run ended.  kind: exit (then status is the command's), panic, stall, timeout, emulator, boot."""
    kind: str
    status: int = LAB_FAILED
    what: str = ""
    out: bytes = b""
    err: bytes = b""
    boot_seconds: float = 0.0
    seconds: float = 0.0
    trouble: list = field(default_factory=list)
    console: Path = None

    @property
    def ok(self):
        return self.kind == "exit" and self.status == 0 and not self.trouble


def size(text):
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(i?b)?", text.strip(), re.I)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 4G")
    return int(match[1]) << {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}[match[2].lower()]


class Lab:
    def __init__(self, kernel="patched", qemu="patched", cpus=0, memory=4 << 30, numa=1, icount=False, append="",
                 timeout=0, stall=120, accelerator="auto", guest_kernel=None, env=None, qemu_args=()):
        self.kernel, self.flavour = kernel_path(kernel), kernel
        self.qemu = qemu_path(qemu)
        # Each node is a package of its own, as a kernel expects it, with as many CPUs as any other.
        self.cpus = 1 if icount else cpus or max(DEFAULT_CPUS // numa, 1) * numa
        self.memory, self.numa = memory, numa
        self.icount, self.append, self.timeout, self.stall = icount, append, timeout, stall
        self.accelerator = accelerator
        self.env, self.qemu_args = env or {}, list(qemu_args)
        self.guest_kernel = guest_kernel
        if self.cpus % numa:
            raise ui.Fail(f"{self.cpus} CPUs cannot be shared out to {numa} NUMA nodes",
                          "leave out --icount" if icount else f"say --cpus {-(-self.cpus // numa) * numa}", 2)

    # -- what QEMU is told --

    def arguments(self, directory, interactive):
        chosen = accel.choose(self.qemu, self.kernel, self.accelerator)
        if self.icount and chosen != "tcg":
            raise ui.Fail("--icount needs the emulator", "add --accel tcg", 2)
        if self.icount:
            acceleration = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
        elif chosen == "tcg":
            acceleration = ["-accel", "tcg,thread=multi"]
        else:
            acceleration = ["-accel", "kvm"]
        words = [self.qemu, "-name", "kvmspf-lab", "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
                 *acceleration, "-cpu", accel.CPU[chosen], "-smp", f"{self.cpus},sockets={self.numa}",
                 "-m", f"{self.memory >> 20}M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-kernel", self.kernel, "-append", self.command_line(),
                 "-chardev", f"file,id=console,path={directory}/console", "-serial", "chardev:console",
                 "-qmp", f"unix:{directory}/qmp,server=on,wait=off",
                 "-device", "virtio-rng-pci",
                 "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
                 "-virtfs", f"local,path={directory}/share,mount_tag=lab,security_model=none,multidevs=remap",
                 "-device", "virtio-serial-pci"]
        if self.numa > 1:
            words += self.nodes()
        if interactive:
            words += ["-chardev", "stdio,id=tty,signal=off", "-device", "virtconsole,chardev=tty"]
        return [str(w) for w in words + self.qemu_args]

    def nodes(self):
        words, each, cpus = [], self.memory // self.numa >> 20, self.cpus // self.numa
        for node in range(self.numa):
            first, last = node * cpus, (node + 1) * cpus - 1
            words += ["-object", f"memory-backend-ram,id=m{node},size={each}M",
                      "-numa", f"node,memdev=m{node},cpus={first}-{last}"]
        return words

    def command_line(self):
        words = ["console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nokaslr",
                 "root=host rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=262144 ro",
                 f"init={paths.SCRIPTS}/lab/init",
                 # Emulated time is honest but slow: the kernel's own patience has to be longer than usual.
                 "tsc=reliable no_timer_check watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120",
                 "sysctl.kernel.hung_task_timeout_secs=300 random.trust_cpu=1"]
        return " ".join(words + ([self.append] if self.append else []))

    # -- what the init is told --

    def share(self, directory, argv, token):
        share = directory / "share"
        (share / "out").mkdir(parents=True)
        cwd = os.getcwd()
        lines, columns = terminal_size()
        keep = [d for d in ("tmp", "var/tmp") if any(str(p).startswith(f"/{d}/") for p in
                                                    (cwd + "/", str(paths.ROOT) + "/", str(paths.BUILD) + "/",
                                                     str(self.kernel), str(self.qemu)))]
        settings = {"lab_token": token, "lab_beat": 0 if self.icount else BEAT, "lab_rows": lines,
                    "lab_columns": columns, "lab_interactive": int(not argv),
                    "lab_keep": "".join(f" /{d} " for d in keep)}
        write(share / "settings", "".join(f"{k}={shlex.quote(str(v))}\n" for k, v in settings.items()))
        env = {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"),
               "PATH": f"{self.qemu.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "TMPDIR": "/tmp"}
        env |= {k: v for k, v in os.environ.items() if k.startswith("KVMSPF_")}
        env |= {"KVMSPF_OUT": "/run/lab/out", "KVMSPF_LAB": str(self.flavour), "KVMSPF_QEMU": str(self.qemu)}
        guest = self.guest_kernel or paths.kernel("stock")
        if Path(guest).exists():
            env["KVMSPF_GUEST_KERNEL"] = str(guest)
        env |= self.env
        lines = [f"export {k}={shlex.quote(str(v))}" for k, v in env.items()]
        lines += [f"cd {shlex.quote(cwd)} 2>/dev/null || cd /", f"exec {shlex.join(argv) if argv else 'bash -l'}"]
        write(share / "command", "\n".join(lines) + "\n")

    # -- the run --

    def run(self, argv, stdout=None, stderr=None, out_dir=None):
        """Run argv in the lab; bytes go to the two callables, or into the result.  No argv: a shell on our terminal."""
        argv = [str(a) for a in argv or ()]
        directory = run_directory()
        try:
            return self._run(directory, argv, stdout, stderr, out_dir)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _run(self, directory, argv, stdout, stderr, out_dir):
        token = secrets.token_hex(16)
        self.share(directory, argv, token)
        words = self.arguments(directory, not argv)
        ours, theirs = {}, []
        for name in ["ctl"] + (["out", "err"] if argv else []):
            mine, other = socket.socketpair()
            ours[name] = mine
            theirs.append(other)
            words += ["-chardev", f"socket,id={name},fd={other.fileno()}",
                      "-device", f"virtserialport,chardev={name},name={name}"]
        if ui.verbose:
            ui.say("+ " + shlex.join(words))
        result = Result("emulator")
        streams = {"out": Stream(token, stdout), "err": Stream(token, stderr)} if argv else {}
        with terminal(not argv):
            start = time.monotonic()
            with open(directory / "qemu.log", "wb") as log:
                child = subprocess.Popen(words, stdin=None if not argv else subprocess.DEVNULL,
                                         stdout=None if not argv else log, stderr=log,
                                         pass_fds=[s.fileno() for s in theirs], preexec_fn=ui.die_with_parent,
                                         start_new_session=bool(argv))
            try:
                for other in theirs:
                    other.close()
                self.follow(child, ours, streams, result, start, directory)
            finally:
                child.kill()
                child.wait()
                for mine in ours.values():
                    mine.close()
        result.seconds = time.monotonic() - start
        for name, stream in streams.items():
            stream.finish()
            setattr(result, name, bytes(stream.kept))
        keep(directory, result, out_dir)
        return result

    def follow(self, child, ours, streams, result, start, directory):
        """Pass the streams on until the end is told, or until it is clear that it will not be."""
        control, status, beat = b"", None, start
        with selectors.DefaultSelector() as waiting:
            for name, sock in ours.items():
                sock.setblocking(False)
                waiting.register(sock, selectors.EVENT_READ, name)
            while True:
                for key, _ in waiting.select(0.25):
                    try:
                        data = key.fileobj.recv(1 << 16)
                    except (BlockingIOError, ConnectionResetError):
                        data = None
                    if data == b"":
                        waiting.unregister(key.fileobj)
                    elif data and key.data == "ctl":
                        control, beat = control + data, time.monotonic()
                    elif data:
                        streams[key.data].feed(data)
                        beat = time.monotonic()
                if not result.boot_seconds and b"up\n" in control:
                    result.boot_seconds = time.monotonic() - start
                found = re.search(rb"end (\d+)\n", control)
                if found and all(s.ended for s in streams.values()):
                    result.kind, result.status = "exit", int(found[1])
                    return
                now = time.monotonic()
                if child.poll() is not None and (status is not None or not waiting.get_map()):
                    self.died(child, result, directory)
                    return
                status = child.poll()
                if self.timeout and now - start > self.timeout:
                    result.kind, result.what = "timeout", f"the command did not end within {self.timeout:g} s"
                    return
                booting = not (result.boot_seconds or self.icount)
                limit = min(self.stall, BOOT_STALL.get(self.flavour, 60)) if booting else self.stall
                if now - beat > limit and not (self.icount and result.boot_seconds):
                    result.kind = "stall"
                    result.what = f"the host in the lab gave no sign of life for {limit:g} s (the emulator's fault, no result)"
                    registers(directory, self.cpus)
                    return

    def died(self, child, result, directory):
        console = (directory / "console").read_text(errors="replace")
        panic = re.search(r"Kernel panic[^\n]*|Oops:[^\n]*", console)
        said = (directory / "qemu.log").read_text(errors="replace")
        if panic:
            result.kind, result.what = "panic", panic[0].strip()
        elif child.returncode:
            result.what = f"QEMU ended with status {child.returncode}: {ui.last_line(said)}"
        else:
            result.what = "the machine was switched off or reset before the command ended"


class Stream:
    """Bytes up to the token; what could be the token's beginning is held back until it is clear."""

    def __init__(self, token, sink=None):
        self.token, self.sink = token.encode(), sink
        self.kept, self.held, self.ended = bytearray(), b"", False

    def feed(self, data):
        if self.ended:
            return
        data = self.held + data
        at = data.find(self.token)
        if at >= 0:
            self.ended, data, self.held = True, data[:at], b""
        else:
            hold = next((n for n in range(min(len(data), len(self.token) - 1), 0, -1)
                         if self.token.startswith(data[-n:])), 0)
            data, self.held = data[:len(data) - hold], data[len(data) - hold:]
        self.give(data)

    def give(self, data):
        if self.sink:
            self.sink(data)
        else:
            self.kept += data

    def finish(self):
        if self.held:
            self.give(self.held)
            self.held = b""


def keep(directory, result, out_dir=None):
    """The console log outlives the run; so does what the command left in $KVMSPF_OUT, if somewhere was named."""
    paths.LOG.mkdir(parents=True, exist_ok=True)
    for old in sorted(paths.LOG.glob("lab-*.console"))[:-100]:
        for part in paths.LOG.glob(old.stem + ".*"):
            part.unlink(missing_ok=True)
    stem = f"lab-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}"
    result.console = paths.LOG / f"{stem}.console"
    for name, suffix in (("console", "console"), ("qemu.log", "qemu"), ("registers", "registers"),
                         ("share/dmesg", "dmesg")):
        source = directory / name
        if source.exists() and (suffix == "console" or source.stat().st_size):
            shutil.copyfile(source, paths.LOG / f"{stem}.{suffix}")
    if result.console.exists():
        result.trouble = trouble(result.console.read_text(errors="replace"))
    if out_dir:
        shutil.copytree(directory / "share" / "out", out_dir, dirs_exist_ok=True)


def trouble(text):
    return [line.strip() for line in text.splitlines() if TROUBLE.search(line) and not HARMLESS.search(line)]


def write(path, text):
    path.write_text(text)


def registers(directory, cpus):
    """What every CPU was doing and which of its interrupts were due, for whoever has to find out why it stalled."""
    asked = ["info registers -a", *(f"info lapic {cpu}" for cpu in range(cpus)), "info pic"]
    said = []
    with contextlib.suppress(OSError, qmp.QMPError):
        monitor = qmp.QMP(str(directory / "qmp"), timeout=5)
        # Twice: what a timer's count says is seen in how it changes.
        for line in asked + asked[1:]:
            said.append(f"(qemu) {line}\n" + monitor.execute("human-monitor-command", {"command-line": line}))
        monitor.close()
    (directory / "registers").write_text("".join(said).replace("\r\n", "\n"))


def terminal_size():
    with contextlib.suppress(OSError):
        columns, lines = os.get_terminal_size(0)
        return lines, columns
    return 24, 80


@contextlib.contextmanager
def terminal(interactive):
    if not interactive or not os.isatty(0):
        yield
        return
    import termios
    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def run_directory():
    """A directory of our own; those of runs that were killed are cleared away."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    for old in paths.RUN.iterdir():
        number = old.name.split("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(old, ignore_errors=True)
    directory = paths.RUN / f"{os.getpid()}-{secrets.token_hex(3)}"
    directory.mkdir()
    return directory


def kernel_path(kernel):
    if kernel in FLAVOURS:
        path = paths.kernel(kernel)
        if not path.exists():
            raise ui.Fail(f"there is no {kernel} kernel yet", f"run: kvmspf build linux-{kernel}")
        return path
    path = Path(kernel).resolve()
    if not path.is_file():
        raise ui.Fail(f"'{kernel}' is neither a kernel's flavour nor a file",
                      f"say one of {', '.join(FLAVOURS)}, or a bzImage's path", 2)
    return path


def qemu_path(qemu):
    if qemu in ("patched", "edit"):
        path = paths.qemu(qemu)
        if not path.exists():
            raise ui.Fail(f"there is no {qemu} QEMU yet", f"run: kvmspf build qemu{'-edit' if qemu == 'edit' else ''}")
        return path
    path = Path(qemu).resolve()
    if not os.access(path, os.X_OK) or not path.is_file():
        raise ui.Fail(f"'{qemu}' is not a program", "say patched, edit or the path of a qemu-system-x86_64", 2)
    return path


def writer(number):
    def give(data):
        while data:
            data = data[os.write(number, data):]
    return give


def positive(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def parser():
    p = argparse.ArgumentParser(
        prog="kvmspf lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="""\
The command sees this machine's root read-only, with scratch (lost at the end) on /tmp /run /etc /var /root /home /opt
/srv /dev/shm.  Files left in $KVMSPF_OUT are copied to --out.  $KVMSPF_QEMU and $KVMSPF_GUEST_KERNEL name a VMM and
a guest kernel to use in there.  Its output and exit status come back; 125 is a failure of the lab itself (panic, stall,
timeout), with the reason on stderr.  Without a command there is a shell.""")
    p.add_argument("--arch", choices=("x86", *SERIAL), default="x86",
                   help="x86 (default): AMD NPT or this machine's own; ept: Intel EPT on Bochs, slow; power, power10: KVM "
                        "HV with radix.  All but x86 have no root file system: COMMAND is a static program, and the files "
                        "that it names are packed with it")
    p.add_argument("--cpus", type=positive, default=0,
                   help=f"CPUs of the host in the lab (default: this machine's, here {DEFAULT_CPUS}; ept: 1)")
    p.add_argument("--memory", type=size, default=0, help="its memory (default 4G; ept 512M, power 2G)")
    p.add_argument("--numa", type=positive, default=1, help="its NUMA nodes (default 1)")
    p.add_argument("--kernel", default="patched", help=f"{', '.join(FLAVOURS)}, or a bzImage's path; "
                   "power: patched, 4k (the base page), edit, or a vmlinux's path")
    p.add_argument("--qemu", default=os.environ.get("KVMSPF_QEMU", "patched"),
                   help="patched, edit, or the path of a qemu-system-x86_64 ($KVMSPF_QEMU)")
    p.add_argument("--accel", choices=("auto", "tcg", "kvm"), default="auto", help="default: kvm where it works nested")
    p.add_argument("--icount", action="store_true", help="one CPU whose clock counts instructions")
    p.add_argument("--append", default="", help="more kernel arguments")
    p.add_argument("--timeout", type=float, default=0, help="seconds for the whole run (default: none; ept and power: 900)")
    p.add_argument("--stall", type=float, default=120, help="seconds without a sign of life that make a stall (120)")
    p.add_argument("--out", help="directory for what the command leaves in $KVMSPF_OUT")
    p.add_argument("--no-build", action="store_true", help="take the kernel as it is, do not bring it up to date")
    p.add_argument("--dry-run", action="store_true", help="print QEMU's command line")
    p.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARGUMENT...]")
    return p


def refuse(args, names):
    for name in names:
        if getattr(args, name) != parser().get_default(name):
            raise ui.Fail(f"--{name.replace('_', '-')} is not for --arch {args.arch}", "leave it out", 2)


def main(argv):
    args = parser().parse_args(argv)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    ui.need_root()
    if args.arch != "x86":
        refuse(args, ("numa", "qemu", "accel", "icount", "stall", "out", "dry_run"))
        lab = importlib.import_module(f"spf.{SERIAL[args.arch]}").make(args)
    else:
        if not args.no_build and not args.dry_run:
            from spf import build
            build.bring_up_to_date(args.kernel, args.qemu)
        lab = Lab(args.kernel, args.qemu, args.cpus, args.memory or 4 << 30, args.numa, args.icount, args.append,
                  args.timeout, args.stall, args.accel)
    if args.dry_run:
        print(shlex.join(lab.arguments(Path("RUN"), not command)))
        return 0
    result = lab.run(command, writer(1), writer(2), args.out)
    if ui.verbose:
        ui.say(f"boot {result.boot_seconds:.1f} s, all {result.seconds:.1f} s, console {ui.shown(result.console)}")
    if result.kind != "exit":
        raise ui.Fail(f"lab: {result.kind}: {result.what}", f"console log: {ui.shown(result.console)}", LAB_FAILED)
    if result.trouble:
        ui.say(f"lab: the kernel complained: {result.trouble[0]}; console log: {ui.shown(result.console)}")
    return result.status

# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: boot a kernel on this machine's own root, as a host with a working KVM, and run a
command there."""

import contextlib
import os
import re
import secrets
import selectors
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

from spf import paths, series, ui
from spf.build import targets
from spf.lab import accel, outcome, qmp

ABOUT = "AMD NPT or this machine's own"
MEMORY = 4 << 30
OPTIONS = "arch cpus numa qemu accel icount stall out dry_run".split()
BEAT = 5
# Seconds without a sign of life while the host boots.  A kernel with KASAN and lockdep takes 40.
BOOT_STALL = {"debug": 180}
# More CPUs than the machine has only makes the emulator's threads wait for each other: booting
# costs 3.8 s of CPU time with four, 2.3 s with two.
DEFAULT_CPUS = max(2, len(os.sched_getaffinity(0)))


class Lab:
    def __init__(self, kernel="patched", qemu="patched", cpus=0, memory=MEMORY, numa=1,
                 icount=False, append="",
                 timeout=0, stall=120, accelerator="auto", guest_kernel=None, env=None,
                 qemu_args=()):
        self.kernel, self.flavour = kernel_path(kernel), kernel
        self.qemu = qemu_path(qemu)
        # Each node is a package of its own, as a kernel expects.  All have the same number of CPUs.
        self.cpus = 1 if icount else cpus or max(DEFAULT_CPUS // numa, 1) * numa
        self.memory, self.numa = whole_nodes(memory, numa), numa
        self.icount, self.append, self.timeout, self.stall = icount, append, timeout, stall
        self.accelerator = accelerator
        self.env, self.qemu_args = env or {}, list(qemu_args)
        self.guest_kernel = guest_kernel
        if self.cpus % numa:
            raise ui.Fail(f"{self.cpus} CPUs cannot be shared out to {numa} NUMA nodes",
                          "leave out --icount" if icount
                          else f"say --cpus {-(-self.cpus // numa) * numa}", 2)

    # -- QEMU's command line --

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
        words = [self.qemu, "-name", "kvmspf-lab",
                 "-M", "q35,usb=off,smbus=off,sata=off,graphics=off",
                 *acceleration, "-cpu", accel.CPU[chosen],
                 "-smp", f"{self.cpus},sockets={self.numa}",
                 "-m", f"{self.memory >> 20}M", "-nodefaults", "-no-user-config",
                 "-display", "none", "-no-reboot",
                 "-kernel", self.kernel, "-append", self.command_line(),
                 "-chardev", f"file,id=console,path={directory}/console",
                 "-serial", "chardev:console",
                 "-qmp", f"unix:{directory}/qmp,server=on,wait=off",
                 "-device", "virtio-rng-pci",
                 "-virtfs",
                 "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
                 "-virtfs",
                 f"local,path={directory}/share,mount_tag=lab,security_model=none,multidevs=remap",
                 "-device", "virtio-serial-pci"]
        if self.numa > 1:
            words += nodes(self.numa, self.memory, self.cpus)
        if interactive:
            words += ["-chardev", "stdio,id=tty,signal=off", "-device", "virtconsole,chardev=tty"]
        return [str(w) for w in words + self.qemu_args]

    def command_line(self):
        words = ["console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nokaslr",
                 "root=host rootfstype=9p "
                 "rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=262144 ro",
                 f"init={paths.SCRIPTS}/lab/init",
                 # Emulated time is honest but slow: the kernel needs more patience than usual.
                 "tsc=reliable no_timer_check watchdog_thresh=60 "
                 "rcupdate.rcu_cpu_stall_timeout=120",
                 "sysctl.kernel.hung_task_timeout_secs=300 random.trust_cpu=1"]
        return " ".join(words + ([self.append] if self.append else []))

    # -- the init's settings --

    def share(self, directory, argv, token):
        share = directory / "share"
        (share / "out").mkdir(parents=True)
        cwd = os.getcwd()
        lines, columns = terminal_size()
        keep = [d for d in ("tmp", "var/tmp") if any(
            str(p).startswith(f"/{d}/") for p in (f"{cwd}/", f"{paths.ROOT}/", f"{paths.BUILD}/",
                                                  self.kernel, self.qemu))]
        settings = {"lab_token": token, "lab_beat": 0 if self.icount else BEAT, "lab_rows": lines,
                    "lab_columns": columns, "lab_interactive": int(not argv),
                    "lab_keep": "".join(f" /{d} " for d in keep)}
        (share / "settings").write_text(
            "".join(f"{k}={shlex.quote(str(v))}\n" for k, v in settings.items()))
        env = {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8",
               "TERM": os.environ.get("TERM", "dumb"),
               "PATH": f"{self.qemu.parent}:/usr/local/sbin:/usr/local/bin:"
                       "/usr/sbin:/usr/bin:/sbin:/bin",
               "TMPDIR": "/tmp", "PYTHONPATH": f"{paths.ROOT}:{paths.SCRIPTS}"}
        env |= {k: v for k, v in os.environ.items() if k.startswith("KVMSPF_")}
        env |= {"KVMSPF_OUT": "/run/lab/out", "KVMSPF_LAB": str(self.flavour),
                "KVMSPF_QEMU": str(self.qemu)}
        guest = self.guest_kernel or series.kernel(series.guest())
        if Path(guest).exists():
            env["KVMSPF_GUEST_KERNEL"] = str(guest)
        env |= self.env
        lines = [f"export {k}={shlex.quote(str(v))}" for k, v in env.items()]
        lines += [f"cd {shlex.quote(cwd)} 2>/dev/null || cd /",
                  f"exec {shlex.join(argv) if argv else 'bash -l'}"]
        (share / "command").write_text("\n".join(lines) + "\n")

    # -- the run --

    def run(self, argv, stdout=None, stderr=None, out_dir=None):
        """Run argv in the lab.  Its output goes to the two callables, or into the result.  Without
        argv, run a shell on our terminal."""
        argv = [str(a) for a in argv or ()]
        directory = outcome.run_directory()
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
        result = outcome.Result("emulator")
        streams = {"out": outcome.Stream(token, stdout),
                   "err": outcome.Stream(token, stderr)} if argv else {}
        with terminal(not argv):
            start = time.monotonic()
            with open(directory / "qemu.log", "wb") as log:
                child = subprocess.Popen(words, stdin=None if not argv else subprocess.DEVNULL,
                                         stdout=None if not argv else log, stderr=log,
                                         pass_fds=[s.fileno() for s in theirs],
                                         preexec_fn=ui.die_with_parent,
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
        outcome.keep(directory, result, out_dir)
        return result

    def follow(self, child, ours, streams, result, start, directory):
        """Pass the streams on until the init reports the end, or until it is clear that it never
        will."""
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
                    result.kind = "timeout"
                    result.what = f"the command did not end within {self.timeout:g} s"
                    return
                booting = not (result.boot_seconds or self.icount)
                limit = min(self.stall, BOOT_STALL.get(self.flavour, 60)) if booting else self.stall
                if now - beat > limit and not (self.icount and result.boot_seconds):
                    result.kind = "stall"
                    result.what = (f"the host in the lab gave no sign of life for {limit:g} s "
                                   "(blame the emulator; this is not a result)")
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


def whole_nodes(memory, count):
    """As much of the memory as so many nodes have in whole MiB, which QEMU wants."""
    return memory - memory % (count << 20)


def nodes(count, memory, cpus):
    """QEMU's options for so many NUMA nodes, each with its part of the memory and of the CPUs."""
    words, size = [], memory // count >> 20
    for node in range(count):
        first, end = node * cpus // count, (node + 1) * cpus // count
        words += ["-object", f"memory-backend-ram,id=m{node},size={size}M",
                  "-numa", f"node,memdev=m{node},cpus={first}-{end - 1}"]
    return words


def registers(directory, cpus):
    """Record the state of every CPU and its interrupts that are due, to find out why the host
    stalled."""
    asked = ["info registers -a", *(f"info lapic {cpu}" for cpu in range(cpus)), "info pic"]
    said = []
    with contextlib.suppress(OSError, qmp.QMPError):
        monitor = qmp.QMP(str(directory / "qmp"), timeout=5)
        # Ask for the APICs twice: the change of a timer's count shows whether the timer runs.
        for line in asked + asked[1:]:
            said.append(f"(qemu) {line}\n"
                        + monitor.execute("human-monitor-command", {"command-line": line}))
        monitor.close()
    (directory / "registers").write_text("".join(said).replace("\r\n", "\n"))


def terminal_size():
    with contextlib.suppress(OSError):
        columns, lines = os.get_terminal_size(0)
        if lines and columns:       # a terminal may have no size
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


def kernel_path(kernel):
    if kernel in targets.FLAVOURS:
        path = series.kernel(kernel)
        if not path.exists():
            raise ui.Fail(f"there is no {kernel} kernel yet",
                          f"run: kvmspf build{series.words('linux')} linux-{kernel}")
        return path
    return targets.file(kernel)


def qemu_path(qemu):
    if qemu in targets.QEMUS:
        path = series.qemu(qemu)
        if not path.exists():
            raise ui.Fail(f"there is no {qemu} QEMU yet",
                          f"run: kvmspf build{series.words('qemu')} "
                          f"qemu{'' if qemu == 'patched' else f'-{qemu}'}")
        return path
    return targets.program(qemu)


def make(args):
    """The lab that `kvmspf lab` was asked for."""
    if not args.no_build and not args.dry_run:
        targets.bring_up_to_date(args.kernel, args.qemu)
    return Lab(args.kernel, args.qemu, args.cpus, args.memory or MEMORY, args.numa, args.icount,
               args.append,
               args.timeout, args.stall, args.accel)

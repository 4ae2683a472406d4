# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt daemon apart from this machine's own, in the lab or in a namespace, with virsh and
spfctl."""

import os
import subprocess
import time
from pathlib import Path

LIMIT = 240
PATIENCE = "60"
LOG = Path("/run/libvirtd.log")

# Neither polkit, systemd nor virtlogd run there, and root is the only user.
DAEMON = """unix_sock_group = "root"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "2:stderr"
"""
DRIVER = """user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
# At the program's start ASan looks for xdr functions, which libvirt uses; but spfctl loads libvirt
# later.
SANITIZED = {"LD_PRELOAD": "libtirpc.so.3", "ASAN_OPTIONS": "verify_asan_link_order=0"}


def run(*words, status=0, **env):
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT,
                          env=os.environ | env)
    if status is not None and done.returncode != status:
        raise SystemExit(f"{' '.join(map(str, words))}: status {done.returncode}: "
                         f"{done.stdout}{done.stderr}")
    return done


def virsh(*words):
    return run("virsh", "-q", *words).stdout


class Spfctl:
    def __init__(self, program):
        self.program = program

    def __call__(self, *words, status=0, patience=PATIENCE):
        return run(self.program, "--libvirt", "-t", patience, *words, status=status, **SANITIZED)

    def start(self, *words, patience=PATIENCE, **kw):
        return subprocess.Popen([self.program, "--libvirt", "-t", patience, *words],
                                env=os.environ | SANITIZED,
                                text=True, **{"stdout": subprocess.PIPE, **kw})


def wait(what, true):
    end = time.monotonic() + LIMIT
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"no {what} within {LIMIT} s")
        time.sleep(0.1)


def start_daemon():
    # Debian's libvirt-daemon-system would make this user, but also start a daemon on this machine.
    for file, rest in (("passwd", "64055::/:/usr/sbin/nologin"), ("group", "")):
        with open(f"/etc/{file}", "a", encoding="utf-8") as f:
            f.write(f"libvirt-qemu:x:64055:{rest}\n")
    Path("/etc/libvirt").mkdir(exist_ok=True)
    Path("/etc/libvirt/qemu.conf").write_text(DRIVER, encoding="ascii")
    Path("/run/libvirtd.conf").write_text(DAEMON, encoding="ascii")
    with open(LOG, "w", encoding="utf-8") as log:
        daemon = subprocess.Popen(["libvirtd", "--config", "/run/libvirtd.conf"], stdout=log,
                                  stderr=log)
    wait("libvirt", lambda: run("virsh", "-q", "list", status=None).returncode == 0
         or daemon.poll() is not None)
    return daemon


def is_tainted(name):
    """Whether the use of its monitor tainted a domain; the domains' command lines taint them,
    too."""
    return "custom monitor control commands" in virsh("dominfo", name)


def process(name):
    return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text(encoding="ascii"))

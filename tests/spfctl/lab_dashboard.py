# SPDX-License-Identifier: GPL-2.0-or-later
"""In the lab: what the dashboard's panels show of two VMs, in modes off and on, whose guests touch
new memory.  spfctl writes its page each second, node_exporter shows it, and Prometheus collects it
and answers the panels' queries.

usage: lab_dashboard.py SPFCTL INITRAMFS DASHBOARD.  Prints {title of a panel: Prometheus' answers}.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tests.lib.console_guest import Guest

SOCKETS, PAGES = Path("/run/kvmspf"), Path("/run/metrics")
EXPORTER, SERVER = "127.0.0.1:9100", "127.0.0.1:9090"
CONFIG = f"""
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: node, static_configs: [{{targets: ["{EXPORTER}"]}}]}}]
"""
# Of the time that is shown, in seconds, and of the rates in it.
SHOWN, RATE = 60, "10s"
# Each second the guest writes a file of 2 MiB into its memory.
LOAD = ("i=0; while dd if=/dev/zero of=/tmp/$i bs=1M count=2 2>/dev/null; "
        "do i=$((i+1)); sleep 1; done")


def loopback():
    """As `ip link set lo up`."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))


def ask(path, **words):
    with urllib.request.urlopen(f"http://{SERVER}/{path}?{urllib.parse.urlencode(words)}",
                                timeout=60) as page:
        return page.read()


def until_it_answers():
    for _ in range(120):
        try:
            return ask("-/ready")
        except OSError:
            time.sleep(1)
    raise SystemExit("Prometheus is not ready after two minutes")


def start(*words):
    return subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=sys.stderr)


def answers(panel, begin, end):
    """As Grafana asks: a graph for the whole time, a number for its end."""
    found = []
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", RATE).replace("$domain", ".*")
        words = {"query": query, "start": begin, "end": end, "step": 1}
        if panel["type"] != "timeseries":
            words = {"query": query, "time": end}
        said = json.loads(ask("api/v1/query_range" if "step" in words else "api/v1/query",
                              **words))
        found += said["data"]["result"]
    return found


def main(spfctl, archive, dashboard):
    loopback()
    for folder in (SOCKETS, PAGES):
        folder.mkdir()
    scratch = Path(tempfile.mkdtemp())
    (scratch / "prometheus.yml").write_text(CONFIG)
    start("prometheus", f"--config.file={scratch}/prometheus.yml",
          f"--storage.tsdb.path={scratch}/data", f"--web.listen-address={SERVER}")
    start("prometheus-node-exporter", f"--web.listen-address={EXPORTER}",
          "--collector.disable-defaults", "--collector.textfile",
          f"--collector.textfile.directory={PAGES}")
    start("sh", "-c", 'while :; do "$0" -D "$1" --prometheus "$2"; sleep 1; done', spfctl, SOCKETS,
          PAGES / "kvmspf.prom")
    until_it_answers()
    for mode in ("off", "on"):
        folder = scratch / mode
        folder.mkdir()
        guest = Guest(archive, str(folder), "-name", f"vm-{mode}", "-qmp",
                      f"unix:{SOCKETS}/vm-{mode},server=on,wait=off", memory="384M")
        guest.qmp.execute("kvm-spf-set-mode", {"mode": mode})
        guest.run(f"( {LOAD} ) & true")
    begin = time.time() + 15
    time.sleep(15 + SHOWN)
    panels = json.loads(Path(dashboard).read_text())["panels"]
    json.dump({panel["title"]: answers(panel, begin, begin + SHOWN) for panel in panels},
              sys.stdout)
    sys.stdout.flush()
    # The lab ends with its command, and so do all others.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])

# SPDX-License-Identifier: GPL-2.0-or-later
"""Make Debian packages."""

import argparse
import shutil

from spf import paths, ui
from spf.source import apt

TARGETS = {"agent": "spf-agent, for guests; one static program"}
OUT = paths.OUT / "deb"


def agent():
    """The source is guest-agent/ with what its build takes from bench/lib and the top;
    dpkg-buildpackage works in a copy."""
    apt.packages(["build-essential", "debhelper", "libjson-c-dev", "meson", "pkg-config"])
    work = paths.BUILD / "deb" / "agent"
    shutil.rmtree(work, ignore_errors=True)
    source = work / "source"
    shutil.copytree(paths.ROOT / "guest-agent", source / "guest-agent")
    shutil.copytree(paths.ROOT / "bench" / "lib", source / "bench" / "lib")
    for name in ("meson.build", "meson_options.txt"):
        shutil.copy(paths.ROOT / name, source)
    (source / "guest-agent" / "debian").rename(source / "debian")
    log = paths.LOG / "deb-agent.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with ui.Progress("building the agent's package") as progress:
        ui.run(["dpkg-buildpackage", "--build=binary", "--no-sign"], cwd=source, log=log,
               progress=progress)
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("spf-agent_*.deb"):
        old.unlink()
    package, = work.glob("spf-agent_*.deb")
    return shutil.copy(package, OUT)


def main(argv):
    p = argparse.ArgumentParser(prog="kvmspf deb", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog="targets:\n"
                                + "\n".join(f"  {n:9}{t}" for n, t in TARGETS.items()))
    p.add_argument("target", choices=sorted(TARGETS))
    p.parse_args(argv)
    ui.need_root()
    print(ui.shown(agent()))
    return 0

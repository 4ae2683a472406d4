# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the files that a guest needs, and carry out a plan on as many hosts as it takes."""

import json
import os
import subprocess

from spf import paths, ui
from spf.compare import loads, needs, plan
from spf.compare.watcher import Watcher
from spf.lab import image
from spf.source import apt


def prepare(args, host):
    """Make everything that the first guest needs: programs, kernels, initramfs, snapshots."""
    apt.packages(image.PACKAGES)
    try:
        with ui.locked(".comparelock"):
            manifest = loads.ensure(str(paths.BUILD / "compare"), args.load, args.data,
                                    args.servers)
        spec = host.prepare(manifest["image"])
    except FileNotFoundError as error:
        raise ui.Fail(f"cannot make the guest's files: {error}", "run: kvmspf setup") from None
    except subprocess.SubprocessError as error:
        raise ui.Fail(f"cannot make the guest's files: {str(error).splitlines()[0]}",
                      "-v shows the commands") from None
    return spec | {"vcpus": args.vcpus, "memory_mib": args.memory, "servers": args.servers,
                   "pages": args.pages,
                   "keys": manifest["answers"]}, manifest


def carry_out(args, host, spec, planned, raw, allowed=None):
    """Work off the plan, on as many hosts as it takes.  Return the watcher."""
    watcher = Watcher(planned, raw)
    boot = 160 + 6 * args.vcpus
    load = boot + loads.KINDS[args.load].seconds(args.data)
    allowed = max(6, len(planned) // 2) if allowed is None else allowed
    restarts = barren = 0
    # Not in --out: the lab's own scratch may hide that directory.
    plan_file = paths.BUILD / "compare" / f"plan-{os.getpid()}.json"
    try:
        while True:
            rest = plan.left(planned, watcher.events, restart=bool(restarts))
            budget = allowed - len(watcher.of("discard"))
            if not rest or budget < 0 or watcher.of("giving-up"):
                return watcher
            plan_file.write_text(json.dumps({"spec": spec, "jobs": rest, "stage": host.stage,
                                             "max_discards": budget,
                                             "boot_timeout": boot, "load_timeout": load}))
            before = len(watcher.of("run") + watcher.of("storm"))
            why = host.run(plan_file, watcher, needs.host_memory_mib(args),
                           120 + len(rest) * (boot + load))
            if not why:
                return watcher
            barren = 0 if len(watcher.of("run") + watcher.of("storm")) > before else barren + 1
            if barren > 1 or not watcher.of("host"):
                raise ui.Fail(why, "try: kvmspf lab -- true")
            watcher.lost(why)
            restarts += 1
    finally:
        plan_file.unlink(missing_ok=True)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that compare's arguments are possible: the sizes of data, guest and host."""

from spf import ui
from spf.compare import hosts, loads, simulated, simulated_lives


def check(args):
    """Fill in defaults, and refuse arguments that cannot work."""
    args.servers = args.servers or min(args.vcpus, 8)
    check_data(args)
    if args.vcpus > 512:
        raise ui.Fail(f"{args.vcpus} vCPUs are more than the guest's kernel knows",
                      "use --vcpus 512 or fewer", 2)
    if not args.modes or not args.vmm:
        raise ui.Fail("nothing to compare", "name a mode and a VMM load", 2)
    if args.arch == "power" and args.simulate:
        raise ui.Fail("no POWER host can be simulated", "leave out --simulate", 2)
    # Guests there take longer than all the rest: run them only if --simulate is given.
    args.simulated_guests = args.simulate or 0
    if args.simulate is None:
        args.simulate = 0 if args.arch == "power" else simulated.MOST
    check_memory(args)


def check_data(args):
    if loads.KINDS[args.load].VALUE_BYTES:
        args.data = args.data or 64
    elif args.data:
        raise ui.Fail(f"the data of the load '{args.load}' are always the same", "leave out --data",
                      2)
    if args.data and args.data < args.servers:
        raise ui.Fail(f"{args.data} MiB of data are too few for {args.servers} servers",
                      f"use --data {args.servers}M or more", 2)


def check_memory(args):
    need = loads.memory_needed_mib(args.load, args.data, args.servers, args.vcpus)
    if args.memory < need:
        much, less = ((f"{args.data} MiB of data", "less --data") if args.data else
                      (f"{args.servers} servers", "fewer --servers"))
        raise ui.Fail(f"a guest of {args.memory} MiB is too small for {much}",
                      f"use --memory {need}M or more, or {less}", 2)
    free = simulated.free_mib()
    if host_memory_mib(args) > free:
        raise ui.Fail(f"this machine has {free} MiB of memory free and {host_memory_mib(args)} are "
                      "needed",
                      "use less --memory" + (" and --data" if args.data else ""), 2)
    if args.simulated_guests:
        n = args.simulated_guests
        need = simulated_lives.host_mib(args.load, n, simulated_lives.data_mib(args.data, n))
        if need > free:
            raise ui.Fail(f"this machine has {free} MiB of memory free, and a simulated host of a "
                          f"guest with {n} vCPUs takes {need}", "use a smaller --simulate", 2)


def disk_mib(args):
    return loads.image_mib(loads.KINDS[args.load].disk_mib(args.data))


def simulated_disk_mib(args):
    """The image of the simulated guests, which each of two hosts has in its initramfs."""
    n = args.simulated_guests
    data = simulated_lives.data_mib(args.data, n)
    return 3 * loads.image_mib(loads.KINDS[args.load].disk_mib(data)) if n else 0


def host_memory_mib(args):
    """MiB for the guest, the busy VMM's backends, and the host itself with its files on tmpfs."""
    return args.memory + hosts.OWN_MIB + 4 * args.vcpus + disk_mib(args)

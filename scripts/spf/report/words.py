# SPDX-License-Identifier: GPL-2.0-or-later
"""compare's sentences: where it ran, how it measured, and what may and may not be concluded."""

from spf.report import simulated_hosts, stats, storms


def accelerator(host, emulated):
    """Describe KVM; `host` is the runner's description of the host with KVM."""
    mmu = host.get("mmu") or "no second-stage page tables known"
    if emulated:
        return f"KVM ({mmu}) on a host emulated by QEMU TCG: software emulation"
    if host.get("hypervisor"):
        return f"KVM ({mmu}), nested: this host is itself a virtual machine"
    return f"KVM ({mmu}) on hardware"


def small_pages(results):
    return f"{results['platform']['host'].get('page_kib', 4)} KiB pages"


def platform_text(results):
    p, s = results["platform"], results["settings"]
    host = p["host"]
    out = {"Accelerator": p["accelerator"]}
    if p["emulated"]:
        machine = p["machine"]
        out["Machine"] = (f"{machine['cores']} cores, {machine['cpu_model']}, "
                          f"kernel {machine['kernel']}")
        out["Emulator"] = f"QEMU {p['outer_qemu']}, TCG"
    out["Host with KVM"] = (f"kernel {host['kernel']} ({p['flavour']}), {host['cpus']} CPUs "
                            f"({host['cpu_model']}), {host['memory_mib']} MiB")
    out["Host kernel build"] = host["kernel_build"]
    if p.get("host_config_sha256"):
        out["Host kernel config"] = f"SHA-256 {p['host_config_sha256'][:16]}..."
    if not results["load_text"]:
        out["VMM"] = "fault-storm"
        out["Took"] = f"{results['seconds'] / 60:.1f} minutes"
        return out
    out["VMM"] = f"QEMU {p['vmm_qemu']}"
    out["Guest"] = (f"kernel {p['guest_kernel']} ({p.get('guest_flavour', 'stock')}), {s['vcpus']} "
                    f"vCPUs, {s['memory_mib']} MiB, "
                    f"{small_pages(results) if s['pages'] == '4k' else 'transparent huge pages'} "
                    "on the host")
    out["Load"] = f"{results['load_text']['title']} {p[s['load']]}: {results['load_text']['what']}"
    out["Took"] = f"{results['seconds'] / 60:.1f} minutes"
    if results.get("simulated"):
        out["Took"] += f", and the simulated hosts {results['simulated']['seconds'] / 60:.1f}"
    return out


def method(results):
    lines = lives_method(results) if results["load_text"] else [RATIO]
    if results.get("storms"):
        lines.append(storm_method(results))
    if results.get("simulated"):
        lines.append(simulated_hosts.method(results))
    return lines


def storm_method(results):
    s = results["settings"]
    storm = results["storms"][0]["config"]
    ends = f"a run ends after {s.get('storm_seconds', 1)} s at the latest"
    if storm.get("middle"):
        ends += "; its rate is that of the middle, without the first and last tenth of all touches"
    after = ", after the guest lives" if results["summary"] else ""
    return ("Fault storm: bench/fault-storm, a VMM whose vCPUs do nothing but store to "
            f"{s.get('storm_mib', 8)} MiB each of {small_pages(results)} for the first "
            f"time{after}; the modes alternate; {ends}. Busy: a thread of the VMM maps 4 MiB, "
            "touches four pages and unmaps them, all the time; its calls are timed as well.")


RATIO = ("Ratio: Hodges-Lehmann estimate (median of all quotients of one run of each mode); "
         "interval: exact Mann-Whitney. With five runs of each its confidence is 96.8 %.")


def lives_method(results):
    s = results["settings"]
    small = small_pages(results)
    pages = (f"Guest memory is on the host's {small} (huge pages are off for the VMM alone, by "
             "prctl)" if s["pages"] == "4k"
             else "Guest memory may get transparent huge pages on the host")
    power = results["platform"].get("arch") == "power"
    cpu = "" if power else (" The guest's CPU is the host's without svm and vmx, so that the KVM "
                            "in its kernel does not start.")
    kernel = ("the kernel's part has QEMU's Virtual Open Firmware in it, and ends" if power else
              "firmware ends at the kernel's first byte on the serial port, the kernel's part")
    lines = [
        f"One guest life gives one boot time and one load time. {s['runs']} lives of each kind; "
        "the kinds alternate, "
        f"in an order shuffled each round (seed {s['seed']}); one life before them is not counted.",
        "The mode is the KVM module's parameter speculative_faults, set before the VMM starts. "
        "QEMU, guest kernel, "
        "initramfs and snapshots are the same in all modes.",
        f"{pages}.{cpu}",
        f"Boot: CLOCK_MONOTONIC of the host with KVM, from before QEMU is started; {kernel} at the "
        "first line of process 1, "
        "userspace at the line that says the system is up.",
        f"Load: from the host's word on, {results['load_text']['what']}. Any other number of keys "
        "voids the run.",
        "Busy VMM: memory backends of 8 MiB are added with prealloc and removed over QMP, with 50 "
        "ms between two, and /proc/PID/smaps_rollup "
        "is read each 100 ms, from QEMU's start to the end of the load.",
        RATIO,
        "Faults by tier: the vCPUs' KVM statistics, read through QMP's query-stats at the ready "
        "mark and after the load.",
    ]
    return lines


def conclusions(results):
    p = results["platform"]
    lines = []
    if p["emulated"]:
        lines += [
            "Every time here is of software emulation: both levels of the guest run as translated "
            "code, some 20 times or more "
            "slower than hardware, and not all instructions slow down alike. The seconds say "
            "nothing about a real machine.",
            f"The emulated host has {p['host']['cpus']} CPUs on {p['machine']['cores']} cores, so "
            "vCPUs often wait for a core, not for a lock. "
            "Cache-line contention among hundreds of CPUs, which is where mmap_lock hurts most, "
            "does not exist there"
            + (", but does on the simulated hosts." if simulated_hosts.found(results) else "."),
            "What may be concluded: which lock each fault took (counted, not timed), that all "
            "modes give the same data, and whether, "
            "under the same emulation, a mode's time differs from off's by more than the interval.",
            "What may not be concluded: the size of a gain on hardware, or that a difference not "
            "shown here is absent there.",
        ]
    else:
        lines.append("The times are of this host, this guest and this load; another machine needs "
                     "its own run.")
    for cell in results["summary"]:
        for part, name in (("boot", "guest boot"), ("load", results["load_text"]["head"].lower())):
            ratio = cell[part].get("ratio")
            if not ratio:
                continue
            where = f"{name}, {cell['vmm']} VMM, {cell['mode']}"
            if stats.differs(ratio):
                word = "faster" if ratio["estimate"] < 1 else "slower"
                lines.append(f"{where}: {word} than off; {ratio['estimate']:.2f} of its time "
                             f"({ratio['low']:.2f} to {ratio['high']:.2f}).")
            elif ratio["confidence"] < 0.95:
                lines.append(f"{where}: too few runs to say anything; --runs 4 is the least.")
            else:
                lines.append(f"{where}: no difference from off shown ({ratio['low']:.2f} to "
                             f"{ratio['high']:.2f} of its time).")
    return lines + [*storm_conclusions(results), *simulated_hosts.conclusions(results)]


def storm_ratios(results):
    """VMM, vCPUs and ratio of mode on's rate to off's, for the fewest and the most vCPUs."""
    for vmm in results["settings"]["vmm"]:
        found = storms.cells([storm for storm in results.get("storms", ()) if storm["vmm"] == vmm])
        counts = sorted({vcpus for vcpus, _ in found})
        for vcpus in dict.fromkeys(counts[:1] + counts[-1:]):
            rates = [[run["rate"] for run in found.get((vcpus, mode), ())]
                     for mode in ("on", "off")]
            ratio = stats.ratio(*rates)
            if ratio and ratio["confidence"] >= 0.95:
                yield vmm, vcpus, ratio


def storm_conclusions(results):
    for vmm, vcpus, ratio in storm_ratios(results):
        verdict = "" if stats.differs(ratio) else ", no difference shown"
        yield (f"fault storm, {vmm} VMM, {vcpus} vCPU{'s' if vcpus > 1 else ''}, on: "
               f"{ratio['estimate']:.2f} times the faults "
               f"a second of off ({ratio['low']:.2f} to {ratio['high']:.2f}){verdict}.")

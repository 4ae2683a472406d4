# SPDX-License-Identifier: GPL-2.0-or-later
"""The report's part about simulated hosts: tiles, curves, tables and sentences.  Each of them says
that its figures are simulated."""

from spf.report import page, stats, storms
from spf.report.summary import parts


def found(results):
    return (results.get("simulated") or {}).get("storms", [])


def cells(results, vmm):
    return storms.cells([storm for storm in found(results) if storm["vmm"] == vmm])


def of(results):
    return [vmm for vmm in ("quiet", "busy") if cells(results, vmm)]


def ratio(some, vcpus, mode="on"):
    rates = [[run["rate"] for run in some.get((vcpus, m), ())] for m in (mode, "off")]
    return stats.ratio(*rates)


def a_socket(results):
    """How many vCPUs share a socket."""
    return results["simulated"]["socket_vcpus"]


def sizes(some, most):
    """The numbers of vCPUs that tiles and sentences show: the most in one socket, and the most.
    @most: how many a socket takes."""
    counts = sorted({vcpus for vcpus, _ in some})
    return list(dict.fromkeys([max([n for n in counts if n <= most] or counts[-1:]), counts[-1]]))


def told(results):
    """VMM, vCPUs and ratio to off of each storm that tiles and sentences show."""
    for vmm in of(results):
        some = cells(results, vmm)
        for vcpus in sizes(some, a_socket(results)):
            if against := ratio(some, vcpus):
                yield vmm, vcpus, against


def interval(against):
    """The interval in words; with too few runs for 95 % the lowest and highest quotient."""
    words = f"{against['low']:.2f} to {against['high']:.2f}"
    return words if against["confidence"] >= 0.95 else f"{words}, too few seeds for an interval"


def lives(results):
    """The object of guest lives on simulated hosts, or None."""
    return (results.get("simulated") or {}).get("lives")


def lives_told(results):
    """VMM, title of the part, and ratio of mode on to off, of the guest lives."""
    for cell in (lives(results) or {"summary": ()})["summary"]:
        for part, title in parts(results):
            if cell["mode"] == "on" and (against := cell[part].get("ratio")):
                yield cell["vmm"], title, against


def tiles(results):
    vcpus = (lives(results) or {}).get("vcpus")
    out = [page.tile(f"{title}, {vcpus} vCPUs, {vmm} VMM", f"{against['estimate']:.2f}×",
                     f"off's virtual time, in mode on; {interval(against)}", "simulated")
           for vmm, title, against in lives_told(results)]
    return out + [page.tile(f"Fault storm, {vcpus} vCPUs, {vmm} VMM",
                            f"{against['estimate']:.2f}×",
                            f"off's faults a virtual second, in mode on; {interval(against)}",
                            "simulated")
                  for vmm, vcpus, against in told(results)]


def host_words(results, vcpus):
    return "one socket" if vcpus <= a_socket(results) else "two sockets"


def assumptions(settings):
    near, far = settings["line_ns"]
    return (f"An instruction takes {settings['instruction_ns']} ns. Kernel code waits {near} ns "
            f"for a cache line that another CPU of its socket has, and {far} ns for one of another "
            "socket. Nothing else costs anything: no cache is full, and memory has no bandwidth.")


def method(results):
    s = results["simulated"]
    return (f"Simulated hosts: QEMU lets all CPUs advance side by side in virtual time. "
            f"{assumptions(s)} Each vCPU has a CPU of its own, and touches {s['pages']} pages for "
            "the first time; the rate is that of the middle, without the first and the last tenth "
            f"of all touches. Up to {a_socket(results)} vCPUs share a socket, and "
            f"{s['node_vcpus']} a NUMA node. With one seed all is the same each time; intervals "
            f"are over {len(s['seeds'])} seeds, each a boot of its own. Busy: a thread of the VMM "
            "maps 4 MiB, touches four pages and unmaps them, all the time.")


def conclusions(results):
    for vmm, title, against in lives_told(results):
        yield (f"simulated {title.lower()}, {vmm} VMM, {lives(results)['vcpus']} vCPUs, on: "
               f"{against['estimate']:.2f} of off's virtual time ({interval(against)}).")
    for vmm, vcpus, against in told(results):
        shown = "" if stats.differs(against) or against["confidence"] < 0.95 else \
            ", no difference shown"
        yield (f"simulated fault storm, {vmm} VMM, {vcpus} vCPUs, {host_words(results, vcpus)}, "
               f"on: {against['estimate']:.2f} times the faults a second of off "
               f"({interval(against)}){shown}.")


def _lives_card(of_lives, part, title):
    groups = {}
    for cell in of_lives["summary"]:
        c, against = cell[part], cell[part].get("ratio")
        groups.setdefault(f"{cell['vmm'].capitalize()} VMM", []).append([
            cell["mode"], str(c["n"]), f"{c['median']:.3f}", f"{c['min']:.3f}–{c['max']:.3f}",
            f"{against['estimate']:.2f}\n{against['low']:.2f}–{against['high']:.2f}"
            if against else ""])
    return page.card(f"{title}, simulated, {of_lives['vcpus']} vCPUs",
                     f"Virtual seconds; {of_lives['memory_mib'] / 1024:.1f} GiB of memory; load "
                     f"{of_lives['load']}, {of_lives['servers']} "
                     + (f"servers, {of_lives['data_mib']} MiB" if of_lives["data_mib"] else "jobs")
                     + ". Last column: the time relative to off, and its interval.",
                     page.table(["mode", "runs", "median", "range", "vs off"],
                                list(groups.items())))


def section(results):
    """The report's part."""
    body = []
    for vmm in of(results):
        some = cells(results, vmm)
        head, *rows = storms.table(some)
        where = f", simulated, {vmm} VMM"
        body += [*storms.cards(some, where, "virtual second"),
                 page.card(f"Fault storm{where}", "Seconds are virtual. Latencies are of the "
                           "guest's touches, all runs of a kind together.",
                           page.table(head, [("", rows)]), css="wide")]
    if not body:
        return []
    if of_lives := lives(results):
        body += [_lives_card(of_lives, part, title) for part, title in parts(results)]
    return ['<h2 class="part">On a simulated host</h2>',
            f'<p class="soft">{assumptions(results["simulated"])}</p>', page.grid(body)]

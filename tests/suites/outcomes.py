# SPDX-License-Identifier: GPL-2.0-or-later
"""Find tests that end differently in two runs.  found: {run: {test: result}}, in the order in which
to show them."""

from collections import Counter

GOOD = ("pass", "skip", "xfail", "ran")


def differences(found, ours=None):
    """[(test, first, second)], without tests whose names have `ours`, which only one run can
    have."""
    first, second = found.values()
    return [(test, first.get(test, "-"), second.get(test, "-")) for test in {**first, **second}
            if first.get(test) != second.get(test) and not (ours and ours in test)]


def tell(found, ours=None, notes=None):
    """Print the runs, the tests that fail in both, and the differences; return 1 if there are any,
    else 0."""
    for run, results in found.items():
        counts = ", ".join(f"{count} {result}"
                           for result, count in sorted(Counter(results.values()).items()))
        print("; ".join(filter(None, (f"{run}: {counts}", (notes or {}).get(run)))))
    different = differences(found, ours)
    apart = {test for test, _, _ in different}
    for test, result in list(found.values())[1].items():
        if result not in GOOD and test not in apart:
            print(f"{result} in both: {test}")
    for test, *ends in different:
        print(f"DIFFERENT: {test}: " + ", ".join(f"{run} {end}" for run, end in zip(found, ends)))
    if not different:
        print("no differences")
    return 1 if different else 0

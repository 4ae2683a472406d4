# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, spreads and ratios of repeated runs.

The ratio of two modes is the Hodges-Lehmann estimate on the logarithm of the times: the median of
all quotients a/b of one run of each. Its confidence interval comes from the exact Mann-Whitney
distribution.  So it needs no normal distribution and no random numbers, and is the same each time
it is computed.  Five runs of each mode give an interval of 96.8 % confidence, which a bootstrap of
five runs cannot reach.  It assumes that runs are independent (modes alternate, in a shuffled order,
so that drift affects all modes alike) and that a mode multiplies the time.
"""

import math


def quantile(values, q):
    """Linear interpolation between the closest ranks."""
    s = sorted(values)
    if not s:
        raise ValueError("no values")
    at = (len(s) - 1) * q
    low = math.floor(at)
    high = math.ceil(at)
    return s[low] + (s[high] - s[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


def spread(values):
    """The figures of one cell for the table and the report."""
    return {"n": len(values), "median": median(values), "q1": quantile(values, 0.25),
            "q3": quantile(values, 0.75), "min": min(values), "max": max(values)}


def rank_sum_counts(m, n):
    """How many of the C(m+n, n) orders of two samples give each value of Mann-Whitney's U."""
    counts = [1] + [0] * (m * n)
    # Gaussian binomial coefficient: multiply by (1 - q^(m+i)), divide by (1 - q^i).
    for i in range(1, n + 1):
        for u in range(m * n, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    return counts


def ratio(times, base, confidence=0.95):
    """times/base with its interval; `confidence` in the result is the interval's actual one.

    With fewer than four runs of each, no interval reaches 95 %: return the widest, with its actual
    confidence.  None if there is nothing to compare.
    """
    if not times or not base:
        return None
    logs = sorted(math.log(a) - math.log(b) for a in times for b in base)
    counts = rank_sum_counts(len(times), len(base))
    total = math.comb(len(times) + len(base), len(base))
    k, below = 0, 0
    while k < len(counts) // 2 and 2 * (below + counts[k]) <= (1 - confidence) * total:
        below += counts[k]
        k += 1
    if k == 0:
        k, below = 1, counts[0]
    return {"estimate": math.exp(median(logs)), "low": math.exp(logs[k - 1]),
            "high": math.exp(logs[-k]), "confidence": max(0.0, 1 - 2 * below / total)}


def differs(r, confidence=0.95):
    """Whether the interval, at the confidence that we want, does not contain 1."""
    return bool(r) and r["confidence"] >= confidence and not r["low"] <= 1 <= r["high"]

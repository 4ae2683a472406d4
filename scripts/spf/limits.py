# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds of arguments, and checks of the structure of files that we read."""

import argparse
import re

SHIFT = {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}


def number(low, high, what="number"):
    """A parser of whole numbers from `low` to `high`, both included."""
    def parse(text):
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a {what} from {low} to {high}")
        return int(text)
    return parse


positive = number(1, 999999, "positive number")
seconds = number(1, 9999999, "number of seconds")
cpus = number(1, 512, "number of CPUs")
nodes = number(1, 16, "number of nodes")
seed = number(0, 999999999, "seed")


def line(text):
    """Nanoseconds, near and far."""
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5})", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not two numbers of nanoseconds, the first not the larger, as in 50,150")
    return int(match[1]), int(match[2])


def size(text):
    """Bytes."""
    match = re.fullmatch(r"(\d{1,9})\s*([kmgt]?)(i?b)?", text.strip(), re.I)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 4G")
    return int(match[1]) << SHIFT[match[2].lower()]


def mib(text):
    """Mebibytes."""
    found = size(text) >> 20
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 1M")
    return found


def memory(text):
    """Bytes for an emulated host.  Refuse less than it needs to boot, and more than this machine
    has."""
    found = size(text)
    with open("/proc/meminfo", encoding="ascii") as f:
        here = int(re.search(r"MemTotal:\s+(\d+)", f.read())[1]) << 10
    if not 128 << 20 <= found <= here:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not between 128M and the {here >> 20}M of this machine")
    return found


def some_of(known):
    """A parser of a list with commas, in the order of `known`."""
    def parse(text):
        asked = [word for word in text.split(",") if word]
        for word in asked:
            if word not in known:
                raise argparse.ArgumentTypeError(f"unknown '{word}', known are {', '.join(known)}")
            if asked.count(word) > 1:
                raise argparse.ArgumentTypeError(f"'{word}' is named twice")
        return [word for word in known if word in asked]
    return parse


def shape(value, wanted, where="it"):
    """Say in a sentence what is wrong with a value read from a file; "" if nothing is.

    wanted: a type; or None; or a callable that returns whether the value is good; or a tuple, of
    which one is wanted; or a dictionary of the keys that must be there, with what is wanted of each
    value (a key with ? at its end may be absent); or a list of one element, which is wanted of each
    element of a list that must not be empty (unless ... follows)."""
    if isinstance(wanted, tuple):
        said = [shape(value, one, where) for one in wanted]
        return "" if "" in said else said[-1]
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return f"{where} is not an object"
        return next((said for key, inner in wanted.items()
                     if ((name := key.removesuffix("?")) == key or name in value)
                     and (said := shape(value.get(name), inner,
                                        f"{where}.{name}".removeprefix("it.")))), "")
    if isinstance(wanted, list):
        if not isinstance(value, list) or not value and ... not in wanted:
            return f"{where} is not a {'' if ... in wanted else 'non-empty '}list"
        return next((said for i, one in enumerate(value)
                     if (said := shape(one, wanted[0], f"{where}[{i}]"))), "")
    if isinstance(wanted, type):
        good = isinstance(value, wanted) and not (isinstance(value, bool) and wanted is not bool)
    else:
        good = wanted(value) if wanted else value is None
    return "" if good else f"{where} has the wrong type or an invalid value"


def time(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e12


def numbers(values):
    return all(isinstance(value, (int, float)) for value in values)


def pair(value):
    return isinstance(value, list) and len(value) == 2 and numbers(value)


def counters(value):
    return isinstance(value, dict) and numbers(value.values())

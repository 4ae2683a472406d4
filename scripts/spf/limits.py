# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers that a user may give."""

import argparse
import re


def size(text):
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(i?b)?", text.strip(), re.I)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 4G")
    return int(match[1]) << {"": 20, "k": 10, "m": 20, "g": 30, "t": 40}[match[2].lower()]


def positive(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def seconds(text):
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 1 to 9999999")
    return int(text)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Parsers of command lines whose help fits 80 columns, and whose errors are one line."""

import argparse
import shutil
import textwrap

from spf import ui

COLUMNS = 80


class Help(argparse.HelpFormatter):
    """Fill each paragraph of descriptions, but leave a paragraph alone that has indented lines."""

    def __init__(self, prog):
        super().__init__(prog, width=min(COLUMNS, shutil.get_terminal_size().columns))

    def _fill_text(self, text, width, indent):
        return "\n\n".join(
            textwrap.indent(part, indent) if "\n " in f"\n{part}"
            else textwrap.fill(part, width, initial_indent=indent, subsequent_indent=indent,
                               break_on_hyphens=False)
            for part in text.strip("\n").split("\n\n"))


def rows(texts):
    """An indented table of names and their texts."""
    wide = max(map(len, texts)) + 4
    return "\n".join(textwrap.fill(text, COLUMNS, initial_indent=f"  {name}".ljust(wide),
                                   subsequent_indent=" " * wide, break_on_hyphens=False)
                     for name, text in texts.items())


class Parser(argparse.ArgumentParser):
    """Raises ui.Fail if the arguments are wrong."""

    def __init__(self, *args, formatter_class=Help, **more):
        super().__init__(*args, formatter_class=formatter_class, **more)

    def error(self, message):
        raise ui.Fail(message, f"{self.prog} --help tells more", 2)

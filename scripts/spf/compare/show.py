# SPDX-License-Identifier: GPL-2.0-or-later
"""Show a result of `kvmspf compare` or of a bundle again, as a table and as report.html beside
it."""

from pathlib import Path

from spf import arguments, ui
from spf.compare import figures, verb
from spf.report import difference


def parser():
    p = arguments.Parser(prog="kvmspf report", description=__doc__)
    p.add_argument("results", metavar="RESULTS.json")
    p.add_argument("--out", metavar="DIR",
                   help="directory for report.html and the rest (default: beside the results)")
    return p


def main(argv):
    args = parser().parse_args(argv)
    out = Path(args.out) if args.out else Path(args.results).resolve().parent
    found = difference.load(args.results)
    out.mkdir(parents=True, exist_ok=True)
    try:
        found = figures.finish(found)
        figures.write(out, found)
        verb.show(found, False, out)
    except KeyError as missing:
        raise ui.Fail(f"{args.results} lacks {missing}", difference.NAME_ONE, 2) from None

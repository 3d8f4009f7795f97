"""The command line of the load measurements: what to measure and how much of it; figures out, as words or as JSON."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.load import ledger, real, rows, virtual


def main() -> None:
    """Measure what was asked for."""
    options = _parser().parse_args()
    if options.what == "ledger":
        figures, told = ledger.measure(options.chunks), ledger.told
    elif options.what == "rows":
        figures, told = rows.measure(options.rows), rows.told
    elif options.what == "real":
        figures, told = real.soak(options.minutes), real.told
    elif options.what == "soak":
        figures, told = virtual.soak(options.days, options.in_flight, seed=options.seed), virtual.told_soak
    else:
        figures, told = virtual.in_flight(options.batches, seed=options.seed), virtual.told_in_flight
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        told(figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    sizes = {
        "ledger": [("--chunks", 20_000)],
        "rows": [("--rows", 200_000)],
        "soak": [("--days", 3), ("--in-flight", 50)],
        "real": [("--minutes", 4)],
        "in-flight": [("--batches", 300)],
    }
    for what, numbers in sizes.items():
        kind = kinds.add_parser(what)
        for name, default in numbers:
            kind.add_argument(name, type=int, default=default, help=f"default: {default}")
        kind.add_argument("--seed", type=int, default=1)
        kind.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    return parser


if __name__ == "__main__":
    main()

"""The command line of the scorecard: which lines; the table as it goes; exit code 1 where one misses its target."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.torture import record
from benchmarks.torture.running import Ran, run_all
from benchmarks.torture.scorecard import LINES, MINUTES_MAX, Line, minutes

FRESH: Final = 1_000_000_000  # the first of the fresh seeds is below this; tests use the first thousands


def main(lines: Sequence[Line] = LINES, words: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parser().parse_args(words)
    chosen = [line for line in lines if not options.only or line.id in options.only]
    unknown = set(options.only) - {line.id for line in lines}
    if unknown:
        sys.stderr.write(f"no such line: {', '.join(sorted(unknown))}; there are {', '.join(x.id for x in lines)}\n")
        return 2
    if options.list:
        _list(chosen)
        return 0
    if options.document:
        text = record.DOCUMENT.read_text(encoding="utf-8")
        record.DOCUMENT.write_text(record.documented(text, record.read_results()), encoding="utf-8")
        return 0
    seeds = {"first": secrets.randbelow(FRESH) if options.first is None else options.first}
    where, began, ran = record.setting(), time.monotonic(), list[Ran]()
    _say(f"{len(chosen)} lines, commit {where['commit']}, first seed {seeds['first']}; again: --first {seeds['first']}")
    for one in run_all(chosen, seeds):
        ran.append(one)
        _say(record.told(one))
        if one.said and options.verbose:
            _say(f"  {'  '.join(one.said.splitlines(keepends=True))}")
        if not options.dry:
            record.keep(ran, seeds, where)
    return _close(ran, (time.monotonic() - began) / 60, whole=len(chosen) == len(lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="LINE", help="this line; may be given again")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--first", type=int, help="the first seed (default: a fresh one)")
    parser.add_argument("--dry", action="store_true", help="leave the file of results as it is")
    parser.add_argument("--verbose", action="store_true", help="show the end of what a line that missed has printed")
    parser.add_argument("--document", action="store_true", help="write docs/guarantees.md's table from the results")
    return parser


def _list(lines: Sequence[Line]) -> None:
    for line in lines:
        _say(f"{line.id:<4} {line.takes_s:>4} s, {line.cores} core{'s' * (line.cores > 1)}  {line.measure}")
        _say("\n".join(f"       {command}" for command in line.commands) or "       not built")
    _say(f"{minutes(tuple(lines)):.0f} minutes, on two quiet cores")


def _close(ran: Sequence[Ran], took_minutes: float, *, whole: bool) -> int:
    missed = [one.line.id for one in ran if not one.held]
    _say(f"{len(ran) - len(missed)} of {len(ran)} lines at their targets, {took_minutes:.1f} minutes")
    late = whole and took_minutes > MINUTES_MAX
    if late:
        _say(f"T24 missed: more than {MINUTES_MAX} minutes")
    if missed:
        _say(f"missed: {', '.join(missed)}; see why: python -m benchmarks.torture --only {missed[0]} --verbose")
    return int(bool(missed) or late)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

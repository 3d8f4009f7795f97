"""Fuzz result files: `python -m tests.fuzz --files 1000000`.

A failure prints its seed and the command that runs that file alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.fuzz.results import fuzz

SLICE: Final = 5_000


def run(first: int, count: int) -> int:
    """Check the files of these seeds; return how many."""
    for seed in range(first, first + count):
        fuzz(seed)
    return count


def main() -> int:
    """Check as many files as are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the parser of result files.")
    parser.add_argument("--files", type=int, default=100_000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="the first one's seed")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    starts = range(asked.seed, asked.seed + asked.files, SLICE)
    sizes = [min(SLICE, asked.seed + asked.files - start) for start in starts]
    if asked.processes > 1:
        with ProcessPoolExecutor(asked.processes) as pool:
            done = sum(pool.map(run, starts, sizes))
    else:
        done = sum(map(run, starts, sizes))
    took_s = time.monotonic() - began
    sys.stdout.write(
        f"{done} result files: no exception, no wrong row, every line counted; {done / took_s:.0f} a second\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

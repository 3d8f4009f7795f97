"""Tunes this process's memory allocation for a low peak in long runs, at the cost of a few per cent of speed.

Measured on a job of 300,000 rows (benchmarks/whole_job.py): 307 MB at the peak against 411.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

# <malloc.h> of glibc
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Return how much memory this process occupies at present; None where the system does not tell."""
    try:
        pages = int(STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):  # not Linux
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return freed memory to the system: few arenas for many threads, large blocks mapped one by one.

    For our own processes only: the setting is global, so a library must not make it in its host process.
    """
    # A chunk's answers are tens of thousands of young objects, none of them in a cycle: with its defaults the garbage
    # collector scans them and every imported module again and again (a third of the time of a collect).
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # pyarrow's own pool never shrinks. pyarrow reads this variable when it is imported, later or never.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # not every C library has it
        mallopt(M_ARENA_MAX, 2)
        # Blocks below the threshold are kept and used again; each page of a new one costs a fault (a sixth of all
        # CPU time with a threshold of 256 KiB, for 27 MB less).
        mallopt(M_MMAP_THRESHOLD, 4 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 16 * 2**20)

"""Mutated result files of every dialect: nothing raises, nothing lands on another row, every line is counted.

`python -m tests.fuzz --files 1000000` runs a million.
"""

from __future__ import annotations

import pytest

from tests.fuzz.mutations import CORPUS
from tests.fuzz.results import check, fuzz

QUICK_FILES = 300
FILES = 3_300


@pytest.mark.parametrize(
    "seeds", [range(QUICK_FILES), pytest.param(range(QUICK_FILES, FILES), marks=pytest.mark.slow)], ids=str
)
def test_a_mutated_file_is_read_to_its_end_and_every_line_is_counted(seeds: range) -> None:
    """Lines = accepted + quarantined + blank, and each answer is its own row's; a failure prints its seed."""
    for seed in seeds:
        fuzz(seed)


@pytest.mark.parametrize("stream", CORPUS)
def test_a_sound_file_is_read_whole(stream: bytes) -> None:
    """What the corpus holds is sound: without this the mutations would prove little."""
    tally = check(stream, [stream], writes_part=True)

    assert tally.lines == tally.succeeded + tally.failed + tally.waiting - tally.missing == stream.count(b"\n")
    assert (tally.duplicates, tally.foreign, tally.unreadable) == (0, 0, 0)

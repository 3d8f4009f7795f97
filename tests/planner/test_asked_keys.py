"""Which requests are planned already: keys in sorted runs, in bounded memory."""

from __future__ import annotations

import random

import pytest

from orchestrator.job_files.asked_keys import AskedKeys


@pytest.mark.parametrize("spill_rows", [50, 10_000])
def test_keys_are_found_however_they_were_added(spill_rows: int) -> None:
    """In memory and on the disk; few runs are left of many."""
    draw = random.Random(7)
    keys = [draw.randbytes(16) for _ in range(2_000)]
    asked, there = AskedKeys(spill_rows), set[bytes]()
    place = 0
    while place < len(keys):
        some = keys[place : place + draw.choice([1, 3, 200])]
        place += len(some)
        asked.add([f"c{place}"], b"".join([*some, *draw.sample(sorted(there), min(2, len(there)))]))
        there.update(some)
        for probe in (keys[place - 1 : place + 5], keys[:20]):
            assert asked.find(b"".join(probe)).tolist() == [key in there for key in probe]

    assert asked.find(b"").tolist() == []
    assert len(asked._runs) < 12  # 2**12 is more than there are


def test_a_chunk_is_read_once_and_names_do_not_add_up() -> None:
    asked = AskedKeys()
    asked.add(["c00000-00000"], b"a" * 16)
    assert (asked.has_chunk("c00000-00000"), asked.has_shard(0)) == (True, False)

    asked.add_shard(0)

    assert (asked.has_chunk("c00000-00000"), asked.has_shard(0)) == (False, True)

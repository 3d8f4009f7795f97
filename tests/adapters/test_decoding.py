"""Compressed answers: whole, cut, several in a row, and bombs."""

from __future__ import annotations

import gzip
import zlib
from itertools import repeat

import pytest

from orchestrator.domain.errors import Unavailable
from orchestrator.providers.http.decoding import FREE_BYTES, PIECE_BYTES_MAX, RATIO_MAX, decoded, whole_lines

CONTENT = bytes(range(256)) * 5_000


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(CONTENT)), ("GZIP ", gzip.compress(CONTENT)), ("deflate", zlib.compress(CONTENT))],
)
def test_what_was_compressed_comes_out_whole(encoding: str, body: bytes, size: int) -> None:
    blocks = [body[start : start + size] for start in range(0, len(body), size)]
    assert b"".join(decoded(blocks, encoding)) == CONTENT


@pytest.mark.parametrize("kept", [1, 10, 1_000, -8, -1])
def test_a_compressed_answer_without_its_end_is_cut(kept: int) -> None:
    with pytest.raises(Unavailable, match="cut"):
        list(decoded([gzip.compress(CONTENT)[:kept]], "gzip"))


def test_what_is_not_compressed_at_all_is_unreadable() -> None:
    with pytest.raises(Unavailable):
        list(decoded([b'{"custom_id":"a"}\n'], "gzip"))


def test_an_empty_answer_is_empty_in_any_encoding() -> None:
    assert list(decoded([], "gzip")) == []


@pytest.mark.slow
def test_a_bomb_is_refused_and_comes_in_small_pieces_until_then() -> None:
    bomb = gzip.compress(bytes(8 * FREE_BYTES), compresslevel=9)
    sizes: list[int] = []
    with pytest.raises(Unavailable, match="expands to more than"):
        sizes.extend(map(len, decoded([bomb], "gzip")))

    assert max(sizes) <= PIECE_BYTES_MAX
    assert sum(sizes) <= max(FREE_BYTES, RATIO_MAX * len(bomb))


def test_the_last_line_tells_a_cut_from_an_end() -> None:
    lines = b'{"a":1}\n{"b":"\xe2\x80\xa8"}\n'
    for end in range(len(lines) + 1):
        blocks = [bytes([byte]) for byte in lines[:end]]
        tail = lines[:end].rpartition(b"\n")[2]
        if tail in (b"", b'{"a":1}', b'{"b":"\xe2\x80\xa8"}'):
            assert b"".join(whole_lines(blocks)) == lines[:end]
        else:
            with pytest.raises(Unavailable, match="cut"):
                list(whole_lines(blocks))


def test_an_endless_line_is_passed_on_and_not_kept() -> None:
    blocks = repeat(b"x" * PIECE_BYTES_MAX, 40)
    assert sum(map(len, whole_lines(blocks))) == 40 * PIECE_BYTES_MAX

"""Compressed answers: whole, cut, several in a row, and bombs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import repeat

import pytest
import zstandard

from orchestrator.domain.errors import Unavailable
from orchestrator.providers.http.decoding import FREE_BYTES, PIECE_BYTES_MAX, RATIO_MAX, decoded, unpacked, whole_lines

CONTENT = bytes(range(256)) * 5_000


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        *(("gzip", gzip.compress(CONTENT)), ("GZIP ", gzip.compress(CONTENT)), ("deflate", zlib.compress(CONTENT))),
        ("zstd", zstandard.compress(CONTENT)),
    ],
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


LINES = b"".join(b'{"custom_id":"%d"}\n' % number for number in range(3_000))


@pytest.mark.parametrize("size", [1, 3, 1_000, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        LINES,
        *(gzip.compress(LINES), zstandard.compress(LINES)),
        gzip.compress(LINES[:100]) + gzip.compress(LINES[100:]),
        zstandard.compress(LINES[:100]) + zstandard.compress(LINES[100:]),
        gzip.compress(gzip.compress(LINES)),
    ],
    ids=["plain", "gzip", "zstd", "gzip members", "zstd frames", "gzip twice"],
)
def test_a_compressed_file_is_known_by_its_first_bytes(body: bytes, size: int) -> None:
    """No header says so: the file was stored compressed."""
    blocks = (body[start : start + size] for start in range(0, len(body), size))

    assert b"".join(unpacked(blocks)) == LINES


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("kept", [10, -9, -1])
def test_a_compressed_file_without_its_end_is_cut(compress: Callable[[bytes], bytes], kept: int) -> None:
    with pytest.raises(Unavailable, match="cut"):
        list(unpacked([compress(LINES)[:kept]]))


@pytest.mark.parametrize("body", [b"", b"\x1f", b"\x1f\x8b", b"(\xb5/", b"{}"])
def test_what_is_too_short_to_be_compressed_comes_as_it_is(body: bytes) -> None:
    assert b"".join(unpacked([body] if body else [])) == body


def test_a_zstd_bomb_is_refused_before_much_of_it_is_out() -> None:
    bomb = zstandard.compress(bytes(32 * FREE_BYTES))
    assert len(bomb) * RATIO_MAX < 32 * FREE_BYTES
    sizes: list[int] = []

    with pytest.raises(Unavailable, match="expands to more than"):
        sizes.extend(map(len, unpacked([bomb])))

    assert max(sizes) <= FREE_BYTES
    assert sum(sizes) <= max(FREE_BYTES, RATIO_MAX * len(bomb))


@pytest.mark.parametrize("wreck", [b"\x28\xb5\x2f\xfd" + b"\xff" * 50, b"\x1f\x8b\x08" + b"\xff" * 50])
def test_a_file_that_only_begins_like_a_compressed_one_is_unreadable(wreck: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        list(unpacked([wreck]))


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

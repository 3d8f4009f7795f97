"""Decodes an HTTP body: limits decompression bombs, and detects truncated downloads.

Rule 1: the size of pieces is bounded, whatever the compression; the output is bounded in proportion to the input.
Rule 2: a stream that ends too early raises Unavailable after its last byte; it never ends silently.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import orjson
import zstandard

from orchestrator.domain.errors import Unavailable

PIECE_BYTES_MAX: Final = 1 << 20
# A repeated sentence deflates by about 100:1; deflate's maximum is 1032:1, which only a bomb reaches.
RATIO_MAX: Final = 200
MEMBERS_FREE: Final = 1_000  # consecutive gzip members; each costs some work, even if empty
MEMBER_BYTES_MIN: Final = 1_000  # the average size that further members must have; real writers use 64 KB
FREE_BYTES: Final = 16 << 20  # below this size the ratio is not checked
_LINE_BYTES_MAX: Final = 16 << 20
_GZIP_OR_ZLIB: Final = 47
_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC_BYTES: Final = 4
_WRAPPINGS_MAX: Final = 2  # a compressed file that was compressed again on the way
# Four bytes of zstd may stand for 128 KiB: a slice of this size expands to 16 MiB at most.
_ZSTD_SLICE_BYTES: Final = 512
_ZSTD_WINDOW_BYTES_MAX: Final = 1 << 27


def decoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Decode a content encoding: gzip, deflate and zstd, which some servers send although identity was requested."""
    match encoding.strip().lower():
        case "" | "identity":
            return iter(blocks)
        case "gzip" | "x-gzip" | "deflate":
            return _inflated(blocks)
        case "zstd":
            return _decompressed(blocks)
        case _:
            raise Unavailable("the answer is in a content encoding that was not asked for")


def unpacked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a file that begins as gzip or zstd does, which no JSON does; pass any other through."""
    for _ in range(_WRAPPINGS_MAX):
        source, head = iter(blocks), b""
        for block in source:
            head += block
            if len(head) >= _MAGIC_BYTES:
                break
        blocks = chain((head,), source) if head else source
        if head.startswith(_GZIP):
            blocks = _inflated(blocks)
        elif head.startswith(_ZSTD):
            blocks = _decompressed(blocks)
        else:
            break
    yield from blocks


def _decompressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    library = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    frame, in_count, out_count, frame_count, has_ended = library.decompressobj(), 0, 0, 0, True
    for block in blocks:
        in_count += len(block)
        for start in range(0, len(block), _ZSTD_SLICE_BYTES):
            left = block[start : start + _ZSTD_SLICE_BYTES]
            while left:
                if frame.eof:  # frames may follow one another
                    frame, frame_count = library.decompressobj(), frame_count + 1
                    _refuse_pieces(frame_count, out_count)
                try:
                    piece = frame.decompress(left)
                except zstandard.ZstdError:
                    raise Unavailable("the compressed answer cannot be read") from None
                left, has_ended = frame.unused_data if frame.eof else b"", frame.eof
                out_count += len(piece)
                _refuse_bomb(in_count, out_count)
                if piece:
                    yield piece
    if in_count and not has_ended:
        raise Unavailable("the compressed answer is incomplete: the download was cut")


def _refuse_pieces(count: int, out_count: int) -> None:
    if count > MEMBERS_FREE + out_count // MEMBER_BYTES_MIN:
        raise Unavailable("the compressed answer is in too many pieces; refused")


def _refuse_bomb(in_count: int, out_count: int) -> None:
    if out_count > max(FREE_BYTES, RATIO_MAX * in_count):
        raise Unavailable(f"the compressed answer expands to more than {RATIO_MAX} times its size; refused")


def _inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    in_count = out_count = member_count = 0
    for block in blocks:
        in_count += len(block)
        left = block
        while left:
            if inflater.eof:  # gzip members may follow one another
                inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
                member_count += 1
                _refuse_pieces(member_count, out_count)
            try:
                piece = inflater.decompress(left, PIECE_BYTES_MAX)
            except zlib.error:
                raise Unavailable("the compressed answer cannot be read") from None
            left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            out_count += len(piece)
            _refuse_bomb(in_count, out_count)
            if piece:
                yield piece
    if in_count and not inflater.eof:
        raise Unavailable("the compressed answer is incomplete: the download was cut")


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass JSON lines through; raise Unavailable at the end if the last one was cut.

    For answers that end with the connection, without a length or chunks: there a cut looks like a regular end.
    """
    last_line = b""
    for block in blocks:
        head, newline, tail = block.rpartition(b"\n")
        last_line = tail if newline else (last_line + head + tail)[: _LINE_BYTES_MAX + 1]
        yield block
    if not last_line.strip() or len(last_line) > _LINE_BYTES_MAX:
        return
    try:
        orjson.loads(last_line)
    except orjson.JSONDecodeError:
        raise Unavailable("the answer ends within a line: the download was cut") from None

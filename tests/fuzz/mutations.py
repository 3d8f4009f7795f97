"""Result files made worse: bytes, values, names, lines and encodings, by a seeded chance.

The files in `corpus` have the shapes that the dialects' documents print; each answer begins with the row it belongs to.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

CORPUS: Final = tuple(path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.jsonl")))
WORDS: Final = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80"),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", b"\x0b", b"\\ud800", b"\\u0000", b"\\n", b"\\"),
    *(
        b'"custom_id":',
        b'"response":',
        b'"result":',
        b'"error":',
        b'"body":',
        b'"choices":',
        b'"content":',
        b'"usage":',
    ),
)
VALUES: Final = (
    *(b"null", b"true", b"false", b"0", b"-1", b"1e999", b"-0.0", b"9" * 40, b"NaN", b"Infinity", b"-Infinity"),
    *(b'""', b'"x"', b'"\\ud800"', b"[]", b"{}", b"[[[[[[]]]]]]", b'{"custom_id":"9f86d081-0-1"}', b'["text"]'),
    *(b'{"error":{"error":{"error":{"error":1}}}}', b"200", b"500", b'"200"', b"4.5e2", b"[" * 3_000 + b"]" * 3_000),
)
NAMES: Final = (
    b"9f86d081-0-0",
    b"9f86d081-0-5",
    b"9f86d081-0-00",
    b"9f86d081-0-6",
    b"9F86D081-0-0",
    b"deadbeef-0-0",
    b"",
)
_VALUE: Final = re.compile(rb'(?<=":)(?:"(?:[^"\\]|\\.)*"|[-0-9.eE]+|null|true|false)')
_NAME: Final = re.compile(rb'(?<="custom_id":")[^"]*')


def mutated(chance: random.Random) -> bytes:
    """Return a result file with one to five things wrong with it."""
    stream = chance.choice(CORPUS)
    if chance.random() < 0.3:
        stream += chance.choice(CORPUS)
    for _ in range(chance.randint(1, 5)):
        stream = chance.choice(_WAYS)(stream, chance)
    return stream


def cut(stream: bytes, chance: random.Random) -> list[bytes]:
    """Return the stream in blocks, as a network gives them."""
    ends = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randint(0, 6)))
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def _place(stream: bytes, chance: random.Random) -> tuple[int, int]:
    first = chance.randrange(len(stream) + 1)
    return first, min(len(stream), first + chance.choice((1, 1, 2, 5, 20, 100, 400)))


def _drop(stream: bytes, chance: random.Random) -> bytes:
    first, end = _place(stream, chance)
    return stream[:first] + stream[end:]


def _repeat(stream: bytes, chance: random.Random) -> bytes:
    first, end = _place(stream, chance)
    return stream[:end] + stream[first:]


def _insert(stream: bytes, chance: random.Random) -> bytes:
    first, _ = _place(stream, chance)
    return stream[:first] + chance.choice(WORDS) + stream[first:]


def _overwrite(stream: bytes, chance: random.Random) -> bytes:
    first, end = _place(stream, chance)
    return stream[:first] + chance.choice(WORDS) + stream[end:]


def _flip(stream: bytes, chance: random.Random) -> bytes:
    first, _ = _place(stream, chance)
    return stream[:first] + bytes([chance.randrange(256)]) + stream[first + 1 :]


def _end_early(stream: bytes, chance: random.Random) -> bytes:
    return stream[: chance.randrange(len(stream) + 1)]


def _swap(pattern: re.Pattern[bytes], words: tuple[bytes, ...]) -> Callable[[bytes, random.Random], bytes]:
    def way(stream: bytes, chance: random.Random) -> bytes:
        found = list(pattern.finditer(stream))
        if not found:
            return stream
        match = chance.choice(found)
        return stream[: match.start()] + chance.choice(words) + stream[match.end() :]

    return way


def _second_key(stream: bytes, chance: random.Random) -> bytes:
    """Give a line a second custom_id: at its front, at its end, or deep inside."""
    name = b'"custom_id":"%s"' % chance.choice(NAMES)
    places = [match.end() for match in re.finditer(rb"\{", stream)] or [0]
    place = chance.choice(places)
    return stream[:place] + name + b"," + stream[place:]


def _lines(stream: bytes, chance: random.Random) -> bytes:
    lines = stream.split(b"\n")
    one = chance.choice(lines)
    match chance.randrange(6):
        case 0:
            chance.shuffle(lines)
        case 1:
            lines.insert(chance.randrange(len(lines) + 1), one)
        case 2:
            lines.insert(
                chance.randrange(len(lines) + 1), chance.choice((b"", b" ", b"\t", b"\r", b"\x0b", b"{}", b"[]"))
            )
        case 3:
            return b"\r\n".join(lines)
        case 4:
            return chance.choice((b" ", b"", b",\n")).join(lines)
        case _:
            lines[lines.index(one)] = one.decode("utf-8", "replace").encode(
                chance.choice(("utf-16", "utf-32", "utf-7"))
            )
    return b"\n".join(lines)


def _mark(stream: bytes, _chance: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + stream


_WAYS: Final = (
    *(_drop, _repeat, _insert, _overwrite, _flip, _flip, _end_early, _second_key, _lines, _lines, _mark),
    *(_swap(_VALUE, VALUES), _swap(_VALUE, VALUES), _swap(_NAME, NAMES)),
)

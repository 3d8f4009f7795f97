"""Answers that are small on the wire and large in memory, each read as results are read, under a limit of memory.

    python -m tests.security.bombs      # prints {name: [how it ended, seconds]} as JSON

Rule: the limit counts from what the interpreter and the libraries hold when they are loaded, whatever that is.
"""

from __future__ import annotations

import gzip
import itertools
import json
import resource
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from orchestrator.collector.parse import read_answers
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.reconcile import Reconciliation
from orchestrator.providers.http.decoding import decoded, whole_lines
from orchestrator.providers.onerouter.dialect import READER
from tests.collector.builders import DIGEST, name_of

MEMORY_BYTES: Final = 512 << 20
TIME_S: Final = 30
MIB: Final = 1 << 20
HEAD: Final = b'{"custom_id": "' + name_of(0).encode() + b'", '
Blocks = Iterable[bytes]


def again(piece: bytes, size_bytes: int) -> Iterator[bytes]:
    """Yield a piece over and over, in blocks of about a MiB, until there are so many bytes."""
    block = piece * max(1, MIB // len(piece))
    for _ in range(size_bytes // len(block)):
        yield block


def line_of(open_: bytes, piece: bytes, close: bytes, size_bytes: int) -> Iterator[bytes]:
    """Yield one line of a result file with a field of this size."""
    return itertools.chain([HEAD + open_], again(piece, size_bytes), [close + b"}\n"])


def gzipped(blocks: Blocks, *, level: int = 9) -> Iterator[bytes]:
    """Compress as it comes: a bomb is never held open by who throws it."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def zlibbed(blocks: Blocks) -> Iterator[bytes]:
    packer = zlib.compressobj(9)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def nested(depth: int, open_: bytes, close: bytes) -> Iterator[bytes]:
    return iter([HEAD + b'"response": ' + open_ * depth + b"1" + close * depth + b"}\n"])


LINE: Final = 48 * MIB  # of a single line: below the cap, so that it is read
BOMBS: Final[dict[str, tuple[str, Callable[[], Blocks]]]] = {
    "gzip of a GiB of zeros": ("gzip", lambda: gzipped(again(b"\0", 1 << 30))),
    "gzip of a GiB of blanks": ("gzip", lambda: gzipped(again(b" ", 1 << 30))),
    "gzip of a GiB of empty lines": ("gzip", lambda: gzipped(again(b"\n", 1 << 30))),
    "gzip of a GiB of one line": ("gzip", lambda: gzipped(again(b"x", 1 << 30))),
    "gzip in gzip": ("gzip", lambda: gzipped(gzipped(again(b"\0", 1 << 30)))),
    "gzip of a bracket a GiB long": ("x-gzip", lambda: gzipped(again(b"[", 1 << 30))),
    "deflate of a GiB of zeros": ("deflate", lambda: zlibbed(again(b"\0", 1 << 30))),
    "gzip members without end": ("gzip", lambda: again(gzip.compress(b""), 16 * MIB)),
    "gzip members of a bomb each": ("gzip", lambda: itertools.repeat(gzip.compress(bytes(8 * MIB)), 100)),
    "gzip just below the ratio": ("gzip", lambda: gzipped(again(b'{"a": "%d"}\n' % 10**150, 64 * MIB), level=1)),
    "gzip with a header of a MiB": ("gzip", lambda: [b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 64 * MIB]),
    "gzip that is none": ("gzip", lambda: again(b"\x1f\x8b", 64 * MIB)),
    "brotli": ("br", lambda: again(b"x", 64 * MIB)),
    "zstandard": ("zstd", lambda: again(b"x", 64 * MIB)),
    "two encodings": ("gzip, gzip", lambda: again(b"x", 64 * MIB)),
    "an endless line": ("", lambda: again(b"x", 128 * MIB)),
    "an endless string": ("", lambda: line_of(b'"response": "', b"x", b'"', 128 * MIB)),
    "empty lines": ("", lambda: again(b"\n", 8 * MIB)),
    "carriage returns": ("", lambda: again(b"\r", 64 * MIB)),
    "brackets": ("", lambda: again(b"[", LINE)),
    "a million lists in one another": ("", lambda: nested(10**6, b"[", b"]")),
    "a million objects in one another": ("", lambda: nested(10**6, b'{"a":', b"}")),
    "lists in one another in the error": ("", lambda: [HEAD + b'"error": ' + b"[" * 10**6 + b"]" * 10**6 + b"}\n"]),
    "a line of empty lists": ("", lambda: line_of(b'"error": [', b"[],", b"1]", LINE)),
    "a line of empty objects": ("", lambda: line_of(b'"error": [', b"{},", b"1]", LINE)),
    "a line of small numbers": ("", lambda: line_of(b'"error": [', b"1.5,", b"1]", LINE)),
    "a line of one-letter texts": ("", lambda: line_of(b'"response": {"body": {"choices": [', b'"x",', b"1]}}", LINE)),
    "a body of many choices": ("", lambda: line_of(b'"response": {"body": {"choices": [', b"{},", b"1]}}", LINE)),
    "a body of many parts": (
        "",
        lambda: line_of(b'"response": {"body": {"content": [', b'{"text":"x"},', b"1]}}", LINE),
    ),
    "a number of many digits": ("", lambda: line_of(b'"error": ', b"9", b"", LINE)),
    "a text of escapes": ("", lambda: line_of(b'"error": "', b"\\u0041", b'"', LINE)),
    "a key said many times": ("", lambda: line_of(b"", b'"error": [], ', b'"error": 1', LINE)),
    "a custom_id of many letters": ("", lambda: [b'{"custom_id": "' + b"x" * LINE + b'"}\n']),
}


def read(encoding: str, blocks: Blocks) -> str:
    """Read an answer as the collector does; return how that ended."""
    reconciliation = Reconciliation([(0, row) for row in range(8)], DIGEST)
    try:
        lines = whole_lines(decoded(blocks, encoding))
        set_aside = sum(1 for _ in read_answers(lines, reconciliation, READER, keep_raw=True))
    except OrchestratorError as error:
        return f"refused: {error}"
    return f"read: {set_aside} set aside"


def _too_late(_number: int, _frame: object) -> None:
    raise TimeoutError


def main() -> None:
    """Throw them all, one after the other."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, _too_late)
    chosen = sys.argv[1:] or list(BOMBS)
    ended = {}
    for name in chosen:
        encoding, throw = BOMBS[name]
        began_at = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, TIME_S)
        try:
            how = read(encoding, throw())
        except (MemoryError, TimeoutError, RecursionError) as error:
            how = f"burst: {type(error).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        ended[name] = [how, round(time.process_time() - began_at, 2)]
    sys.stdout.write(json.dumps(ended, indent=1))


if __name__ == "__main__":
    main()

"""A job's files of requests and raw results: their names, and their format (zstd, one request or result per line).

Rule 1: the name of a request file holds a digest of its content: a plan that is repeated after an interruption finds
        its own files or makes others, and never confuses two files.
Rule 2: the rows of a chunk's requests are known without reading the requests: by the chunk's range, or by a list of
        rows beside the request file (`<same name>.rows.zst`), which is in place first.
Rule 3: so are the requests' content keys (`<same name>.keys`, see `content_keys`), in the order of the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, cast

import msgspec
import xxhash
import zstandard

from orchestrator.domain.errors import StorageError
from orchestrator.domain.packing import text_bytes
from orchestrator.job_files.content_keys import KEY_BYTES
from orchestrator.storage.digests import HashedReader

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

LEVEL: Final = 1
BLOCK_BYTES: Final = 1 << 20


def raw_name(chunk: Chunk, file: str) -> str:
    """Return the name of an archived result file."""
    return f"raw/{chunk.name}.a{chunk.attempt}.{file}.jsonl.zst"


def part_name(chunk: Chunk, *, may_send_again: bool, is_empty: bool) -> str:
    """Return the name of a chunk's parsed results: a different one for each different content.

    The name includes whether failures are final, and whether there were no results: a step that found none must not
    write its part under the name that a step with results uses.
    """
    return f"parts/{chunk.name}.a{chunk.attempt}{'' if may_send_again else '.final'}{'.empty' * is_empty}.parquet"


def quarantine_name(chunk: Chunk) -> str:
    """Return the name of the file of lines that belong to no row."""
    return f"quarantine/{chunk.name}.a{chunk.attempt}.jsonl"


def content_digest(name: str) -> str:
    """Return the digest in a request file's name."""
    return name.rpartition("/")[2].split(".")[1]


def refusals_folder(shard_no: int) -> str:
    """Return the name of the file of a shard's rows that could not become a request."""
    return f"refused/s{shard_no:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A request file in place."""

    name: str
    line_count: int
    size_bytes: int  # uncompressed
    text_bytes: int  # that tokens are counted of: images count by number
    longest_text_bytes: int  # of one line


class LinesDraft:
    """Collects the lines of a request file; holds their compressed bytes and one block in memory."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._digest = xxhash.xxh3_128()
        self._pending: list[bytes] = []
        self._done: list[bytes] = []
        self._pending_bytes = 0
        self._content_keys = bytearray()
        self._runs: list[list[int]] = []  # [shard_no, first row, one past the last row], in the order of the lines
        self.line_count = 0
        self.size_bytes = 0
        self.text_bytes = 0
        self.longest_text_bytes = 0

    @property
    def row_start(self) -> int:
        """The row of the first line."""
        return self._runs[0][1]

    @property
    def row_end(self) -> int:
        """One past the row of the last line."""
        return self._runs[-1][2]

    @property
    def rows_by_shard(self) -> dict[int, int]:
        """The number of lines by shard."""
        counts: dict[int, int] = {}
        for shard_no, row_start, row_end in self._runs:
            counts[shard_no] = counts.get(shard_no, 0) + row_end - row_start
        return counts

    def add(self, line: bytes, key: RowKey, content_key: bytes) -> None:
        """Add the line of a row, its newline included."""
        shard_no, row = key
        if self._runs and self._runs[-1][0] == shard_no and self._runs[-1][2] == row:
            self._runs[-1][2] = row + 1
        else:
            self._runs.append([shard_no, row, row + 1])
        self._content_keys += content_key
        self._pending.append(line)
        self._pending_bytes += len(line)
        self.line_count += 1
        self.size_bytes += len(line)
        text = text_bytes(line)
        self.text_bytes += text
        self.longest_text_bytes = max(self.longest_text_bytes, text)
        if self._pending_bytes >= BLOCK_BYTES:
            self._flush()

    def write(self, job_files: JobFiles, chunk_name: str, *, is_retry: bool = False) -> Written:
        """Put the lines in place under the chunk's name and their digest, after the lists of their rows and keys.

        A chunk of consecutive rows of one shard needs no list of rows: it has a range.
        """
        self._flush()
        self._done.append(self._compressor.flush())
        name = f"requests/{chunk_name}.{self._digest.hexdigest()[:12]}.jsonl.zst"
        if is_retry or len(self._runs) > 1:
            with job_files.create(_rows_name(name)) as file:
                file.write(zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.json.encode(self._runs)))
        with job_files.create(_keys_name(name)) as file:
            file.write(self._content_keys)
        with job_files.create(name) as file:
            file.writelines(self._done)
        return Written(
            name=name,
            line_count=self.line_count,
            size_bytes=self.size_bytes,
            text_bytes=self.text_bytes,
            longest_text_bytes=self.longest_text_bytes,
        )

    def _flush(self) -> None:
        block = b"".join(self._pending)
        self._digest.update(block)
        self._done.append(self._compressor.compress(block))
        self._pending.clear()
        self._pending_bytes = 0


def row_keys(job_files: JobFiles, chunk: Chunk) -> list[RowKey]:
    """Return the rows of a chunk's requests, in the order of the lines, without reading the requests.

    Raises StorageError.
    """
    if chunk.shard_no is not None and chunk.row_end - chunk.row_start == chunk.request_count:
        return [(chunk.shard_no, row) for row in range(chunk.row_start, chunk.row_end)]
    name = _rows_name(chunk.requests)
    try:
        text = b"".join(blocks(job_files, name))
        runs = msgspec.json.decode(text, type=list[tuple[int, int, int]])
    except (zstandard.ZstdError, msgspec.DecodeError):
        raise StorageError(f"{name} is damaged: it is no list of rows") from None
    if sum(row_end - row_start for _, row_start, row_end in runs) != chunk.request_count:
        raise StorageError(f"{name} is damaged: it does not name {chunk.request_count} rows")
    return [(shard_no, row) for shard_no, row_start, row_end in runs for row in range(row_start, row_end)]


def content_keys(job_files: JobFiles, chunk: Chunk) -> list[bytes]:
    """Return the content keys of a chunk's requests, in the order of the lines. Raises StorageError."""
    name = _keys_name(chunk.requests)
    with job_files.open(name) as file:
        text = file.read()
    if len(text) != chunk.request_count * KEY_BYTES:
        raise StorageError(f"{name} is damaged: it does not hold {chunk.request_count} keys")
    return [text[start : start + KEY_BYTES] for start in range(0, len(text), KEY_BYTES)]


def content_keys_by_row(job_files: JobFiles, chunk: Chunk) -> dict[RowKey, bytes]:
    """Return the content key of each row of a chunk; none where their file is gone: answers do not depend on it."""
    if not job_files.exists(_keys_name(chunk.requests)):
        return {}
    return dict(zip(row_keys(job_files, chunk), content_keys(job_files, chunk), strict=True))


def requests_of(job_files: JobFiles, chunk: Chunk) -> Iterator[tuple[RowKey, bytes]]:
    """Read a chunk's request lines, newlines included, each with its row. Raises StorageError."""
    found = lines(job_files, chunk.requests)
    for key in row_keys(job_files, chunk):
        line = next(found, None)
        if line is None:
            raise StorageError(f"{chunk.requests} is damaged: it holds fewer than {chunk.request_count} requests")
        yield key, line
    if next(found, None) is not None:
        raise StorageError(f"{chunk.requests} is damaged: it holds more than {chunk.request_count} requests")


class Request(NamedTuple):
    """A request of a chunk, as `LinesDraft.add` takes it."""

    line: bytes  # newline included
    key: RowKey
    content_key: bytes


def keyed_requests_of(job_files: JobFiles, chunk: Chunk) -> Iterator[Request]:
    """Read a chunk's requests with their content keys. Raises StorageError."""
    for (key, line), content_key in zip(requests_of(job_files, chunk), content_keys(job_files, chunk), strict=True):
        yield Request(line, key, content_key)


class _Named(msgspec.Struct):
    custom_id: str


def custom_ids(job_files: JobFiles, name: str) -> frozenset[str]:
    """Return the custom_ids of a request file. Raises StorageError."""
    read = msgspec.json.Decoder(_Named).decode
    try:
        return frozenset(read(line).custom_id for line in lines(job_files, name))
    except msgspec.DecodeError:
        raise StorageError(f"{name} is damaged: a line of it is no request") from None


def _keys_name(requests: str) -> str:
    return f"{requests.removesuffix('.jsonl.zst')}.keys"


def _rows_name(requests: str) -> str:
    return f"{requests.removesuffix('.jsonl.zst')}.rows.zst"


def blocks(job_files: JobFiles, name: str, *, digests: dict[str, str] | None = None) -> Iterator[bytes]:
    """Read a file's uncompressed bytes in blocks. Raises StorageError.

    Args:
        digests: once the file is read, gets the digest of its bytes as they are stored, under its name.
    """
    with job_files.open(name) as file:
        hashed = None if digests is None else HashedReader(file)
        source = file if hashed is None else cast("BinaryIO", hashed)
        try:
            yield from zstandard.ZstdDecompressor().read_to_iter(source, write_size=BLOCK_BYTES)
        except zstandard.ZstdError:
            raise StorageError(f"{name} is damaged: it cannot be unpacked") from None
        if digests is not None and hashed is not None:
            digests[name] = hashed.finish()


def lines(job_files: JobFiles, name: str) -> Iterator[bytes]:
    """Read a file's lines, newlines included."""
    rest = b""
    for block in blocks(job_files, name):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        raise StorageError(f"{name} is damaged: its last line has no end")


@contextmanager
def archive(job_files: JobFiles, name: str) -> Iterator[zstandard.ZstdCompressionWriter]:
    """Open a compressed file for writing bytes as they come."""
    file: BinaryIO
    with (
        job_files.create(name) as file,
        zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as writer,
    ):
        yield writer


def count_by_shard(keys: Iterable[RowKey]) -> dict[int, int]:
    """Return the number of these rows by shard."""
    counts: dict[int, int] = {}
    for shard_no, _row in keys:
        counts[shard_no] = counts.get(shard_no, 0) + 1
    return counts

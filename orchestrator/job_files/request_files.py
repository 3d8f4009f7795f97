"""How a job's files are called, and how lines are kept in them: zstd frames of bytes, one line a newline.

Names of request files bear a digest of their content: a plan that was interrupted and made again finds its own files
or makes others, and never takes one for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import xxhash
import zstandard

from orchestrator.domain import custom_id
from orchestrator.storage.digests import HashedReader

if TYPE_CHECKING:
    from orchestrator.domain.batch import Traits
    from orchestrator.domain.model import AttemptToken, Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

LEVEL: Final = 1
BLOCK_BYTES: Final = 1 << 20


def journal_name(token: AttemptToken) -> str:
    """Return where the provider's answer to a create is kept before the ledger has it."""
    return f"journal/{token}.json"


def raw_name(chunk: Chunk, file: str) -> str:
    """Return where a result file is archived."""
    return f"raw/{chunk.name}.a{chunk.attempt}.{file}.jsonl.zst"


def part_name(chunk: Chunk, *, may_send_again: bool, is_empty: bool) -> str:
    """Return where a chunk's parsed results are kept: a name for each thing they can say.

    Which failures are final is part of it, and so is that there were no results to be had: whoever found none must
    not leave its part in the place of somebody's who did.
    """
    return f"parts/{chunk.name}.a{chunk.attempt}{'' if may_send_again else '.final'}{'.empty' * is_empty}.parquet"


def quarantine_name(chunk: Chunk) -> str:
    """Return where the lines are kept that no row could be given."""
    return f"quarantine/{chunk.name}.a{chunk.attempt}.jsonl"


def content_digest(name: str) -> str:
    """Return the digest in a request file's name."""
    return name.rpartition("/")[2].split(".")[1]


def refusals_folder(shard_no: int) -> str:
    """Return where the rows of a shard are kept that never became a request."""
    return f"refused/s{shard_no:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A request file in place."""

    name: str
    line_count: int
    size_bytes: int  # uncompressed


class LinesDraft:
    """Lines on their way into a request file; holds no more than their compressed bytes and one block."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._digest = xxhash.xxh3_128()
        self._pending: list[bytes] = []
        self._done: list[bytes] = []
        self._pending_bytes = 0
        self.line_count = 0
        self.size_bytes = 0

    def add(self, line: bytes) -> None:
        """Add a line, its newline included."""
        self._pending.append(line)
        self._pending_bytes += len(line)
        self.line_count += 1
        self.size_bytes += len(line)
        if self._pending_bytes >= BLOCK_BYTES:
            self._flush()

    def write(self, job_files: JobFiles, chunk_name: str) -> Written:
        """Put the lines in place under the chunk's name and their digest."""
        self._flush()
        self._done.append(self._compressor.flush())
        name = f"requests/{chunk_name}.{self._digest.hexdigest()[:12]}.jsonl.zst"
        with job_files.create(name) as file:
            file.writelines(self._done)
        return Written(name=name, line_count=self.line_count, size_bytes=self.size_bytes)

    def _flush(self) -> None:
        block = b"".join(self._pending)
        self._digest.update(block)
        self._done.append(self._compressor.compress(block))
        self._pending.clear()
        self._pending_bytes = 0


def blocks(job_files: JobFiles, name: str, *, digests: dict[str, str] | None = None) -> Iterator[bytes]:
    """Read a file's uncompressed bytes in blocks.

    Args:
        digests: once the file is read, gets the digest of its bytes as they are stored, under its name.
    """
    with job_files.open(name) as file:
        hashed = None if digests is None else HashedReader(file)
        source = file if hashed is None else cast("BinaryIO", hashed)
        yield from zstandard.ZstdDecompressor().read_to_iter(source, write_size=BLOCK_BYTES)
        if digests is not None and hashed is not None:
            digests[name] = hashed.finish()


def lines(job_files: JobFiles, name: str) -> Iterator[bytes]:
    """Read a file's lines, newlines included."""
    rest = b""
    for block in blocks(job_files, name):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line + b"\n"
    assert not rest, name


@contextmanager
def archive(job_files: JobFiles, name: str) -> Iterator[zstandard.ZstdCompressionWriter]:
    """Open a compressed file for writing bytes as they come."""
    file: BinaryIO
    with (
        job_files.create(name) as file,
        zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as writer,
    ):
        yield writer


class RowReader:
    """Finds which row a request line is of."""

    def __init__(self, traits: Traits, job_digest: str) -> None:
        self._open = len(traits.line_open)
        self._job_digest = job_digest

    def key(self, line: bytes) -> RowKey:
        """Return the row of a line that we rendered."""
        name = line[self._open : line.index(b'"', self._open)].decode("ascii")
        key = custom_id.parse(name, self._job_digest)
        assert key is not None, name
        return key

    def keys(self, job_files: JobFiles, chunk: Chunk) -> list[RowKey]:
        """Return the rows of a chunk's requests, in order."""
        return [self.key(line) for line in lines(job_files, chunk.requests)]


def count_by_shard(keys: Iterable[RowKey]) -> dict[int, int]:
    """Return how many of these rows lie in which shard."""
    counts: dict[int, int] = {}
    for shard_no, _row in keys:
        counts[shard_no] = counts.get(shard_no, 0) + 1
    return counts

"""The `JobFiles` port in an object store: S3 and compatible ones, Google Cloud Storage, Azure Blob Storage.

Rule 1: an object is put in place by a request that refuses to replace: of several writers the first one wins.
Rule 2: a small file is written by one such request. A large one is streamed, part by part, to a hidden name beside it,
        and copied to its own name by such a request: the clients cannot both stream and refuse to replace.
Rule 3: memory is bounded by a few parts for writing, by one window for reading, however large the file is.
Rule 4: errors have a service's status and code only: its message may hold signed URLs.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from orchestrator.domain.errors import StorageError
from orchestrator.storage.names import TEMPORARY, parts_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART_BYTES: Final = 8 * 2**20  # S3 allows at most 10,000 parts, all but the last of at least 5 MiB
PARTS_AT_ONCE: Final = 3
COPY_BYTES_MAX: Final = 5 * 2**30  # of one copy request on S3
WINDOW_BYTES_MIN: Final = 256 * 2**10  # the tail of a Parquet file
WINDOW_BYTES_MAX: Final = 4 * 2**20
BUFFER_BYTES: Final = 64 * 2**10
CLIENT_ERRORS: Final = (
    BaseError,
    OSError,
    ValueError,
)  # FileNotFoundError and ValueError come from obstore as they are


class ObjectJobFiles:
    """A job's files under one prefix of a bucket."""

    def __init__(self, store: ObjectStore, root: str, *, prefix: str = "") -> None:
        """Store files under `prefix`; `root` is its name in messages."""
        self._store = store
        self._root = root
        self._prefix = prefix

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a new file for writing; it appears under `name` when the block ends without an exception."""
        draft = _Draft(self._store, self._key(name), self._called(name))
        try:
            yield cast("BinaryIO", draft)
        except BaseException:
            draft.drop()
            raise
        draft.put_in_place()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file in place for reading."""
        key, called = self._key(name), self._called(name)
        with _translated(f"{called} cannot be read"):
            reader = open_reader(self._store, key, called)
        with reader as file:
            yield file

    def exists(self, name: str) -> bool:
        """Return whether a file is in place."""
        key = self._key(name)
        with _translated(f"{self._called(name)} cannot be looked for"):
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                return False
        return True

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in place directly in `folder`, sorted."""
        key = self._key(folder)
        with _translated(f"{self._called(folder)} cannot be listed"):
            listed = obstore.list_with_delimiter(self._store, key)
        found = [entry["path"].rpartition("/")[2] for entry in listed["objects"]]
        return sorted(f"{folder}/{name}" for name in found if not name.startswith(TEMPORARY))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        key = self._key(name)
        with _translated(f"{self._called(name)} cannot be removed"), suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def sweep(self, folder: str) -> None:
        """Remove what killed writers have left directly in `folder`."""
        key = self._key(folder)
        with suppress(*CLIENT_ERRORS):  # nobody needs it gone
            for entry in obstore.list_with_delimiter(self._store, key)["objects"]:
                if entry["path"].rpartition("/")[2].startswith(TEMPORARY):
                    obstore.delete(self._store, entry["path"])

    def _key(self, name: str) -> str:
        return "/".join((*filter(None, [self._prefix]), *parts_of(name)))

    def _called(self, name: str) -> str:
        return f"{self._root}/{name}"


class _Draft(io.BufferedIOBase):
    """A file being written: held in memory while it is small, then streamed to a name that listings hide."""

    def __init__(self, store: ObjectStore, key: str, called: str) -> None:
        self._store = store
        self._key = key
        self._called = called
        self._held = bytearray()
        self._size_bytes = 0
        self._temporary = ""
        self._upload: Any = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Any, /) -> int:
        block = memoryview(data).cast("B")
        for start in range(0, len(block), PART_BYTES):
            self._take(block[start : start + PART_BYTES])
        return len(block)

    def _take(self, block: memoryview) -> None:
        self._size_bytes += len(block)
        if self._size_bytes > COPY_BYTES_MAX and isinstance(self._store, S3Store):
            raise StorageError(f"{self._called} would be larger than 5 GiB, which S3 cannot put in place: cut it")
        if self._upload is None and self._size_bytes <= PART_BYTES:
            self._held += block
            return
        with _translated(f"{self._called} cannot be written"):
            if self._upload is None:
                folder = self._key.rpartition("/")[0]
                self._temporary = f"{folder}/{TEMPORARY}{secrets.token_hex(8)}".lstrip("/")
                self._upload = obstore.open_writer(
                    self._store, self._temporary, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
                )
                self._upload.write(bytes(self._held))
                self._held.clear()
            self._upload.write(bytes(block))

    def put_in_place(self) -> None:
        """Give the file its name, unless another has it."""
        with _translated(f"{self._called} cannot be written"), suppress(AlreadyExistsError):
            if self._upload is None:
                obstore.put(self._store, self._key, bytes(self._held), mode="create", use_multipart=False)
                return
            try:
                self._upload.close()
                obstore.copy(self._store, self._temporary, self._key, overwrite=False)
            finally:
                self._remove_temporary()

    def drop(self) -> None:
        """Discard what was written."""
        if self._upload is not None:
            with suppress(*CLIENT_ERRORS):
                self._upload.__exit__(StorageError, None, None)  # with an error, it aborts the upload
            self._remove_temporary()

    def _remove_temporary(self) -> None:
        with suppress(*CLIENT_ERRORS):  # a hidden name; it does no harm
            obstore.delete(self._store, self._temporary)


def open_reader(store: ObjectStore, key: str, called: str) -> io.BufferedReader:
    """Open an object for random access. Raises the client's error if it does not exist."""
    return _Reader(_Windows(store, key, called, obstore.head(store, key)["size"]), BUFFER_BYTES)


class _Reader(io.BufferedReader):
    """Reads large pieces in one request each, without the window: pyarrow asks for whole columns at a time."""

    def read(self, size: int | None = -1, /) -> Any:
        windows = cast("_Windows", self.raw)
        place = self.tell()
        wanted_bytes = max(0, windows.size_bytes - place)
        if size is not None and size >= 0:
            wanted_bytes = min(size, wanted_bytes)
        if wanted_bytes <= WINDOW_BYTES_MAX:
            return super().read(wanted_bytes)
        block = windows.fetch(place, place + wanted_bytes)
        self.seek(place + len(block))
        return bytes(block)


class _Windows(io.RawIOBase):
    """An object read through a window, which grows during sequential reading and is freed at its end."""

    def __init__(self, store: ObjectStore, key: str, called: str, size_bytes: int) -> None:
        self.name = called  # as of any file
        self._store = store
        self._key = key
        self._called = called
        self.size_bytes = size_bytes
        self._place = 0
        self._window = memoryview(b"")
        self._window_start = 0
        self._window_bytes = 0  # its size when it was freed

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"{self._called}: no place before its start")
        self._place = start + offset
        return self._place

    def readinto(self, target: Any, /) -> int:
        wanted_bytes = min(len(target), self.size_bytes - self._place)
        if wanted_bytes <= 0:
            return 0
        start = self._place - self._window_start
        if not 0 <= start < len(self._window):
            self._move_window(wanted_bytes)
            start = 0
        found = self._window[start : start + wanted_bytes]
        target[: len(found)] = found
        self._place += len(found)
        if start + len(found) == len(self._window):
            self._window = memoryview(b"")  # a shard's output is made from many files, most of them idle
        return len(found)

    def fetch(self, start: int, end: int) -> memoryview:
        """Return the bytes of a range, by one request."""
        with _translated(f"{self._called} cannot be read"):
            return memoryview(obstore.get_range(self._store, self._key, start=start, end=end))

    def _move_window(self, wanted_bytes: int) -> None:
        goes_on = self._place == self._window_start + self._window_bytes
        grown_bytes = 4 * self._window_bytes if goes_on else 0
        length = min(max(grown_bytes, wanted_bytes, WINDOW_BYTES_MIN), WINDOW_BYTES_MAX)
        self._window = self.fetch(self._place, min(self._place + length, self.size_bytes))
        self._window_start, self._window_bytes = self._place, len(self._window)


@contextmanager
def _translated(complaint: str) -> Iterator[None]:
    try:
        yield
    except CLIENT_ERRORS as error:
        # from None: the client's message may hold signed URLs.
        raise StorageError(f"{complaint}: {reason_of(error)}") from None


def reason_of(error: Exception) -> str:
    """Return a store's reason for an error, by its codes."""
    words = str(error)
    status = re.search(r"status code: (\d{3} [A-Za-z ]+)", words)
    code = re.search(r"<Code>(\w{1,60})</Code>", words)
    if isinstance(error, FileNotFoundError) and (code is None or code[1] in ("NoSuchKey", "BlobNotFound")):
        return "there is no such file"
    if status or code:
        return ", ".join(found[1].strip() for found in (status, code) if found)
    if "Connect" in words or "error sending request" in words:
        return "the store does not answer"
    return type(error).__name__

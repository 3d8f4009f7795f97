"""Finds, names and opens the files of a dataset.

Rule 1: this is the only module of the reader that accesses file systems: this machine's, or an object store's.
Rule 2: files are sorted by their path below the root, never by listing order; the absolute path is no part of a name.
Rule 3: a folder or a glob holds one format. Names that start with `_` or `.` (`_SUCCESS`, `_committed_1`) and Hadoop's
        markers and checksums are skipped; any other unreadable file is refused, so that no rows are left out silently.
Rule 4: a folder that is a table of its own (`table_formats`) is refused here: its files are more than its rows.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.dataset.table_formats import refuse_table
from orchestrator.domain.errors import DatasetError, StorageError
from orchestrator.storage.arrow_fs import ObjectStoreError, etag_of, filesystem_of
from orchestrator.storage.location import is_url, join, locate, parent_and_name
from orchestrator.storage.object_url import advice, bucket_place

FORMAT_OF: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
COMPRESSION_OF: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
MAGIC_OF: Final = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
MARKERS: Final = ("$folder$", ".crc")  # what Hadoop and EMR put beside folders and files
SAVED: Final = frozenset({"state.json", "dataset_info.json"})
HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"  # how Hive, Spark and pyarrow write a null key
FETCH_BYTES: Final = 8 * 2**20  # of a stream in an object store: each read is a request
_NAMES_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a dataset; `partitions` are the `key=value` folders above it, below the root."""

    name: str  # relative to the dataset's root, with forward slashes
    path: str  # or the URL
    size_bytes: int
    changed_at_ns: int = 0  # when it was listed; not part of the fingerprint
    version: str = ""  # of an object in a store: its ETag; likewise
    compression: str | None = None
    partitions: tuple[tuple[str, str | None], ...] = ()

    @property
    def is_far(self) -> bool:
        """Return whether each read is a request over the network."""
        return is_url(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Metadata of a file, known without reading its rows."""

    schema: pa.Schema
    digest: bytes  # of the footer, or of a sample of the content
    groups: tuple[tuple[int, int], ...] | None  # (rows, bytes) of each row group or record batch; None: a stream


def find_files(location: str, *, format_name: str = "") -> tuple[str, tuple[SourceFile, ...]]:
    """Return the format and the sorted files of a file, a folder or a glob; raise DatasetError where there are none.

    A URL that is not an object store's, or that contains credentials, is a ConfigError.

    Args:
        format_name: of the files whose names do not tell it.
    """
    place = locate(location)
    if not is_utf8(place):
        raise _not_utf8(location)
    with translated(f"{location} cannot be listed", message=_message(place)):
        match _kind(place):
            case pafs.FileType.File:
                root, name = parent_and_name(place)
                return _of_one_format(location, [_source_file(_info(place), root)], [name], format_name)
            case pafs.FileType.Directory:
                root, pattern = place, ["**"]
            case _ if re.search(r"[*?\[]", place):
                root, pattern = _glob_root(place)
            case _:
                raise DatasetError(f"{location} does not exist; {_what_there_is(place)}")
        is_there = _kind(root) == pafs.FileType.Directory
        files = [file for file in _walk(location, root, pattern) if not _is_hidden(file.name)] if is_there else []
        if not files:
            raise DatasetError(f"{location} holds no files to read; {_what_there_is(root)}")
    files = sorted(_without_descriptions(files), key=lambda file: file.name)
    return _of_one_format(location, files, [file.name for file in files], format_name)


@contextmanager
def translated(complaint: str, *, message: str = "") -> Iterator[None]:
    """Convert errors of pyarrow and the system into a DatasetError with `complaint`, the error code and `message`."""
    try:
        yield
    except (ObjectStoreError, StorageError) as exc:
        raise DatasetError(f"{complaint} ({exc}){message}") from None
    except PermissionError:
        raise DatasetError(f"{complaint.partition(' cannot be ')[0]} cannot be read: permission denied") from None
    except (pa.ArrowException, OSError, EOFError) as exc:
        # The library's own message stays in the cause: it may quote rows.
        raise DatasetError(f"{complaint}{message}") from exc


def refuse_changed(file: SourceFile, digest: Callable[[SourceFile], bytes], before: bytes) -> None:
    """Raise DatasetError where a file has changed since it was listed, when its `digest` was `before`.

    The digest is of its content or a part of it, and is asked for where only the time has changed.
    """
    with translated(f"{file.name} cannot be inspected"):
        info = _info(file.path)
        version = etag_of(file.path) if file.is_far else ""
    if info.type == pafs.FileType.NotFound:
        return  # opening it reports that
    is_same = info.size == file.size_bytes and version == file.version
    if is_same and (info.mtime_ns or 0) != file.changed_at_ns and not version:
        is_same = digest(file) == before  # perhaps it was only touched, or copied over itself
    if not is_same:
        raise DatasetError(
            f"{file.name} has changed since the dataset was opened: put the original back and run again; "
            "what is paid for is kept"
        )


def source_file(location: str) -> SourceFile:
    """Return one file. Raises DatasetError where there is none."""
    place = locate(location)
    with translated(f"{location} cannot be read", message=_message(place)):
        if _kind(place) != pafs.FileType.File:
            raise DatasetError(f"{location} does not exist; {_what_there_is(parent_and_name(place)[0])}")
        return _source_file(_info(place), parent_and_name(place)[0])


def has_folder(root: str, name: str) -> bool:
    """Return whether a folder is below another. Raises DatasetError where that cannot be told."""
    is_file = is_url(root) and PurePosixPath(_uncompressed(root)[0]).suffix.lower() in FORMAT_OF
    if is_file or not is_utf8(root):  # by its name, to save a request
        return False
    with translated(f"{root} cannot be listed", message=_message(root)):
        return bool(_kind(join(root, name)) == pafs.FileType.Directory)


def file_below(root: str, name: str, partitions: tuple[tuple[str, str | None], ...]) -> SourceFile | None:
    """Return a file by its name below a folder, with partitions that its name need not tell; None where it is gone."""
    info = _info(join(root, name))
    return replace(_source_file(info, root), partitions=partitions) if info.type == pafs.FileType.File else None


def open_random(file: SourceFile) -> Any:
    """Open a file for random access (Parquet, Arrow)."""
    store, path = filesystem_of(file.path)
    return store.open_input_file(path)


def open_stream(file: SourceFile) -> Any:
    """Open a file for sequential reading, decompressed."""
    store, path = filesystem_of(file.path)
    buffer_bytes = FETCH_BYTES if file.is_far else None
    return store.open_input_stream(path, compression=file.compression, buffer_size=buffer_bytes)


def refuse_other_content(file: SourceFile, head: bytes, *, expected: str) -> None:
    """Raise DatasetError where the first bytes belong to another format than the file's name."""
    for magic, meaning in MAGIC_OF.items():
        if head.startswith(magic):
            raise DatasetError(f"{file.name}: named as {expected}, but its content is {meaning}")


def _of_one_format(
    location: str, files: Sequence[SourceFile], found: Sequence[str], otherwise: str
) -> tuple[str, tuple[SourceFile, ...]]:
    """Return the format of files; `otherwise` is that of names which do not tell it."""
    by_suffix: dict[str, int] = {}
    formats: set[str | None] = set()
    for name in found:
        stem, compression = _uncompressed(name)
        format_name = FORMAT_OF.get(PurePosixPath(stem).suffix.lower(), otherwise or None)
        formats.add(format_name if compression is None or format_name in {"csv", "jsonl"} else None)
        suffixes = "".join(PurePosixPath(name).suffixes[-2 if compression else -1 :]).lower()
        by_suffix[suffixes or "no suffix"] = by_suffix.get(suffixes or "no suffix", 0) + 1
    if None in formats or len(formats) > 1:
        held = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(by_suffix.items()))
        raise DatasetError(
            f"{location} must hold files of one readable format, it holds {held}; "
            f"read are {', '.join(FORMAT_OF)}, the text ones also with .gz or .zst; "
            "name the files to read by a glob, as in folder/**/*.parquet, or set format under [dataset] to read names "
            "that say none"
        )
    keys = {tuple(key for key, _ in file.partitions): file.name for file in files}
    if len(keys) > 1:
        (one, name), (other, other_name) = list(keys.items())[:2]
        raise DatasetError(
            f"{location}: partition folders differ: {name} has {list(one)}, {other_name} has {list(other)}"
        )
    return str(formats.pop()), tuple(files)


def _walk(location: str, root: str, pattern: Sequence[str]) -> Iterator[SourceFile]:
    store, path = filesystem_of(root)
    real_names = dict[str, str]()
    try:
        infos = store.get_file_info(pafs.FileSelector(path, recursive="**" in pattern or len(pattern) > 1))
        refuse_table(location, [PurePosixPath(info.path).relative_to(path) for info in infos])
    except UnicodeError:
        raise _not_utf8(next(filter(lambda name: not is_utf8(name), _names_below(path)), location)) from None
    for name in () if is_url(root) else _dangling_links(path):
        if _matches(name.split("/"), pattern) and not _is_hidden(name):
            raise _no_file(location, name)
    for info in infos:
        if info.type == pafs.FileType.Directory:
            continue
        file = _source_file(info, root)
        if _matches(file.name.split("/"), pattern):
            if not file.is_far and not _is_hidden(file.name):
                _check_link(location, file, real_names)
            yield file


def is_utf8(name: str) -> bool:
    """Whether the system's name of a file is UTF-8: other bytes are half surrogate pairs in Python."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(name: str) -> DatasetError:
    shown = os.fsencode(name).decode(errors="backslashreplace")
    return DatasetError(f"{shown}: its name is not UTF-8: rename it, as in `mv {shlex.quote(shown)} other-name`")


def _names_below(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in (*folders, *names))  # noqa: PTH118 - many thousands of files


def _without_descriptions(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Leave out what Hugging Face's `save_to_disk` puts beside its Arrow files."""
    names = {file.name for file in files}
    if not names >= SAVED or not any(name.endswith(".arrow") for name in names):
        return list(files)
    return [file for file in files if file.name not in SAVED]


def _check_link(location: str, file: SourceFile, real_names: dict[str, str]) -> None:
    """Raise DatasetError for a file of this machine that is none, or that was found before under another name."""
    real = os.path.realpath(file.path)
    if not os.path.isfile(real):  # noqa: PTH113 - as the line before
        raise _no_file(location, file.name)
    other = real_names.setdefault(real, file.name)
    if other != file.name:
        raise DatasetError(
            f"{location}: {file.name} and {other} are one file, which would be read twice: remove the link, or name "
            "the files to read by a glob"
        )


def _dangling_links(root: str) -> Iterator[str]:
    """Yield the links below a folder of this machine that lead nowhere: pyarrow does not list them."""
    for path in _names_below(root):
        if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
            yield PurePosixPath(path).relative_to(root).as_posix()


def _no_file(location: str, name: str) -> DatasetError:
    return DatasetError(
        f"{location}: {name} is no file that can be read: a link that leads nowhere, a pipe or a device. "
        "Remove it, or name the files to read by a glob"
    )


def _info(location: str) -> Any:
    store, path = filesystem_of(location)
    return store.get_file_info(path)


def _kind(location: str) -> Any:
    return _info(location).type


def _source_file(info: Any, root: str) -> SourceFile:
    name = PurePosixPath(info.path).relative_to(filesystem_of(root)[1])
    partitions = tuple(
        (unquote(key), None if value == HIVE_NULL else unquote(value))
        for key, equals, value in (part.partition("=") for part in name.parts[:-1])
        if equals and key
    )
    return SourceFile(
        name=str(name),
        path=f"{bucket_place(root).scheme}://{info.path}" if is_url(root) else info.path,
        size_bytes=info.size,
        changed_at_ns=info.mtime_ns or 0,
        version=etag_of(f"{bucket_place(root).scheme}://{info.path}") if is_url(root) else "",
        compression=_uncompressed(name.name)[1],
        partitions=partitions,
    )


def _uncompressed(name: str) -> tuple[str, str | None]:
    compression = COMPRESSION_OF.get(PurePosixPath(name).suffix.lower())
    return (name.rsplit(".", 1)[0], compression) if compression else (name, None)


def _glob_root(location: str) -> tuple[str, list[str]]:
    start, scheme, rest = location.rpartition("://")
    parts = rest.split("/")
    first = next(place for place, part in enumerate(parts) if re.search(r"[*?\[]", part))
    return start + scheme + ("/".join(parts[:first]) or "/"), parts[first:]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _is_hidden(name: str) -> bool:
    """Whether this is no data: Spark's rule, by which `_year=2024` is data."""
    if name.endswith(MARKERS):
        return True
    return any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in name.split("/"))


def _what_there_is(location: str) -> str:
    folder = location
    while _kind(folder) != pafs.FileType.Directory:
        if is_url(folder) and not bucket_place(folder).key:
            return f"there is no bucket {folder}, or it may not be read{_message(folder)}"
        folder = folder.rpartition("/")[0] or "/"
    store, path = filesystem_of(folder)
    names = sorted(info.base_name for info in store.get_file_info(pafs.FileSelector(path)))
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return f"{folder} holds " + (", ".join(names[:_NAMES_MAX]) + more if names else "nothing")


def _message(location: str) -> str:
    return f": {advice(bucket_place(location).scheme)}" if is_url(location) else ""

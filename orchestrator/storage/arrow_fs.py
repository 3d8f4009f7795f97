"""The file systems through which pyarrow reads tables: this machine's, and object stores through our own client.

Rule 1: all access to an object store uses one client: the same environment, credentials, retries and timeouts.
Rule 2: object stores are read-only here; writes go through `object_store`, which never replaces a file.
Rule 3: an error has the store's status and code, never its message, which may hold signed URLs.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.storage.location import is_url
from orchestrator.storage.object_url import bucket_place, service_variables
from orchestrator.storage.open import package_needed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LIST_PAGE: Final = 1_000
_HERE: Final = pafs.LocalFileSystem()


class ObjectStoreError(OSError):
    """A store refused, or did not answer; the message is only the reason."""


def filesystem_of(location: str) -> tuple[Any, str]:
    """Return the file system of a location, and the location's path in it. Raises ConfigError."""
    if not is_url(location):
        return _HERE, location
    place = bucket_place(location)
    path = f"{place.bucket}/{place.key}" if place.key else place.bucket
    return _of_bucket(place.scheme, place.bucket, service_variables(os.environ)), path


def etag_of(location: str) -> str:
    """Return the ETag of an object; "" where it is gone, or its store gives none. Raises ObjectStoreError."""
    import obstore

    place = bucket_place(location)
    with package_needed():
        from orchestrator.storage.clients import client
    with _reason_only():
        try:
            found = obstore.head(client(place.scheme, place.bucket, service_variables(os.environ)), place.key)
        except FileNotFoundError:
            return ""
    return found["e_tag"] or ""


@lru_cache(maxsize=64)
def _of_bucket(scheme: str, bucket: str, variables: tuple[tuple[str, str], ...]) -> Any:
    with package_needed():
        from orchestrator.storage.clients import client
    return pafs.PyFileSystem(_Bucket(client(scheme, bucket, variables), bucket))


class _Bucket(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """One bucket, read-only. A path is `bucket/key`; a folder is a common prefix of keys up to a slash."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def get_type_name(self) -> str:
        return "obstore"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Iterable[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        folder = self._key(selector.base_dir)
        found = list(self._below(folder) if selector.recursive else self._directly_in(folder))
        if not found and not selector.allow_not_found and self._info(selector.base_dir).type != pafs.FileType.Directory:
            raise FileNotFoundError(selector.base_dir)
        return found

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(self._reader(path), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return pa.PythonFile(self._reader(path), mode="r")

    def _reader(self, path: str) -> io.BufferedReader:
        from orchestrator.storage.object_store import open_reader

        with _reason_only():
            return open_reader(self._store, self._key(path), path)

    def _info(self, path: str) -> Any:
        import obstore

        key = self._key(path)
        if key:
            with _reason_only():
                try:
                    found = obstore.head(self._store, key)
                except FileNotFoundError:
                    pass  # a folder, perhaps
                else:
                    return self._file(found)
        try:
            with _reason_only():
                is_folder = any(map(len, obstore.list(self._store, key or None, chunk_size=1))) or not key
        except ObjectStoreError as error:
            if "NoSuchBucket" not in str(error):
                raise
            is_folder = False
        return pafs.FileInfo(path, pafs.FileType.Directory if is_folder else pafs.FileType.NotFound)

    def _directly_in(self, folder: str) -> Iterator[Any]:
        import obstore

        with _reason_only():
            found = obstore.list_with_delimiter(self._store, folder or None)
        for prefix in found["common_prefixes"]:
            yield pafs.FileInfo(f"{self._bucket}/{prefix}", pafs.FileType.Directory)
        folders = set(found["common_prefixes"])
        yield from (self._file(entry) for entry in found["objects"] if entry["path"] not in folders)

    def _below(self, folder: str) -> Iterator[Any]:
        """Yield the files below a folder. An empty object without an extension in its name marks a folder: skip it."""
        import obstore

        with _reason_only():
            for page in obstore.list(self._store, folder or None, chunk_size=LIST_PAGE):
                yield from (
                    self._file(entry) for entry in page if entry["size"] or "." in entry["path"].rpartition("/")[2]
                )

    def _file(self, entry: Any) -> Any:
        path = f"{self._bucket}/{entry['path']}"
        return pafs.FileInfo(path, pafs.FileType.File, mtime=entry["last_modified"], size=entry["size"])

    def _key(self, path: str) -> str:
        return path.partition("/")[2].strip("/")

    def _refuse(self, *_arguments: Any, **_options: Any) -> NoReturn:
        raise NotImplementedError("an object store is only read through pyarrow")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse


@contextmanager
def _reason_only() -> Iterator[None]:
    """Convert the client's errors into an ObjectStoreError with the reason alone; FileNotFoundError passes."""
    from orchestrator.storage.object_store import CLIENT_ERRORS, reason_of

    try:
        yield
    except FileNotFoundError:
        raise
    except CLIENT_ERRORS as error:
        raise ObjectStoreError(reason_of(error)) from None

"""Opens the store of a location, and checks that the store is safe to use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from orchestrator.domain.errors import ConfigError
from orchestrator.ports import JobFiles
from orchestrator.storage.local import LocalJobFiles
from orchestrator.storage.location import is_url
from orchestrator.storage.object_url import BucketPlace, advice, bucket_place, service_variables


def open_job_files(location: str, *, is_private: bool = True) -> JobFiles:
    """Return the files under a location. Raises ConfigError for an unknown kind of store.

    Args:
        is_private: on a disk, make new files readable only by their owner, and the group of a shared folder.
    """
    if not is_url(location):
        return LocalJobFiles(Path(location), is_private=is_private)
    place = bucket_place(location)
    with package_needed():
        from orchestrator.storage.clients import client
        from orchestrator.storage.object_store import ObjectJobFiles
    store = client(place.scheme, place.bucket, service_variables(os.environ))
    return ObjectJobFiles(store, str(place), prefix=place.key)


def check_place(location: str) -> None:
    """Write, read and remove a small file in an object store. Raises ConfigError that says what to change.

    It also checks that the store refuses to replace a file: otherwise the results of the first of two writers would
    be lost. If the store does not answer, it takes seconds, not minutes.
    A location is checked once per process; folders of this machine are not checked.
    """
    if is_url(location):
        _check_once(bucket_place(location), service_variables(os.environ))


@lru_cache(maxsize=64)
def _check_once(place: BucketPlace, variables: tuple[tuple[str, str], ...]) -> None:
    with package_needed():
        from orchestrator.storage.clients import client
        from orchestrator.storage.probe import probe
    store = client(place.scheme, place.bucket, variables, is_hasty=True)
    probe(store, str(place), prefix=place.key, advice=advice(place.scheme))


@contextmanager
def package_needed() -> Iterator[None]:
    """Name the missing package if an import in the block fails. Raises ConfigError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "obstore":
            raise
        raise ConfigError(
            "object stores need one package more: pip install 'batch-orchestrator[object-store]'"
        ) from None

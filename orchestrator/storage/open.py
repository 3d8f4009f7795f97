"""Which store a location is in, and whether that store may be relied on."""

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
    """Return the files under a location. Raises ConfigError for a store that is not known.

    Args:
        is_private: on a disk, keep what is written from everybody but its owner, and the group of a shared folder.
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

    It is also seen whether the store refuses to replace a file: one that takes no notice would lose the results of
    the first of two writers. Takes seconds, not minutes, where nobody answers.
    A place that passed is not asked again by this process; folders of this machine pass.
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
    """Say which package is missing, where the import in the block fails for want of it. Raises ConfigError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "obstore":
            raise
        raise ConfigError(
            "object stores need one package more: pip install 'batch-orchestrator[object-store]'"
        ) from None

"""Checks whether a bucket can be used as a work folder: write, be refused, read, remove."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.names import TEMPORARY
from orchestrator.storage.object_store import reason_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_ERRORS: Final = (BaseError, OSError, ValueError)
_CONTENT: Final = b"probe"


def probe(store: ObjectStore, root: str, *, prefix: str, advice: str) -> None:
    """Raise ConfigError where a location in a bucket is not safe to use."""
    key = f"{prefix}/{TEMPORARY}{secrets.token_hex(8)}".lstrip("/")
    doing = "written"
    refuses = True
    try:
        obstore.put(store, key, _CONTENT, mode="create", use_multipart=False)
        with suppress(AlreadyExistsError):
            obstore.put(store, key, _CONTENT, mode="create", use_multipart=False)
            refuses = False
        doing = "read"
        obstore.get_range(store, key, start=0, length=len(_CONTENT))
        doing = "listed"
        next(iter(obstore.list(store, prefix or None, chunk_size=1)), None)
        doing = "removed from"
        obstore.delete(store, key)
    except _ERRORS as error:
        # from None: the client's message may hold signed URLs.
        raise ConfigError(f"{root} cannot be {doing}: {reason_of(error)}; {advice}") from None
    if not refuses:
        raise ConfigError(
            f"{root} is in a store that overwrites existing files (it ignores If-None-Match: *): "
            "two workers could lose each other's results there. Use another store, or another work folder"
        )

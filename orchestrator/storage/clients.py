"""The clients of object stores: one for each bucket and process, shared by its threads.

obstore reads keys, tokens and roles from the environment by itself; the endpoint and the region are passed to it,
because it knows fewer of their variables.

Rule: obstore's threads do not survive a fork, so a call in the child would hang: it is refused.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.object_url import advice, s3_service

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

_TIMEOUTS: Final[ClientConfig] = {"connect_timeout": "5s", "timeout": "120s"}  # of one request, its body included
_RETRIES: Final[RetryConfig] = {"max_retries": 8, "retry_timeout": timedelta(seconds=120)}
_HASTY_TIMEOUTS: Final[ClientConfig] = {"connect_timeout": "3s", "timeout": "6s"}
_HASTY_RETRIES: Final[RetryConfig] = {"max_retries": 1, "retry_timeout": timedelta(seconds=6)}


_user: dict[str, int] = {}  # the process that has clients


def client(scheme: str, bucket: str, variables: tuple[tuple[str, str], ...], *, is_hasty: bool = False) -> ObjectStore:
    """Return the client of a bucket. Raises ConfigError.

    Args:
        variables: the environment's settings for object stores; each client belongs to one set of them.
        is_hasty: give up after seconds.
    """
    if _user.setdefault("pid", os.getpid()) != os.getpid():
        raise ConfigError(
            "an object store was used before this process was forked, and cannot be used after that: "
            "run workers with threads (--pool=threads), or touch no object store before the fork"
        )
    return _client(scheme, bucket, variables, is_hasty)


@lru_cache(maxsize=64)
def _client(scheme: str, bucket: str, variables: tuple[tuple[str, str], ...], is_hasty: bool) -> ObjectStore:
    timeouts: ClientConfig = {**(_HASTY_TIMEOUTS if is_hasty else _TIMEOUTS)}
    retries = _HASTY_RETRIES if is_hasty else _RETRIES
    try:
        if scheme == "gs":
            return GCSStore(bucket, client_options=timeouts, retry_config=retries)
        if scheme == "az":
            return AzureStore(bucket, client_options=timeouts, retry_config=retries)
        service = s3_service(dict(variables))
        config: S3Config = {"region": service.region}
        if service.endpoint:
            config["endpoint"] = service.endpoint
        if "AWS_COPY_IF_NOT_EXISTS" not in dict(variables):
            config["copy_if_not_exists"] = "multipart"
        if service.is_plain:
            timeouts["allow_http"] = True
        return S3Store(bucket, config=config, client_options=timeouts, retry_config=retries)
    except (BaseError, ValueError, OSError):
        # from None: the client's message may quote credentials.
        raise ConfigError(f"{scheme}://{bucket} cannot be opened: {advice(scheme)}") from None

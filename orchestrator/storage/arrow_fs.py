"""The file systems through which pyarrow reads tables: this machine's, and those of object stores.

Rule 1: the environment says the same to pyarrow as to the clients of the work folder: endpoint, region, keys.
Rule 2: nothing is asked of the network to find that out; what is not said takes a default.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.location import is_url
from orchestrator.storage.object_url import advice, bucket_place, s3_service, service_variables

CONNECT_S_MAX: Final = 5.0
ATTEMPTS_MAX: Final = 6
GCS_RETRY_MAX: Final = timedelta(seconds=60)  # left out, it is 15 minutes
_HERE: Final = pafs.LocalFileSystem()


def filesystem_of(location: str) -> tuple[Any, str]:
    """Return the file system a location is in, and what the location is called there. Raises ConfigError."""
    if not is_url(location):
        return _HERE, location
    place = bucket_place(location)
    path = f"{place.bucket}/{place.key}" if place.key else place.bucket
    return _of_service(place.scheme, service_variables(os.environ)), path


@lru_cache(maxsize=16)
def _of_service(scheme: str, variables: tuple[tuple[str, str], ...]) -> Any:
    environment = dict(variables)
    try:
        match scheme:
            case "s3":
                return _s3(environment)
            case "gs":
                return pafs.GcsFileSystem(retry_time_limit=GCS_RETRY_MAX)
            case _:
                return _azure(environment)
    except (AttributeError, ImportError):
        raise ConfigError(f"this build of pyarrow cannot read {scheme}:// URLs: install one from PyPI") from None
    except (pa.ArrowException, OSError, ValueError):
        # from None: the library's words may hold what it was given.
        raise ConfigError(f"{scheme}:// URLs cannot be read: {advice(scheme)}") from None


def _s3(environment: dict[str, str]) -> Any:
    service = s3_service(environment)
    keys = {
        "access_key": environment.get("AWS_ACCESS_KEY_ID") or None,
        "secret_key": environment.get("AWS_SECRET_ACCESS_KEY") or None,
        "session_token": environment.get("AWS_SESSION_TOKEN") or None,
    }
    named = keys if keys["access_key"] and keys["secret_key"] else {}  # else: the files and roles that AWS knows
    scheme, _, host = service.endpoint.partition("://")
    return pafs.S3FileSystem(
        **named,
        region=service.region,  # left out, it would be asked for over the network
        scheme=scheme or "https",
        endpoint_override=host or None,
        connect_timeout=CONNECT_S_MAX,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS_MAX),
    )


def _azure(environment: dict[str, str]) -> Any:
    account = environment.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ConfigError("az:// URLs need AZURE_STORAGE_ACCOUNT_NAME in the environment")
    key = environment.get("AZURE_STORAGE_ACCOUNT_KEY") or environment.get("AZURE_STORAGE_ACCESS_KEY")
    if key:
        return pafs.AzureFileSystem(account, account_key=key)
    if token := environment.get("AZURE_STORAGE_SAS_TOKEN") or environment.get("AZURE_STORAGE_SAS_KEY"):
        return pafs.AzureFileSystem(account, sas_token=token if token.startswith("?") else f"?{token}")
    return pafs.AzureFileSystem(account)

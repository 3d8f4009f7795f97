"""Parses URLs of object stores, and their services' environment variables. Pure: no I/O.

Rule 1: a URL is `s3://bucket/key`, `gs://bucket/key` or `az://container/key`; the key is not decoded.
Rule 2: a URL holds no secrets; one that may is refused, and never shown. Credentials come from the environment.
Rule 3: unencrypted requests are sent to this machine only, unless AWS_ALLOW_HTTP allows others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from orchestrator.domain.errors import ConfigError

SCHEMES: Final = ("s3", "gs", "az")
REGION: Final = "us-east-1"  # the usual region of S3-compatible servers; AWS answers with the right one
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_SERVICES: Final = ("AWS_", "AZURE_", "GOOGLE_")
_YES: Final = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """A place in a bucket; `key` has no slash at either end."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Service:
    """An S3 service: Amazon's where `endpoint` is empty."""

    endpoint: str  # a URL without a path, or ""
    region: str

    @property
    def is_plain(self) -> bool:
        """Return whether requests are unencrypted."""
        return self.endpoint.startswith("http://")


def bucket_place(url: str) -> BucketPlace:
    """Parse a URL. Raises ConfigError, which shows nothing that could be a secret."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        kinds = ", ".join(f"{known}://" for known in SCHEMES)
        named = f"{scheme}://" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "a URL of this kind"
        raise ConfigError(
            f"{named} is not supported: give a path on this machine, or a URL of {kinds} (datasets: also https://, hf://)"
        )
    bucket, _, key = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise ConfigError(
            f"a {scheme}:// URL names a bucket and a key, and no credentials or host: give {_variables(scheme)} "
            "in the environment instead"
        )
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"a {scheme}:// URL must name a bucket, as in {scheme}://my-bucket/folder")
    parts = key.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts) and parts != [""]:
        raise ConfigError(f"{scheme}://{bucket}/…: a key has no empty parts, and neither . nor .. in it")
    return BucketPlace(scheme=scheme, bucket=bucket, key=key.strip("/"))


def s3_service(environment: Mapping[str, str]) -> S3Service:
    """Return the S3 service of the usual variables. Raises ConfigError for an endpoint that is not a URL of a host."""
    given = [name for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") if environment.get(name)]
    endpoint = environment[given[0]].rstrip("/") if given else ""
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or REGION
    if endpoint:
        _refuse_endpoint(given[0], endpoint, may_be_plain=environment.get("AWS_ALLOW_HTTP", "").lower() in _YES)
    return S3Service(endpoint=endpoint, region=region)


def service_variables(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the environment's settings for object stores: equal ones may share a client."""
    return tuple(sorted((name, value) for name, value in environment.items() if name.startswith(_OF_SERVICES)))


def advice(scheme: str) -> str:
    """Return what to check where a store refuses or does not answer."""
    return f"check that the bucket exists, and {_variables(scheme)} in the environment"


def _variables(scheme: str) -> str:
    return {
        "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for a store that is not Amazon's, "
        "AWS_ENDPOINT_URL",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS",
        "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }[scheme]


def _refuse_endpoint(variable: str, endpoint: str, *, may_be_plain: bool) -> None:
    try:
        parts = urlsplit(endpoint)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_one = False
    if not is_one or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{variable} must be https://host or https://host:port, without path or credentials")
    if parts.scheme == "http" and not may_be_plain and not is_this_machine(parts.hostname or ""):
        raise ConfigError(
            f"{variable} is http://: rows and answers would travel in the clear. Use https://, or set "
            "AWS_ALLOW_HTTP=true where the network may be trusted"
        )


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

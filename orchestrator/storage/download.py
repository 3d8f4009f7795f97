"""Reads a file from a web server: `https://…`, and `http://` on this machine.

Rule 1: a URL may hold a secret, as signed ones do: no error shows more of it than `shown` does.
Rule 2: a file that is cut short is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.storage.object_url import is_this_machine
from orchestrator.storage.open import package_needed

SCHEMES: Final = ("https", "http")
BLOCK_BYTES: Final = 8 * 2**20
TIMEOUT: Final = "6h"  # of the whole file
CONNECT_TIMEOUT: Final = "10s"
RETRIES_S: Final = 120


def is_web(location: str) -> bool:
    """Return whether this is a web server's URL."""
    return location.partition("://")[0].lower() in SCHEMES and "://" in location


def shown(url: str) -> str:
    """Return a web URL without what may be secret: user, password and query; anything else as it is."""
    if not is_web(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def file_name(url: str) -> str:
    """Return the name of a URL's file."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def download(url: str) -> Iterator[bytes]:
    """Yield a file's blocks. Raises ConfigError for a URL that is not taken, DatasetError where it cannot be read."""
    parts = urlsplit(url)
    if "@" in parts.netloc or not parts.hostname:
        raise ConfigError(f"{shown(url)}: a URL names a host and a file, and no user or password")
    is_plain = parts.scheme.lower() == "http"
    if is_plain and not is_this_machine(parts.hostname):
        raise ConfigError(f"{shown(url)}: rows would travel in the clear: use https://, or download the file")
    with package_needed():
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import HTTPStore
    try:
        store = HTTPStore.from_url(
            url,
            client_options={"allow_http": is_plain, "timeout": TIMEOUT, "connect_timeout": CONNECT_TIMEOUT},
            retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=RETRIES_S)},
        )
        for block in obstore.get(store, "").stream(min_chunk_size=BLOCK_BYTES):
            yield bytes(block)
    except (BaseError, OSError, ValueError) as error:
        from orchestrator.storage.object_store import reason_of

        # from None: the client's message holds the URL.
        raise DatasetError(f"{shown(url)} cannot be read: {reason_of(error)}") from None

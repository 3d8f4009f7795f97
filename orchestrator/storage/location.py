"""Where files are: a path on this machine or a URL of an object store, as one text. Pure; nothing is opened here.

Rule 1: a location is absolute and has no slash at its end, so that equal places are equal texts.
Rule 2: a `file://` URL is the path it names; anything else with `://` is an object store's, and bears no secrets.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.object_url import bucket_place


def locate(place: str | Path) -> str:
    """Return the location of a path or URL that a user wrote, relative to the current folder. Raises ConfigError."""
    text = str(place)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if is_url(text):
        return str(bucket_place(text))
    return str(Path(text).expanduser().absolute())


def is_url(location: str) -> bool:
    """Say whether this is an object store's."""
    return "://" in location


def join(location: str, *names: str) -> str:
    """Return the location of what lies below."""
    return "/".join((location.rstrip("/"), *names))


def parent_and_name(location: str) -> tuple[str, str]:
    """Return what it lies in, and its own name. Raises ConfigError for a whole bucket, which lies in nothing."""
    if is_url(location) and not bucket_place(location).key:
        raise ConfigError(f"{location} is a whole bucket: name a folder in it, as in {location}/jobs")
    parent, _, name = location.rpartition("/")
    return parent or "/", name

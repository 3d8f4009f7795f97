"""Locations of files: a path on this machine or a URL of an object store, as one text. Pure: no I/O.

Rule 1: a location is absolute and has no slash at its end, so that equal places have equal texts.
Rule 2: a `file://` URL becomes its path; any other text with `://` is an object store's URL, and holds no secrets.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.object_url import bucket_place


def locate(place: str | Path) -> str:
    """Return the location of a user's path (relative to the current folder) or URL. Raises ConfigError."""
    text = str(place)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if is_url(text):
        return str(bucket_place(text))
    return str(expanded(text).absolute())


def expanded(text: str) -> Path:
    """Return a user's path with the home folder that its "~" means. Raises ConfigError."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: there is no user of this name; write ./~ for a file that is called so") from None


def beside(folder: Path, place: str) -> str:
    """Return the location of a path that is relative to this folder, or of a URL. Raises ConfigError."""
    return place if "://" in place else locate(folder / expanded(place))


def is_url(location: str) -> bool:
    """Return whether this is an object store's."""
    return "://" in location


def join(location: str, *names: str) -> str:
    """Return the location of a file or folder below `location`."""
    return "/".join((location.rstrip("/"), *names))


def parent_and_name(location: str) -> tuple[str, str]:
    """Return the parent and the name. Raises ConfigError for a whole bucket, which has no parent."""
    if is_url(location) and not bucket_place(location).key:
        raise ConfigError(f"{location} is a whole bucket: name a folder in it, as in {location}/jobs")
    parent, _, name = location.rpartition("/")
    return parent or "/", name

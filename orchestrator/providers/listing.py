"""A provider's list of batches, read page by page: `{"data": [batch object, …], "has_more"}`, newest first.

Rule: an unreadable page is an error: an incomplete list must never be treated as complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.model import is_usable_id
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.error_mapping import error_of, problem_of

PAGE_BYTES_MAX: Final = 8 << 20

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list, newest first."""

    batches: Sequence[Fields]
    has_more: bool | None  # None: the provider does not say


def pages(http: HttpClient, path: str, *, limit: int = 100, cursor: str = "after") -> Iterator[Page]:
    """Read the list, newest first, to its end. Raises ProviderError where a page cannot be read.

    Args:
        limit: batches of a page, at most.
        cursor: the parameter that names the last batch of the page before.
    """
    after, seen = "", set[str]()
    while True:
        query = f"?limit={limit}" + (f"&{cursor}={quote(after, safe='')}" if after else "")
        answer = http.head("GET", f"{path}{query}", size_max=PAGE_BYTES_MAX, enough=lambda _: False)
        problem = problem_of(answer, http.key)
        if problem is not None:
            raise error_of(problem)
        page = page_of(answer.json())
        if page is None:
            raise Unavailable("the list of batches cannot be read")
        yield page
        after = str(page.batches[-1]["id"]) if page.batches else ""
        if page.has_more is False or (page.has_more is None and (not after or after in seen)):
            return
        if not after or after in seen:
            raise Unavailable("the list of batches ends, although it announces more")
        seen.add(after)


def page_of(content: object) -> Page | None:
    """Read a page of the list; None where it is none, or where one of its batches has no id that can be used."""
    match content:
        case {"data": list() as batches, **others}:
            has_more = others.get("has_more")
        case _:
            return None
    if not all(isinstance(batch, dict) and is_usable_id(_id_of(batch)) for batch in batches):
        return None
    return Page(batches=batches, has_more=has_more if isinstance(has_more, bool) else None)


def created_at(batch: Fields) -> datetime | None:
    """Return when a batch was made; None where that cannot be read."""
    value = batch.get("created_at")
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _id_of(batch: Fields) -> str:
    batch_id = batch.get("id")
    return batch_id if isinstance(batch_id, str) else ""

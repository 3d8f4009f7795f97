"""A provider's list of batches, read page by page: `{"data": [batch object, …], "has_more"}`, newest first.

Rule 1: an unreadable page is an error: an incomplete list must never be treated as complete.
Rule 2: an entry that cannot be read does not hide the others; but such a page, and a bare array, which says nothing of
        further pages, do not show that a batch is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.errors import Unidentified
from orchestrator.domain.model import BatchId, is_usable_id
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.error_mapping import error_of, problem_of

PAGE_BYTES_MAX: Final = 8 << 20
AGE_MAX: Final = timedelta(hours=30)  # of a batch in flight: its window is 24 hours, and some take longer to end

# Why a batch that was not found may exist all the same.
UNTOLD: Final = (
    "the list of batches has entries without a usable id, or does not say where it ends: a batch may be hidden in it"
)

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list, newest first: the batches whose ids can be used."""

    batches: Sequence[Fields]
    has_more: bool | None  # None: the provider does not say
    is_whole: bool = True  # whether it proves which batches are absent


def pages(http: HttpClient, path: str, *, limit: int = 100, cursor: str = "after") -> Iterator[Page]:
    """Read the list, newest first, to its end. Raises ProviderError where a page cannot be read.

    Raises Unidentified, after the last page, where there may be more that the provider does not show.

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
            raise Unidentified(f"the answer to {answer.asked} is no list of batches")
        yield page
        after = str(page.batches[-1]["id"]) if page.batches else ""
        is_end = not after or after in seen
        if page.has_more is False or (page.has_more is None and is_end and len(page.batches) < limit):
            return
        if is_end:
            raise Unidentified(f"the list of batches ends, although there may be more ({answer.asked})")
        seen.add(after)


def statuses_of(
    read: Iterable[Page], status_of: Callable[[Fields], BatchStatus | None]
) -> Iterator[Mapping[BatchId, BatchStatus]]:
    """Return the statuses on each page, up to one all of whose batches are too old to be running."""
    too_old = datetime.now(UTC) - AGE_MAX
    for page in read:
        found = ((BatchId(batch["id"]), status_of(batch)) for batch in page.batches)
        yield {batch_id: status for batch_id, status in found if status is not None}
        if page.batches and all(_is_older(batch, too_old) for batch in page.batches):
            return


def _is_older(batch: Fields, limit: datetime) -> bool:
    made_at = created_at(batch)
    return made_at is not None and made_at < limit


def page_of(content: object) -> Page | None:
    """Read a page of the list; None where it is none."""
    is_proof = True
    match content:
        case {"data": dict() as inner}:  # an envelope, such as {"code": 0, "data": {"data": […]}}
            return page_of(inner)
        case {"data": list() as entries, **others}:
            has_more = others.get("has_more")
        case {"batches": list() as entries, **others} | {"items": list() as entries, **others}:
            has_more = others.get("has_more")
            is_proof = isinstance(has_more, bool)  # a list in another form proves nothing, unless it says where it ends
        case list() as entries:
            has_more, is_proof = None, False
        case _:
            return None
    batches = [entry for entry in entries if isinstance(entry, dict) and is_usable_id(_id_of(entry))]
    return Page(
        batches=batches,
        has_more=has_more if isinstance(has_more, bool) else None,
        is_whole=len(batches) == len(entries) and is_proof,
    )


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

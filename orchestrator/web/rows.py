"""The pages of rows: a list of a job's rows, page by page, and one row from the source to its answer.

Rule 1: what a row, a request or an answer holds is text on the page, whatever it holds.
Rule 2: no page counts or scans all rows: counts are the look's, a list ends where its time is over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse
from starlette.routing import Route

from orchestrator.api.job_pictures import MAP_S
from orchestrator.api.row_viewer import RowViewer
from orchestrator.domain import custom_id
from orchestrator.domain.custom_id import KEY
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.row_filter import RowFilter, Shown, Where, row_filter

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.show import RowTrace
    from orchestrator.api.viewer import Viewer
    from orchestrator.domain.look import Look
    from orchestrator.web.reading import FileReaders

ROWS: Final = 50  # of a page
LOOK_S: Final = 2.0  # for so long a page looks for rows
PLACE: Final = re.compile("([0-9]{1,9})-([0-9]{1,9})")
LONG: Final = ("response", "tool_calls", "reasoning", "choices")  # columns about an answer that are texts
IN_HEAD: Final = ("status", "error_message", "raw", "embedding")
TABS: Final = {
    Shown.ALL: "All",
    Shown.ANSWERED: "Answered",
    Shown.FAILED: "Failed",
    Shown.TRUNCATED: "Cut off",
    Shown.EMPTY: "Empty",
    Shown.REFUSED: "Refused",
    Shown.REUSED: "Reused",
}
PLACES: Final = {
    Where.BOTH: "in request and answer",
    Where.REQUEST: "in the request",
    Where.ANSWER: "in the answer",
}


class RowRoutes:
    """The handlers. They are plain functions, so that Starlette runs them in threads."""

    def __init__(self, viewer: Viewer, page: Callable[..., Response], readers: FileReaders) -> None:
        self._viewer, self._page, self._readers = viewer, page, readers

    @property
    def _rows(self) -> RowViewer:
        return RowViewer(self._viewer.workspace)

    @property
    def routes(self) -> list[Route]:
        """The addresses, before those of a job's parts."""
        return [Route("/jobs/{job}/rows", self.rows), Route("/jobs/{job}/rows/{row:path}", self.row)]

    def rows(self, request: Request) -> Response:
        """A list of rows; or the way to one that was named."""
        query = request.query_params
        look = self._viewer.look(JobId(request.path_params["job"]), within_s=MAP_S)
        if named := query.get("find", "").strip():
            # Where rows have keys of their own, any text may be one, and SHARD-ROW, too.
            has_keys = bool(self._viewer.spec(JobId(look.job_id)).dataset_options.key)
            name = KEY + named if has_keys else _place(named)
            return RedirectResponse(f"/jobs/{quote(look.job_id)}/rows/{quote(name, safe='')}", 303)
        names = ("shown", "cause", "text", "where", "chunk")
        wanted = row_filter(**{name: query.get(name, "") for name in names})
        start = _start(query.get("at", ""))
        job_id = JobId(look.job_id)
        found = self._readers.run(
            lambda: self._rows.page(job_id, wanted, start=start, limit=ROWS, until=time.monotonic() + LOOK_S)
        )
        return self._page(
            "rows.html",
            look=look,
            wanted=wanted,
            found=found,
            is_first=start == (0, 0),
            limit=ROWS,
            numbers=self._rows.numbers(job_id, {(one.shard, one.row) for one in found.rows}),
            tabs=[(word, _count(look, shown), _address(wanted, shown=shown, cause="")) for shown, word in TABS.items()],
            tab=TABS[wanted.shown],
            places={
                Where.BOTH: "in request and answer",
                Where.REQUEST: "in the request",
                Where.ANSWER: "in the answer",
            },
            going_on="" if found.next is None else _address(wanted, at=f"{found.next[0]}-{found.next[1]}"),
            first=_address(wanted),
            download=_download(wanted),
        )

    def row(self, request: Request) -> Response:
        """One row."""
        look = self._viewer.look(JobId(request.path_params["job"]), within_s=MAP_S)
        named = _place(request.path_params["row"])
        place = PLACE.fullmatch(named)
        job_id = JobId(look.job_id)
        name = named.removeprefix(KEY) if place is None else f"{place[1]}/{place[2]}"
        trace = self._readers.run(lambda: self._rows.trace(job_id, name))
        before, after = self._rows.neighbours(job_id, (trace.shard, trace.row))
        return self._page(
            "row.html",
            look=look,
            trace=trace,
            before=before,
            after=after,
            number=self._rows.numbers(job_id, {(trace.shard, trace.row)}).get((trace.shard, trace.row)),
            spec=self._viewer.spec(job_id),
            **_told(trace, self._viewer.spec(job_id).output_options.prefix),
        )


def _place(named: str) -> str:
    """Return a row as addresses name it: SHARD-ROW, as people may write SHARD/ROW."""
    place = custom_id.place(named)
    return named if place is None else f"{place[0]}-{place[1]}"


def _start(text: str) -> tuple[int, int]:
    place = PLACE.fullmatch(text)
    if text and place is None:
        raise ConfigError(f"{text!r} is no place of a row: it is SHARD-ROW, such as 0-120")
    return (0, 0) if place is None else (int(place[1]), int(place[2]))


def _address(wanted: RowFilter, *, at: str = "", **other: Any) -> str:
    """Return the query of these rows."""
    changed = replace(wanted, **other)
    shown = "" if changed.shown is Shown.ALL or changed.cause else changed.shown.value
    where = "" if changed.where is Where.BOTH else changed.where.value
    named = {"shown": shown, "cause": changed.cause, "text": changed.text, "where": where, "chunk": changed.chunk}
    return "?" + urlencode({name: value for name, value in (named | {"at": at}).items() if value})


def _download(wanted: RowFilter) -> str:
    """Return the address of a file of all these rows; "" where a file holds other rows than these."""
    if wanted.text or wanted.cause or wanted.chunk or wanted.shown is Shown.REUSED:
        return ""
    kinds = {Shown.ALL: "", Shown.ANSWERED: "?rows=succeeded"}
    return "download.csv" + kinds.get(wanted.shown, f"?rows={wanted.shown}")


def _count(look: Look, shown: Shown) -> int:
    rows = look.rows
    counts = {
        Shown.ALL: rows.answered + rows.failed,
        Shown.ANSWERED: rows.answered,
        Shown.FAILED: rows.failed,
        Shown.REUSED: rows.reused,
    }
    return counts.get(shown, look.flaws.get(shown.value, 0))


def _told(trace: RowTrace, prefix: str) -> dict[str, Any]:
    """Return what came back: the text, the error, what has texts of its own, and the other columns about it."""
    columns = {name: value for name, value in (trace.answer or {}).items() if value is not None}
    named = {name.removeprefix(prefix): value for name, value in columns.items() if name.startswith(prefix)}
    texts = {name: named[name] for name in LONG if name in named}
    others = {name: value for name, value in named.items() if name not in (*LONG, *IN_HEAD)}
    error = ": ".join(str(named[name]) for name in ("error_code", "error_message") if name in named)
    has_failed = named.get("status") == "failed"
    return {"outcome": named.get("status"), "error": error if has_failed else "", "texts": texts, "others": others}

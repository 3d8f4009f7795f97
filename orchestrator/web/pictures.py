"""The parts of a job's page that are drawn from many chunks: failures, charts, the map, and what it came to.

Rule: each is drawn from a bounded answer of the ledger; an example of a failure is read from files, and asked apart.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse
from starlette.routing import Route

from orchestrator.api.job_pictures import MAP_S, JobPictures
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.row_filter import row_filter
from orchestrator.web.charts import histogram_chart, money_chart, rows_chart, strip_chart
from orchestrator.web.chunk_map import LEGEND, cells, chosen, told

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.viewer import Viewer
    from orchestrator.domain.look import Look
    from orchestrator.web.reading import FileReaders
    from orchestrator.web.rendering import Templates

CAUSES_SHOWN: Final = 12
DOWNLOADS: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# What the commonest error codes of rows mean. Another code stands for itself.
CAUSES: Final = {
    "content_filter": "The provider's filter refused the answer",
    "server_error": "The provider failed, each time that they were sent",
    "rate_limit_exceeded": "The provider was asked too much, each time",
    "expired": "Their batch expired before they were answered",
    "batch_expired": "Their batch expired before they were answered",
    "cancelled": "Their job was cancelled before they were answered",
    "unreadable": "Answered in a form that cannot be read: kept, and can be read again",
    "invalid_json": "The answer is no JSON",
    "schema_mismatch": "The answer does not fit the schema",
    "null_skipped": "Not sent: a column is null",
    "not_sent_again": "Failed before, and not sent again",
    "results_lost": "Answered, but the provider does not hand out the results",
    "other": "Other errors",
}
FLAWS: Final = {
    "truncated": "Answered, but cut off at the limit of tokens",
    "empty": "Answered with an empty text",
    "refused": "Answered with a refusal of the model",
}


class PictureRoutes:
    """The handlers. They are plain functions, so that Starlette runs them in threads."""

    def __init__(self, viewer: Viewer, templates: Templates, readers: FileReaders) -> None:
        self._viewer, self._templates, self._readers = viewer, templates, readers
        self._pictures: JobPictures | None = None

    @property
    def routes(self) -> list[Route]:
        """The addresses, before those of a job's other parts."""
        return [
            Route("/jobs/{job}/failures", self.failures),
            Route("/jobs/{job}/charts", self.charts),
            Route("/jobs/{job}/map", self.map),
            Route("/jobs/{job}/spread", self.spread),
            Route("/jobs/{job}/square", self.square),
            Route("/jobs/{job}/example", self.example),
            Route("/jobs/{job}/download.{form}", self.download),
        ]

    @property
    def pictures(self) -> JobPictures:
        """What reads the ledger."""
        if self._pictures is None:
            self._pictures = JobPictures(self._viewer.workspace)
        return self._pictures

    def parts(self, look: Look, request: Request) -> dict[str, Any]:
        """Return what the templates of all these parts need."""
        return self._failures(look) | self._charts(look) | self._map(look, request) | self._report(look)

    def failures(self, request: Request) -> Response:
        """Rows that have failed or are not whole, by cause."""
        look = self._look(request)
        return self._templates.part("_failures.html", request, lambda: {"look": look} | self._failures(look))

    def charts(self, request: Request) -> Response:
        """The course of the job."""
        look = self._look(request)
        return self._templates.part("_charts.html", request, lambda: {"look": look} | self._charts(look))

    def map(self, request: Request) -> Response:
        """The squares."""
        look = self._look(request)
        return self._templates.part("_map.html", request, lambda: {"look": look} | self._map(look, request))

    def spread(self, request: Request) -> Response:
        """How answers are spread over tokens and cost, and the dearest rows; a page of its own without JavaScript."""
        from orchestrator.api.spread import UNREAD_MAX

        look = self._look(request)
        found = self._readers.run(lambda: self.pictures.spread(JobId(look.job_id)))
        pairs = (("Tokens of an answer", found.output_tokens, False), ("Cost of an answer, USD", found.cost_usd, True))
        values: dict[str, Any] = {
            "look": look,
            "found": found,
            "unread_max": UNREAD_MAX,
            "pair": [histogram_chart(title, one, is_money=money) for title, one, money in pairs if one is not None],
        }
        if request.headers.get("hx-request") == "true":
            return self._templates.part("_spread.html", request, lambda: values)
        return self._templates.page("spread.html", **values)

    def square(self, request: Request) -> Response:
        """What is said of one square."""
        look = self._look(request)
        return self._templates.page("_square.html", look=look, **self._map(look, request))

    def example(self, request: Request) -> Response:
        """One row of a cause."""
        look = self._look(request)
        query = request.query_params
        wanted = row_filter(shown=query.get("shown", ""), cause=query.get("cause", ""))
        row = self._readers.run(lambda: self.pictures.example(JobId(look.job_id), wanted))
        return self._templates.page("_example.html", look=look, row=row)

    def download(self, request: Request) -> Response:
        """The output, or what is answered so far, with its source columns: streamed."""
        form, kind = request.path_params["form"], request.query_params.get("rows")
        look = self._look(request)
        if form not in DOWNLOADS:
            raise ConfigError(f"a download is one of {', '.join(DOWNLOADS)}, not {form}")
        pieces = self.pictures.download(self._viewer.handle(JobId(look.job_id)), form, kind)
        first = self._readers.run(lambda: next(pieces, b""))  # an error is told before the file begins
        of_kind = f"-{kind}" if kind and re.fullmatch("[a-z_]{1,64}", kind) else ""  # it may be a condition
        name = f"{look.job_id}{of_kind}.{form}"
        return StreamingResponse(
            chain([first], pieces),
            media_type=DOWNLOADS[form],
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    def _look(self, request: Request) -> Look:
        return self._viewer.look(JobId(request.path_params["job"]), within_s=MAP_S)

    def _failures(self, look: Look) -> dict[str, Any]:
        flaws = [(kind, FLAWS.get(kind, kind), count) for kind, count in look.flaws.items() if count]
        return {"causes": look.causes[:CAUSES_SHOWN], "cause_words": CAUSES, "flaws": flaws}

    def _charts(self, look: Look) -> dict[str, Any]:
        job_id = JobId(look.job_id)
        course, durations = self.pictures.course(job_id), self.pictures.durations(job_id)
        pair = [] if course is None else [rows_chart(course), money_chart(course, look.money.budget)]
        return {"pair": pair, "strip": None if durations is None else strip_chart(durations)}

    def _map(self, look: Look, request: Request) -> dict[str, Any]:
        job_id, name = JobId(look.job_id), request.query_params.get("square", "")
        found = self.pictures.chunk_map(job_id)
        square = chosen(found, name)
        if square is None and name:
            raise ConfigError(f"job {look.job_id} has no chunk {name!r}")
        inside = [] if square is None else self.pictures.chunks_of_square(job_id, square.first, square.last)
        return {
            "planned": cells(found.planned),
            "again": cells(found.again),
            "square": square,
            "told_of": told,
            "inside": inside,
            "legend": LEGEND,
        }

    def _report(self, look: Look) -> dict[str, Any]:
        if not look.has_ended:
            return {"report": None}
        job_id = JobId(look.job_id)
        downloads = [(form, f"Output as {word}") for form, word in (("csv", "CSV"), ("jsonl", "JSON lines"))]
        output = "" if look.reason else self.pictures.output(job_id)
        return {"report": self.pictures.report(job_id), "output": output, "downloads": downloads if output else []}

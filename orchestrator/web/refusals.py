"""What a request gets that is not answered: a document for programs, a page or a line of text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from orchestrator.domain.errors import ConfigError, LedgerError, OrchestratorError, OutputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.documents.document import Part
    from orchestrator.api.documents.upkeep import Error
    from orchestrator.web.rendering import Templates

FOR_PROGRAMS: Final = "/api/"
NO_PAGE: Final = "There is no such page. The list of jobs is at /."
NO_DOCUMENT: Final = "There is no such address. /api/jobs lists all jobs, /api/jobs/JOB_ID is one of them."
READ_ONLY: Final = (
    "Programs only read here, with GET. What changes a job is done by a command, such as `orchestrator run`."
)
BUG: Final = "The page has a fault of its own. What it is stands where `orchestrator ui` runs; a bug report needs that."


def document(part: Part, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a document for programs."""
    from orchestrator.api.documents.document import text

    return PlainTextResponse(text(part), status_code=status, media_type="application/json", headers=headers)


def is_for_program(path: str) -> bool:
    """Return whether an address is for programs."""
    return path.startswith(FOR_PROGRAMS) or path == FOR_PROGRAMS.rstrip("/")


def refusal(path: str, why: str, status: int) -> Response:
    """Return what a request gets that is refused before it reaches a page."""
    if not is_for_program(path):
        return PlainTextResponse(f"{why}\n", status_code=status)
    from orchestrator.api.documents.errors import usage
    from orchestrator.api.exit_codes import WRONG

    return document(usage(why, WRONG), status=status)


class Refusals:
    """The handlers of errors."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    @property
    def handlers(self) -> dict[Any, Callable[[Request, Exception], Response]]:
        """Return which error is told how."""
        away = dict.fromkeys((LedgerError, StorageError, OutputError), self._away)
        ours = {OrchestratorError: self._refused, ConfigError: self._not_there, **away}
        return {**ours, HTTPException: self._no_route, Exception: self._bug}

    def _refused(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 409)

    def _not_there(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 404)

    def _away(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 503)

    def _told(self, request: Request, error: Exception, status: int) -> Response:
        from orchestrator.api.documents.errors import of_error

        assert isinstance(error, OrchestratorError)  # noqa: S101 - it is asked for no other
        return self._answer(request, str(error), status, lambda: of_error(error))

    def _no_route(self, request: Request, error: Exception) -> Response:
        from orchestrator.api.documents.errors import usage
        from orchestrator.api.exit_codes import WRONG

        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        is_wrong_method, for_program = error.status_code == 405, is_for_program(request.url.path)
        why = READ_ONLY if is_wrong_method else NO_DOCUMENT
        if not for_program:
            why = f"{request.method} is not for this page." if is_wrong_method else NO_PAGE
        answer = self._answer(request, why, error.status_code, lambda: usage(why, WRONG))
        answer.headers.update(error.headers or {})
        return answer

    def _bug(self, request: Request, error: Exception) -> Response:
        from orchestrator.api.documents.errors import unexpected

        return self._answer(request, BUG, 500, lambda: unexpected(error))

    def _answer(self, request: Request, why: str, status: int, error: Callable[[], Error]) -> Response:
        if is_for_program(request.url.path):
            return document(error(), status=status)
        is_part = request.headers.get("hx-request") == "true"  # htmx leaves the part as it was
        if is_part or "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(f"{why}\n", status_code=status)
        return self._templates.page("error.html", status=status, why=why, is_missing=status == 404)

"""What a request gets that is not answered: a document for programs, a page or a line of text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from orchestrator.domain.errors import ConfigError, LedgerError, OrchestratorError, OutputError, StorageError
from orchestrator.web.reading import FolderLate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.documents.document import Part
    from orchestrator.api.documents.upkeep import Error
    from orchestrator.api.viewer import Viewer
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

    def __init__(self, templates: Templates, viewer: Viewer) -> None:
        self._templates, self._viewer = templates, viewer

    @property
    def handlers(self) -> dict[Any, Callable[[Request, Exception], Response]]:
        """Return which error is told how."""
        files = dict.fromkeys((StorageError, OutputError), self._damaged)
        away = {LedgerError: self._away, FolderLate: self._away, **files}
        ours = {OrchestratorError: self._refused, ConfigError: self._not_there, **away}
        return {**ours, HTTPException: self._no_route, Exception: self._bug}

    def _refused(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 409)

    def _not_there(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 404)

    def _away(self, request: Request, error: Exception) -> Response:
        return self._told(request, error, 503)

    def _damaged(self, request: Request, error: Exception) -> Response:
        """Say of a file that cannot be read what to type: it is one of a job."""
        job = request.path_params.get("job", "JOB")
        audit = self._viewer.command("audit", job)
        return self._told(request, error, 503, f"\nWhat else of the job is missing or damaged is told by: {audit}")

    def _told(self, request: Request, error: Exception, status: int, hint: str = "") -> Response:
        from orchestrator.api.documents.errors import of_error

        assert isinstance(error, OrchestratorError)  # noqa: S101 - it is asked for no other
        return self._answer(request, f"{error}{hint}", status, lambda: of_error(error))

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
        title = "This is not here" if status == 404 else "This cannot be shown"
        return self._templates.page("refused.html", status=status, title=title, why=why, job_id="")

"""The page's application: its routes, and how a look becomes a page.

Rule 1: a job's page is drawn from a look, a list of batches and a list of events: nothing scans rows.
Rule 2: everything works without JavaScript; with it, parts of a page are asked for anew while it is in front.
Rule 3: what comes from a provider or a row is escaped text, without control characters.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from orchestrator.api.event_words import ON_THE_WAY
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.look import GROUPS
from orchestrator.domain.model import JobId
from orchestrator.domain.timeline import Group
from orchestrator.web.access import Access, Guard
from orchestrator.web.accounts import Fleet
from orchestrator.web.actions import DONE, Actions
from orchestrator.web.pictures import PictureRoutes
from orchestrator.web.reading import FileReaders
from orchestrator.web.refusals import FOR_PROGRAMS, NO_PAGE, Refusals, document
from orchestrator.web.rendering import Templates
from orchestrator.web.rows import RowRoutes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.background import Background
    from orchestrator.api.viewer import Viewer
    from orchestrator.domain.look import Look

HERE: Final = Path(__file__).parent
BATCHES_MAX: Final = 12  # of a group, until all are asked for
BATCHES_ALL: Final = 500
EVENTS_MAX: Final = 12  # of the log, those that matter
EVENTS_PAGE: Final = 100  # of a page of all of them
TABS: Final = {
    "flight": (Group.AT_PROVIDER,),
    "need": (Group.NEEDS_YOU,),
    "waiting": (Group.WAITING,),
    "collected": (Group.COLLECTED,),
    "given-up": (Group.GIVEN_UP,),
}


def make_app(viewer: Viewer, access: Access, background: Background | None = None) -> Starlette:
    """Return the application for an open work folder. Without a `background` it only looks."""
    templates = Templates(viewer, may_act=background is not None, mark=access.mark)
    readers = FileReaders()
    readers.prepare()
    pictures = PictureRoutes(viewer, templates, readers)
    pages = Pages(viewer, templates, pictures, background)
    actions = Actions(viewer, templates, access, background)
    routes = [
        Route("/", pages.jobs),
        *RowRoutes(viewer, templates.page, readers).routes,
        *pictures.routes,
        *actions.routes(),
        *Fleet(viewer, templates).routes(),
        Route("/jobs/{job}", pages.job),
        Route("/jobs/{job}/{part}", pages.part),
        Route(f"{FOR_PROGRAMS}jobs", pages.json_jobs),
        Route(f"{FOR_PROGRAMS}jobs/{{job}}", pages.json_job),
        Route("/metrics", pages.metrics),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers=Refusals(templates, viewer).handlers,
    )


class Pages:
    """The handlers. They are plain functions, so that Starlette runs them in threads: the ledger may be slow."""

    def __init__(
        self, viewer: Viewer, templates: Templates, pictures: PictureRoutes, background: Background | None = None
    ) -> None:
        self._viewer = viewer
        self._pictures = pictures
        self._background = background
        self._templates, self._page = templates, templates.page

    def jobs(self, request: Request) -> Response:
        """The list of jobs, or only its changing part."""
        looks = self._viewer.jobs()
        groups = [(title, [one for one in looks if one.activity in some]) for title, some in GROUPS]
        values: dict[str, Any] = {"groups": [one for one in groups if one[1]], "looks": looks}
        if request.headers.get("hx-request") == "true":
            return self._templates.part("_jobs.html", request, lambda: values)
        return self._page("jobs.html", **values)

    def job(self, request: Request) -> Response:
        """One job."""
        look = self._look(request)
        spec, done = self._viewer.spec(JobId(look.job_id)), DONE.get(request.query_params.get("done", ""), "")
        parts = self._head(look, request) | self._batches(look, request) | self._log(look, request)
        parts |= self._pictures.parts(look, request)
        return self._page("job.html", look=look, spec=spec, done=done, **parts)

    def part(self, request: Request) -> Response:
        """One changing part of a job's page."""
        made = {"head": self._head, "batches": self._batches, "log": self._log}.get(request.path_params["part"])
        if made is None:
            raise ConfigError(NO_PAGE)
        look = self._look(request)
        failure = self._failure(look)
        name = f"_{request.path_params['part']}.html"
        return self._templates.part(
            name, request, lambda: {"look": look} | made(look, request), made_of=(look.job_id, look.at, failure)
        )

    def json_jobs(self, _request: Request) -> Response:
        """All jobs, as `orchestrator status --json` prints them."""
        from orchestrator.api.documents.status import Jobs

        jobs = tuple(self._viewer.status(one.id).document() for one in self._viewer.known())
        return document(Jobs(work=self._viewer.work, jobs=jobs))

    def json_job(self, request: Request) -> Response:
        """One job, as `orchestrator status JOB --json` prints it."""
        return document(self._viewer.status(JobId(request.path_params["job"])).document())

    def metrics(self, _request: Request) -> Response:
        """All jobs as metrics."""
        from orchestrator.api.metrics import CONTENT_TYPE, metrics

        return PlainTextResponse(metrics(self._viewer), media_type=CONTENT_TYPE)

    def _look(self, request: Request) -> Look:
        return self._viewer.look(JobId(request.path_params["job"]))

    def _head(self, look: Look, _request: Request) -> dict[str, Any]:
        return {"failure": self._failure(look)}

    def _failure(self, look: Look) -> str:
        return "" if self._background is None else self._background.failure(JobId(look.job_id))

    def _batches(self, look: Look, request: Request) -> dict[str, Any]:
        query = request.query_params
        tab = query.get("batches", "flight")
        tab = tab if tab in TABS else "flight"
        is_all = query.get("all") == "batches"
        return {
            "tab": tab,
            "tabs": {name: sum(look.batches.get(group, 0) for group in some) for name, some in TABS.items()},
            "batches_are_all": is_all,
            "batches": self._viewer.batches(JobId(look.job_id), TABS[tab], BATCHES_ALL if is_all else BATCHES_MAX),
        }

    def _log(self, look: Look, request: Request) -> dict[str, Any]:
        query = request.query_params
        before, is_whole = _number(query.get("before", "")), query.get("all") == "log"
        limit, without = (EVENTS_PAGE, ()) if is_whole else (EVENTS_MAX, ON_THE_WAY)
        found = self._viewer.events(JobId(look.job_id), limit + 1, before=before, without=without)
        return {
            "events": [one for _, one in found[:limit]],
            "log_is_whole": is_whole,
            "log_before": before,
            "log_goes_on": found[limit - 1][0] if len(found) > limit else None,
        }


def _number(text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch("[0-9]{1,18}", text) is None:
        raise ConfigError(f"{text[:40]!r} is no place in the log: it is the number of an entry")
    return int(text)

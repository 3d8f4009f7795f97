"""What a person has done to a job on the page: confirmation pages, and the POST that acts.

Rule 1: a page says what happens and what it costs, before; a POST acts. Each POST bears the mark of a page of ours.
Rule 2: an action goes through the job's handle, as the command line does: where another process runs the job, that one
        carries it out; else a thread of this process does.
Rule 3: a form acts once (`once`), and not at all where what it was about has changed.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from orchestrator.api.job import TOKENS_MAX
from orchestrator.domain.canary import CANARY
from orchestrator.domain.errors import ConfigError, OrchestratorError
from orchestrator.domain.model import JobId
from orchestrator.log import printable
from orchestrator.web.offers import Action, Offer, Refused, absent_price, offer
from orchestrator.web.once import Once

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.background import Background
    from orchestrator.api.handle import JobHandle
    from orchestrator.api.status import UnresolvedChunk
    from orchestrator.api.viewer import Viewer
    from orchestrator.web.access import Access
    from orchestrator.web.rendering import Templates

FORM_BYTES_MAX: Final = 16_384
SAMPLES_MAX: Final = 6
DONE: Final[Mapping[str, str]] = {
    Action.APPROVE: "Approved.",
    Action.RUN: "It goes on.",
    Action.PAUSE: "It is paused: nothing more is sent.",
    Action.RESUME: "It is resumed.",
    Action.CANCEL: "It is cancelled: what was answered is kept.",
    Action.RETRY: "The rows are sent again.",
    Action.REREAD: "The answers were read again.",
    Action.RESOLVE: "Your decision is recorded.",
}


class Changed(Exception):
    """What a form was about has changed since its page was made."""


class WrongField(ConfigError):
    """What a person wrote into a field of a form is not possible."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{why}. Nothing was done.")
        self.name = name


@dataclass(frozen=True, slots=True)
class Actions:
    """The handlers of the actions."""

    viewer: Viewer
    templates: Templates
    access: Access
    background: Background | None  # None: the page only looks
    once: Once = field(default_factory=Once)

    def routes(self) -> list[Route]:
        """Return the routes: a page and a POST for each action."""
        return [
            Route("/jobs/{job}/do/{action}", self.confirm, methods=["GET"]),
            Route("/jobs/{job}/do/{action}", self.act, methods=["POST"]),
        ]

    def confirm(self, request: Request) -> Response:
        """The page that says what an action does."""
        job_id, action = self._asked(request)
        if self.background is None:
            return self._read_only(job_id, action)
        return self._confirm(job_id, action, request.query_params)

    def _confirm(
        self, job_id: JobId, action: Action, given: Mapping[str, str], wrong: WrongField | None = None
    ) -> Response:
        """Return the page of an action, with what a person has written into its form."""
        status = self.viewer.status(job_id)
        try:
            found = offer(action, status, self.viewer, given.get("rows", ""))
        except OrchestratorError as error:
            found = Refused(why=str(error))
        if isinstance(found, Refused):
            return self._refused(job_id, action, found.why, HTTPStatus.OK)
        handle = self.viewer.handle(job_id)
        chunks = handle.unresolved() if action is Action.RESOLVE else []
        samples = handle.samples(SAMPLES_MAX) if action is Action.APPROVE and status.decision == CANARY else []
        return self.templates.page(
            "confirm.html",
            offer=found,
            look=status.look,
            chunks=[(one, absent_price(one), _ways(one)) for one in chunks],
            samples=samples,
            once=lambda: secrets.token_urlsafe(12),
            given=given,
            wrong={} if wrong is None else {wrong.name: str(wrong)},
            status=HTTPStatus.OK if wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        )

    async def act(self, request: Request) -> Response:
        """Do it."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES_MAX:
                return PlainTextResponse("A form of this page is smaller.\n", status_code=413)
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        return await run_in_threadpool(self._act, request, {name: printable(text) for name, text in form.items()})

    def _act(self, request: Request, form: Mapping[str, str]) -> Response:
        job_id, action = self._asked(request)
        if self.background is None:
            return self._read_only(job_id, action)
        if not self.access.is_ours(form.get("mark", "")):
            why = "That form was not made by this page, or by an earlier run of it. Open the job anew, and try again."
            return self._refused(job_id, action, why, HTTPStatus.FORBIDDEN)
        try:
            place = self.once.do(form.get("once") or secrets.token_hex(), lambda: self._do(job_id, action, form))
        except Changed:
            why = "The job has changed since that page was made, so nothing was done. Look again, and decide anew."
            return self._refused(job_id, action, why, HTTPStatus.CONFLICT)
        except WrongField as error:
            return self._confirm(job_id, action, form, error)
        except OrchestratorError as error:
            return self._refused(job_id, action, str(error), HTTPStatus.CONFLICT)
        return RedirectResponse(place, status_code=HTTPStatus.SEE_OTHER)

    def _do(self, job_id: JobId, action: Action, form: Mapping[str, str]) -> str:
        """Act, and return the address of the page that shows it."""
        found = offer(action, self.viewer.status(job_id), self.viewer, form.get("rows", ""))
        if isinstance(found, Refused):
            raise ConfigError(found.why)
        if form.get("shown", "") != found.shown:
            raise Changed
        self._perform(self.viewer.handle(job_id), found, form)
        self.viewer.forget(job_id)
        return f"/jobs/{job_id}?done={action.value}"

    def _perform(self, handle: JobHandle, found: Offer, form: Mapping[str, str]) -> None:
        background, job_id = self.background, handle.job_id
        assert background is not None  # noqa: S101 - a page that only looks has refused it
        match found.action:
            case Action.APPROVE:
                handle.approve()
            case Action.PAUSE:
                handle.pause()
            case Action.RESUME:
                handle.resume()
            case Action.RUN:
                background.begin(job_id, lambda look, stop: handle.run(progress=look, stop=stop))
            case Action.CANCEL:
                background.begin(job_id, lambda look, stop: handle.cancel(progress=look, stop=stop))
            case Action.REREAD:
                background.begin(job_id, lambda look, stop: handle.reread(progress=look, stop=stop))
            case Action.RETRY:
                rows, parameters, pays_again = found.kind, _parameters(form), "unreadable" in form
                background.begin(
                    job_id,
                    lambda look, stop: handle.retry(
                        rows=rows, parameters=parameters, unreadable=pays_again, progress=look, stop=stop
                    ),
                )
            case Action.RESOLVE:
                _resolve(handle, form)

    def _asked(self, request: Request) -> tuple[JobId, Action]:
        """Return what an address names. Raises ConfigError."""
        job_id, name = JobId(request.path_params["job"]), request.path_params["action"]
        if name not in list(Action):
            raise ConfigError(f"there is no action {name!r}")
        self.viewer.handle(job_id)
        return job_id, Action(name)

    def _refused(self, job_id: JobId, action: Action, why: str, status: HTTPStatus) -> Response:
        command = self.viewer.command(action.value, job_id)
        title = "This is not possible now" if status is HTTPStatus.OK else "This was not done"
        return self.templates.page("refused.html", title=title, job_id=job_id, why=why, command=command, status=status)

    def _read_only(self, job_id: JobId, action: Action) -> Response:
        why = "This page only looks (`orchestrator ui --read-only`). The command does it."
        return self._refused(job_id, action, why, HTTPStatus.FORBIDDEN)


def _parameters(form: Mapping[str, str]) -> dict[str, int]:
    text = form.get("max_tokens", "").strip()
    if not text:
        return {}
    if re.fullmatch("[0-9]{1,10}", text) is None or not 1 <= int(text) <= TOKENS_MAX:
        raise WrongField("max_tokens", f"Give a whole number from 1 to {TOKENS_MAX:,}, or leave it empty")
    return {"max_tokens": int(text)}


def _ways(chunk: UnresolvedChunk) -> dict[str, bool]:
    return {"give_up": "results of batch" in chunk.reason, "same_account": "another key" in chunk.reason}


def _resolve(handle: JobHandle, form: Mapping[str, str]) -> None:
    chunk, way, batch = form.get("chunk", ""), form.get("way", ""), form.get("batch", "").strip()
    if way == "created" and not batch:
        raise WrongField(f"batch {chunk}", "Give the batch's id, as the provider shows it")
    match way:
        case "created":
            handle.resolve_created(chunk, batch)
        case "absent":
            handle.resolve_absent(chunk)
        case "give_up":
            handle.give_up_results(chunk)
        case "same_account":
            handle.confirm_same_account()
        case _:
            raise ConfigError("Say what became of the batch. Nothing was done.")

"""The pages of accounts and of workers: what the ledger knows of them, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from orchestrator.api.doing_words import AT
from orchestrator.domain.queues import Queue
from orchestrator.domain.workers import SEEN_S, Kind
from orchestrator.web.needs import asks

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.api.viewer import Viewer
    from orchestrator.web.rendering import Templates

DOES: Final = {
    Kind.WORKER: "worker of a fleet",
    Kind.BEAT: "beat: says every few seconds what is due",
    Kind.RUN: "runs one job",
}
QUEUES: Final = {
    Queue.CONTROL: "looks at batches, cancels, decides what is next",
    Queue.TRANSFER: "sends",
    Queue.PLAN: "plans: makes requests of rows",
    Queue.COLLECT: "fetches, and writes the output",
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The handlers of both pages."""

    viewer: Viewer
    templates: Templates

    def routes(self) -> list[Route]:
        """Return their routes."""
        return [Route("/accounts", self.accounts), Route("/workers", self.workers)]

    def accounts(self, request: Request) -> Response:
        """All accounts, or only the changing part."""
        looks = [look for look in self.viewer.jobs() if asks(look, self.viewer)]
        found = self.viewer.accounts()
        return self._page("accounts", request, accounts=[one for one in found if one.jobs or one.pause], looks=looks)

    def workers(self, request: Request) -> Response:
        """The processes that work, and what is due."""
        now, found = self.viewer.now(), self.viewer.workers()
        gone = {one.id for one in found if one.seen_at < now - timedelta(seconds=SEEN_S)}
        shown = sorted(found, key=lambda one: (one.id in gone, one.host, one.started_at))
        due = self.viewer.due()
        return self._page(
            "workers",
            request,
            members=shown,
            gone=gone,
            due=due,
            at=AT,
            now=now,
            does=DOES,
            queues=QUEUES,
            is_local=self.viewer.is_local,
        )

    def _page(self, name: str, request: Request, **values: Any) -> Response:
        if request.headers.get("hx-request") == "true":
            return self.templates.part(f"_{name}.html", request, lambda: values)
        return self.templates.page(f"{name}.html", **values)

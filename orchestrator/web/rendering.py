"""The templates, and how one becomes a page."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, Response

from orchestrator.api.next_commands import to_go_on
from orchestrator.web.drawing import FILTERS, GLOBALS
from orchestrator.web.needs import asks, doors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from orchestrator.api.viewer import Viewer

TEMPLATES: Final = Path(__file__).parent / "templates"


def _digest(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:16]


class Templates:
    """The pages' templates: escaped, and strict about names."""

    def __init__(self, viewer: Viewer, *, may_act: bool, mark: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= FILTERS
        self._environment.globals |= GLOBALS | {
            "work": viewer.work,
            "command": viewer.command,
            "to_go_on": partial(to_go_on, work=viewer.work),
            "may_act": may_act,
            "form_mark": mark,
            "asks": partial(asks, viewer=viewer),
            "doors": partial(doors, viewer=viewer),
        }

    def part(
        self, name: str, request: Request, make: Callable[[], Mapping[str, Any]], *, made_of: object = None
    ) -> Response:
        """Return a part of a page; 204, which is not swapped in, where it is as the browser has it.

        Args:
            made_of: what says, without `make`, that the part is the same; None: nothing does.
        """
        source = "" if made_of is None else _digest(f"{made_of} {request.url.query}")
        known_source, _, known = request.headers.get("if-none-match", "").strip('"').partition(".")
        if source and source == known_source:
            return Response(status_code=204, headers={"etag": f'"{source}.{known}"'})
        answer = self.page(name, **make())
        mark = _digest(bytes(answer.body).decode())
        headers = {"etag": f'"{source}.{mark}"'}
        if mark == known:
            return Response(status_code=204, headers=headers)
        answer.headers.update(headers)
        return answer

    def page(self, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page, or a part of one."""
        return HTMLResponse(self._environment.get_template(name).render(**values), status_code=status)

"""The templates, and how one becomes a page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from orchestrator.web.drawing import FILTERS, GLOBALS
from orchestrator.web.needs import asks, doors

if TYPE_CHECKING:
    from orchestrator.api.viewer import Viewer

TEMPLATES: Final = Path(__file__).parent / "templates"


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
            "may_act": may_act,
            "form_mark": mark,
            "asks": partial(asks, viewer=viewer),
            "doors": partial(doors, viewer=viewer),
        }

    def page(self, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page, or a part of one."""
        return HTMLResponse(self._environment.get_template(name).render(**values), status_code=status)

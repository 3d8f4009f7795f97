"""Who may see the page: it shows rows and spends money.

Rule 1: a request names a host that the page is served at: a name that another site points to this machine is refused.
Rule 2: the token of the address is exchanged for a cookie once; a program sends it as `Authorization: Bearer`. Without
        one of them nothing is shown.
Rule 3: what changes something is a POST with a mark that only a page of ours has (the cookie is not sent along from
        other sites either).
Rule 4: the browser loads nothing from elsewhere and runs no script within a page.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse

from orchestrator.web.refusals import is_for_program, refusal

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "orchestrator"
PORT: Final = re.compile("[0-9]{1,5}")
FOR_BROWSER: Final = "Open the address that `orchestrator ui` printed: it has a token, which this browser then keeps."
FOR_PROGRAM: Final = "Send the token of the page, as `Authorization: Bearer TOKEN`: `orchestrator ui` has printed it."
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Access:
    """The hosts that the page is served at, and its token."""

    hosts: frozenset[str]  # with their ports, as a browser sends them; empty: any
    token: str = field(repr=False)

    @property
    def mark(self) -> str:
        """What a form of ours carries: it follows from the token, and does not give it away."""
        return hmac.new(self.token.encode(), b"form", "sha256").hexdigest()

    @property
    def cookie(self) -> str:
        """The cookie's value."""
        return hmac.new(self.token.encode(), b"cookie", "sha256").hexdigest()

    def is_ours(self, mark: str) -> bool:
        """Return whether a form's mark is right."""
        return hmac.compare_digest(mark.encode(), self.mark.encode())


class Guard:
    """Middleware: refuses strangers, and sends the headers of rule 4."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *((n, v) for n, v in added if n not in known)]
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        access = self._access
        if access.hosts and request.headers.get("host", "") not in access.hosts:
            return refusal(request.url.path, "This page is not served at that name.", 421)
        if "\0" in request.url.path or b"%00" in request.scope["query_string"]:
            return refusal(request.url.path, "No name and no text has a null character.", 400)
        given = request.query_params.get("token")
        if given is not None and hmac.compare_digest(given.encode(), access.token.encode()):
            rest = urlencode([one for one in request.query_params.multi_items() if one[0] != "token"])
            place = "/" + request.url.path.lstrip("/")  # one slash: with two it would be another host
            answer = RedirectResponse(place + (f"?{rest}" if rest else ""), status_code=303)
            answer.set_cookie(_cookie_of(request), access.cookie, httponly=True, samesite="strict", path="/")
            return answer
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(bearer.encode(), access.token.encode()):
            return None
        if not hmac.compare_digest(request.cookies.get(_cookie_of(request), "").encode(), access.cookie.encode()):
            return refusal(request.url.path, FOR_PROGRAM if is_for_program(request.url.path) else FOR_BROWSER, 401)
        return None


def _cookie_of(request: Request) -> str:
    """Return the cookie's name: browsers tell hosts apart and not their ports, where other pages of ours may be."""
    port = request.headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}-{port}" if PORT.fullmatch(port) else COOKIE

"""One free look at a provider before anything is sent: does its address answer, and with what?

Rule: it takes a few seconds at most, also where the name server does not answer: that wait has no timeout of its own,
    so the call is made in a thread that is left behind.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.errors import ProviderError
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.connection import Connection, auth_of
from orchestrator.providers.http.error_mapping import Answer, problem_of
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.proxies import Proxy

if TYPE_CHECKING:
    from orchestrator.providers.dialect import Dialect
    from orchestrator.providers.http.secret import Secret

LIMIT_S: Final = 5.0
LIST_BYTES_MAX: Final = 8 << 20
# Failures that would be the same in a minute. Others, such as a timeout, may pass.
_CERTAIN: Final = re.compile(
    r"Name or service not known|nodename nor servname|No address associated|Connection refused"
    r"|CERTIFICATE_VERIFY_FAILED|^407 of the proxy"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of it: an answer, or a failure in its place."""

    url: str
    proxy: Proxy | None
    seconds: float
    answer: Answer | None = None
    failure: str = ""
    problem: str = ""  # an answer that is an error, fit for a log

    @property
    def is_certain(self) -> bool:
        """Whether the failure would be the same in a minute."""
        return _CERTAIN.search(self.failure) is not None


def reach(dialect: Dialect, key: Secret, environment: Mapping[str, str], *, limit_s: float = LIMIT_S) -> Reached:
    """Read the dialect's list of models, or fail within the limit. Raises ConfigError for a setting that is wrong."""
    settings, path = dialect.settings, dialect.models_path
    http = HttpClient(
        settings.base_url,
        key,
        timeouts=Timeouts(connect_s=limit_s, read_s=limit_s, write_s=limit_s, call_s=limit_s),
        auth=auth_of(settings, key) or dialect.auth(key),
        connection=Connection.of(settings, environment, dialect.headers),
    )
    found: list[Answer | str] = []

    def ask() -> None:
        try:
            found.append(http.head("GET", path, size_max=LIST_BYTES_MAX, enough=lambda _: False, follow=False))
        except ProviderError as error:
            found.append(str(error))
        finally:
            http.close()

    began_s = time.monotonic()
    thread = threading.Thread(target=ask, daemon=True, name="reach")
    thread.start()
    thread.join(limit_s + 1)
    what = found[0] if found else f"no answer within {limit_s:g} seconds"
    problem = problem_of(what, key) if isinstance(what, Answer) else None
    return Reached(
        url=settings.base_url.rstrip("/") + path,
        proxy=http.proxy_of(http.origin),
        seconds=time.monotonic() - began_s,
        answer=what if isinstance(what, Answer) else None,
        failure=what if isinstance(what, str) else "",
        problem="" if problem is None else problem.message,
    )

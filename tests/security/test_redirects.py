"""A provider that answers with the address of somebody else is followed there only as to a result URL (S10)."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.domain.errors import BadRequest
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from tests.adapters.wire import Answers, answer, saying, serving

KEY: Final = "sk-canary-19ac6b21"
PUBLIC: Final = "https://93.184.216.36"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["https://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "http://[::1]/"])
def test_a_redirect_into_our_own_network_is_refused(status: int, location: str) -> None:
    """Both with the key, to the configured place, and without, by a link; nothing is sent there."""
    transport = Answers((status, b"", {"location": location, "refresh": f"0; url={location}"}))
    client = HttpClient(f"{PUBLIC}/v1", Secret(KEY), transport=transport)

    for ask in (
        lambda: client.download("/results").__enter__(),
        lambda: client.fetch("https://93.184.216.34/results").__enter__(),
        lambda: client.call("GET", "/batches/b"),
    ):
        with pytest.raises(BadRequest):
            ask()

    assert [request.url.host for request in transport.requests] == ["93.184.216.36", "93.184.216.34", "93.184.216.36"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_but_a_get_is_sent_to_where_a_redirect_leads(status: int) -> None:
    with serving(saying(answer(200, b"{}\n"))) as inside:
        with serving(saying(answer(status, b"", location=f"{inside.url}/v1/batches"))) as server:
            client = HttpClient(f"{server.url}/v1", Secret(KEY))
            created = client.create("/batches", iter([b"{}"]), size_bytes=2)
            called = [client.call(method, "/batches/b") for method in ("POST", "DELETE")]
            client.close()

        assert [created.status, *(one.status for one in called)] == [status] * 3
        assert inside.connection_count == 0

"""A provider that answers with the address of somebody else is not followed there (S10)."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from tests.adapters.wire import answer, saying, serving

KEY: Final = "sk-canary-19ac6b21"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("has_key", [True, False])
def test_a_redirect_of_results_is_not_followed(status: int, has_key: bool) -> None:
    """Neither with the key, to the configured place, nor without, by a link; the other server hears nothing."""
    with serving(saying(answer(200, b"{}\n"))) as inside:
        moved = answer(status, b"", location=f"{inside.url}/latest/meta-data", refresh=f"0; url={inside.url}/")
        with serving(saying(moved)) as server:
            client = HttpClient(f"{server.url}/v1", Secret(KEY))
            opened = client.download("/results") if has_key else client.fetch(f"http://localhost:{server.port}/results")
            with opened as download:
                assert download.status == status
                assert b"".join(download.blocks) == b""
            created = client.create("/batches", iter([b"{}"]), size_bytes=2)
            called = client.call("GET", "/batches/b")
            client.close()

        assert (created.status, called.status) == (status, status)
        assert inside.requests == []
        assert inside.connection_count == 0

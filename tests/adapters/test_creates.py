"""Creates and uploads that are answered oddly: the same rules for all dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from orchestrator.domain.errors import CreateAmbiguous, CreateRefused, Misplaced, OrchestratorError, ProviderError
from orchestrator.domain.model import BatchId
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.onerouter.provider import OneRouter
from tests.adapters.openai_wire import ADDRESS, COMPLETED, KEY, TIMEOUTS, a_submission, an_openai
from tests.adapters.wire import Account, Answers, as_body, create_at
from tests.fakes.dialects import onerouter

LONG_ID: Final = BatchId("bGl0ZWxsbV9wcm94eTttb2RlbF9pZDpkMGI3" * 9)
ODD_ID: Final = BatchId("projects/p/batches/7=+?#é")
PAGE: Final = b"<!DOCTYPE html><title>Welcome to nginx!</title>"


@contextmanager
def a_onerouter(url: str = ADDRESS, **settings: Any) -> Iterator[OneRouter]:
    """Open an account at a `transport`."""
    http = HttpClient(f"{url}/v1", Secret(KEY), **({"timeouts": TIMEOUTS} | settings))
    yield onerouter(http)
    http.close()


ACCOUNTS: Final = pytest.mark.parametrize("account", [an_openai, a_onerouter])


def created(account: Account, status: int, content: object, **headers: str) -> BatchId | OrchestratorError:
    """Create against one answer, and return what came of it."""
    return create_at(account, a_submission(), status, content, headers)


@ACCOUNTS
@pytest.mark.parametrize(
    "content",
    [
        {"id": "b7", "object": "batch", "status": "pending", "created_at": 1},
        {"code": 0, "data": {"id": "b7", "status": "queued"}},
        {"job": {"id": "b7"}},
        {"batch": {"batch_id": "b7"}},
    ],
)
def test_a_batch_in_any_certain_form_is_taken(account: Account, content: object) -> None:
    assert created(account, 200, content) == "b7"
    assert created(account, 201, content) == "b7"


@ACCOUNTS
@pytest.mark.parametrize("batch_id", [LONG_ID, ODD_ID])
def test_an_id_is_one_encoded_part_of_every_path(account: Account, batch_id: BatchId) -> None:
    """Ids of 320 characters are in use (BerriAI/litellm#10711), and ids with slashes."""
    transport = Answers((200, as_body(COMPLETED | {"id": batch_id, "batch_id": batch_id})))
    with account(transport=transport) as provider:
        assert provider.create(a_submission()) == batch_id
        assert not provider.status(batch_id).is_running
        provider.cancel(batch_id)

    [_, polled, cancelled] = [request.extensions["target"].decode() for request in transport.requests]
    encoded = LONG_ID if batch_id == LONG_ID else "projects%2Fp%2Fbatches%2F7%3D%2B%3F%23%C3%A9"
    assert (polled, cancelled) == (f"/v1/batches/{encoded}", f"/v1/batches/{encoded}/cancel")


@ACCOUNTS
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"ok": True, "ticket": {"ref": "Q<row 3>"}}, "its fields: ok, ticket.ref"),
        ({"result": "b7"}, "its fields: result"),
        (b"accepted", "it is no JSON object"),
        (b"", "it is empty"),
        (PAGE, "a web page. Is base_url right?"),
    ],
)
def test_a_success_that_is_not_understood_is_kept_whole_and_told_without_its_contents(
    account: Account, content: object, told: str
) -> None:
    failure = created(account, 200, content)

    assert isinstance(failure, CreateAmbiguous)
    assert f"POST {ADDRESS}/v1/batches was answered with HTTP 200" in str(failure)
    assert told in str(failure)
    assert "row 3" not in str(failure)
    assert "nginx" not in str(failure)
    assert failure.answer is not None
    assert failure.answer.endswith(b"\n\n" + as_body(content))


@ACCOUNTS
def test_an_answer_that_was_lost_is_not_one_that_was_not_understood(account: Account) -> None:
    failure = created(account, 500, {"error": {"message": "it broke"}})

    assert isinstance(failure, CreateAmbiguous)
    assert failure.answer is None


@ACCOUNTS
@pytest.mark.parametrize(
    ("status", "expected"),
    [(301, CreateRefused), (307, CreateRefused), (308, CreateRefused), (302, CreateAmbiguous), (303, CreateAmbiguous)],
)
def test_a_create_is_never_sent_to_where_a_redirect_leads(
    account: Account, status: int, expected: type[OrchestratorError]
) -> None:
    """A 301, 307 or 308 says that it was not carried out (RFC 9110, 15.4); after a 302 or 303 it may have been."""
    failure = created(account, status, b"", location="https://www.elsewhere.example/login?to=/v1")

    assert type(failure) is expected
    assert "www.elsewhere.example" in str(failure)
    assert "Is base_url right?" in str(failure)
    assert "login" not in str(failure)


@ACCOUNTS
@pytest.mark.parametrize("status", [404, 405, 410])
def test_a_place_without_the_api_is_named(account: Account, status: int) -> None:
    for content in (PAGE, b"", b"404 page not found"):
        failure = created(account, status, content)

        assert isinstance(failure, CreateRefused)
        assert isinstance(failure.error, Misplaced)
        assert failure.error.status == status
        assert f"POST {ADDRESS}/v1/batches was answered with HTTP {status}" in str(failure)
        assert "Is base_url right?" in str(failure)
    enveloped = created(account, status, {"error": {"message": "no", "code": "model_not_found"}})
    assert "model_not_found" in str(enveloped)
    assert "base_url" not in str(enveloped)


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (200, PAGE, {}),
        (404, PAGE, {}),
        (405, b"", {}),
        (302, b"", {"location": "/login"}),
        (308, b"", {"location": "https://elsewhere.example/v1/files"}),
    ],
)
def test_an_upload_to_a_place_without_the_api_is_a_refusal_that_names_it(
    status: int, content: bytes, headers: dict[str, str]
) -> None:
    with an_openai(transport=Answers((status, content, headers))) as provider, pytest.raises(Misplaced) as caught:
        provider.upload(a_submission())

    assert f"POST {ADDRESS}/v1/files was answered with HTTP {status}" in str(caught.value)
    assert "Is base_url right?" in str(caught.value)


def test_a_url_is_named_without_its_query_and_the_key() -> None:
    hidden = replace(a_submission(), label=KEY)
    failure: Callable[[], object] = lambda: create_at(an_openai, hidden, 200, {"echo": KEY}, {})  # noqa: E731

    assert KEY not in str(failure())
    assert not isinstance(failure(), ProviderError)

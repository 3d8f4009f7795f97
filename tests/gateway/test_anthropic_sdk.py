"""The `anthropic` client, driving a gateway process over a socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.gateway_process import GatewayProcess, running_gateway
from tests.lazily import Lazily

if TYPE_CHECKING:
    import anthropic
    from anthropic.types.messages import MessageBatch
else:
    anthropic = Lazily("anthropic")

MODEL: Final = "claude-haiku-5-5"
DEADLINE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.02


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One process for all tests; each sets the faults it needs."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--duration-s", "0.3") as running:
        yield running


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    gateway.set_faults({})
    with a_client(gateway) as opened:
        yield opened


def a_client(gateway: GatewayProcess, retries_max: int = 0, **settings: Any) -> anthropic.Anthropic:
    """Return the client as anyone makes it: only the address is ours."""
    given = {"api_key": gateway.api_key, "max_retries": retries_max, "timeout": 30} | settings
    return anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), **given)


def a_request(custom_id: str = "row-0", question: str = "What is the capital of France?", **params: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return {"custom_id": custom_id, "params": {"model": MODEL, "max_tokens": 64, "messages": messages, **params}}


def some_requests(count: int) -> list[Any]:
    return [a_request(f"row-{number}", f"Question {number}?") for number in range(count)]


def create(client: anthropic.Anthropic, count: int = 3) -> MessageBatch:
    return client.messages.batches.create(requests=some_requests(count))


def ended(client: anthropic.Anthropic, batch_id: str) -> MessageBatch:
    """Poll a batch until it has ended, as a user's script would."""
    deadline = time.monotonic() + DEADLINE_S
    while (batch := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
        assert time.monotonic() < deadline, batch.processing_status
        time.sleep(LOOK_EVERY_S)
    return batch


def results_of(client: anthropic.Anthropic, batch_id: str) -> dict[str, Any]:
    return {line.custom_id: line.result for line in client.messages.batches.results(batch_id)}


def test_a_batch_goes_all_the_way(gateway: GatewayProcess, client: anthropic.Anthropic) -> None:
    """Create, poll, stream the results, delete; of four requests one is refused and one fails."""
    gateway.set_faults({"rows": {"fail": {"529": 1}, "times": 0}})
    refused = a_request("hot", temperature=0.5)
    created = client.messages.batches.create(requests=[*some_requests(3), refused])
    running = client.messages.batches.retrieve(created.id)
    batch = ended(client, created.id)
    results = results_of(client, created.id)
    deleted = client.messages.batches.delete(created.id)

    assert (created.type, created.processing_status, created.results_url) == ("message_batch", "in_progress", None)
    assert running.request_counts.to_dict() == {
        "processing": 4, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert batch.request_counts.to_dict() == {
        "processing": 0, "succeeded": 2, "errored": 2, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    assert {name: result.type for name, result in results.items()} == {
        "row-0": "errored", "row-1": "succeeded", "row-2": "succeeded", "hot": "errored",
    }  # fmt: skip
    message = results["row-1"].message
    assert (message.content[0].text, message.stop_reason) == ("[simulated] Question 1?", "end_turn")
    assert message.usage.service_tier == "batch"
    assert results["hot"].error.error.message == "temperature: Extra inputs are not permitted"
    assert results["row-0"].error.error.type == "overloaded_error"
    assert (deleted.id, deleted.type) == (created.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(created.id)


def test_the_list_pages_both_ways_newest_first(client: anthropic.Anthropic) -> None:
    made = [create(client, 1).id for _ in range(5)]

    assert [batch.id for batch in client.messages.batches.list(limit=2)][:5] == made[::-1]
    page = client.messages.batches.list(limit=2, before_id=made[1])
    assert ([batch.id for batch in page.data], page.has_more) == ([made[3], made[2]], True)
    assert (page.first_id, page.last_id) == (made[3], made[2])


def test_a_batch_is_cancelled_and_every_request_has_a_line(tmp_path: Path) -> None:
    with running_gateway(tmp_path, "--duration-s", "15") as gateway, a_client(gateway) as client:
        created = create(client)
        cancelling = client.messages.batches.cancel(created.id)
        with pytest.raises(anthropic.BadRequestError, match="has not ended"):
            client.messages.batches.delete(created.id)
        batch = ended(client, created.id)

        assert (cancelling.processing_status, cancelling.cancel_initiated_at is not None) == ("canceling", True)
        assert batch.request_counts.canceled == 3
        assert {result.type for result in results_of(client, created.id).values()} == {"canceled"}
        with pytest.raises(anthropic.BadRequestError, match="has ended already"):
            client.messages.batches.cancel(created.id)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "done"), [({"expire": 1}, 2), ({"fail": 1}, 0), ({"fail_partial": 1}, 2)])
def test_what_a_batch_does_not_come_to_expires(
    gateway: GatewayProcess, client: anthropic.Anthropic, fault: dict[str, int], done: int
) -> None:
    """A message batch cannot fail as a whole."""
    gateway.set_faults({"batch": fault})
    batch = ended(client, create(client, 4).id)

    kinds = sorted(result.type for result in results_of(client, batch.id).values())
    assert kinds == ["expired"] * (4 - done) + ["succeeded"] * done
    assert batch.request_counts.expired == 4 - done


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([a_request("a b")], r"requests\.0\.custom_id: String should match pattern"),
        ([a_request("a"), a_request("x" * 65)], r"requests\.1\.custom_id: String should match pattern"),
        ([a_request("a"), a_request("a")], r"requests\.1\.custom_id: must be unique"),
        ([], "requests: List should have at least 1 item"),
    ],
)
def test_a_bad_name_refuses_the_whole_create(client: anthropic.Anthropic, requests: list[Any], message: str) -> None:
    """Two public reports of 400s: the message names the request by its index."""
    before = len(list(client.messages.batches.list()))

    with pytest.raises(anthropic.BadRequestError, match=message) as refused:
        client.messages.batches.create(requests=requests)

    assert refused.value.request_id
    assert len(list(client.messages.batches.list())) == before


def test_refusals_are_the_clients_own_exceptions(gateway: GatewayProcess, client: anthropic.Anthropic) -> None:
    gateway.set_faults({"list": {"refuse": {"429": 1, "500": 1, "529": 1}}})
    with pytest.raises(anthropic.RateLimitError):
        client.messages.batches.list()
    with pytest.raises(anthropic.InternalServerError):
        client.messages.batches.list()
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        client.messages.batches.list()
    assert (overloaded.value.status_code, overloaded.value.type) == (529, "overloaded_error")
    with pytest.raises(anthropic.AuthenticationError), a_client(gateway, api_key="wrong") as stranger:
        stranger.messages.batches.list()
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve("msgbatch_0")
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        client.messages.batches.list(extra_headers={"anthropic-version": "2020-01-01"})


def test_a_spend_limit_is_the_clients_own_exception(gateway: GatewayProcess, client: anthropic.Anthropic) -> None:
    gateway.set_faults({"create": {"refuse": {"429": 1}, "code": "enforced_spend_limit_reached"}})

    with pytest.raises(anthropic.RateLimitError) as refused:
        create(client)
    assert type(refused.value).__name__ == "EnforcedSpendLimitReachedError"


def test_an_older_client_with_its_key_header_and_version_is_served(gateway: GatewayProcess) -> None:
    with a_client(gateway, default_headers={"x-api-key": gateway.api_key, "anthropic-version": "2023-06-01"}) as client:
        hot = a_request("hot", temperature=0.5, model="claude-opus-4-6")
        batch = ended(client, client.messages.batches.create(requests=[hot]).id)

        assert results_of(client, batch.id)["hot"].type == "succeeded"


@pytest.mark.parametrize(
    ("fault", "batches"), [({"lost": 1}, 2), ({"accept_then": {"500": 1}}, 1), ({"refuse": {"500": 1}}, 1)]
)
def test_an_error_after_the_effect_tells_the_client_not_to_retry(
    gateway: GatewayProcess, client: anthropic.Anthropic, fault: dict[str, Any], batches: int
) -> None:
    """A cut connection can tell nothing: there one call of this client makes two batches. Ours sends one."""
    before = len(list(client.messages.batches.list()))
    gateway.set_faults({"create": fault})
    with a_client(gateway, retries_max=2) as retrying:
        if "accept_then" in fault:
            with pytest.raises(anthropic.InternalServerError):
                create(retrying)
        else:
            create(retrying)

    assert len(list(client.messages.batches.list())) - before == batches

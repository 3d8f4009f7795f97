"""What a message may say: which step of which unit may be tried, and with which token. Anything else is dropped."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.domain.model import ChunkId, Claim, JobId, Step, Unit
from orchestrator.domain.queues import QUEUE_OF, Queue
from orchestrator.fleet.app import KEY_PREFIX, configuration_of, make_app
from orchestrator.fleet.broker import EXPIRES_S, Queues
from orchestrator.fleet.embedded import EmbeddedBroker
from orchestrator.fleet.process import claim_of
from tests.builders import JOB, chunk_id
from tests.servers.valkey import a_broker, client_of

CHUNK = chunk_id("c00000-00000")
UNITS = {
    Step.REVIEW: Unit(job_id=JOB),
    Step.RETRY: Unit(job_id=JOB),
    Step.SEAL: Unit(job_id=JOB),
    Step.PLAN: Unit(job_id=JOB, shard_no=3),
    Step.FINISH: Unit(job_id=JOB, shard_no=3),
}
CLAIMS = [Claim(unit=UNITS.get(step, Unit(job_id=JOB, chunk_id=CHUNK)), step=step, token=7) for step in Step]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with a_broker(tmp_path / "broker") as running:
        yield running


def messages(broker: EmbeddedBroker, queue: Queue) -> list[dict[str, Any]]:
    """Return what stands in a queue, as it went over the wire."""
    return [json.loads(text) for text in client_of(broker).lrange(f"{KEY_PREFIX}{queue.value}", 0, -1)]


def test_every_claim_travels_and_arrives_as_it_was(broker: EmbeddedBroker) -> None:
    """All eleven steps, through a real broker, each in its own queue."""
    given = settings.load({"ORCHESTRATOR_BROKER_URL": broker.url})
    queues = Queues(make_app(given))

    queues.send(CLAIMS)

    arrived = []
    for queue in Queue:
        for message in reversed(messages(broker, queue)):
            arguments, _, _ = json.loads(base64.b64decode(message["body"]))
            arrived.append(claim_of(arguments))
            assert QUEUE_OF[arrived[-1].step] is queue
    assert sorted(arrived, key=lambda claim: claim.step) == sorted(CLAIMS, key=lambda claim: claim.step)
    assert queues.lengths() == {queue: sum(QUEUE_OF[step] is queue for step in Step) for queue in Queue}


def test_a_message_is_json_expires_and_says_nothing_but_names_and_a_token(broker: EmbeddedBroker) -> None:
    """Promise 8: no row, no key, no address is in a broker message."""
    given = settings.load({"ORCHESTRATOR_BROKER_URL": broker.url})
    Queues(make_app(given)).send([claim for claim in CLAIMS if claim.step is Step.POLL])

    [message] = messages(broker, Queue.CONTROL)

    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[:2] == [["poll", JOB, None, CHUNK, 7], {}]
    assert message["headers"]["expires"] is not None
    assert message["headers"]["eta"] is None
    assert given.lease_s > EXPIRES_S


@pytest.mark.parametrize(
    "message",
    [
        (),
        ("poll",),
        ("poll", JOB, None, CHUNK),
        ("poll", JOB, None, CHUNK, "7"),
        ("poll", JOB, 3, CHUNK, 7),
        ("poll", JOB, None, None, 7),
        ("review", JOB, None, CHUNK, 7),
        ("plan", JOB, None, CHUNK, 7),
        ("plan", JOB, None, None, 7),
        ("submit", JOB, 3, None, 7),
        ("explode", JOB, None, CHUNK, 7),
        ("poll", "another-job", None, CHUNK, 7),
        ("poll", JOB, None, [CHUNK], 7),
        ({"step": "poll"},),
        ("poll", JOB, None, CHUNK, 7, "more"),
    ],
)
def test_what_names_no_step_of_a_unit_is_refused(message: tuple[object, ...]) -> None:
    """Whoever reaches the broker may send: a chunk of one job with the tools of another would be the worst of it."""
    with pytest.raises(ValueError, match="it names no"):
        claim_of(message)


def test_a_hint_may_name_any_unit() -> None:
    assert claim_of(["poll", "job", None, "job/c1", 1]).unit == Unit(job_id=JobId("job"), chunk_id=ChunkId("job/c1"))


def test_nothing_but_json_is_taken_and_nothing_is_kept_of_results() -> None:
    """A pickle is a program; a result back end would be a second truth."""
    configuration = configuration_of(settings.load({}))

    assert configuration["accept_content"] == ["json"]
    assert configuration["task_serializer"] == "json"
    assert configuration["result_backend"] is None
    assert configuration["task_ignore_result"] is True
    assert configuration["worker_enable_remote_control"] is False


def test_every_wait_for_the_broker_has_an_end() -> None:
    """Without a socket timeout, a connection that died silently makes a worker deaf for good."""
    options = configuration_of(settings.load({}))["broker_transport_options"]

    assert 1 < options["socket_timeout"] <= 10  # the blocking read itself takes a second
    assert options["socket_connect_timeout"] <= 5
    assert options["health_check_interval"] <= 5


def test_a_broker_with_tls_must_prove_who_it_is() -> None:
    given = settings.load({"ORCHESTRATOR_BROKER_URL": "rediss://:word@broker.example:6379/0"})

    assert configuration_of(given)["broker_use_ssl"]["ssl_cert_reqs"] is ssl.CERT_REQUIRED

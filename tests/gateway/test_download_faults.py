"""What the fault plan does to downloads, seen by a client in process; test_process has those that need a socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.gateway.settings import ResultMode
from orchestrator.gateway.wire import EXTENSION, AnswerLost, Delivery, FileAnswer
from tests.gateway.in_process import Gateway, SetClock, a_gateway, lines_of, some_rows


def ended(gateway: Gateway) -> str:
    """Return the result_url of an ended batch of four rows."""
    batch_id = gateway.create(some_rows(4))
    gateway.end()
    return str(gateway.status(batch_id)["result_url"])


def test_downloads_can_be_refused_at_first(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"refuse": {"403": 1, "404": 1}}}) as gateway:
        url = ended(gateway)
        answers = [gateway.send("GET", url, key=None) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [403, 404, 200]
    assert len(lines_of(answers[2].content)) == 4


def test_an_unannounced_cut_looks_like_a_whole_shorter_file(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"cut_unannounced": 1, "cut_at": 0.25}}) as gateway:
        url = ended(gateway)
        cut, whole = (gateway.send("GET", url, key=None) for _ in range(2))

    assert cut.status_code == 200
    assert "content-length" not in cut.headers
    assert cut.content == whole.content[: len(whole.content) // 4]


def test_an_announced_cut_breaks_the_transfer(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"cut": 1}}) as gateway:
        url = ended(gateway)
        with pytest.raises(AnswerLost):
            gateway.send("GET", url, key=None)
        assert len(lines_of(gateway.send("GET", url, key=None).content)) == 4


def test_a_stream_of_results_is_cut_as_a_download_is(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"cut_unannounced": 1}}, result_mode=ResultMode.MIXED) as gateway:
        batch_id = gateway.create(some_rows(4))
        gateway.end()
        cut, whole = (gateway.send("GET", f"/v1/batches/{batch_id}") for _ in range(2))

    assert cut.content == whole.content[: len(whole.content) // 2]


def test_a_slow_download_takes_its_bytes_over_its_rate(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"bytes_per_s": 100}}) as gateway:
        url = ended(gateway)
        answer = gateway.send("GET", url, key=None)

    assert len(lines_of(answer.content)) == 4
    assert sum(gateway.clock.slept_s) == pytest.approx(len(answer.content) / 100)
    assert max(gateway.clock.slept_s) == pytest.approx(0.1)


def test_a_download_the_client_left_is_not_counted_as_whole(tmp_path: Path) -> None:
    """uvicorn accepts bytes for a client that has gone; the bill must not count them as downloaded."""
    counted: list[str] = []
    sent: list[Any] = []
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"{}\n" * 100)

    async def when_whole() -> None:
        counted.append("whole")

    async def send(message: Any) -> None:
        sent.append(message)

    for is_gone in (True, False):
        scope = {"type": "http", "extensions": {EXTENSION: SimpleNamespace(is_gone=is_gone)}}
        asyncio.run(FileAnswer(path, Delivery(), SetClock(), when_whole)(scope, send, send))  # type: ignore[arg-type]

        assert counted == ([] if is_gone else ["whole"])


def test_giving_up_on_a_slow_download_is_excused(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"bytes_per_s": 100}}) as gateway:
        service = gateway.app.state.service
        service.download_fault(service.find(gateway.create(some_rows(4))), is_stream=False)  # asked for, never taken
        gateway.run(some_rows(4))
        bill = gateway.bill()

    assert (bill["paid_twice"], bill["excused"]) == (4, 4)


def test_a_storage_can_refuse_who_brings_the_key(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"download": {"refuse_key": True}}) as gateway:
        url = ended(gateway)

        assert gateway.send("GET", url, key="local").status_code == 400
        assert gateway.send("GET", url, key=None).status_code == 200

"""The gateway as a process: what needs a real socket, and what must survive a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.gateway.__main__ import _parser, main
from tests.gateway.in_process import a_row, lines_of, some_rows
from tests.gateway_process import ROOT, STOP_DEADLINE_S, GatewayProcess, running_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One process for the tests that do not kill it; each sets the faults it needs."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--duration-s", "0") as running:
        yield running


def create(gateway: GatewayProcess, rows: list[dict[str, Any]], **options: Any) -> httpx.Response:
    return httpx.post(f"{gateway.url}/batches", headers=gateway.headers, json={"requests": rows}, **options)


def status(gateway: GatewayProcess, batch_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = httpx.get(f"{gateway.url}/batches/{batch_id}", headers=gateway.headers, timeout=60).json()
    return shown


def test_a_batch_goes_all_the_way_over_a_socket(gateway: GatewayProcess) -> None:
    gateway.set_faults({})
    batch_id = create(gateway, some_rows(3)).json()["batch_id"]
    shown = status(gateway, batch_id)

    assert shown["status"] == "SUCCESS"
    assert shown["result_url"].startswith(f"{gateway.base_url}/resource/batch-llm/azure-batch%2F{batch_id}_")
    answer = httpx.get(shown["result_url"])
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert {line["custom_id"] for line in lines_of(answer.content)} == {"row-0", "row-1", "row-2"}


def test_a_lost_create_is_a_closed_connection_and_a_batch(gateway: GatewayProcess) -> None:
    gateway.set_faults({"create": {"lost": 1}})
    before = len(gateway.batches())
    with pytest.raises(httpx.TransportError):
        create(gateway, some_rows(3))

    assert len(gateway.batches()) == before + 1


def test_a_hanging_create_outlasts_the_clients_patience(gateway: GatewayProcess) -> None:
    gateway.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
    before = len(gateway.batches())
    with pytest.raises(httpx.ReadTimeout):
        create(gateway, some_rows(3), timeout=httpx.Timeout(5.0, read=0.3))

    assert len(gateway.batches()) == before + 1


def test_a_lost_poll_is_a_closed_connection(gateway: GatewayProcess) -> None:
    gateway.set_faults({"status": {"lost": 1}})
    batch_id = create(gateway, some_rows(1)).json()["batch_id"]
    with pytest.raises(httpx.TransportError):
        status(gateway, batch_id)

    assert status(gateway, batch_id)["status"] == "SUCCESS"


def test_an_announced_cut_is_seen_by_the_client_and_excused_on_the_bill(gateway: GatewayProcess) -> None:
    gateway.set_faults({"download": {"cut": 1}})
    before = gateway.bill()
    rows = [a_row(f"cut-{number}", f"Question {number}?") for number in range(50)]
    url = status(gateway, create(gateway, rows).json()["batch_id"])["result_url"]
    with pytest.raises(httpx.RemoteProtocolError, match="received"):
        httpx.get(url)
    create(gateway, rows)
    bill = gateway.bill()

    assert bill["paid_twice"] - before["paid_twice"] == bill["excused"] - before["excused"] == 50
    assert len(lines_of(httpx.get(url).content)) == 50
    assert gateway.bill()["excused"] == before["excused"]


def test_an_unannounced_cut_is_a_shorter_file_that_looks_whole(gateway: GatewayProcess) -> None:
    """Neither a length nor chunks: the body ends where the connection does."""
    gateway.set_faults({"download": {"cut_unannounced": 1}})
    url = status(gateway, create(gateway, some_rows(50)).json()["batch_id"])["result_url"]
    cut, whole = httpx.get(url), httpx.get(url)

    assert cut.headers["connection"] == "close"
    assert "content-length" not in cut.headers
    assert "transfer-encoding" not in cut.headers
    assert cut.content == whole.content[: len(whole.content) // 2]
    assert len(lines_of(whole.content)) == 50


def test_results_come_from_a_stream_while_slow(gateway: GatewayProcess) -> None:
    gateway.set_faults({"download": {"bytes_per_s": 200_000}})
    url = status(gateway, create(gateway, some_rows(50)).json()["batch_id"])["result_url"]

    assert len(lines_of(httpx.get(url).content)) == 50


def test_a_body_too_large_is_a_413_and_not_a_reset(tmp_path: Path) -> None:
    """Twice as many bytes as allowed, more than any socket buffer, so that the client is still sending."""
    with running_gateway(tmp_path, "--max-bytes", "10000000") as gateway:
        answer = httpx.post(f"{gateway.url}/batches", headers=gateway.headers, content=b" " * 20_000_000)

        assert answer.status_code == 413
        assert httpx.get(f"{gateway.base_url}/healthz").status_code == 200


@pytest.mark.slow
def test_many_creates_at_once_each_get_their_own_batch(gateway: GatewayProcess) -> None:
    gateway.set_faults({"batch": {"fail": 3}})
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: create(gateway, [a_row(f"many-{number}")]).json(), range(24)))
    statuses = [status(gateway, each["batch_id"])["status"] for each in created]

    assert len({each["task_id"] for each in created}) == len({each["batch_id"] for each in created}) == 24
    assert sorted(statuses) == ["FAILURE"] * 3 + ["SUCCESS"] * 21


def test_a_batch_created_before_a_kill_ends_as_it_should_after_it(tmp_path: Path) -> None:
    with running_gateway(tmp_path, "--duration-s", "0.5") as gateway:
        created = create(gateway, some_rows(20)).json()
        gateway.kill()
        gateway.restart()
        shown = status(gateway, created["batch_id"])
        deadline = time.monotonic() + 30
        while shown["status"] != "SUCCESS" and time.monotonic() < deadline:
            shown = status(gateway, created["batch_id"])
        bill = gateway.bill()
        gateway.kill()
        gateway.restart()

        assert (shown["task_id"], shown["submit_time"]) == (created["task_id"], created["batch"]["created_at"])
        assert (shown["status"], shown["completed_count"]) == ("SUCCESS", 20)
        assert len(lines_of(httpx.get(shown["result_url"]).content)) == 20
        assert gateway.bill() == bill
        assert bill["answers"] == 20


@pytest.mark.slow
def test_no_acknowledged_create_is_lost_to_a_kill_at_any_moment(tmp_path: Path) -> None:
    """The process is killed while creates go on: each answered create is there, exactly once."""
    acknowledged: list[str] = []
    with running_gateway(tmp_path, "--duration-s", "0") as gateway:
        for kill_after in (1, 3, 7):
            enough = threading.Event()

            def create_until_killed(enough: threading.Event = enough, kill_after: int = kill_after) -> None:
                answered = 0
                try:
                    while True:
                        acknowledged.append(create(gateway, some_rows(50)).json()["batch_id"])
                        answered += 1
                        if answered == kill_after:
                            enough.set()
                except httpx.TransportError:
                    enough.set()

            client = threading.Thread(target=create_until_killed)
            client.start()
            enough.wait(30)
            gateway.kill()
            client.join(30)
            gateway.restart()
        listed = [each["id"] for each in gateway.batches()]
        bill = gateway.bill()
        files = {path.stem for path in (tmp_path / "requests").iterdir()}

    assert set(acknowledged) <= set(listed)
    assert len(listed) <= len(acknowledged) + 3
    assert len(listed) == len(set(listed)) == bill["creates"]
    assert bill["answers"] == 50 * len(listed)
    assert files == set(listed)


@pytest.mark.slow
def test_a_hundred_thousand_requests_are_one_batch(tmp_path: Path) -> None:
    rows = [a_row(f"deadbeef-0-{number:x}", f"Question {number}: {'why ' * 200}") for number in range(100_000)]
    body = json.dumps({"requests": rows}).encode()
    with running_gateway(tmp_path, "--duration-s", "0") as gateway:
        created = httpx.post(f"{gateway.url}/batches", headers=gateway.headers, content=body, timeout=120)
        shown = status(gateway, created.json()["batch_id"])
        custom_ids = set()
        with httpx.stream("GET", shown["result_url"]) as answer:
            for line in answer.iter_lines():
                custom_ids.add(json.loads(line)["custom_id"])
        bill = gateway.bill()

    assert created.status_code == 200
    assert (shown["completed_count"], shown["failed_count"]) == (100_000, 0)
    assert custom_ids == {row["custom_id"] for row in rows}
    assert (bill["answers"], bill["paid_twice"]) == (100_000, 0)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_when_asked_even_while_a_client_hangs(tmp_path: Path, stop: signal.Signals) -> None:
    with running_gateway(tmp_path, "--duration-s", "0") as gateway:
        gateway.set_faults({"create": {"hang": 1, "hang_s": 600.0}})
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(create, gateway, some_rows(1), timeout=60)
            deadline = time.monotonic() + 30
            while not gateway.batches() and time.monotonic() < deadline:
                pass
            os.kill(gateway.process.pid, stop)

            assert gateway.process.wait(STOP_DEADLINE_S) == 0
            assert isinstance(hanging.exception(30), httpx.TransportError)
        assert "Traceback" not in (tmp_path / "output.log").read_text()


def test_a_port_in_use_is_one_clear_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code = main(["--state", str(tmp_path / "state"), "--port", str(port)])

    assert code == 2
    assert capsys.readouterr().err == f"gateway: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("[create]\nlots = 1\n", "unknown field `lots`"), ("[create", "faults.toml")],
)
def test_a_bad_fault_plan_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "faults.toml").write_text(content)
    code = main(["--state", str(tmp_path / "state"), "--port", "0", "--faults", str(tmp_path / "faults.toml")])

    told = capsys.readouterr().err
    assert code == 2
    assert words in told
    assert told.count("\n") == 1


def test_a_state_folder_has_one_server(gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--state", str(gateway.state)]) == 2
    assert "another gateway is running" in capsys.readouterr().err


def test_every_option_says_what_it_is_for() -> None:
    assert [option.dest for option in _parser()._actions if not option.help] == []


def test_a_fault_plan_in_a_file_holds_and_the_start_says_where_it_listens(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text('[create]\nrefuse = { "402" = 1 }\n')
    with running_gateway(tmp_path / "state", "--faults", str(tmp_path / "faults.toml")) as gateway:
        statuses = [create(gateway, some_rows(1)).status_code for _ in range(2)]
        said = (gateway.state / "output.log").read_text()

    assert statuses == [402, 200]
    assert said == f"gateway: {gateway.url}\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's end")
def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    starter = (
        "import subprocess, sys, time, pathlib\n"
        f"subprocess.Popen([sys.executable, '-m', 'orchestrator.gateway', '--port', '0',"
        f" '--state', {str(tmp_path / 'state')!r}, '--ready-file', {str(ready_file)!r}, '--die-with-parent'])\n"
        f"while not pathlib.Path({str(ready_file)!r}).exists(): time.sleep(0.01)\n"
    )
    subprocess.run([sys.executable, "-c", starter], cwd=ROOT, timeout=30, check=True, stdout=subprocess.DEVNULL)
    url = json.loads(ready_file.read_text())["url"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/healthz", timeout=1)
        except httpx.TransportError:
            return
    pytest.fail("the gateway outlived its parent")

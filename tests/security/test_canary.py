"""Whole jobs with marked secrets and rows; then all that was written anywhere is searched for them (S1, S2, S12).

Promise 8: secrets and row contents stay out of logs, tracebacks, the ledger, messages and names; row contents stand in
the files that are made for them, and secrets nowhere at all.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator.domain.model import ChunkState
from tests.acceptance.command_line import CommandLine, Ended, command_line, kill, wait_until
from tests.acceptance.datasets import MODEL, QUICK, write_job
from tests.adapters.wire import Connection, answer, header, serving, target
from tests.gateway_process import GatewayProcess, running_gateway
from tests.security.canary import Canaries, Leak, forms
from tests.servers.postgres import fresh_database, some_postgres
from tests.servers.valkey import client_of
from tests.tiers import sampled
from tests.workers.fleets import Fleet, a_fleet, until

KEY: Final = "sk-canary-key-7c1f52e90b"
ROW: Final = "canary-row-81ab44"
LEDGER_PASSWORD: Final = "canary-ledger-5d0e77"
CANARIES: Final = Canaries(secrets={"key": KEY, "ledger password": LEDGER_PASSWORD}, rows={"row": ROW})
ROW_COUNT: Final = 60
FAULTS: Final = {  # of each batch the first row is filtered, the second fails, the next four lines are damaged
    "rows": {"fail": {"500": 2}, "filtered": 1},
    "lines": {"not_json": 3, "foreign_custom_id": 4, "duplicate_differing": 6},
    "create": {"refuse": {"429": 1}},
    "status": {"refuse": {"502": 1}},
}
ECHO: Final = f'{{"error": {{"message": "Incorrect API key {KEY} in: Bearer {KEY}", "code": 401}}}}'.encode()


def rows() -> pa.Table:
    return pa.table({"number": range(ROW_COUNT), "text": [f"{ROW} {number} words" for number in range(ROW_COUNT)]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where jobs ran with all logging on, and what they said."""

    cli: CommandLine
    said: list[Ended] = field(default_factory=list)

    def run(self, *words: str | Path) -> Ended:
        """Run a command and keep what it said."""
        ended = self.cli.run(*words)
        self.said.append(ended)
        return ended

    def leaks(self) -> list[Leak]:
        """Search what the commands said and what lies in the work folder."""
        found = CANARIES.in_folder(self.cli.work)
        for number, ended in enumerate(self.said):
            found += CANARIES.in_bytes((ended.out + ended.err).encode(), f"streams of command {number}")
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(cli=command_line(tmp_path / "user", key=KEY, ORCHESTRATOR_LOG="debug"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    pq.write_table(rows(), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def keyed(gateway: GatewayProcess) -> GatewayProcess:
    gateway.headers = {"Authorization": f"Bearer {KEY}"}  # type: ignore[misc]
    return gateway


def test_jobs_that_succeed_fail_and_are_tried_again(scene: Scene, dataset: Path, tmp_path: Path) -> None:
    with running_gateway(tmp_path / "gateway", "--duration-s", "0", "--api-key", KEY) as gateway:
        keyed(gateway).set_faults(FAULTS)
        job = write_job(tmp_path / "quiet.toml", dataset, gateway.url, policy={"chunk_requests_max": 20})

        ran = [
            scene.run(*words)
            for words in (
                ("run", job),
                ("status", job, "--json"),
                ("retry", job, "--unreadable"),
                ("run", job, "--json"),
            )
        ]

    assert [one.code for one in ran] == [4, 0, 4, 4], ran
    assert scene.leaks() == []


def test_a_provider_that_repeats_the_key_in_its_refusal(scene: Scene, dataset: Path, tmp_path: Path) -> None:
    """Before the first create, and at it: then the account pauses, with the provider's words in the ledger."""

    def play(connection: Connection) -> None:
        has_list = target(connection.request).endswith(b"/models") and b"early" not in connection.request
        connection.send(answer(404) if has_list else answer(401, ECHO, www_authenticate=f"Bearer {KEY}"))

    with serving(play) as server:
        early = write_job(tmp_path / "early.toml", dataset, f"{server.url}/early/v1")
        job = write_job(tmp_path / "refused.toml", dataset, f"{server.url}/v1")

        at_once, refused, shown = scene.run("run", early), scene.run("run", job), scene.run("status", job)

    assert (at_once.code, refused.code) == (3, 3), refused
    assert "Incorrect API key ***" in at_once.said
    assert "Incorrect API key ***" in shown.said
    assert any(KEY.encode() in request for request in server.requests)
    assert scene.leaks() == []


QUOTED: Final = {"message": f"invalid value at messages[0].content: '{ROW} 7 words'", "type": f"{ROW} 7 words"}
REFUSED: Final = json.dumps({"error": QUOTED | {"code": "invalid_value", "param": "messages[0].content"}}).encode()
NAMED: Final = "invalid_value, parameter messages[0].content (the provider's message: "


def quoting(place: str) -> Callable[[Connection], None]:
    """Answer as OneRouter does, and at one place quote a row."""

    def play(connection: Connection) -> None:
        host = (header(connection.request, b"host") or b"").decode()
        batch: dict[str, object] = {"batch_id": "b-1", "status": "SUCCESS", "result_url": f"http://{host}/results"}
        if place == "batch":
            provider_message = {"errors": json.loads(REFUSED)["error"], "fail_reason": QUOTED["message"]}
            batch |= {"status": "FAILURE", "result_url": "", **provider_message}
        at = target(connection.request)
        asked = "download" if at == b"/results" else "poll" if at == b"/v1/batches/b-1" else "create"
        if asked == place.partition(" ")[0]:
            connection.send(answer(500 if place == "create in doubt" else 400, REFUSED))
        else:
            connection.send(answer(200, json.dumps(batch).encode()))

    return play


PLACES: Final = ("create", "create in doubt", "poll", "batch", "download")


@pytest.mark.parametrize("place", sampled(PLACES, quick={"create"}))
def test_a_provider_that_quotes_a_row_in_its_refusal(place: str, scene: Scene, dataset: Path, tmp_path: Path) -> None:
    """Its words lie in a private file, which the error names; what it says for machines stands in the error."""
    with serving(quoting(place)) as server:
        job = write_job(tmp_path / "quoted.toml", dataset, f"{server.url}/v1", policy={"attempts_max": 1})
        process = scene.cli.start("run", job)
        told = {"create in doubt": "the answer to the create was lost", "batch": "invalid_value"}.get(place, "HTTP 400")
        wait_until(lambda: told in errors_in(scene.cli.work), f"the error of the {place}", 60)
        for words in (("status", job), ("status", job, "--json"), ("resolve", job)):
            scene.run(*words)
        out, err = kill(process)
        scene.said.append(Ended(code=-9, out=out, err=err))

    assert scene.leaks() == []
    assert NAMED in errors_in(scene.cli.work)
    kept = list(scene.cli.work.glob("*/provider_messages/*.txt"))
    assert len(kept) == 1
    assert QUOTED["message"] in kept[0].read_text()
    assert kept[0].stat().st_mode & 0o777 == 0o600


def errors_in(work: Path) -> str:
    """Return the errors in the ledger of a job that runs."""
    if not (work / "ledger.db").exists():
        return ""
    with contextlib.closing(sqlite3.connect(f"file:{work / 'ledger.db'}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute("SELECT error FROM chunks UNION ALL SELECT reason FROM jobs").fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return ""
    return "\n".join(text for (text,) in found)


@pytest.mark.slow
def test_a_job_that_is_killed(scene: Scene, dataset: Path, tmp_path: Path) -> None:
    """What kill -9 leaves: half-written files, the WAL, the journal."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "30", "--api-key", KEY) as gateway:
        job = write_job(tmp_path / "killed.toml", dataset, gateway.url, policy={"chunk_requests_max": 5})
        process = scene.cli.start("run", job)
        wait_until(lambda: len(list(scene.cli.work.glob("*/journal/*.json"))) > 2, "a few batches made")
        seen = CANARIES.in_command_lines()
        out, err = kill(process)
        scene.said.append(Ended(code=-9, out=out, err=err))

    assert seen == []
    assert scene.leaks() == []
    assert (scene.cli.work / "ledger.db-wal").exists()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet with its ledger in PostgreSQL, at an address with a password, and all logging on."""
    with fresh_database(some_postgres()) as url, a_fleet(tmp_path, monkeypatch) as running:
        with_password = url.replace("postgres@", f"postgres:{LEDGER_PASSWORD}@", 1)
        running.settings |= {
            "ORCHESTRATOR_LEDGER_URL": with_password,
            "ORCHESTRATOR_LOG": "debug",
            "ORCHESTRATOR_HEARTBEAT": str(tmp_path / "alive"),
            "ONEROUTER_API_KEY": KEY,
        }
        monkeypatch.setenv("ORCHESTRATOR_LEDGER_URL", with_password)
        yield running


@pytest.mark.slow
def test_a_fleet_its_broker_its_ledger_and_its_processes(fleet: Fleet, tmp_path: Path) -> None:
    """The broker is looked at again and again while the job runs: a message is gone once it is taken."""
    password = fleet.broker.url.split(":")[2].partition("@")[0]
    canaries = Canaries(secrets={**CANARIES.secrets, "broker password": password}, rows=CANARIES.rows)
    client, seen, over = client_of(fleet.broker), list[Leak](), threading.Event()
    looked_at = [0]

    def look() -> None:
        while not over.is_set():
            seen.extend(canaries.in_broker(client))
            looked_at[0] += client.dbsize()

    with running_gateway(tmp_path / "gateway-2", "--duration-s", "0.2", "--api-key", KEY) as gateway:
        keyed(gateway).set_faults(FAULTS)
        job = orchestrator.submit(
            rows(),
            prompt="{text}",
            model=MODEL,
            work=fleet.work,
            provider_options={"base_url": gateway.url, **QUICK},
            policy={"chunk_requests_max": 10, "retry_gather_s": 0.2},
        )
        watching = threading.Thread(target=look)
        watching.start()
        worker, beat = fleet.start("worker"), fleet.start("beat")
        until(lambda: job.status().totals.chunks.get(ChunkState.SUBMITTED, 0), "batches under way")
        lines = canaries.in_command_lines()
        job.wait(120)
        over.set()
        watching.join()

    logs = [leak for process in (worker, beat) for leak in canaries.in_bytes(process.log.read_bytes(), process.name)]
    assert len(worker.log.read_bytes()) > 0
    assert (seen, lines, logs) == ([], [], [])
    assert looked_at[0] > 0
    assert canaries.in_folder(fleet.work) == []
    assert canaries.in_database(fleet.settings["ORCHESTRATOR_LEDGER_URL"]) == []
    assert (tmp_path / "alive").read_bytes() == b""


@pytest.mark.parametrize("place", ["name", "file", "ledger", "broker", "stream"])
def test_a_planted_leak_is_found(place: str, scene: Scene, request: pytest.FixtureRequest) -> None:
    """The search would otherwise prove nothing: one that finds nothing is content with everything."""
    work = scene.cli.work
    work.mkdir(parents=True)
    for number, form in enumerate(forms(KEY)):
        (work / "journal").mkdir(exist_ok=True)
        (work / "journal" / f"{number}.json").write_bytes(b"xx" + form)
        assert [leak.canary for leak in scene.leaks()] == ["key"], form
        (work / "journal" / f"{number}.json").unlink()

    match place:
        case "name":
            (work / f"{ROW}.txt").touch()
        case "file":
            (work / "requests").mkdir()
            (work / "requests" / "one").write_text(ROW)  # where it may stand
            (work / "journal" / "one").write_bytes(base64.b64encode(f"a{KEY}b".encode()))
        case "ledger":
            with sqlite3.connect(work / "ledger.db") as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE chunks (error TEXT)")
                connection.execute("INSERT INTO chunks VALUES (?)", (f"refused: {ROW}",))
                connection.commit()
                assert scene.leaks() != []
        case "broker":
            client = client_of(request.getfixturevalue("fleet").broker)
            client.lpush("orchestrator:control", base64.b64encode(f"[['{ROW}']]".encode()))
            client.set("other", f"bearer {KEY}")
            assert {leak.canary for leak in CANARIES.in_broker(client)} == {"row", "key"}
            return
        case "stream":
            scene.said.append(Ended(code=1, out="", err=f"ValueError: {KEY}"))

    assert len(scene.leaks()) >= 1

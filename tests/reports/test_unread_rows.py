"""Failed rows of two kinds beside each other: those that cannot be read stay as they are, the others are sent again.

The server gives an unknown shape to some rows and refuses others, as a gateway does whose model was changed half-way.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import Job, JobInterrupted
from orchestrator.api.handle import JobHandle
from orchestrator.cli.main import app
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.reread import Reading
from orchestrator.providers import registry
from orchestrator.providers.onerouter.dialect import OneRouterDialect
from tests.reports.play import KEY, KEY_VARIABLE, MODELS, PROMPT, QUICK
from tests.reports.server import Object, OneRouterServer, Request, failed_line, running, text_for

ROWS: Final = 24  # in two shards
MIXED: Final = {"bad": 6, "unreadable": 6}
UNREAD: Final = 3  # of four rows


class Mixed(OneRouterServer):
    """Of four rows the second is refused at first, and the last is answered in a form that nobody reads.

    Row 17 is refused twice; rows 9 and 13, of two shards, are answered in that form once they are sent again.
    """

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        row = int(request.prompt.removeprefix("Q<row ").removesuffix(">"))
        tries = self.tries[row] = self.tries[row] + 1
        if row % 4 == 1 and tries <= 1 + (row == 17):
            return [failed_line(request.custom_id, 400, "no", code="bad")]
        if row % 4 != UNREAD and row not in (9, 13):
            return super().answer(request, place)
        self.pay(request)
        said = {7: {"fault": "no"}, 11: {"said": "cut", "why": "length"}}.get(row, {"said": text_for(request.prompt)})
        return [("output", {"ref": {"row": request.custom_id}, "reply": said})]

    def __init__(self) -> None:
        super().__init__()
        self.tries = Counter[int]()


class Later(OneRouterDialect):
    """A later version, which reads that form: row 7 turns out to have failed, row 11 was cut off."""

    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        content = json.loads(line)
        if "reply" not in content:
            return super().read_line(line, keep_raw=keep_raw)
        said = content["reply"]
        if "fault" in said:
            return content["ref"]["row"], Answer(succeeded=False, error_code="refused_later")
        return content["ref"]["row"], Answer(succeeded=True, text=said["said"], finish_reason=said.get("why", "stop"))


@pytest.fixture
def later() -> Iterator[None]:
    """Let the test upgrade the program with `registry.register`; undo it."""
    yield
    registry.register("onerouter", OneRouterDialect)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Mixed:
    """Set the key, and have two shards."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("ORCHESTRATOR_SHARD_ROWS", str(ROWS // 2))
    return Mixed()


def ran(url: str, folder: Path, failed: Mapping[str, int] = MIXED) -> JobHandle:
    """Run the job to its end; so many rows have failed, by error code."""
    (folder / "tables").mkdir()
    for shard in range(2):
        texts = [f"row {row}" for row in range(shard * ROWS // 2, (shard + 1) * ROWS // 2)]
        pq.write_table(pa.table({"text": texts}), folder / "tables" / f"{shard}.parquet")
    done = orchestrator.run(
        Job(
            name="report",
            dataset=str(folder / "tables"),
            prompt=PROMPT,
            model=MODELS["onerouter"],
            work=folder / "work",
            provider="onerouter",
            provider_options={**QUICK, "base_url": url, "api_key_env": KEY_VARIABLE},
            policy={"chunk_requests_max": 8, "retry_gather_s": 0, "poll_s_min": 0.05},
        )
    )
    handle = orchestrator.open_job(done.job_id, work=folder / "work")
    assert codes(handle) == failed
    assert sound(handle) == (ROWS - sum(failed.values()), sum(failed.values()))
    return handle


def codes(handle: JobHandle) -> Counter[str]:
    """Return how many rows failed, by error code, of the output."""
    return Counter(handle.results().rows("failed")["llm_error_code"].to_pylist())


def sound(handle: JobHandle) -> tuple[int, int]:
    """Return how many rows have succeeded and failed, once ledger, files and output agree."""
    found = orchestrator.audit(handle.job_id, work=handle.work, deep=True)
    assert not found.differences, [one.as_dict() for one in found.differences]
    look = handle.status().look
    assert look.written == (2, 2)
    assert look.rows.placed == look.rows.total == ROWS
    assert sum(one.rows for one in look.causes) == look.rows.failed
    counts = handle.results().counts
    assert (look.rows.answered, look.rows.failed) == (counts["succeeded"], counts["failed"])
    return counts["succeeded"], counts["failed"]


def recovered(handle: JobHandle) -> None:
    """Lose the ledger, and make it again."""
    before = as_known(handle)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (Path(handle.work) / name).unlink(missing_ok=True)
    with sqlite3.connect(Path(handle.work) / "ledger.db"):
        pass
    orchestrator.recover(work=handle.work)
    assert as_known(handle) == before


def as_known(handle: JobHandle) -> tuple[object, ...]:
    """Return what the ledger says of the rows."""
    found = handle.status()
    with sqlite3.connect(Path(handle.work) / "ledger.db") as ledger:
        failed = ledger.execute("select chunk_id, shard_no, failed from chunk_shards where failed > 0 order by 1, 2")
        settled = ledger.execute("select shard_no, settled_count from shards order by 1")
        causes = {one.code: one.rows for one in found.look.causes}
        return (
            found.totals.unreadable_rows,
            found.totals.unread_answers,
            causes,
            found.totals.flaws,
            [*failed],
            [*settled],
        )


@pytest.mark.slow
@pytest.mark.parametrize("loses", [False, True])
def test_a_retry_sends_the_failed_rows_that_can_be_read_and_keeps_the_others(
    server: Mixed, tmp_path: Path, loses: bool
) -> None:
    """Before and after: the unread rows are bought only where a person says so; a lost ledger changes nothing."""
    with running(server) as url:
        handle = ran(url, tmp_path)
        if loses:
            recovered(handle)

        assert handle.retry().counts == {"rows": ROWS, "succeeded": 15, "failed": 9}
        assert codes(handle) == {"bad": 1, "unreadable": 8}
        assert sound(handle) == (15, 9)
        assert {row: tries for row, tries in server.tries.items() if tries > 1} == dict.fromkeys(range(1, ROWS, 4), 2)

        if loses:
            recovered(handle)
        assert handle.retry().counts["failed"] == 8
        assert sound(handle) == (16, 8)
        if loses:
            recovered(handle)
        with pytest.raises(ConfigError, match="8 failed rows were answered"):
            handle.retry()
        assert sum(server.tries.values()) == ROWS + 6 + 1

        assert handle.retry(unreadable=True).counts["failed"] == 8
        assert {server.tries[row] for row in range(UNREAD, ROWS, 4)} == {2}
        assert {server.tries[row] for row in (9, 13, 17)} == {3}
        assert sound(handle) == (16, 8)
        if loses:
            recovered(handle)


@pytest.mark.slow
@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("loses", [False, True])
def test_rows_that_are_read_later_are_told_apart_from_those_that_were_sent_again(
    server: Mixed, tmp_path: Path, loses: bool
) -> None:
    """A row that turns out to have failed, or to be cut off, is sent again alone: not those that went before it."""
    with running(server) as url:
        handle = ran(url, tmp_path)
        handle.retry()
        handle.retry()
        registry.register("onerouter", Later)

        assert handle.reread() == Reading(read=7, failed=1, is_reopened=True)
        assert sound(handle) == (23, 1)
        if loses:
            recovered(handle)

        assert handle.retry().counts["failed"] == 1
        assert (server.tries[7], server.tries[1]) == (2, 2)
        assert handle.retry(rows="truncated").flaws["truncated"] == 1
        assert (server.tries[11], sum(server.tries.values())) == (2, ROWS + 6 + 1 + 2)
        assert sound(handle)[0] == 23
        if loses:
            recovered(handle)


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_unread_rows_that_are_not_bought_after_all_stay_unread(tmp_path: Path) -> None:
    """A person who pays for them again, and cancels before they are sent, can still read them for nothing."""
    stop = threading.Event()
    stop.set()
    with running(Mixed()) as url:
        handle = ran(url, tmp_path)
        with pytest.raises(JobInterrupted):
            handle.retry(unreadable=True, stop=stop)
        assert handle.status().totals.waiting == 12

        handle.cancel()

        assert codes(handle) == {"bad": 6, "unreadable": 6}
        assert handle.status().totals.unreadable_rows == 6
        assert sound(handle) == (12, 12)
        assert handle.retry().counts["failed"] == 9
        recovered(handle)


def test_a_retry_says_what_it_leaves_and_what_to_type(server: Mixed, tmp_path: Path) -> None:
    """Each command alone on its line. The unread rows are not bought again."""
    with running(server) as url:
        handle = ran(url, tmp_path)

        told = CliRunner().invoke(app, ["retry", handle.job_id, "--work", handle.work], env={"COLUMNS": "80"})

    lines = told.output.splitlines()
    assert f"{handle.job_id}: 6 rows that cannot be read stay as they are." in lines
    assert f"    orchestrator reread {handle.job_id} --work {handle.work}" in lines
    assert f"    orchestrator retry {handle.job_id} --unreadable --work {handle.work}" in lines
    assert told.exit_code == 4
    assert {server.tries[row] for row in range(UNREAD, ROWS, 4)} == {1}
    assert codes(handle) == {"bad": 1, "unreadable": 8}


class Cut(OneRouterServer):
    """Every row is cut off at first; then of four rows one is whole, one refused, and two are unread."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = Counter[int]()

    def answer(self, request: Request, place: int) -> list[tuple[str, Object]]:
        row = int(request.prompt.removeprefix("Q<row ").removesuffix(">"))
        tries = self.tries[row] = self.tries[row] + 1
        [(name, line)] = super().answer(request, place)
        if tries == 1:
            line["response"]["body"]["choices"][0]["finish_reason"] = "length"
        elif row % 4 == 1 and tries == 2:
            return [failed_line(request.custom_id, 400, "no", code="bad")]
        elif row % 4 > 1:
            said = {"said": "cut", "why": "length"} if row == UNREAD else {"said": text_for(request.prompt)}
            return [("output", {"ref": {"row": request.custom_id}, "reply": {"fault": "no"} if row == 7 else said})]
        return [(name, line)]


@pytest.mark.slow
@pytest.mark.usefixtures("later", "server")
@pytest.mark.parametrize("loses", [False, True])
def test_a_newer_answer_that_cannot_be_read_is_kept_beside_the_one_that_stands(tmp_path: Path, loses: bool) -> None:
    """It is not bought again; once it can be read it takes the older one's place, unless it has failed."""
    server = Cut()

    def checked(handle: JobHandle) -> dict[str, int]:
        assert sound(handle) == (ROWS, 0)
        if loses:
            recovered(handle)
        return dict(handle.status().totals.flaws)

    with running(server) as url:
        handle = ran(url, tmp_path, failed={})
        assert checked(handle)["truncated"] == ROWS

        handle.retry(rows="truncated")
        assert checked(handle)["truncated"] == 18
        assert handle.status().totals.unread_answers == 12
        handle.retry(rows="truncated")
        assert checked(handle)["truncated"] == 12
        assert {server.tries[row] for row in range(ROWS) if row % 4 > 1} == {2}
        with pytest.raises(ConfigError, match="12 truncated ones cannot be read"):
            handle.retry(rows="truncated")

        registry.register("onerouter", Later)
        assert handle.reread() == Reading(read=11, failed=1, is_reopened=True)
        assert checked(handle)["truncated"] == 2
        told = handle.results().to_arrow()["llm_response"].to_pylist()
        assert (told[2], told[UNREAD]) == (text_for("Q<row 2>"), "cut")

        handle.retry(rows="truncated")
        assert sum(server.tries.values()) == ROWS * 2 + 6 + 2
        assert (server.tries[UNREAD], server.tries[7]) == (3, 3)
        assert checked(handle)["truncated"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_newer_answers_that_cannot_be_read_are_bought_again_where_a_person_says_so(tmp_path: Path) -> None:
    """Cancelled before they are sent, they can still be read."""
    server, stop = Cut(), threading.Event()
    stop.set()
    with running(server) as url:
        handle = ran(url, tmp_path, failed={})
        handle.retry(rows="truncated")
        with pytest.raises(JobInterrupted):
            handle.retry(rows="truncated", unreadable=True, stop=stop)
        handle.cancel()
        assert handle.status().totals.unread_answers == 12
        assert sound(handle) == (ROWS, 0)

        handle.retry(rows="truncated", unreadable=True)

        assert {server.tries[row] for row in range(ROWS) if row % 4} == {3}
        assert handle.status().totals.unread_answers == 12
        assert sound(handle) == (ROWS, 0)
        recovered(handle)

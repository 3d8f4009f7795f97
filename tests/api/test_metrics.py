"""What Prometheus reads: names by its conventions, numbers of the ledger and of this process, no id of a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import telemetry
from orchestrator.api.metrics import METRICS, exposed_names, metrics
from orchestrator.api.viewer import Viewer
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.model import JobState
from orchestrator.domain.workers import Kind
from orchestrator.engine.opening import open_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Body
from orchestrator.providers.http.secret import Secret
from tests.builders import JOB, NOW, a_chunk, a_job
from tests.contract.ledger_harness import LedgerHarness
from tests.servers.receiver import running_receiver


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(str(tmp_path), "", {})
    yield workspace
    workspace.close()


def samples(text: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values by name and by the labels' values, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            labels = tuple(value for _, value in sorted(one.labels.items()))
            found.setdefault(one.name, {})[labels] = one.value
    return found


def test_the_ledgers_metrics_are_those_of_jobs_that_have_not_ended(workspace: Workspace) -> None:
    harness = LedgerHarness(workspace.database)
    harness.open(a_job(budget_usd=5))
    harness.add(a_chunk("c00000-00000"), a_chunk("c00000-00001", state="submitted", sent_at=NOW))
    harness.open(a_job("done-1", name="done"))  # type: ignore[arg-type]
    harness.put_job(JobState.FINISHED, "done-1")  # type: ignore[arg-type]
    workspace.register(Kind.WORKER, "here")

    found = samples(metrics(Viewer(workspace)))

    assert found["orchestrator_jobs"][("finished",)] == 1
    assert sum(found["orchestrator_jobs"].values()) == 2
    assert found["orchestrator_chunks"] == {(JOB, "planned"): 1, (JOB, "submitted"): 1}
    assert found["orchestrator_rows"][(JOB, "at_provider")] == 10
    assert {labels[0] for labels in found["orchestrator_rows"]} == {JOB}
    assert found["orchestrator_oldest_batch_seconds"][(JOB,)] > 0
    assert found["orchestrator_budget_usd"] == {(JOB,): 5}
    assert found["orchestrator_workers"] == {("worker",): 1, ("beat",): 0}
    assert found["orchestrator_notices"][("waiting",)] == 1
    assert set(found) <= exposed_names() | {name for name in found if name.startswith("process_")}


def test_a_process_counts_its_steps_and_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEPS", "CALLS"):
        monkeypatch.setattr(telemetry, name, telemetry.Counted())
    with telemetry.step(step="poll", job=JOB, unit=JOB):
        pass
    with pytest.raises(ValueError, match="odd"), telemetry.step(step="poll", job=JOB, unit=JOB):
        raise ValueError("odd")
    with telemetry.call("onerouter", "POST", "api.example") as call:
        call.answered(429)
    with pytest.raises(OSError, match="gone"), telemetry.call("onerouter", "POST", "api.example"):
        raise OSError("gone")

    found = samples(metrics(None))

    assert found["orchestrator_steps_total"] == {("done", "poll"): 1, ("ValueError", "poll"): 1}
    assert found["orchestrator_step_seconds_count"] == {("poll",): 2}
    assert found["orchestrator_provider_calls_total"] == {
        ("POST", "onerouter", "429"): 1,
        ("POST", "onerouter", "none"): 1,
    }
    assert found["orchestrator_provider_call_seconds_count"] == {("POST", "onerouter"): 2}
    assert "orchestrator_rows" not in found


def test_every_exchange_of_a_client_is_counted_by_the_status_of_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "CALLS", telemetry.Counted())
    with running_receiver() as server:
        client = HttpClient(server.url.removesuffix("/hook-s3cret"), Secret("a-key"), name="here")
        server.statuses[:] = [503]
        for _ in range(2):
            client.upload("/v1/files", Body(blocks=(b"{}",), size_bytes=2))
        client.close()
    with pytest.raises(Unavailable):
        client.upload("/v1/files", Body(blocks=(b"{}",), size_bytes=2))

    assert samples(metrics(None))["orchestrator_provider_calls_total"] == {
        ("POST", "here", "503"): 1,
        ("POST", "here", "204"): 1,
        ("POST", "here", "none"): 1,
    }


def test_names_follow_the_conventions_of_prometheus() -> None:
    """https://prometheus.io/docs/practices/naming/: a prefix, base units, no `job`, `instance` or type in a name."""
    for name, one in METRICS.items():
        assert re.fullmatch(r"orchestrator_[a-z]+(_[a-z]+)*", name), name
        assert not name.endswith(("_total", "_count", "_sum", "_milliseconds", "_gauge", "_counter")), name
        assert {"job", "instance", "le", "quantile"}.isdisjoint(one.labels), name
        assert one.help.endswith("."), name

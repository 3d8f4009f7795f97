"""Spans of a run arrive at a collector, before the process ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.command_line import CommandLine
from tests.acceptance.datasets import mark, write_dataset, write_job
from tests.gateway_process import API_KEY, GatewayProcess
from tests.servers.receiver import running_receiver


@pytest.mark.slow
def test_a_run_with_traces_exports_its_steps_and_calls(
    gateway: GatewayProcess, cli: CommandLine, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", 20), gateway.url)
    with running_receiver() as collector:
        where = {
            "ORCHESTRATOR_TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.removesuffix("/hook-s3cret"),
        }
        traced = replace(cli, environment={**cli.environment, **where})

        ran = traced.run("run", job)

        assert ran.code == 0, ran
        sent = b"".join(one.body for one in collector.received)
        assert {one.path for one in collector.received} == {"/v1/traces"}
        for word in (b"batch-orchestrator", b"step plan", b"step submit", b"step seal", b"POST onerouter"):
            assert word in sent, word
        assert API_KEY.encode() not in sent
        assert mark(0).encode() not in sent

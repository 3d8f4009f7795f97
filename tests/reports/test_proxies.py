"""The provider can be reached through a proxy only (WeblateOrg/weblate#11868, simonw/llm#772, openai-python#73)."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from tests.reports.server import OneRouterServer, OpenAIServer, running, text_for
from tests.servers.http_proxy import running_http_proxy

KEY: Final = "sk-report-0123456789"
PASSWORD: Final = "canary-pr0xy-pw"
ROWS: Final = [f"row {number}" for number in range(12)]


def test_a_whole_job_goes_through_the_proxy_and_its_password_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, creates, polls, downloads and deletes; the host's name is known to the proxy alone."""
    pq.write_table(pa.table({"text": ROWS}), tmp_path / "rows.parquet")
    monkeypatch.setenv("REPORT_KEY", KEY)
    server = OpenAIServer()
    with running(server) as url, running_http_proxy(urlsplit(url).port or 0, credentials=f"me:{PASSWORD}") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        result = orchestrator.run(
            tmp_path / "rows.parquet",
            prompt="Q<{text}>",
            model="gpt-6-luna",
            provider="openai",
            provider_options={"base_url": "http://api.provider.test/v1", "api_key_env": "REPORT_KEY"},
            policy={"chunk_requests_max": 6, "poll_s_min": 0.05},
            work=tmp_path / "work",
        )
        heads = {request.split(b" HTTP/")[0].split(b"/v1/")[-1].split(b"/")[0] for request in proxy.requests}

    assert result.to_pandas()["llm_response"].tolist() == [text_for(f"Q<{row}>") for row in ROWS]
    assert set(server.paid.values()) == {1}
    assert heads >= {b"files", b"batches", b"models"}
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file() and PASSWORD in _text(path)] == []


def test_results_on_this_machine_are_fetched_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider on this machine needs no proxy, whatever the environment says: no call goes to it."""
    pq.write_table(pa.table({"text": ROWS}), tmp_path / "rows.parquet")
    monkeypatch.setenv("REPORT_KEY", KEY)
    with running(OneRouterServer()) as url, running_http_proxy(9) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        result = orchestrator.run(
            tmp_path / "rows.parquet",
            prompt="Q<{text}>",
            model="openai/gpt-6-luna-batch",
            provider_options={"base_url": url, "api_key_env": "REPORT_KEY"},
            policy={"poll_s_min": 0.05},
            work=tmp_path / "work",
        )

        assert proxy.requests == []
    assert result.counts["succeeded"] == len(ROWS)


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1")

"""Anthropic's dialect on a wire: whole jobs against the gateway; a lost create is found by its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

import orchestrator
from tests.acceptance.datasets import check_audit, check_exact, marked, read_output
from tests.gateway_process import API_KEY, running_gateway

ROWS: Final = 30
SOURCE: Final = marked(ROWS)


@pytest.mark.parametrize(
    "plan",
    [
        # The list shows two batches of ten requests: one is another create's, and known.
        {"create": {"lost": 1}},
        pytest.param({"create": {"accept_then": {"500": 2}}, "list": {"lag_s": 1.0}}, marks=pytest.mark.slow),
        pytest.param({"batch": {"expire": 2, "done_share": 0.5}, "rows": {"fail": {"529": 3}}}, marks=pytest.mark.slow),
        pytest.param({"batch": {"fail": 1}, "lines": {"missing": 2, "not_json": 1}}, marks=pytest.mark.slow),
        pytest.param(
            {"status": {"not_found": 1, "unknown": 1, "empty_result_url": 2}, "download": {"refuse": {"404": 1}}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda plan: "+".join(plan),
)
def test_each_row_has_its_own_answer_and_is_paid_once(
    tmp_path: Path, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", API_KEY)
    options = {"poll_s_min": 0.1, "poll_s_max": 0.3, "create_s_max": 5, "list_lag_s": 1}
    with running_gateway(tmp_path / "gateway", "--duration-s", "0.3") as gateway:
        gateway.set_faults(plan)
        result = orchestrator.run(
            SOURCE,
            prompt="{text}",
            model="claude-haiku-5-5",
            max_tokens=100,
            work=tmp_path / "work",
            provider="anthropic",
            provider_options={"base_url": gateway.url, **options},
            policy={"chunk_requests_max": 10, "retry_gather_s": 0.2},
        )
        bill = gateway.bill()

    check_exact(read_output(result.path), SOURCE)
    check_audit(result.job_id, tmp_path / "work")
    assert bill["paid_twice"] - bill["excused"] == 0

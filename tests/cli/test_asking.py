"""Questions at a terminal: what a job may cost, and whether to run it beside an unfinished one of its name."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.datasets import MODEL
from tests.gateway_process import API_KEY, ROOT, GatewayProcess, running_gateway

JOB: Final = """
[job]
name = "mood"
dataset = "rows.csv"
[request]
model = "{model}"
prompt = "{prompt} {{text}}"
max_tokens = 4000
[policy]
confirm_usd = "{confirm}"
{more}
[provider]
base_url = "{url}"
poll_s_min = 0.1
poll_s_max = 0.2
prices."{model}" = {{ input_usd = "1", output_usd = "1" }}
"""


pytestmark = pytest.mark.slow


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as running:
        yield running


def at_terminal(folder: Path, typed: str, *arguments: str) -> tuple[int, str]:
    """Run the command at a terminal where this is typed, and return its exit code and what was shown."""
    main, other = pty.openpty()
    os.write(main, typed.encode())
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ONEROUTER_API_KEY": API_KEY, "NO_COLOR": "1", "COLUMNS": "200"},
        stdin=other,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(main)
    return process.wait(60), shown.decode()


def write_job(folder: Path, url: str, *, prompt: str = "Mood of", confirm: str = "0.001", more: str = "") -> Path:
    (folder / "rows.csv").write_text("text\na\nb\n")
    (folder / "mood.toml").write_text(JOB.format(url=url, model=MODEL, prompt=prompt, confirm=confirm, more=more))
    return folder / "mood.toml"


def test_a_job_that_may_cost_more_than_the_limit_is_confirmed(gateway: GatewayProcess, tmp_path: Path) -> None:
    """No enters nothing into the ledger."""
    write_job(tmp_path, gateway.url)

    code, shown = at_terminal(tmp_path, "n\n", "run", "mood.toml")

    assert code == 1, shown
    assert "2 requests, about 0.004" in shown
    assert "It may cost more than policy.confirm_usd (0.001 USD). Go on?" in shown
    assert not (tmp_path / ".orchestrator" / "ledger.db").exists()


@pytest.mark.parametrize("more", ['budget_usd = "0.0001"', ""])
def test_a_small_job_or_a_small_budget_is_not_asked_about(gateway: GatewayProcess, tmp_path: Path, more: str) -> None:
    """It stops for its budget, which is below one request: it got as far as that."""
    write_job(tmp_path, gateway.url, confirm="0.001" if more else "1", more=more or 'budget_usd = "0.0001"')

    code, shown = at_terminal(tmp_path, "", "run", "mood.toml")

    assert "Go on?" not in shown
    assert (code, "the budget is too small" in shown) == (3, True), shown


def test_a_near_miss_is_asked_about_and_a_pipe_is_refused(gateway: GatewayProcess, tmp_path: Path) -> None:
    write_job(tmp_path, gateway.url, more='budget_usd = "0.0001"')
    at_terminal(tmp_path, "", "run", "mood.toml", "--yes")
    write_job(tmp_path, gateway.url, prompt="Topic of", more='budget_usd = "0.0001"')

    code, shown = at_terminal(tmp_path, "n\n", "run", "mood.toml", "--yes")
    piped = subprocess.run(
        [sys.executable, "-m", "orchestrator", "run", "mood.toml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ONEROUTER_API_KEY": API_KEY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert code == 1, shown
    assert '"Mood of {text}" -> "Topic of {text}"' in shown
    assert "Run the new one beside it?" in shown
    assert piped.returncode == 2, piped.stderr
    assert '"Mood of {text}" -> "Topic of {text}"' in piped.stderr

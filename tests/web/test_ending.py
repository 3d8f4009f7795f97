"""`orchestrator ui` as a process: what it runs is recorded before it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from orchestrator.domain.look import Activity
from orchestrator.engine.opening import opened_workspace
from orchestrator.gateway.in_thread import serving
from orchestrator.gateway.settings import GatewayConfig
from orchestrator.testing import KEY_VARIABLE
from tests.web.test_actions import form_of

pytestmark = pytest.mark.slow

KEY = "a-key-of-this-test"
SCRIPT = Path(sys.executable).with_name("orchestrator")


@contextmanager
def a_page(work: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command, and yield it with the address that it prints."""
    command = [str(SCRIPT), "ui", "--port", "0", "--work", str(work)]
    environment = os.environ | {KEY_VARIABLE: KEY}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as ui:
        assert ui.stdout is not None
        address = next(line.strip() for line in ui.stdout if "http://" in line)
        try:
            yield ui, address
        finally:
            ui.kill()


def test_ctrl_c_ends_a_run_on_the_page_as_it_would_on_a_terminal(tmp_path: Path) -> None:
    """Its calls are finished, the ledger knows that nothing works on the job, and the output says how to go on."""
    with serving(GatewayConfig(state=tmp_path / "server", api_key=KEY, duration_s=600.0)) as (url, _):
        options = {"dialect": "openai", "base_url": f"{url}/v1", "api_key_env": KEY_VARIABLE, "poll_s_min": 0.1}
        frame = pd.DataFrame({"text": ["a", "b"]})
        work = tmp_path / "work"
        handle = orchestrator.submit(
            frame, prompt="{text}", model="any", name="slow", work=work, provider="fake", provider_options=options
        )
        with a_page(work) as (ui, address):
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
            browser.open(address).read()
            place = re.sub(r"/\?.*", f"/jobs/{handle.job_id}/do/run", address)
            form = urllib.parse.urlencode(form_of(browser.open(place).read().decode())).encode()
            browser.open(place, data=form).read()
            while handle.status().look.activity is not Activity.BATCHES:
                pass
            ui.send_signal(signal.SIGINT)
            told, _ = ui.communicate(timeout=60)

        with opened_workspace(str(work)) as workspace:
            look = workspace.look(handle.job_id)

    assert ui.returncode == 0, told
    assert "finishing the calls under way" in told
    assert f"orchestrator run {handle.job_id} --work {work}" in told
    assert look.worked_by == ()
    assert look.activity is Activity.UNATTENDED

"""Notebooks in a real kernel: the shipped one runs, what a run shows stays in its place, an interrupt loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from orchestrator.api.commands import jobs
from tests.acceptance.command_line import DEADLINE_S, wait_until
from tests.acceptance.datasets import check_exact, marked
from tests.gateway_process import ROOT, GatewayProcess
from tests.servers.proxy import FaultProxy, running_proxy

pytestmark = pytest.mark.slow
ROWS: Final = 10
ANSWER_S: Final = 2.0  # how long an answer of the slow provider is on its way
RUN: Final = f"""
import orchestrator
from tests.acceptance.datasets import MODEL, QUICK, marked
result = orchestrator.run(marked({ROWS}), prompt="{{{{text}}}}", model=MODEL, work={{work!r}}, name="notebook",
                          provider_options={{{{"base_url": {{url!r}}, **QUICK}}}})
"""


@pytest.fixture(autouse=True)
def _kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels find this checkout, and keep their files in the test's folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def test_the_notebook_of_the_examples_runs_and_shows_a_run_in_one_display(tmp_path: Path) -> None:
    """No cell prints anything; the run's display is updated in its place, and ends without the tip to interrupt."""
    shutil.copytree(ROOT / "examples/data", tmp_path / "data")
    notebook = nbformat.read(ROOT / "examples/notebook.ipynb", as_version=4)  # type: ignore[no-untyped-call]

    NotebookClient(notebook, timeout=int(DEADLINE_S), resources={"metadata": {"path": str(tmp_path)}}).execute()

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [output for cell in cells for output in cell.outputs if output.output_type == "stream"] == []
    [run] = [cell for cell in cells if "orchestrator.run(" in cell.source]
    [display] = run.outputs
    assert "finished" in display.data["text/html"]
    assert "1,455" in display.data["text/html"]
    assert "interrupt" not in display.data["text/html"]
    shown = [output.data["text/html"] for cell in cells for output in cell.outputs if "text/html" in output.data]
    assert any("nothing has been sent" in html for html in shown)
    assert any("notebook-work/topics-" in html for html in shown)


@pytest.fixture
def kernel(key: str, tmp_path: Path) -> Iterator[Any]:
    """A kernel's client, and the kernel as `kernel.manager`."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=os.environ | {"ONEROUTER_API_KEY": key}, cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=DEADLINE_S)
    client.manager = manager
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def slow(gateway: GatewayProcess) -> Iterator[FaultProxy]:
    """The gateway behind a proxy whose answers can be made slow."""
    with running_proxy(("127.0.0.1", int(gateway.base_url.rpartition(":")[2]))) as proxy:
        yield proxy


def test_a_kernel_that_is_interrupted_in_a_create_keeps_what_is_paid_and_goes_on(
    gateway: GatewayProcess, slow: FaultProxy, kernel: Any, tmp_path: Path
) -> None:
    """The stop button: the batch is paid, its id is recorded, and the same cell run again does not send it again."""
    cell = RUN.format(work=str(tmp_path / "work"), url=f"http://127.0.0.1:{slow.port}/v1")
    slow.delay_s = ANSWER_S
    asked = kernel.execute(cell)
    wait_until(lambda: len(gateway.batches()) == 1, "a create whose answer is on its way")
    kernel.manager.interrupt_kernel()
    stopped = answer_to(kernel, asked)

    assert (stopped["status"], stopped["ename"]) == ("error", "JobInterrupted"), stopped
    [job] = jobs(work=tmp_path / "work")
    assert job.status().as_dict()["chunks"] == {"submitted": 1}

    slow.delay_s = 0.0
    again = answer_to(kernel, kernel.execute(cell))

    assert again["status"] == "ok", json.dumps(again, default=str)
    check_exact(job.results().to_arrow(), marked(ROWS))
    bill = gateway.bill()
    assert (bill["creates"], bill["paid_twice"]) == (1, 0)


def answer_to(kernel: Any, asked: str) -> dict[str, Any]:
    """Return the reply to an execute request."""
    while True:
        reply = kernel.get_shell_msg(timeout=DEADLINE_S)
        if reply["parent_header"].get("msg_id") == asked:
            return dict(reply["content"])

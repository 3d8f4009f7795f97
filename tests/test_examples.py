"""The examples against today's code: what can be checked without the packages that they are for.

`make examples` installs those, each in an environment of its own, and runs the examples' own tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.acceptance.datasets import write_dataset, write_job
from tests.gateway_process import API_KEY, ROOT, running_gateway

EXAMPLES: Final = ROOT / "examples"
WORKFLOW: Final = EXAMPLES / "github-actions/answers.yml"
ON_DEMAND: Final = "EXAMPLES"  # in the environment: install what the examples are for, and run their own tests
HEAVY: Final = sorted(path.parent.name for path in EXAMPLES.glob("*/test_*.py"))
ROWS: Final = 30


@pytest.mark.slow
def test_the_examples_use_the_api_as_it_is() -> None:
    """Types of ours are checked; what is not installed is of any type."""
    relaxed = ["--ignore-missing-imports", "--allow-subclassing-any", "--allow-untyped-decorators"]
    relaxed += ["--no-warn-unused-ignores", "--no-warn-return-any", "--explicit-package-bases"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *relaxed, "examples"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_the_workflow_is_one_by_the_schema_of_workflows() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(WORKFLOW)]
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_workflows_shell_steps_stop_a_job_and_go_on_with_it(tmp_path: Path) -> None:
    """Run as GitHub does, in bash, by the same file: a run that is over its time, and the next one."""
    with running_gateway(tmp_path / "gateway", "--duration-s", "5") as gateway:
        table = write_dataset(tmp_path / "rows.parquet", ROWS)
        write_job(tmp_path / "moods.toml", table, gateway.url, provider={"poll_s_min": 0.1, "poll_s_max": 0.2})

        stopped = run_steps(tmp_path, WORK_FOR="2s")  # less than a batch takes, and more than Python takes to begin
        assert stopped == ({}, "Not finished: the next run goes on with it.\n")
        assert not (tmp_path / "answers.parquet").exists()

        outputs, summary = run_steps(tmp_path)
        assert outputs == {"finished": "true"}
        assert f"of {ROWS} rows" in summary
        assert (tmp_path / "answers.parquet").exists()
        assert gateway.bill()["paid_twice"] == 0


def run_steps(folder: Path, **changed: str) -> tuple[dict[str, str], str]:
    """Run the steps that have a script; return the outputs of `run`, and the summary."""
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (folder / "outputs").write_text("")
    (folder / "summary").write_text("")
    places = {"GITHUB_OUTPUT": str(folder / "outputs"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ONEROUTER_API_KEY": API_KEY}
    environment = os.environ | workflow["env"] | places | path | changed
    outputs: dict[str, str] = {}
    for step in workflow["jobs"]["answers"]["steps"]:
        if "run" not in step or step["name"] == "Install" or not is_wanted(step, outputs):
            continue
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (step["name"], done.stdout, done.stderr)
        outputs = dict(line.split("=", 1) for line in (folder / "outputs").read_text().splitlines())
    return outputs, (folder / "summary").read_text()


def is_wanted(step: dict[str, Any], outputs: dict[str, str]) -> bool:
    """Whether the step's `if` holds: the one condition that the file has."""
    condition = step.get("if")
    assert condition in (None, "steps.run.outputs.finished == 'true'"), condition
    return condition is None or outputs.get("finished") == "true"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broker", ["own", "not there"])
def test_the_demo_on_a_fleet_of_its_own_answers_every_row_and_pays_once(broker: str, tmp_path: Path) -> None:
    """`make fleet`: a broker, workers and beats; and a fleet that cannot start ends the waiting for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    if broker != "own":
        environment["ORCHESTRATOR_BROKER_URL"] = "nonsense://127.0.0.1"
    example = [sys.executable, str(EXAMPLES / "fleet.py")]
    done = subprocess.run(example, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    if broker == "own":
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert "Rows paid twice: 0 by us" in done.stdout
        assert "ready        6 worker processes answer" in (tmp_path / ".orchestrator/demo/fleet.log").read_text()
    else:
        assert done.returncode != 0
        assert "The fleet has ended, with exit code" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(ON_DEMAND not in os.environ, reason="`make examples` runs these: they install much")
@pytest.mark.parametrize("name", HEAVY)
def test_an_example_runs_with_what_it_is_for(name: str, tmp_path: Path) -> None:
    """In an environment of its own, from the package index."""
    folder, environment = EXAMPLES / name, tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin/python")
    wanted = [str(folder)] if (folder / "pyproject.toml").exists() else ["-r", str(folder / "requirements.txt")]
    install = ["-m", "pip", "install", "--quiet", "-e", f"{ROOT}[embedded-broker]", "pytest>=8.3", *wanted]
    subprocess.run([python, *install], check=True)
    copy = shutil.copytree(folder, tmp_path / name)

    run = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."]
    subprocess.run(run, cwd=copy, check=True, env=os.environ | {"PYTHONPATH": ""})

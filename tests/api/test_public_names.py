"""What `import orchestrator` gives: every public name, when it is first used, and none of the libraries before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.api.job import Job, JobFields

CHEAP = {
    "orchestrator",
    "orchestrator.OrchestratorError",
    "orchestrator.JobStopped",
    "orchestrator.ConfigError",
    "orchestrator.Policy",
    "orchestrator.__version__",
}
LIBRARIES = {"pyarrow", "sqlalchemy", "pandas", "numpy", "httpx", "typer", "starlette", "celery"}


def test_every_public_name_is_there() -> None:
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__name__ == {"Progress": "Look"}.get(name, name)
        assert name in dir(orchestrator)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert orchestrator.__version__ == version("batch-orchestrator")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        orchestrator.nothing  # noqa: B018


def test_importing_the_package_and_its_errors_imports_no_library() -> None:
    code = f"import sys, orchestrator; {'; '.join(CHEAP)}; print(*sorted({LIBRARIES!r} & set(sys.modules)))"

    assert _python(code) == ""


def test_the_function_audit_is_not_hidden_by_the_package_of_that_name() -> None:
    """`import orchestrator.audit.findings` sets the package as an attribute of `orchestrator`."""
    code = "import orchestrator, orchestrator.audit.findings; print(callable(orchestrator.audit))"

    assert _python(code) == "True"


def test_the_keyword_arguments_of_run_are_the_fields_of_a_job() -> None:
    assert set(JobFields.__annotations__) == {field.name for field in fields(Job)} - {"dataset"}


@pytest.mark.parametrize("call", [orchestrator.plan, orchestrator.run, orchestrator.submit])
def test_plan_run_and_submit_refuse_the_same_mistakes(call: Any) -> None:
    job = Job(dataset="rows.csv", model="m", prompt="{text}")

    with pytest.raises(orchestrator.ConfigError, match="unknown key 'promt'; did you mean 'prompt'"):
        call("rows.csv", model="m", promt="{text}")
    with pytest.raises(orchestrator.ConfigError, match="model is missing"):
        call("rows.csv", prompt="{text}")
    with pytest.raises(orchestrator.ConfigError, match="prompt: set this in the Job"):
        call(job, prompt="{text}")


def test_a_missing_key_is_an_error_before_anything_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `python -O`, too: ruff (S101) lets no assert into the product."""
    monkeypatch.delenv("ONEROUTER_API_KEY", raising=False)

    with pytest.raises(orchestrator.ConfigError, match="ONEROUTER_API_KEY is not set"):
        orchestrator.run([{"text": "hello"}], model="m", prompt="{text}", work=tmp_path / "work")

    assert orchestrator.jobs(work=tmp_path / "work") == []


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return ran.stdout.strip()

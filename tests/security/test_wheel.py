"""The wheel: built twice it is the same file, it holds the program and nothing else, and it works by itself (S14)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.datasets import write_dataset, write_job
from tests.gateway_process import ROOT
from tests.servers.postgres import must_skip

PACKAGE = "orchestrator"
A_MOMENT_S = 1_000_000_000.0  # what the second copy's files are dated: not now


def tracked() -> list[Path]:
    """Return the files of the project that a clone has, relative to its root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in map(Path, filter(None, listed.stdout.split("\0"))) if (ROOT / path).is_file()]


def build(folder: Path, *, dated_s: float | None = None) -> Path:
    """Build a wheel out of a copy of the project in `folder`."""
    for path in tracked():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
        if dated_s is not None:
            os.utime(folder / path, (dated_s, dated_s))
            (folder / path).chmod(0o600)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree."""
    return build(tmp_path_factory.mktemp("once"))


def test_a_second_build_in_another_place_at_another_time_is_the_same_file(wheel: Path, tmp_path: Path) -> None:
    """So whoever has the source can see that a published wheel was made from it."""
    again = build(tmp_path / "elsewhere", dated_s=A_MOMENT_S)

    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_every_file_of_the_program_and_nothing_else(wheel: Path) -> None:
    """No tests, no job of somebody's, no folder that happened to lie about."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    ours = {str(path) for path in tracked() if path.parts[0] == PACKAGE}
    config = {"defaults.toml", "providers.toml", "prices.json", "model_ends.toml"}
    schemas = {f"orchestrator/schemas/{path.name}" for path in tracked() if path.parts[:2] == ("docs", "schemas")}
    dataset = {"orchestrator/examples/state_of_the_union.parquet"}
    assert names == ours | schemas | dataset | {f"orchestrator/config/{name}" for name in config}


@pytest.mark.slow
def test_the_wheel_works_where_there_is_no_clone(wheel: Path, tmp_path: Path) -> None:
    """The command reads its defaults and its providers from what is installed."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    job = write_job(tmp_path / "job.toml", write_dataset(tmp_path / "rows.parquet", 60), "http://127.0.0.1:9")

    def ended(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(ended("-c", "import orchestrator; print(orchestrator.__file__)").strip()).is_relative_to(site)
    assert json.loads(ended("-m", "orchestrator", "plan", str(job), "--json"))["rows"] == 60


def own_environment(home: Path) -> dict[str, str]:
    """What a user's shell has: nothing of this repository."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "ONEROUTER_API_KEY": "local"}


@contextmanager
def installed_gateway(program: Path, home: Path) -> Iterator[str]:
    """Run the gateway that the wheel brings; yields its address."""
    command = [program, "gateway", "--port", "0", "--state", home / "gateway", "--duration-s", "0", "--die-with-parent"]
    process = subprocess.Popen(command, cwd=home, env=own_environment(home), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("gateway: ").strip()
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_installed_in_an_empty_environment_it_runs_a_job_beside_a_workers_folder_of_the_users_own(
    wheel: Path, tmp_path: Path
) -> None:
    """One `pip install`, outside the clone: `orchestrator gateway` serves, `orchestrator run` gets every answer."""
    environment, home = tmp_path / "environment", tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", wheel]
    installed = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
    if installed.returncode != 0:
        must_skip(f"the wheel's dependencies cannot be had: {installed.stderr[-500:]}")
    for package in ("workers", "gateway"):
        (home / package).mkdir(parents=True)
        (home / package / "__init__.py").write_text("raise RuntimeError('a package of the user, imported by ours')\n")
    dataset = write_dataset(home / "rows.parquet", 60)
    program = environment / "bin" / "orchestrator"

    def ended(*arguments: str | Path) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=home,
            env=own_environment(home),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with installed_gateway(program, home) as url:
        job = write_job(home / "job.toml", dataset, url)
        ran = json.loads(ended("run", job, "--json"))

    assert (ran["rows"]["total"], ran["rows"]["answered"], ran["rows"]["failed"]) == (60, 60, 0)
    shown = json.loads(ended("results", job, "--json", "--limit", "2"))
    assert [row["llm_status"] for row in shown["rows"]] == ["succeeded", "succeeded"]
    assert ended("worker", "--help").startswith("Usage: orchestrator worker")

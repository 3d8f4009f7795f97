"""The wheel: built twice it is the same file, it holds the program and nothing else, and it works by itself (S14)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.datasets import write_dataset, write_job
from tests.gateway_process import ROOT

PACKAGES = ("orchestrator", "workers", "gateway")
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

    ours = {str(path) for path in tracked() if path.parts[0] in PACKAGES}
    assert names == ours | {"orchestrator/config/defaults.toml", "orchestrator/config/providers.toml"}


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

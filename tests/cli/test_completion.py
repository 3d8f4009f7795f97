"""What a shell completes: commands, options, job files, and the jobs of the work folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator.cli.main import app
from orchestrator.testing import fake_provider


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job file, a table, and a work folder with a job."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "mood.toml").touch()
    (folder / "mood.csv").touch()
    with fake_provider() as fake:
        orchestrator.submit(
            {"text": ["a"]}, prompt="{text}", model="m", name="moods", work=folder / ".orchestrator", **fake.options
        )
    return folder


def completed(*words: str) -> set[str]:
    """Return what the program itself gives for the last of these words, as the script of bash asks it."""
    asked = {
        "_ORCHESTRATOR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(app, [], prog_name="orchestrator", env=asked, catch_exceptions=False)
    return {line.partition(",")[2] for line in done.output.splitlines()}


def test_jobs_and_job_files_are_completed_and_other_files_by_the_shell(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder above, by its path; where nothing is known, the shell's own files."""
    monkeypatch.chdir(place)
    [job] = [handle.job_id for handle in orchestrator.jobs(work=place / ".orchestrator")]

    assert completed("orchestrator", "pa") == {"pause"}
    assert completed("orchestrator", "run", "mo") == {"mood.toml", job}
    assert completed("orchestrator", "status", job[:7]) == {job}
    assert completed("orchestrator", "run", f"{place}/m") == {f"{place}/mood.toml"}
    assert completed("orchestrator", "run", "mood.c") == {"mood.c"}
    assert completed("orchestrator", "run", "--det") == {"--detach"}


COMPLETE = {
    "bash": 'eval "$(orchestrator completion bash)"\n'
    'COMP_WORDS=(orchestrator run mo); COMP_CWORD=2; _orchestrator_completion orchestrator\necho "${COMPREPLY[@]}"',
    "fish": 'orchestrator completion fish | source\ncomplete --do-complete "orchestrator run mo"',
    # A shell within a terminal of its own, where Tab is typed; it is read until what is looked for is there.
    "zsh": "zmodload zsh/zpty; zpty inner zsh -f -i\n"
    'zpty -w inner "PS1=; autoload -U compinit; compinit -D; eval \\"\\$(orchestrator completion zsh)\\"'
    "; echo rea'd'y\"\n"
    "zpty -r inner said \"*ready*\"\nzpty -w -n inner $'orchestrator status moods\\t'\n"
    'zpty -r inner said "*moods-*"; echo "$said"; zpty -d inner',
}


@pytest.mark.parametrize("shell", COMPLETE)
def test_the_script_works_in_its_shell(place: Path, shell: str, tmp_path: Path) -> None:
    """In each shell that is installed here."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "orchestrator"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orchestrator "$@"\n')
    command.chmod(0o755)
    root = Path(orchestrator.__file__).parents[1]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(root)}

    done = subprocess.run(
        [program, "-c", COMPLETE[shell]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "moods-" in done.stdout, done.stderr  # a job, which no shell would find by itself
    assert done.stderr == ""

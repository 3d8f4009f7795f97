"""The first mistakes of a new user: each message names what is there, and what to type."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator.api import preflight
from orchestrator.cli import main
from orchestrator.cli.main import app
from orchestrator.domain.errors import ConfigError, JobUnknown
from orchestrator.log import EventLog, printable

JOB: Final = '[job]\nname = "mood"\ndataset = "rows.csv"\n[request]\nmodel = "m-batch"\nprompt = "{text}"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("text\nhello\n")
    (tmp_path / "mood.toml").write_text(JOB)
    return tmp_path


def message(*arguments: str) -> str:
    """Run a command that fails, and return its error."""
    failed = CliRunner().invoke(app, arguments).exception
    assert isinstance(failed, ConfigError), failed
    return str(failed)


@pytest.mark.usefixtures("folder")
def test_a_dataset_in_the_place_of_a_job_file_is_answered_with_the_command_that_writes_one() -> None:
    first, *lines = message("run", "rows.csv").splitlines()

    assert first == "rows.csv is a table, no job file. To write a job file for it:"
    assert [line.strip() for line in lines] == [
        "orchestrator init rows.csv",
        "or without one:",
        "orchestrator run rows.csv --prompt 'One word for the mood of: {COLUMN}'",
    ]


@pytest.mark.usefixtures("folder")
def test_a_job_file_that_is_not_there_is_answered_with_those_that_are() -> None:
    assert message("plan", "mod.toml") == "there is no file mod.toml; did you mean mood.toml?"


@pytest.mark.parametrize("command", ["status", "results", "approve", "log"])
def test_a_job_that_was_never_run_is_said_to_be_so_with_the_command_that_runs_it(folder: Path, command: str) -> None:
    told = message(command, "mood.toml")

    assert told.startswith(f"mood.toml has not been run in {folder}/.orchestrator: it would be job mood-")
    assert told.endswith("\n    orchestrator run mood.toml")


def test_a_changed_file_is_told_apart_from_the_job_that_was_run_before(folder: Path) -> None:
    submitted = CliRunner().invoke(app, ["submit", "mood.toml", "--json"])
    (folder / "mood.toml").write_text(JOB.replace("{text}", "now: {text}"))

    with pytest.raises(JobUnknown) as refused:
        CliRunner().invoke(app, ["status", "mood.toml"], catch_exceptions=False)
    job_id = json.loads(submitted.stdout)["job"]["id"]
    assert str(refused.value).splitlines()[1:] == [
        f"  {job_id}, of an earlier version of the file or its dataset, is unattended",
        "  to look at that one:",
        f"    orchestrator status {job_id}",
        "  to run the file as it is now, beside that one:",
        "    orchestrator run mood.toml --alongside",
    ]


def test_a_model_that_is_misspelt_is_answered_with_those_that_are_known(folder: Path) -> None:
    (folder / "mood.toml").write_text(JOB.replace("m-batch", "openai/gpt-4o-mni-batch"))

    planned = CliRunner().invoke(app, ["plan", "mood.toml"]).stdout

    assert "no price of openai/gpt-4o-mni-batch is known. Did you mean openai/gpt-4o-mini-batch" in " ".join(
        planned.split()
    )


def test_a_header_without_rows_is_told_in_the_plan(folder: Path) -> None:
    (folder / "rows.csv").write_text("text\n")

    planned = CliRunner().invoke(app, ["plan", "mood.toml"]).stdout

    assert "note        the dataset has a header and no rows: nothing would be sent" in planned
    assert "to send it" not in planned


@pytest.mark.parametrize("options", [[], ["--limit", "1", "--fresh", "--work", "a folder"]])
def test_a_plan_ends_with_the_command_that_sends_it(folder: Path, options: list[str]) -> None:  # noqa: ARG001
    planned = CliRunner().invoke(app, ["plan", "mood.toml", *options]).stdout

    assert planned.endswith(f"  to send it:\n    orchestrator run {shlex.join(['mood.toml', *options])}\n")


def test_a_plan_says_which_rows_cannot_be_sent_and_why(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", None, "b", None]})
    found = orchestrator.plan(table, work=tmp_path, prompt="{text}", model="any", policy={"null_policy": "skip"})

    told = "2 rows cannot be sent (null_skipped); the first row 1, counted from 0: column 'text' is null"
    assert told in found.notes


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_a_plan_fits_the_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    (folder / "rows.csv").write_text("text\n" + "a long text of many words " * 40 + "\n")
    monkeypatch.setenv("COLUMNS", str(max(columns, 80)))

    planned = CliRunner().invoke(app, ["plan", "mood.toml"]).stdout

    assert "request 1" in planned
    assert [line for line in planned.splitlines() if len(line) > max(columns, 80)] == []
    assert planned == printable(planned)


def test_the_traceback_of_a_callers_mistake_shows_the_callers_line_and_not_our_inside(folder: Path) -> None:
    (folder / "script.py").write_text('import orchestrator\norchestrator.run("rows.csv", prompt="{txt}", model="m")\n')
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "script.py"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.stderr.count("  File ") == 2
    assert 'orchestrator.run("rows.csv"' in ended.stderr
    assert "During handling" not in ended.stderr
    assert "{txt} names no column" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_outside_of_a_step_leaves_without_unwinding(number: signal.Signals) -> None:
    """An exception in a signal handler would strike code of any library, which logs it with a traceback."""
    code = (
        "import os, signal, sys\nfrom orchestrator.cli import main\n"
        "signal.signal(signal.SIGINT, main._quit)\n"
        f"try: os.kill(os.getpid(), {int(number)})\nexcept BaseException as e: print('unwound', type(e))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "interrupted; run the same command again to resume\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xef\xbb\xbf" + JOB.encode(), ""),
        (JOB.replace("\n", "\r\n").encode(), ""),
        (
            JOB.replace("{text}", "für {text}").encode("cp1252"),
            "mood.toml: line 6 is not UTF-8: save the file as UTF-8",
        ),
        (JOB.replace('"mood"', "mood").encode(), "Invalid value (at line 2, column 8): a text stands in quotes"),
    ],
)
def test_a_job_file_of_any_editor_is_read_or_its_line_is_named(folder: Path, content: bytes, told: str) -> None:
    (folder / "mood.toml").write_bytes(content)

    ended = CliRunner().invoke(app, ["plan", "mood.toml"])

    assert (ended.exit_code == 0) == (not told)
    assert told in str(ended.exception or "")


def test_an_error_is_an_object_for_a_program_that_asked_for_json(folder: Path) -> None:
    """On standard output, with the exit code; the text for people stays on standard error."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "plan", "mod.toml", "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert json.loads(ended.stdout) == {
        "schema": "orchestrator.error/1",
        "exit_code": 2,
        "code": "config_error",
        "message": "there is no file mod.toml; did you mean mood.toml?",
        "commands": [],
    }
    assert ended.returncode == 2
    assert ended.stderr == "error: there is no file mod.toml; did you mean mood.toml?\n"


def test_the_list_of_commands_says_each_in_whole_words_within_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    _usage, *lines = CliRunner().invoke(app, ["--help"]).stdout.splitlines()

    assert [line for line in lines if line.endswith("...") or len(line) > 80] == []


def test_a_warning_of_the_checks_before_a_run_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a line of a log: it is for the person who waits for the run."""
    logger = logging.getLogger(main.CHECKS)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    main._say_warnings_of_checks()

    EventLog(main.CHECKS).warning("preflight.warned", job="j-1", found="openai ends m in 9 days", todo="Take another")

    assert capsys.readouterr().err == "warning: openai ends m in 9 days. Take another\n"
    assert preflight.__name__ == main.CHECKS

"""What the deployment files start is started; what they set, the program knows.

Rule 1: a command is run as it stands, with `--help` behind it; and since a parser may print its help before it has
        looked at every flag, each flag must be in that help.
Rule 2: settings go through the program's own reader, so that a value that it would refuse is red as well.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from orchestrator import settings
from orchestrator.domain.queues import Queue
from orchestrator.fleet.pool import POOLS
from tests.deploy import files
from tests.deploy.files import FILES, PAGE, Process, name_of, processes

PROCESSES: Final = processes()
KINDS: Final = (files.compose_processes, files.kubernetes_processes, files.systemd_processes)
THREE: Final = [["collect", "plan"], ["control"], ["transfer"]]  # by hand
FLEET: Final = [process for process in PROCESSES if process.is_fleet]
WITH_SETTINGS: Final = [process for process in PROCESSES if "ORCHESTRATOR_WORK" in process.environment]
NOT_IN_SETTINGS: Final = {"ORCHESTRATOR_LOG"}  # read by the edges themselves: it must work where the settings do not
LOG_LEVELS: Final = {"debug", "info", "warning", "error"}
HELP_S: Final = 60.0


def where(process: Process) -> str:
    return process.where


@cache
def help_of(argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Return what a command says with `--help` behind it, run by this interpreter."""
    program = Path(sys.executable) if argv[0] == "python" else Path(sys.executable).with_name(argv[0])
    return subprocess.run(
        [program, *argv[1:], "--help"],
        cwd=files.ROOT,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=HELP_S,
        check=False,
    )


@pytest.mark.parametrize("process", PROCESSES, ids=where)
def test_every_command_starts_and_knows_its_flags(process: Process) -> None:
    """A flag that is renamed in the program turns red here, not on somebody's cluster."""
    flags = [word.split("=")[0] for word in process.argv if word.startswith("--")]

    told = help_of((Path(process.argv[0]).name, *process.argv[1:]))

    assert told.returncode == 0, told.stderr
    assert [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", told.stdout)] == []


def test_each_kind_of_deployment_starts_workers_and_beats() -> None:
    """The lists above are not empty because something was looked for in the wrong place."""
    for kind in KINDS:
        assert {"worker", "beat"} <= {word for process in kind() for word in process.argv}


@pytest.mark.parametrize("kind", [*KINDS, files.page_processes], ids=lambda kind: kind.__name__)
def test_every_queue_is_served_and_neither_creates_nor_heavy_steps_hold_up_looks(
    kind: Callable[[], list[Process]],
) -> None:
    """A queue that nobody serves is a job that stops at that step. A create that hangs takes a thread for minutes; a
    heavy step in a light process takes its memory."""
    served = [sorted(Queue(queue).value for queue in process.queues) for process in kind() if process.queues]

    assert sorted(served) == THREE


def test_the_files_divide_the_work_as_the_program_does_by_itself() -> None:
    assert sorted(sorted(queue.value for queue in queues) for queues in POOLS) == THREE


@pytest.mark.parametrize("process", [process for process in WITH_SETTINGS if process.queues], ids=where)
def test_every_worker_has_the_providers_key(process: Process) -> None:
    """Each kind talks to the provider, or asks what it takes."""
    assert process.environment[settings.provider("onerouter", {}).api_key_env]


@pytest.mark.parametrize("path", [*FILES, PAGE], ids=name_of)
def test_every_variable_of_ours_that_is_named_is_a_setting(path: Path) -> None:
    known = {f"ORCHESTRATOR_{field.name.upper()}" for field in dataclasses.fields(settings.Settings)}
    named = set(re.findall(r"\bORCHESTRATOR_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))

    assert named - known - NOT_IN_SETTINGS == set()


@pytest.mark.parametrize("process", WITH_SETTINGS, ids=where)
def test_the_program_takes_the_settings_and_ends_before_it_is_killed(process: Process) -> None:
    """SIGKILL in the middle of a create leaves a chunk in doubt: there is time for the longest create and more."""
    assert {type(value) for value in process.environment.values()} == {str}
    read = settings.load(process.environment)
    longest_create_s = settings.provider("onerouter", {}).create_s_max

    assert process.grace_s is not None
    assert longest_create_s < read.shutdown_s < process.grace_s
    assert settings.load({}).shutdown_s < process.grace_s
    assert process.environment["ORCHESTRATOR_LOG"] in LOG_LEVELS
    assert read.heartbeat


@pytest.mark.parametrize("process", [process for process in FLEET if process.environment], ids=where)
def test_a_fleet_has_a_ledger_that_several_machines_can_share(process: Process) -> None:
    read = settings.load(process.environment)

    assert read.ledger_url.startswith("postgresql://")
    assert read.broker_url.startswith("redis://" if read.broker_insecure else "rediss://")

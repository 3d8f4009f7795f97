"""As a library, the package prints nothing; a user's own logging gets its events, without keys."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from orchestrator import log
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Claim, JobId, Step, Unit
from orchestrator.log import EventLog
from tests.gateway_process import ROOT

KEY: Final = "sk-canary-77ab12cd"
EVENTS: Final = """
from orchestrator.log import EventLog
from orchestrator.providers.http.secret import Secret

Secret("sk-canary-77ab12cd")
log = EventLog("orchestrator.engine.local_runner")
log.debug("step.ended", job="job-1", seconds=0.5)
log.error("step.failed", job="job-1", error="sent sk-canary-77ab12cd\\n\\x1b[2J", found=["sk-canary-77ab12cd"])
"""


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a user's."""
    script = folder / "script.py"
    script.write_text(program)
    environment = {name: value for name, value in os.environ.items() if name != "ORCHESTRATOR_LOG"}
    return subprocess.run(
        [sys.executable, script],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_without_any_configuration_nothing_is_printed(tmp_path: Path) -> None:
    """Neither on standard output nor, as Python does for warnings nobody handles, on standard error."""
    done = run(tmp_path, EVENTS)

    assert (done.stdout, done.stderr) == ("", "")


def test_a_users_own_logging_gets_the_events_and_no_key(tmp_path: Path) -> None:
    """One line for each, cursor movements escaped."""
    done = run(tmp_path, f"import logging\nlogging.basicConfig(level=logging.DEBUG)\n{EVENTS}")

    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "DEBUG:orchestrator.engine.local_runner:step.ended job=job-1 seconds=0.5",
        r"""ERROR:orchestrator.engine.local_runner:step.failed job=job-1 error="sent ***\n\u001b[2J" found=['***']""",
    ]


def test_a_record_has_the_event_and_its_fields_apart(caplog: pytest.LogCaptureFixture) -> None:
    """What a formatter of the user's own writes to a log collector."""
    log.hide(KEY)
    claim = Claim(unit=Unit(job_id=JobId("job-1"), shard_no=3), step=Step.PLAN, token=1)

    with caplog.at_level(logging.DEBUG, logger="orchestrator"):
        EventLog("orchestrator.test").warning("step.failed", **claim.fields, error=f"a\nb {KEY}", count=2)

    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "orchestrator.test")
    assert vars(record)["event"] == "step.failed"
    assert vars(record)["fields"] == {
        "job": "job-1",
        "step": "plan",
        "unit": "job-1 shard 3",
        "error": "a\nb ***",
        "count": 2,
    }


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="ORCHESTRATOR_LOG must be one of debug, info, warning, error, not 'loud'"):
        log.configure("loud", stream_is_terminal=False)


def test_a_program_with_a_level_gets_no_event_below_it(tmp_path: Path) -> None:
    """`configure`, as our own commands call it: JSON lines where standard error is no terminal."""
    configure = "from orchestrator.log import configure\nconfigure('warning', stream_is_terminal=False)\n"

    done = run(tmp_path, configure + EVENTS)

    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert (event["event"], event["job"], event["error"]) == ("step.failed", "job-1", "sent ***\n\x1b[2J")
    assert (event["level"], event["logger"]) == ("error", "orchestrator.engine.local_runner")

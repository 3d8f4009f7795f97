"""Several processes as one: what ends by itself is started again, what is refused ends all, and nobody is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.workers.fleets import until

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = """
import os, sys
from orchestrator.fleet.supervise import Supervisor

crew = Supervisor()
for number, command in enumerate(sys.argv[1:]):
    crew.start(str(number), lambda command=command: os.execv("/bin/sh", ["sh", "-c", command]))
sys.exit(crew.run())
"""


class Crew:
    """A supervisor of shell commands, in a process of its own."""

    def __init__(self, *commands: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, *commands], cwd=ROOT, stderr=subprocess.DEVNULL)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_all_are_told_to_stop_and_waited_for(sign: signal.Signals, tmp_path: Path) -> None:
    told = tmp_path / "told"
    patient = f"trap 'echo told >> {told}; exit 0' TERM; echo ready >> {told}; while :; do sleep 0.1; done"
    pool = Crew(patient, patient)
    until(lambda: lines(told).count("ready") == 2, "both to be ready")

    pool.process.send_signal(sign)

    assert pool.process.wait(20) == 0
    assert lines(told).count("told") == 2


def test_what_is_killed_is_started_again(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    pool = Crew(f"echo $$ >> {begun}; exec sleep 600")
    until(lambda: len(lines(begun)) == 1, "a first one")

    os.kill(int(lines(begun)[0]), signal.SIGKILL)
    until(lambda: len(lines(begun)) == 2, "a second one")

    pool.process.terminate()
    assert pool.process.wait(20) == 0


def test_a_setup_that_is_refused_ends_all(tmp_path: Path) -> None:
    """To start it again would refuse it again, for ever."""
    begun = tmp_path / "begun"
    pool = Crew("exec sleep 600", f"echo one >> {begun}; exit 2")

    assert pool.process.wait(20) == 2
    assert lines(begun) == ["one"]


def test_a_second_signal_ends_those_who_will_not(tmp_path: Path) -> None:
    ready, told = tmp_path / "ready", tmp_path / "told"
    pool = Crew(f"trap 'echo told >> {told}' TERM; echo ready >> {ready}; while :; do sleep 0.1; done")
    until(lambda: lines(ready), "it to be ready")
    pool.process.terminate()
    until(lambda: lines(told), "it to be told")

    pool.process.terminate()

    assert pool.process.wait(20) == 0


def test_nobody_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    pool = Crew(f"echo $$ >> {begun}; exec sleep 600")
    until(lambda: len(lines(begun)) == 1, "it to begin")
    child = int(lines(begun)[0])

    pool.process.kill()
    pool.process.wait(20)

    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, "its end")


RAISES: Final = """
import os, sys
from pathlib import Path
from orchestrator.fleet.supervise import Supervisor

told = Path(sys.argv[1])

def act():
    with told.open("a") as file:
        file.write("begun\\n")
    raise ZeroDivisionError

crew = Supervisor()
try:
    crew.start("transfer", act)
    crew.run()
finally:
    with told.open("a") as file:
        file.write("undone\\n")
"""


def test_a_process_that_fails_leaves_the_supervisors_own_things_alone(tmp_path: Path) -> None:
    """It is a fork: what stands further up the stack, as a broker that is stopped at the end, is the parent's."""
    told, said = tmp_path / "told", tmp_path / "said"
    with said.open("wb") as output:
        pool = subprocess.Popen([sys.executable, "-c", RAISES, str(told)], cwd=ROOT, stderr=output)
    until(lambda: lines(told).count("begun") == 2, "a second one")
    pool.terminate()

    assert pool.wait(20) == 0
    assert lines(told).count("undone") == 1
    assert lines(told)[-1] == "undone"
    assert "ZeroDivisionError" in said.read_text()


def test_a_list_of_processes_tells_them_apart(tmp_path: Path) -> None:
    """They are forks of one program, with one command line."""
    begun = tmp_path / "begun"
    program = RAISES.replace("raise ZeroDivisionError", "import signal; signal.pause()")
    with subprocess.Popen([sys.executable, "-c", program, str(begun)], cwd=ROOT) as pool:
        try:
            until(lambda: lines(begun), "it to begin")

            assert [child.name() for child in psutil.Process(pool.pid).children()] == ["transfer"]
        finally:
            pool.terminate()

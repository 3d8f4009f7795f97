"""Running the lines: each command a process group of its own, within its line's time, as many at once as cores allow.

Rule 1: what a command has printed and how it ended is all that is believed of it.
Rule 2: a line that is out of time is ended with all its processes: TERM, a little later KILL. It has missed.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.torture.judging import Output
from benchmarks.torture.scorecard import Line

ROOT: Final = Path(__file__).parent.parent.parent
CORES: Final = 2
PATIENCE_S: Final = 10.0
TOLD_MAX: Final = 2_000  # characters of what a line that missed has said last


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of a line."""

    line: Line
    state: str  # held | missed | out of time | not built
    figure: str
    seconds: float
    commands: tuple[str, ...] = ()
    objects: tuple[Mapping[str, Any], ...] = ()
    said: str = ""  # the end of what a line that missed has printed

    @property
    def held(self) -> bool:
        """Whether the target was met."""
        return self.state == "held"


def run_all(lines: Sequence[Line], seeds: Mapping[str, int]) -> Iterator[Ran]:
    """Run the lines, those of two cores alone, those of one core two at a time; yield each as it ends."""
    free, change = [CORES], threading.Condition()

    def when_free(line: Line) -> Ran:
        with change:
            change.wait_for(lambda: free[0] >= line.cores)
            free[0] -= line.cores
        try:
            return run(line, seeds)
        finally:
            with change:
                free[0] += line.cores
                change.notify_all()

    for cores in (CORES, 1):
        chosen = sorted((line for line in lines if line.cores == cores), key=lambda line: -line.takes_s)
        with ThreadPoolExecutor(CORES // cores) as pool:
            for done in as_completed([pool.submit(when_free, line) for line in chosen]):
                yield done.result()


def run(line: Line, seeds: Mapping[str, int]) -> Ran:
    """Run one line's commands, one after the other."""
    missing = [path for path in line.needs if not (ROOT / path).exists()]
    if missing or not line.commands:
        words = f"not built: {', '.join(missing)}" if missing else "not built"
        return Ran(line=line, state="not built", figure=words, seconds=0.0)
    began, commands = time.monotonic(), tuple(_with(seeds, command) for command in line.commands)
    texts, code = list[str](), 0
    for command in commands:
        left_s = line.limit_s - (time.monotonic() - began)
        text, ended = _run(command, left_s)
        texts.append(text)
        if ended is None:
            seconds = time.monotonic() - began
            figure = f"not done in {line.limit_s} s"
            return _ran(line, "out of time", figure, seconds, commands, "\n".join(texts))
        code = code or ended
    text = "\n".join(texts)
    verdict = line.judge(Output(code=code, text=text, objects=objects_in(text)))
    return _ran(line, "held" if verdict.held else "missed", verdict.figure, time.monotonic() - began, commands, text)


def _with(seeds: Mapping[str, int], command: str) -> str:
    for name, seed in seeds.items():
        command = command.replace(f"{{{name}}}", str(seed))
    return command


def _ran(line: Line, state: str, figure: str, seconds: float, commands: tuple[str, ...], text: str) -> Ran:
    said = "" if state == "held" else text[-TOLD_MAX:]
    objects = objects_in(text)
    return Ran(line=line, state=state, figure=figure, seconds=seconds, commands=commands, objects=objects, said=said)


def objects_in(text: str) -> tuple[Mapping[str, Any], ...]:
    """Return the JSON objects that were printed, one a line."""
    found = list[Mapping[str, Any]]()
    for line in text.splitlines():
        if line.startswith("{"):
            with suppress(ValueError):
                found.append(json.loads(line))
    return tuple(found)


def argv(command: str) -> tuple[list[str], dict[str, str]]:
    """Return a command as it is started by this interpreter, and the variables that stand before it."""
    words, variables = shlex.split(command), {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    program = [sys.executable, "-m", "pytest"] if words[0] == "pytest" else [sys.executable]
    # What a test needs and cannot have is a failure here, not a skip.
    return [*program, *words[1:]], variables | ({"CI": "true"} if words[0] == "pytest" else {})


def _run(command: str, left_s: float) -> tuple[str, int | None]:
    """Return what a command printed and its exit code; None where its time was up."""
    words, variables = argv(command)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=max(1.0, left_s))
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        return _read(out), code


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End what is left of a command's own process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=PATIENCE_S)
            if sign is signal.SIGKILL or not _is_there(process.pid):
                return


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _read(out: IO[str]) -> str:
    out.seek(0)
    return out.read()

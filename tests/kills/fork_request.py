"""What the launcher asks of a fork server, and what it hears back: one JSON object a line, either way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

RUN_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLine:
    """Die the n-th time that a line of the program is about to run; without a line, count how often each one runs."""

    line: str = ""  # file:number, the file below the project's root
    time: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AtCall:
    """Meddle with the n-th system call that changes what lies under `root`; 0: count them."""

    root: str
    number: int = 0
    errno: int = 0  # 0: kill
    is_lasting: bool = False  # fail each call from there on, but those that free space
    with_network: bool = False  # a kill may fall on a call of the network, too
    power_seed: int | None = None  # after a kill: lose what was not synced, or some of it
    folder: str = ""  # count from the first call on whose path this lies: after "collected" comes the output


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRequest:
    """A command to be run as a process of its own."""

    arguments: Sequence[str]  # of `orchestrator`
    folder: str
    environment: Mapping[str, str]
    said: str  # the file that gets what it prints
    at_line: AtLine | None = None
    at_call: AtCall | None = None
    deadline_s: float = RUN_S_MAX

    def to_json(self) -> str:
        """Return the request as a line."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process came to its end."""

    status: int  # as waitpid says it
    seconds: float = 0.0
    calls: int = 0  # that counted
    at: str = ""  # what it was killed at, or what failed first
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)  # how often each line ran
    said: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"ended with {self.code} at {self.at or 'no call'}, {self.calls} calls; it said: … {self.said[-700:]}"

    @property
    def was_killed(self) -> bool:
        """Whether it died of SIGKILL."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    @property
    def code(self) -> int:
        """The exit code; below 0, the signal."""
        return os.waitstatus_to_exitcode(self.status)


def read_request(text: str) -> ForkRequest:
    """Read an request."""
    found: dict[str, Any] = json.loads(text)
    at_line, at_call = found.pop("at_line"), found.pop("at_call")
    return ForkRequest(
        **found,
        at_line=AtLine(**at_line) if at_line is not None else None,
        at_call=AtCall(**at_call) if at_call is not None else None,
    )


def read_ended(text: str, said: Path) -> Ended:
    """Read how a request was carried out."""
    found: dict[str, Any] = json.loads(text)
    return Ended(**found | {"said": " ".join(said.read_text(errors="replace").split())})

"""What each command promises to a program: the documents that `--json` prints, and the exit codes.

Every command of the program is in one of the two tables (tests/cli/test_promises.py). `make reference` writes them into
docs/for-programs.md, and the tests see each promise kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from orchestrator.api.exit_codes import FAILED, FAILED_ROWS, WAITING, WRONG

_ACT: Final = "a person must act: a decision, an unresolved create, a refused account, a stopped job"
_NOT_YET: Final = "the job has no output yet"
_ROWS: Final = "the job has ended, and some rows have failed; not with `--allow-failed`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a command gives to a program."""

    documents: tuple[str, ...]  # it prints one of these, or an error
    codes: dict[int, str] = field(default_factory=dict)  # beyond 0, 1, 2 and 130 of any command, or in another sense


PROMISES: Final = {
    "init": Promise(documents=("init",)),
    "plan": Promise(documents=("plan",)),
    "run": Promise(  # `status` with `--detach`
        documents=("report", "status"), codes={WAITING: _ACT, FAILED_ROWS: _ROWS}
    ),
    "submit": Promise(
        documents=("status", "report"),
        codes={WAITING: _ACT, FAILED_ROWS: f"with `--wait`: {_ROWS}"},
    ),
    "attach": Promise(
        documents=("report",),
        codes={WAITING: f"{_ACT}; or no process runs the job any more", FAILED_ROWS: _ROWS},
    ),
    "stop": Promise(documents=("status",)),
    "status": Promise(documents=("status", "jobs")),
    "results": Promise(documents=("results",), codes={WAITING: _NOT_YET}),
    "export": Promise(documents=("export",), codes={WAITING: _NOT_YET}),
    "show": Promise(documents=("show",)),
    "batches": Promise(documents=("batches",)),
    "log": Promise(documents=("event",)),
    "cancel": Promise(documents=("status",)),
    "pause": Promise(documents=("status",)),
    "resume": Promise(documents=("status",)),
    "retry": Promise(documents=("report", "retry_plan"), codes={WAITING: _ACT, FAILED_ROWS: _ROWS}),
    "reread": Promise(documents=("reread",)),
    "approve": Promise(documents=("status",)),
    "resolve": Promise(documents=("resolve",)),
    "audit": Promise(documents=("audit",), codes={FAILED: "something differs"}),
    "recover": Promise(documents=("recover",)),
    "rehearse": Promise(
        documents=("rehearse", "faults"),
        codes={WAITING: "it would not end by itself", FAILED_ROWS: "some rows have failed"},
    ),
    "notify": Promise(documents=("doctor",), codes={WAITING: "the receiver did not take it"}),
    "doctor": Promise(
        documents=("doctor",),
        codes={WRONG: "something given is wrong", WAITING: "a person must act elsewhere: the account, the disk, …"},
    ),
}
# They serve until they are stopped, or print a schema or another program's help; they take no `--json`.
WITHOUT: Final = frozenset({"mcp", "demo", "schema", "completion", "ui", "worker", "beat", "fleet", "gateway"})
EVENTS: Final = frozenset({"run", "submit", "retry"})  # they take `--events`: lines of `event`, and then the document

"""What a cell of the matrix does: the chunk comes to its call, the call meets the fault, the ledger tells the rest.

Rule: what became of it is read from the ledger and from what the server counted, never from what a step returns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from orchestrator.batches.poll import UNKNOWN_S_MAX
from orchestrator.collector.collect import ABSENT, RESULTS_S_MAX, SHORT_TRIES_MAX
from orchestrator.domain import results_at
from orchestrator.domain.changes import ChunkMoved
from orchestrator.domain.model import ChunkState, JobState, Step
from orchestrator.domain.results_at import Urls
from orchestrator.domain.retry import REFUSALS_MAX
from orchestrator.ledger.db.database import Database
from tests.builders import ACCOUNT, JOB
from tests.matrix.dialects import ROW_COUNT, Dialect, Endpoint, Kind
from tests.matrix.faults import FAULTS, Fault
from tests.matrix.server import MatrixServer
from tests.matrix.stage import LEASE_S, Overheard, Stage, led

REFUSALS: Final = frozenset({"BadRequest", "TooLarge"})  # which no other try can mend
TURNS_MAX: Final = 12  # of recovering an ambiguous create: more than there are ways out of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a cell."""

    outcome: str
    creates: int  # of the chunk under test, that the server read while the fault lasted
    calls: int  # of the endpoint, that the server read during the step
    words: tuple[str, ...]  # all that was kept of what the server said


def run_cell(
    dialect: Dialect, endpoint: Endpoint, fault: Fault, database: Database, server: MatrixServer, context: Any
) -> Seen:
    """Run one cell, and say what became of it."""
    stage = Stage(database, server, context)
    return _ACTS[endpoint.kind](stage, dialect, endpoint, fault)


def _upload(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    with stage.facing(dialect, endpoint, fault) as (provider, cell):
        stage.run(Step.SUBMIT, provider)
        heard, words, calls = provider.heard, _words(stage), cell.read.count(endpoint.target)
        outcome = _standing(stage)
    if stage.job.state is JobState.STOPPED:
        outcome += _later(stage, dialect, endpoint, fault, outcome)
    elif stage.chunk.state is ChunkState.PLANNED:
        _heals(stage, dialect, endpoint)
    return Seen(outcome=f"{heard}: {outcome}", creates=0, calls=calls, words=words)


def _create(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    read = _uploaded(stage, dialect, endpoint)
    with stage.facing(dialect, endpoint, fault, read=read) as (provider, cell):
        stage.run(Step.SUBMIT, provider)
        heard, words = provider.heard, _words(stage)
        lines = list(cell.read)
    is_ambiguous = stage.chunk.state is ChunkState.AMBIGUOUS
    with stage.facing(dialect, endpoint, None, read=lines) as (provider, cell):
        if is_ambiguous:
            _recovered(stage, provider)
        creates = cell.read.count(endpoint.target)
    assert creates <= 1
    outcome = _standing(stage)
    if stage.job.state is JobState.STOPPED:
        outcome += _later(stage, dialect, endpoint, fault, outcome)
    elif stage.chunk.state in (ChunkState.PLANNED, ChunkState.UPLOADED):
        _heals(stage, dialect, endpoint)
    if is_ambiguous:
        outcome = f"ambiguous, {'adopted' if outcome == 'submitted' else outcome}"
    return Seen(outcome=f"{heard}: {outcome}", creates=creates, calls=creates, words=words)


def _later(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault, first: str) -> str:
    """Say what the same refusal does once a batch of the job was ever made."""
    later = Stage(stage.database, stage._server, stage._context)
    later.has_created_before()
    if endpoint.kind is Kind.CREATE:
        _uploaded(later, dialect, endpoint)
    with later.facing(dialect, endpoint, fault) as (provider, _cell):
        later.run(Step.SUBMIT, provider)
    standing = _standing(later)
    return "" if standing == first else f"; once a batch was ever made, {standing}"


def _recovered(stage: Stage, provider: Overheard) -> None:
    """Recover an ambiguous create until its chunk stays unresolved or leaves both states."""
    for _ in range(TURNS_MAX):
        if stage.chunk.state not in (ChunkState.AMBIGUOUS, ChunkState.UNRESOLVED):
            return
        stage.let_pass()
        stage.run(Step.RECOVER, provider)
    stage.clock.advance(10 * UNKNOWN_S_MAX)
    assert not stage.is_due(Step.SUBMIT), "an ambiguous create is sent again"


def _standing(stage: Stage) -> str:
    """Say where a submit has left the chunk."""
    if stage.job.state is JobState.STOPPED:
        return "unresolved, job stopped" if stage.chunk.state is ChunkState.UNRESOLVED else "job stopped"
    match stage.chunk.state:
        case ChunkState.PLANNED:
            return f"planned again{_when(stage)}"
        case ChunkState.UPLOADED if stage.chunk.sent_at is not None:
            return f"sent again with the same file{_when(stage)}"
        case ChunkState.FAILED:
            return "rows failed"
        case ChunkState.SPLITTING:
            return "split in two"
    return str(stage.chunk.state)


def _uploaded(stage: Stage, dialect: Dialect, endpoint: Endpoint) -> list[str]:
    """Bring the chunk to where its create is due; return what the server has read."""
    with stage.facing(dialect, endpoint, None) as (provider, cell):
        if provider.files is not None:
            stage.run(Step.SUBMIT, provider)
        return list(cell.read)


def _heals(stage: Stage, dialect: Dialect, endpoint: Endpoint) -> None:
    """See that what was refused goes out once, under a new token, when the fault is over."""
    first = stage.chunk.token
    stage.clock.advance(max(stage.wait_s, 400.0) + 1)
    with stage.facing(dialect, endpoint, None) as (provider, cell):
        while stage.chunk.state in (ChunkState.PLANNED, ChunkState.UPLOADED):
            stage.run(Step.SUBMIT, provider)
    assert stage.chunk.state is ChunkState.SUBMITTED
    assert stage.chunk.token != first
    assert cell.read.count(dialect.create.target) == 1


def _made_ambiguous(stage: Stage, dialect: Dialect, endpoint: Endpoint, *, made: bool) -> list[str]:
    """Bring the chunk to where the answer of its create is lost; the batch was made, or not. Return what was read."""
    read = _uploaded(stage, dialect, endpoint)
    lost = FAULTS["closed_after_read" if made else "reset_while_read"]
    with stage.facing(dialect, dialect.create, lost, read=read) as (provider, cell):
        stage.run(Step.SUBMIT, provider)
    assert stage.chunk.state is ChunkState.AMBIGUOUS
    return list(cell.read)


def _list(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    return _while_ambiguous(stage, dialect, endpoint, fault, made=True)


def _fence(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    return _while_ambiguous(stage, dialect, endpoint, fault, made=False)


def _while_ambiguous(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault, *, made: bool) -> Seen:
    read = _made_ambiguous(stage, dialect, endpoint, made=made)
    with stage.facing(dialect, endpoint, fault, read=read) as (provider, cell):
        heard, calls, words, wait = "", 0, _words(stage), ""
        for _ in range(1 if fault.hurried else TURNS_MAX):
            if stage.chunk.state is not ChunkState.AMBIGUOUS:
                break
            stage.let_pass()
            stage.run(Step.RECOVER, provider)
            found = len(_matching(cell.read, endpoint.target))
            if not heard and (found or not fault.is_read):
                heard, calls, wait = provider.heard, found, _when(stage)
        under, read = stage.chunk.state, list(cell.read)
    with stage.facing(dialect, endpoint, None, read=read) as (provider, cell):
        _recovered(stage, provider)
    assert cell.read.count(dialect.create.target) == made, "a create was sent again"
    public_message = {
        ChunkState.AMBIGUOUS: "asked again",
        ChunkState.SUBMITTED: "adopted",
        ChunkState.PLANNED: "proved absent",
    }
    first = public_message[under] + (wait if under is ChunkState.AMBIGUOUS else "")
    last = f"then {public_message[stage.chunk.state]}" if under is ChunkState.AMBIGUOUS else ""
    return Seen(
        outcome=", ".join(part for part in (f"{heard}: {first}", last) if part),
        creates=int(made),
        calls=min(calls, 1),
        words=words + _words(stage),
    )


def _matching(read: Sequence[str], target: str) -> list[str]:
    return [line for line in read if re.fullmatch(target, line)]


def _submitted(stage: Stage, dialect: Dialect, endpoint: Endpoint) -> None:
    _uploaded(stage, dialect, endpoint)
    with stage.facing(dialect, endpoint, None) as (provider, _cell):
        stage.run(Step.SUBMIT, provider)
        stage.let_pass()


def _status(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    _submitted(stage, dialect, endpoint)
    with stage.facing(dialect, endpoint, fault) as (provider, cell):
        stage.run(Step.POLL, provider)
        heard, words, calls = provider.heard, _words(stage), cell.read.count(endpoint.target)
        outcome = str(stage.chunk.state)
        if stage.chunk.state is ChunkState.SUBMITTED:
            outcome = "still running" if heard == "none" else f"asked again{_when(stage)}"
        if heard == "Gone":
            stage.clock.advance(UNKNOWN_S_MAX + 1)
            stage.run(Step.POLL, provider)
            outcome += f"; {stage.chunk.state} once the batch is an hour old"
        elif heard in REFUSALS:
            _let_refusals_pass(stage, Step.POLL)
            stage.run(Step.POLL, provider)
            outcome += f"; {stage.chunk.state} after {REFUSALS_MAX} refusals"
    return Seen(outcome=f"{heard}: {outcome}", creates=0, calls=calls, words=words)


def _results(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    _submitted(stage, dialect, endpoint)
    with stage.facing(dialect, endpoint, None) as (provider, _cell):
        stage.run(Step.POLL, provider)
    if endpoint.elsewhere:  # where the fault lies on the way to the results, that is where they are said to be
        _point(stage, endpoint, fault)
    with stage.facing(dialect, endpoint, fault) as (provider, cell):
        stage.run(Step.COLLECT, provider)
        code, words, calls = stage.chunk.error_code, _words(stage), cell.read.count(endpoint.target)
        is_absent = code == ABSENT
        heard = provider.heard if is_absent or not code else code
        heard = "ResultsAbsent" if is_absent and heard == "none" else heard
        first, tries = "" if stage.chunk.state is ChunkState.COLLECTED else f"fetched again{_when(stage)}", 1
        while heard == "ResultsShort" and stage.chunk.state is ChunkState.ENDED and tries <= SHORT_TRIES_MAX:
            stage.let_pass()
            stage.run(Step.COLLECT, provider)
            tries += 1
        if is_absent:
            stage.clock.advance(RESULTS_S_MAX)
            stage.run(Step.COLLECT, provider)
            first += f"; {stage.chunk.state} after {RESULTS_S_MAX / 3600:.0f} hours"
    last = _collected(stage, tries) if stage.chunk.state is ChunkState.COLLECTED else ""
    outcome = "; ".join(part for part in (first, last) if part)
    return Seen(outcome=f"{heard}: {outcome}", creates=0, calls=calls, words=words)


def _let_refusals_pass(stage: Stage, step: Step) -> None:
    """Set the count of refusals to one below the limit."""
    stage.let_pass()
    chunk, now = stage.chunk, stage.clock.now()
    (claim,) = stage.ledger.claim((step,), limit=1, now=now, lease_s=LEASE_S)
    tired = replace(chunk, tries=REFUSALS_MAX - 1)
    stage.ledger.record(claim, ChunkMoved(before=chunk, after=tired, due_at=now), now=now)


def _point(stage: Stage, endpoint: Endpoint, fault: Fault) -> None:
    url = led(stage._server.other_url, fault.way, stage._server) + endpoint.target.removeprefix("GET ")
    chunk, now = stage.chunk, stage.clock.now()
    announced = results_at.from_text(chunk.results)
    assert isinstance(announced, Urls)
    where = results_at.to_text(Urls(refs=tuple(replace(ref, at=url) for ref in announced.refs)))
    (claim,) = stage.ledger.claim((Step.COLLECT,), limit=1, now=now, lease_s=LEASE_S)
    stage.ledger.record(claim, ChunkMoved(before=chunk, after=replace(chunk, results=where), due_at=now), now=now)


def _collected(stage: Stage, tries: int) -> str:
    tally = stage.chunk.tally
    parts = ["collected" if tries == 1 else f"kept at try {tries}", f"{tally.succeeded} of {ROW_COUNT} rows answered"]
    if tally.waiting:
        parts.append(f"{tally.waiting} to be sent again")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    if tally.unreadable:
        parts.append(f"{tally.unreadable} line set aside")
    if tally.unreadable_rows:
        parts.append(f"{tally.unreadable_rows} rows unreadable")
    return ", ".join(parts)


def _cancel(stage: Stage, dialect: Dialect, endpoint: Endpoint, fault: Fault) -> Seen:
    _submitted(stage, dialect, endpoint)
    stage.admin.cancel(JOB, now=stage.clock.now())
    with stage.facing(dialect, endpoint, fault) as (provider, cell):
        stage.run(Step.CANCEL, provider)
        calls = cell.read.count(endpoint.target)
    outcome = "counts as sent" if stage.chunk.cancel_sent else f"asked again{_when(stage)}"
    return Seen(outcome=f"{provider.heard}: {outcome}", creates=0, calls=calls, words=_words(stage))


def _when(stage: Stage) -> str:
    wait_s = stage.wait_s
    text = f", not before {wait_s:.0f} s" if wait_s > 1 else ""
    paused = stage.admin.pause_reason(ACCOUNT, now=stage.clock.now())
    return text + (", account paused" if paused else "")


def _words(stage: Stage) -> tuple[str, ...]:
    paused = stage.admin.pause_reason(ACCOUNT, now=stage.clock.now())
    return (stage.chunk.error, stage.job.reason, paused, *(str(event.details) for _, event in stage.admin.events(JOB)))


_ACTS: Final = {
    Kind.UPLOAD: _upload,
    Kind.CREATE: _create,
    Kind.STATUS: _status,
    Kind.LIST: _list,
    Kind.RESULTS: _results,
    Kind.CANCEL: _cancel,
    Kind.FENCE: _fence,
}

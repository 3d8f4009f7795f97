"""Reads the archived results of collected chunks again, with the present readers: for nothing, no provider is called.

Rule 1: only rows that are `unreadable` change; every other row keeps what its part holds.
Rule 2: the new part and its record are in place before the ledger is told. The old part stays.
Rule 3: a row that turns out to be a failure, or not to have been answered, stays failed: `retry` sends it again.
Rule 4: a row that a person has had sent again is marked in the new part like one that went by itself, so that it is
        told apart from rows of its kind that only now are known. While rows of the chunk wait to be gathered, only
        whole answers are taken: no other row becomes one of their kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.collector.settle import Collecting, parse, write
from orchestrator.domain.causes import causes_left
from orchestrator.domain.faults import Fault
from orchestrator.domain.model import Chunk
from orchestrator.domain.reconcile import Answer, named, unanswered
from orchestrator.domain.required import required
from orchestrator.domain.reread import Reread
from orchestrator.domain.row_kinds import FLAWED, RowKind
from orchestrator.job_files import records, request_files, result_parts

if TYPE_CHECKING:
    from orchestrator.ports import JobFiles


def reread(chunk: Chunk, *, job_files: JobFiles, collecting: Collecting) -> Reread | None:
    """Read a chunk's archived results again; None where nothing more can be read than before."""
    record = records.read_collected(job_files, records.collected_name(chunk.part))
    with job_files.open(chunk.part) as file:
        present = dict(result_parts.read_answers(file))
    reconciliation = parse(chunk, record.raw, job_files=job_files, collecting=collecting)
    absent = unanswered(required(chunk.outcome, "outcome"), chunk.error)
    again, found = reconciliation.close(absent, may_send_again=False)
    may_change = _is_whole if chunk.regather else _is_any
    changed = {
        key: answer
        for key, answer in found
        if present[key].fault is Fault.UNREADABLE and answer.fault is not Fault.UNREADABLE and may_change(answer)
    }
    if not changed:
        return None
    part = _free_name(job_files, chunk.part)
    sent = _kinds_sent(chunk)
    rows = ((key, changed[key] if key in changed else _marked(answer, sent)) for key, answer in present.items())
    written = write(part, rows, chunk, job_files=job_files, collecting=collecting)
    read = {key: named(answer) for key, answer in changed.items() if answer.succeeded}
    by_shard = request_files.count_by_shard(read)
    flaws = Counter(answer.error_code for answer in read.values() if answer.error_code is not None)
    delta = {"succeeded": len(read)} | {f"{kind}_answers": flaws[kind.value] for kind in FLAWED}
    if chunk.improves:  # the newer answer takes the place of the one that stood
        delta |= {"standing": -len(read), "unread_answers": -len(changed)}
        if (name := f"{chunk.improves}_answers") in delta:
            delta[name] -= len(read)
    else:
        delta |= {"failed": -len(read), "unreadable_rows": -len(changed)}
    lines = {name: getattr(again, name) for name in ("lines", "missing", "duplicates", "foreign", "unreadable")}
    lines |= written.used
    failed = {shard: count - by_shard.get(shard, 0) for shard, count in record.failed.items()}
    tally = replace(record.tally, **_added(record.tally, delta), **lines)
    new = replace(record, part=part, part_digest=written.digest, cost_usd=written.cost_usd, tally=tally, failed=failed)
    now = replace(chunk.tally, **_added(chunk.tally, delta), **lines)
    causes = causes_left(written.causes, now.failed, now.unreadable_rows) if chunk.causes else ""
    new = replace(new, causes=causes)
    records.keep_collected(job_files, replace(new, rereads=record.rereads + 1))
    after = replace(chunk, part=part, causes=causes, tally=now)
    return Reread(before=chunk, after=after, read_by_shard=by_shard, changed=len(changed), cost_usd=written.cost_usd)


def _is_any(_answer: Answer) -> bool:
    return True


def _is_whole(answer: Answer) -> bool:
    return answer.succeeded and named(answer).error_code is None


def _kinds_sent(chunk: Chunk) -> frozenset[str]:
    """Return the kinds of which no row of the chunk is left: a person has had them sent again, if there were any."""
    if chunk.regather:
        return frozenset()
    kinds = {kind.value for kind in FLAWED if not chunk.own_answers(kind)}
    tally = chunk.tally
    if tally.failed + tally.standing == tally.unreadable_rows + tally.unread_answers:
        kinds.add(RowKind.FAILED.value)
    return frozenset(kinds)


def _marked(answer: Answer, sent: frozenset[str]) -> Answer:
    if answer.fault is Fault.UNREADABLE:
        return answer
    kind = answer.error_code if answer.succeeded else RowKind.FAILED.value
    return answer._replace(retryable=True) if kind in sent else answer


def _added(tally: object, delta: Mapping[str, int]) -> dict[str, int]:
    return {name: getattr(tally, name) + count for name, count in delta.items()}


def _free_name(job_files: JobFiles, part: str) -> str:
    """Return a name that no part has: one that an interrupted command left may hold what other readers read."""
    stem = part.removesuffix(".parquet")
    stem, _, number = stem.rpartition(".r") if records.is_reread(part) else (stem, "", "0")
    count = int(number) + 1
    while job_files.exists(f"{stem}.r{count}.parquet"):
        count += 1
    return f"{stem}.r{count}.parquet"

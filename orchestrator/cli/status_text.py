"""Prints a job's status: the output of `status`, `submit`, `cancel` and `resolve`."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, Final

from orchestrator.api.detached import log_of
from orchestrator.api.doing_words import stopping
from orchestrator.api.next_commands import command, next_line, to_go_on
from orchestrator.cli import text
from orchestrator.cli.terminal import listed_commands
from orchestrator.domain.look import Activity
from orchestrator.domain.model import JobState
from orchestrator.domain.money import usd
from orchestrator.domain.reconcile import UNREADABLE
from orchestrator.domain.row_kinds import RowKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.api.decision import Sample
    from orchestrator.api.retrying import RetryEstimate
    from orchestrator.api.status import Status, UnresolvedChunk
    from orchestrator.domain.look import Look
    from orchestrator.domain.progress import Trouble
    from orchestrator.domain.reread import Reading
    from orchestrator.domain.workers import WorkerProcess


WIDTH: Final = 80


def notes(found: Status, work: str) -> str:
    """Return what a job waits for, and what a person can do about it; "" where there is nothing to say."""
    lines, look, has_ended = list[str](), found.look, found.look.has_ended
    if found.reason:
        lines.append(f"  {found.reason}" if has_ended else f"  stopped: {found.reason}")
    if found.decision:
        lines.append("  It waits for your decision.")
        ways = [("approve", "to go on"), ("cancel", "to end it, and keep what was answered")]
        if found.decision == UNREADABLE:
            ways.insert(0, ("reread", "to read the answers again, after an upgrade, for nothing"))
        lines += listed_commands([(command(name, work, found.job_id), meaning) for name, meaning in ways])
    lines += _logs(found, work)
    lines += [f"  {one}" for one in stopping(look)]
    if look.paused_at is not None:
        lines.append(f"  paused by you since {look.paused_at:%Y-%m-%d %H:%M} UTC: nothing more is sent.")
        lines += listed_commands([(command("resume", work, found.job_id), "to send again")])
    if found.pause_reason:
        lines.append(f"  sending is paused for the account: {found.pause_reason}")
    if look.budget_wait:
        lines.append(f"  waiting for budget: {look.budget_wait}")
    told = found.reason or found.pause_reason  # what stopped it is not said twice, as a trouble of its chunks
    lines += [_trouble(one) for one in found.look.troubles if not one.is_unresolved and one.reason not in told]
    if found.totals.overdue:
        others = f", and {found.totals.overdue - 1:,} more," if found.totals.overdue > 1 else ""
        batch = f"{found.totals.overdue_batch}{others}"
        lines.append(f"  overdue: batch {batch} should have ended more than a day ago")
    if look.undelivered.count:
        lines += _undelivered(found, work)
    if look.unresolved:
        chunks = text.counted(look.unresolved, "chunk", "chunks")
        waits = ": the canary, so the rest waits" if found.totals.waits_for_canary else ""
        lines.append(f"  {chunks} unresolved: it is not known whether the create made a batch{waits}.")
        unresolved = [one for one in found.look.troubles if one.is_unresolved]
        lines += [f"  {text.counted(one.chunks, 'chunk', 'chunks')}: {one.reason}" for one in unresolved]
        ways = [(command("resolve", work, found.job_id), "to see what was sent, and say what became of it")]
        lines += listed_commands(ways)
    else:
        lines += _way_on(look, work)
    return "\n".join(lines)


def _way_on(look: Look, work: str) -> list[str]:
    """Return what to type so that somebody works on a job; nothing where somebody does, or nobody has to."""
    run = command("run", work, look.job_id)
    if look.activity is Activity.STOPPING:
        return listed_commands([(run, "to fetch what is done, and go on")])
    if look.activity is Activity.STOPPED and not look.lacks:
        return listed_commands([(run, "to try again")])
    is_idle = look.activity is Activity.UNATTENDED or (look.lacks and not look.has_ended)
    return listed_commands([to_go_on(look, work)]) if is_idle else []


def _undelivered(found: Status, work: str) -> list[str]:
    """Return that notices of a job were not received, and how to have them sent again."""
    notices = found.look.undelivered
    count = text.counted(notices.count, "notice was", "notices were")
    why = f": {notices.error}" if notices.error else ""
    again = "; the next run tries again" if notices.tried_again and not found.look.worked_by else ""
    ways = [(command("notify", work, found.job_id), "to try again now")]
    return [f"  {count} not received{why}{again}", *listed_commands(ways)]


def _logs(found: Status, work: str) -> list[str]:
    """Return where the logs of its runs without a terminal are."""
    logs = [(one.pid, log_of(found.job_id, work, one.pid)) for one in found.look.worked_by]
    lines = [f"  pid {pid} has no terminal; its log: {log}" for pid, log in logs if log is not None]
    return [*lines, *listed_commands([(command("attach", work, found.job_id), "to follow it")])] if lines else []


def _trouble(one: Trouble) -> str:
    """Return why chunks are tried again, since when, and when next."""
    times = [f"{name} {at:%Y-%m-%d %H:%M:%S} UTC" for name, at in (("since", one.since), ("next", one.next_at)) if at]
    when = f" ({', '.join(times)})" if times else ""
    return f"  {text.counted(one.chunks, 'chunk', 'chunks')} being retried{when}, after: {one.reason}"


def samples(found: Sequence[Sample]) -> str:
    """Return rows of a canary and what came back for them, each in at most three lines."""
    lines = []
    for one in found:
        place = f"row {one.row:,}" + (f" of shard {one.shard}" if one.shard else "")
        code = "" if one.error_code == one.kind else one.error_code
        told = " ".join(word for word in (code, one.error_message, one.response) if word)
        shown = textwrap.shorten(told, WIDTH * 3 - len(place) - 20, placeholder=" …") if told else "no text"
        lines += textwrap.wrap(f"{place}, {one.kind}: {shown}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def failed_rows(found: Status, work: str) -> str:
    """Return what to type about failed rows; "" where none have failed."""
    if not found.failed:
        return ""
    ways = [(command("results", work, found.job_id, "--rows", RowKind.FAILED), "to see failed rows")]
    if found.totals.failed:  # the others could not be sent, and cannot be sent again
        kept = found.totals.unreadable_rows
        if kept:
            ways.append((command("reread", work, found.job_id), "to read unreadable answers again, for nothing"))
        if kept < found.totals.failed:
            others = ", but for the unreadable ones" if kept else ""
            ways.append((command("retry", work, found.job_id), f"to send them again{others}"))
        if kept:
            paid = "to send them again, and pay for the unreadable ones again"
            ways.append((command("retry", work, found.job_id, "--unreadable"), paid))
    return "\n".join([f"  {text.counted(found.failed, 'row has', 'rows have')} failed.", *listed_commands(ways)])


def flawed_answers(found: Status, work: str) -> str:
    """Return what to type about answers that are not whole; "" where all are."""
    kinds = [kind for kind, count in found.totals.flaws.items() if count]
    if not kinds:
        return ""
    count = text.counted(sum(found.totals.flaws.values()), "answer is", "answers are")
    ways = [(command("results", work, found.job_id, "--rows", kind), f"to see the {kind} ones") for kind in kinds]
    again = "`orchestrator retry` with the same --rows sends them again, and they are paid for again."
    if RowKind.TRUNCATED in kinds:
        again += " Cut off: with `--set max_tokens=N` they get a larger limit."
    if found.totals.unread_answers:
        newer = text.counted(found.totals.unread_answers, "newer answer", "newer answers")
        again += f" {newer} cannot be read yet, and are kept."
        ways.insert(0, (command("reread", work, found.job_id), "to read newer answers again, for nothing"))
    return "\n".join([f"  {count} not whole. {again}", *listed_commands(ways)])


def submitted(found: Status, work: str) -> str:
    """Return what `submit` prints: the next command, and a warning if no worker or beat is running."""
    lines = [f"{found.job_id}: submitted", f"  {command('status', work, found.job_id)}"]
    if not found.workers_alive:
        lines.append("  no worker is running on this ledger. Start one: orchestrator worker")
    if not found.beats_alive:
        lines.append("  no beat is running on this ledger. Start one: orchestrator beat")
    return "\n".join(lines)


def nothing_to_cancel(found: Status, work: str) -> str:
    """Return what `cancel` prints of a job that has ended: how it ended, and what can be done with it."""
    known = f"{found.job_id} is {found.state.value} already: there is nothing to cancel"
    return "\n".join([known, *listed_commands([(command("results", work, found.job_id), "its output")])])


def retry_plan(found: RetryEstimate) -> str:
    """Return what `retry` would send, and what that may cost."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.items())
    rows = text.counted(found.rows, "row", "rows")
    lines = [f"{found.job_id}: {rows} to be sent again{f' ({kinds})' if kinds else ''}"]
    if found.rows:
        about = "" if found.cost_usd_expected is None else f"about {usd(found.cost_usd_expected)} (as before), "
        lines.append(
            f"  cost: {about}{'not known' if found.cost_usd_max is None else f'at most {usd(found.cost_usd_max)}'}"
        )
    if found.unreadable:
        stay = ("row that cannot be read stays as it is", "rows that cannot be read stay as they are")
        lines.append(f"  {text.counted(found.unreadable, *stay)}")
    if found.never_sent:
        never = ("row was never a request: it is not sent", "rows were never requests: they are not sent")
        lines.append(f"  {text.counted(found.never_sent, *never)}")
    return "\n".join(lines)


def of_kind(found: Status, kind: str, work: str, *, pays_again: bool) -> list[str]:
    """Return what `retry` says of rows of one kind that the ledger counts: that there are none, or that some stay."""
    if kind not in (RowKind.FAILED, *found.totals.flaws):
        return []
    lines = (nothing_to_retry(found, kind), kept_unreadable(found, kind, work, pays_again=pays_again))
    return [line for line in lines if line]


def nothing_to_retry(found: Status, kind: str) -> str:
    """Return what `retry` says of an ended job that has no such row; "" of any other job."""
    if kind != RowKind.FAILED:
        is_there = found.totals.flaws[kind] or not found.look.has_ended
        return "" if is_there else f"{found.job_id}: no answer is {kind}: nothing is sent again"
    if found.state is not JobState.FINISHED or found.totals.failed:
        return ""
    refused = found.totals.refused
    rows = text.counted(refused, "row", "rows")
    apart = f" ({rows} could not be made a request; see {'its' if refused == 1 else 'their'} llm_error_code)"
    return f"{found.job_id}: no row that was sent has failed: nothing is sent again{apart if refused else ''}"


def kept_unreadable(found: Status, kind: str, work: str, *, pays_again: bool) -> str:
    """Return what `retry` says of failed rows that it does not send again; "" where it sends all, or none."""
    totals, is_failed = found.totals, kind == RowKind.FAILED
    kept, of = (totals.unreadable_rows, totals.failed) if is_failed else (totals.unread_answers, totals.flaws[kind])
    if not kept or kept >= of or pays_again or not found.look.has_ended:
        return ""
    it, stay = ("it", "stays as it is") if kept == 1 else ("them", "stay as they are")
    rows = text.counted(kept, "row that cannot be read", "rows that cannot be read")
    which = () if is_failed else ("--rows", kind)
    again, paid = command("reread", work, found.job_id), command("retry", work, found.job_id, *which, "--unreadable")
    ways = [(again, f"to read {it} again, for nothing"), (paid, f"to send {it}, too, and pay for {it} again")]
    return "\n".join([f"{found.job_id}: {rows} {stay}.", *listed_commands(ways)])


def reread(found: Status, done: Reading, work: str) -> str:
    """Return what `reread` prints: what can be read now, what still cannot, and what to type next."""
    rows = text.counted(done.read, "row", "rows")
    lines = [f"{found.job_id}: {rows} read, {done.unreadable:,} still cannot be read. Nothing was sent."]
    if done.failed:
        lines.append(f"  {text.counted(done.failed, 'row', 'rows')} turned out to have no answer; they stay failed")
    if found.decision:
        lines += listed_commands([(command("status", work, found.job_id), "it still waits for your decision")])
    elif found.look.has_ended:
        lines += listed_commands([(command("results", work, found.job_id), "its output")])
    elif not found.workers_alive:
        lines += listed_commands([(command("run", work, found.job_id), "next")])
    return "\n".join(lines)


def approved(found: Status, work: str) -> str:
    """Return what `approve` prints: who goes on with the job."""
    return _goes_on(found, "approved", work)


def paused(found: Status, work: str) -> str:
    """Return what `pause` prints: what still happens, who does it, and how to go on."""
    look, job_id = found.look, found.job_id
    sent = look.rows.at_provider
    told = "nothing more is sent"
    if sent:
        told += f"; {text.counted(sent, 'row', 'rows')} at the provider go on there" + (
            ", and are fetched" if look.worked_by else ""
        )
    lines = [f"{job_id}: paused by you: {told}."]
    ways = [(command("resume", work, job_id), "to send again")]
    if sent and not look.worked_by:
        ways.insert(0, to_go_on(look, work, "fetch what is in flight"))
    return "\n".join([*lines, *listed_commands(ways)])


def resumed(found: Status, work: str) -> str:
    """Return what `resume` prints: who goes on with the job."""
    return _goes_on(found, "resumed", work)


def stopped(found: Status, work: str) -> str:
    """Return what `stop` prints: that nothing works on the job, or who has taken it over."""
    by, job_id = found.look.worked_by, found.job_id
    if by:
        return f"{job_id}: stopped there; pid {by[0].pid} on {by[0].host} followed it, and runs it now."
    if found.look.has_ended:
        return f"{job_id}: it has ended."
    sent = found.look.rows.at_provider
    rest = f" {text.counted(sent, 'row', 'rows')} at the provider go on there." if sent else ""
    return f"{job_id}: stopped; nothing is lost.{rest} Next:\n  {command('run', work, job_id)}"


def detached(job_id: str, work: str, pid: int, log: str, by: Sequence[WorkerProcess]) -> str:
    """Return what `run --detach` prints: which process runs the job, its log, and how to reach it."""
    is_run = any(one.pid == pid for one in by)
    other = "" if is_run else f" It follows pid {by[0].pid} on {by[0].host}, and takes over where that ends."
    ways = [("attach", "to follow it"), ("pause", "to send nothing more for now"), ("stop", "to end it, safely")]
    told = listed_commands([(command(name, work, job_id), meaning) for name, meaning in ways])
    return "\n".join([f"{job_id}: pid {pid} runs it without this terminal.{other}", f"  log  {log}", *told])


def _goes_on(found: Status, what: str, work: str) -> str:
    by = found.look.worked_by
    if found.decision:  # nothing else is of use before that
        ways = [(command("status", work, found.job_id), "to see what it is about")]
        return "\n".join([f"{found.job_id}: {what}. It still waits for your decision.", *listed_commands(ways)])
    if found.look.paused_at is not None:
        ways = [(command("resume", work, found.job_id), "to send again")]
        return "\n".join([f"{found.job_id}: {what}. It is still paused by you.", *listed_commands(ways)])
    if not by or found.look.lacks:
        return next_line(found.look, work, f"{found.job_id}: {what}.")
    who = "Its fleet's workers go on." if found.workers_alive else f"Pid {by[0].pid} on {by[0].host} goes on with it."
    return f"{found.job_id}: {what}. {who}\n  {command('status', work, found.job_id)}"


def unresolved(job_id: str, found: Sequence[UnresolvedChunk], work: str) -> str:
    """Return the unresolved creates, and the commands that resolve them."""
    if not found:
        return f"{job_id}: no chunk is unresolved"
    lines = [f"{job_id}: look for the batches of these creates in your account, then type what you found."]
    for one in found:
        lines.append(f"{one.chunk}  {one.requests:,} requests, sent {one.sent_at:%Y-%m-%d %H:%M:%S} UTC: {one.reason}")
        if one.ids:
            lines.append("  the answer names what may be the batch:")
            lines += [f"    {_resolve(work, job_id, one.chunk, '--batch', shlex.quote(each))}" for each in one.ids]
    lines += listed_commands(_ways(job_id, found, work))
    if len(found) > 1:
        lines.append(f"  In the same way for each of the {len(found):,} chunks.")
    return "\n".join(lines)


def _resolve(work: str, job_id: str, *given: str) -> str:
    return command("resolve", work, job_id, *given)


def _ways(job_id: str, found: Sequence[UnresolvedChunk], work: str) -> list[tuple[str, str]]:
    """Return the commands for the first of the chunks, or of those that the command fits."""
    first = found[0]
    ways = [
        (_resolve(work, job_id, first.chunk, "--batch", "ID"), "the provider has the batch (ID): fetch its answers"),
        (_resolve(work, job_id, first.chunk, "--absent"), "it does not: send the rows again, and pay for them"),
    ]
    if kept := [one.chunk for one in found if "results of batch" in one.reason]:
        given_up = "it has the batch, and does not hand out its results: the rows fail"
        ways.append((_resolve(work, job_id, kept[0], "--give-up"), given_up))
    if any("another key" in one.reason for one in found):
        ways.append((_resolve(work, job_id, "--same-account"), "the key is new, the account (project) the same"))
    return ways

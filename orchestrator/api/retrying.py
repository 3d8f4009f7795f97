"""What a person has sent again: which rows, what that may cost, and the command itself.

Rule: rows of one kind that is counted are taken from the ledger's counts; any others are chosen one by one, by the
output (see `choosing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrator.domain import money
from orchestrator.domain.chosen import Choice
from orchestrator.domain.errors import CommandRefused, ConfigError
from orchestrator.domain.html_table import html_table
from orchestrator.domain.model import JobId, JobState
from orchestrator.domain.packing import tokens_of
from orchestrator.domain.row_kinds import FLAWED, KINDS, RowKind
from orchestrator.engine.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.api.choosing import Chosen
    from orchestrator.api.wanted_rows import WantedRows
    from orchestrator.domain.model import Chunk, Job
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEstimate:
    """What a retry would send."""

    job_id: str
    rows: int
    kinds: Mapping[str, int]  # of those; "whole" answers are those of which nothing is known to be wrong
    never_sent: int  # rows that are meant, and were never a request: they stay failed
    unreadable: int  # rows whose answer is kept and cannot be read: they stay as they are
    cost_usd_expected: Decimal | None  # by what the last answers of these rows have cost; None: not known
    cost_usd_max: Decimal | None  # None: no price is known
    confirm_usd: Decimal  # by the policy: above it the command asks

    def _repr_html_(self) -> str:
        """Show the numbers in a notebook."""
        return html_table(f"Retry of {self.job_id}", list(self.as_dict().items())[1:])

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        costs = {name: getattr(self, name) for name in ("cost_usd_expected", "cost_usd_max", "confirm_usd")}
        return {
            "job_id": self.job_id,
            "rows": self.rows,
            "kinds": dict(self.kinds),
            "never_sent": self.never_sent,
            "unreadable": self.unreadable,
            **{name: None if value is None else f"{value:f}" for name, value in costs.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Rows that a person wants to be sent again."""

    rows: WantedRows
    pays_again: bool = False
    changes: str = ""  # of their requests: a `RequestChanges`, JSON
    plain: RowKind | None = field(default=None)  # all rows of one kind that is counted


def again_of(
    workspace: Workspace,
    job_id: JobId,
    rows: str | Collection[str] | None,
    keys: Iterable[object],
    parameters: Mapping[str, Any],
    *,
    pays_again: bool = False,
) -> Again:
    """Return what is asked for. Raises ConfigError."""
    from orchestrator.api.changing import changes_text
    from orchestrator.api.wanted_rows import codes_of, wanted_rows

    keys, changes = list(keys), changes_text(workspace, job_id, parameters)
    codes = codes_of(workspace.look(job_id).causes)
    found = wanted_rows((rows or RowKind.FAILED) if rows or not keys else None, keys, codes)
    if not found:
        raise ConfigError(f"no rows are named: give {', '.join(KINDS)}, a condition, or keys")
    is_typed = bool(workspace.context(job_id).spec.response)
    [kind] = found.kinds if len(found.kinds) == 1 else [""]
    is_plain = kind == RowKind.FAILED or (kind in FLAWED and not is_typed)
    if pays_again and not is_plain:
        raise ConfigError("--unreadable goes with rows of one kind: --rows failed, truncated, empty or refused")
    return Again(rows=found, pays_again=pays_again, changes=changes, plain=RowKind(kind) if is_plain else None)


def send_again(workspace: Workspace, job_id: JobId, again: Again) -> None:
    """Schedule the rows to be sent again. Raises ConfigError, CommandRefused."""
    from orchestrator.api.rereading import send_answers_again, send_failed_again

    _check_each(workspace, job_id, again)
    if again.plain is RowKind.FAILED:
        send_failed_again(workspace, job_id, changes=again.changes, pays_again=again.pays_again)
    elif again.plain is not None:
        kind = again.plain
        send_answers_again(workspace, job_id, kind, changes=again.changes, pays_again=again.pays_again)
    else:
        job = _ended(workspace, job_id)
        selection = f"{job.revision + 1}-{workspace.clock.token()[:8]}"
        found = _chosen(workspace, job, again, kept_in=workspace.context(job_id).job_files, selection=selection)
        now = workspace.clock.now()
        workspace.admin.retry_chosen(job_id, job.revision, selection, found.rows, changes=again.changes, now=now)


def _check_each(workspace: Workspace, job_id: JobId, again: Again) -> None:
    """Raise ConfigError where a request that a function has rendered cannot have the parameters: nothing is sent."""
    from orchestrator.api.changing import check_bodies
    from orchestrator.api.rereading import rows_to_send
    from orchestrator.engine.opening import files_at
    from orchestrator.job_files.changed_requests import changes_in

    changes, context = changes_in(again.changes), workspace.context(job_id)
    if not changes.fields:
        return
    with TemporaryDirectory(prefix="orchestrator-") as folder:
        if again.plain is None:
            files = files_at(folder)
            found = _chosen(workspace, _ended(workspace, job_id), again, kept_in=files, selection="plan")
            rows = _rows_of(workspace, found, files)
        else:
            rows = rows_to_send(workspace, job_id, again.plain, pays_again=again.pays_again)
        check_bodies(context.changing, context.job_files, changes, rows)


def _rows_of(workspace: Workspace, found: Chosen, files: JobFiles) -> Iterator[tuple[Chunk, list[RowKey]]]:
    from orchestrator.job_files.selections import chosen_rows

    for one in found.rows:
        chunk = workspace.ledger.chunk(one.chunk_id)
        yield chunk, [key for keys in chosen_rows(files, "plan", chunk).values() for key in keys]


def estimated(workspace: Workspace, job_id: JobId, again: Again) -> RetryEstimate:
    """Return what a retry would send. Nothing is sent, and nothing is written into the job's folder."""
    from orchestrator.engine.opening import files_at

    job = _ended(workspace, job_id)
    with TemporaryDirectory(prefix="orchestrator-") as folder:
        files = files_at(folder)
        found = _chosen(workspace, job, again, kept_in=files, selection="plan")
        cost_usd_max = _cost_max(workspace, job, again, found, files)
    each = found.paid_usd / found.priced if found.priced else None
    return RetryEstimate(
        job_id=job_id,
        rows=found.total,
        kinds=dict(sorted(found.counts.items())),
        never_sent=found.never_sent,
        unreadable=found.unreadable,
        cost_usd_expected=None if each is None else money.quantize(each * found.total),
        cost_usd_max=cost_usd_max,
        confirm_usd=job.policy.confirm_usd,
    )


def _ended(workspace: Workspace, job_id: JobId) -> Job:
    """Return a job that has an output. Raises CommandRefused."""
    job = workspace.ledger.job(job_id)
    if job.state not in (JobState.FINISHED, JobState.CANCELLED):
        raise CommandRefused(f"job {job_id} is {job.state}: run it to its end first, then its rows are retried")
    if job.reason:
        raise CommandRefused(f"job {job_id} has no output, by which rows are chosen: {job.reason}")
    return job


def _chosen(workspace: Workspace, job: Job, again: Again, *, kept_in: JobFiles, selection: str) -> Chosen:
    from orchestrator.api.choosing import choose

    return choose(workspace, workspace.context(job.id), job, again.rows, kept_in=kept_in, selection=selection)


def _cost_max(workspace: Workspace, job: Job, again: Again, found: Chosen, files: JobFiles) -> Decimal | None:
    """Return the most that the requests can cost, made as they would be sent."""
    from orchestrator.engine.steps import gathering_of
    from orchestrator.job_files.changed_requests import changes_in
    from orchestrator.job_files.selections import chosen_rows
    from orchestrator.planner.retry import filled

    context = workspace.context(job.id)
    gathering, total = gathering_of(context, job.policy), Decimal(0)
    for one in found.rows:
        chunk = workspace.ledger.chunk(one.chunk_id)
        changes = changes_in(again.changes).after(changes_in(chunk.changes))
        for kind, keys in chosen_rows(files, "plan", chunk).items():
            waits = replace(chunk, regather=str(Choice("plan", (kind,))))
            drafts = filled([waits], {chunk.name: keys}, changes, job_files=context.job_files, gathering=gathering)
            for (amends, _), draft in drafts:
                costing = gathering.costing.for_chunk(changes, amends)
                cost = money.cost_max(
                    costing.price,
                    tokens_of(draft.text_bytes),
                    draft.line_count * costing.output_tokens_max,
                    longest_tokens=tokens_of(draft.longest_text_bytes),
                )
                if cost is None:
                    return None
                total += cost
    return total

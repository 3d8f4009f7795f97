"""A handle on a job in the ledger: its status, waiting for it, and the commands a person can give.

Rule: where the ledger is an SQLite file and no other process runs the job, this process carries out a command itself;
otherwise it records the command in the ledger, and the process that runs it, or a fleet's workers, carry it out.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.decision import Sample, command, refuse_undecided, refuse_unreadable, samples_of
from orchestrator.api.driving import await_end, drive, run_or_follow, run_steps
from orchestrator.api.outcome import result_of
from orchestrator.api.status import WHOLE, Status, UnresolvedChunk, status_of
from orchestrator.domain.created_batch import candidates
from orchestrator.domain.errors import CommandRefused, JobInterrupted, JobNotFinished, LedgerBusy, OrchestratorError
from orchestrator.domain.html_table import html_table
from orchestrator.domain.look import OnLook
from orchestrator.domain.model import BatchId, ChunkId, JobId, JobState
from orchestrator.domain.row_kinds import RowKind
from orchestrator.domain.workers import Kind, WorkerProcess
from orchestrator.engine.command_log import record_command, record_resolution
from orchestrator.engine.local_runner import running
from orchestrator.engine.opening import opened_workspace
from orchestrator.engine.workspace import Workspace
from orchestrator.settings import ProviderSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.api.result import Result
    from orchestrator.api.retrying import Again, RetryEstimate
    from orchestrator.api.show import RowTrace
    from orchestrator.domain.reread import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandle:
    """A job in the ledger, in any state."""

    job_id: JobId
    work: str  # a location

    def _repr_html_(self) -> str:
        """Show in a notebook how the job stands; where the ledger cannot be read, why."""
        try:
            return self.status()._repr_html_()
        except OrchestratorError as error:
            return html_table(f"Job {self.job_id}", [("work folder", self.work), ("status", str(error))])

    def provider_settings(self) -> ProviderSettings:
        """Return the provider settings that the job was opened with."""
        with opened_workspace(self.work) as workspace:
            return workspace.context(self.job_id).spec.provider

    def status(self) -> Status:
        """Return the job's status."""
        with opened_workspace(self.work, must_exist=True) as workspace:
            return status_of(workspace, self.job_id)

    def results(self) -> Result:
        """Return the result. Raises JobNotFinished where the job has not ended."""
        with opened_workspace(self.work) as workspace:
            job = workspace.ledger.job(self.job_id)
            if job.state not in WHOLE:
                raise JobNotFinished(
                    f"job {self.job_id} is {job.state}: it has no result yet.\n"
                    f"  to see what it waits for:\n    {command(workspace, 'status', self.job_id)}\n"
                    f"  to see what was answered so far:\n    {command(workspace, 'results', self.job_id)} --partial"
                )
            return result_of(workspace, job)

    def answers(self, *, with_source: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield what was answered so far, in source order, for a job in any state: nothing is sent or written.

        Args:
            with_source: the columns are those of the output: the dataset's, and the answer's. Raises DatasetError or
                OutputError where the dataset cannot be read or has changed. Without it no dataset is needed: the
                columns are `shard` and `row` (its number in the shard, from 0), `request` (what was sent, as long as
                that file is kept), the id, and the columns of the answer.
        """
        from orchestrator.api.export import opened_answers

        with opened_workspace(self.work) as workspace:
            yield from opened_answers(workspace, self.job_id, has_source=with_source)[1]

    def export(
        self,
        path: str | Path,
        *,
        kind: str | Collection[str] | None = None,
        keys: Sequence[object] = (),
        columns: Sequence[str] | None = None,
        partial: bool = False,
        without_source: bool = False,
        force: bool = False,
        exact_text: bool = False,
    ) -> int:
        """Write the job's output to one file, `.parquet`, `.csv` or `.jsonl`, and return its number of rows.

        The file appears when it is whole. It may be in an object store. Memory does not grow with the output.

        Args:
            kind: only such rows, or such as one of these means, as in `Result.iter_batches`.
            keys: and single rows by their names, as in `show`; without `kind` these alone.
            columns: only these, in this order.
            partial: also of a job that has not ended: the rows that are answered so far.
            without_source: `answers()`, for a job in any state whose dataset is lost or has changed.
            force: replace the file if it exists.
            exact_text: in CSV, write texts as they are, also those that a spreadsheet would run as a formula.
        """
        from orchestrator.api.export import Wanted, opened_rows, write_rows

        wanted = Wanted(kind=kind, keys=keys, columns=columns, partial=partial, without_source=without_source)
        opened = opened_rows(self.work, self.job_id, wanted, self.results)
        return write_rows(path, opened, force=force, exact_text=exact_text)

    def show(self, row: str | int) -> RowTrace:
        """Return one row from the source to its answer: what was sent, when, in which batches, and what came back.

        Args:
            row: its id, its key (without keys: its number in the dataset, from 0), or "SHARD/ROW".
        """
        from orchestrator.api.show import trace

        with opened_workspace(self.work) as workspace:
            return trace(workspace, self.job_id, str(row))

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: OnLook | bool = True,
        stop: threading.Event | None = None,
    ) -> Result:
        """Wait until other processes (a fleet's workers) have finished the job, and return its result.

        Args:
            timeout: seconds; None waits as long as it takes.
            progress: as for `run`.
            stop: set it to stop waiting; the job continues.

        Raises:
            JobTimeout: the time is up; the job continues. It is also a TimeoutError.
            JobUnresolved, JobStopped, JobNeedsDecision: the job cannot continue without a person.
            JobInterrupted: `stop` was set.
        """
        with opened_workspace(self.work) as workspace:
            return await_end(workspace, self.job_id, timeout, progress, stop or threading.Event())

    def run(self, *, progress: OnLook | bool = True, stop: threading.Event | None = None) -> Result:
        """Run the job to its end, with the settings it was opened with."""
        with opened_workspace(self.work) as workspace:
            return self._run_to_end(workspace, progress, stop, None)

    def retry(
        self,
        *,
        rows: str | Collection[str] | None = None,
        keys: Iterable[object] = (),
        parameters: Mapping[str, Any] | None = None,
        unreadable: bool = False,
        progress: OnLook | bool = True,
        stop: threading.Event | None = None,
    ) -> Result:
        """Send rows of an ended job again, and run it to its end; the output is a new revision.

        Args:
            rows: "failed" (also where nothing is given), "truncated", "empty", "refused", "invalid", an error code, a
                condition on the columns of the output ("llm_response = 'maybe' AND llm_score < 0.3"), "key:ID", or
                several of these. Answers are paid for again; the new one takes the place of the old one, which stands
                where the row fails. Typed answers that were not valid are sent with what was wrong with them, unless
                they are chosen as "failed".
            keys: and single rows by their names, as in `show`; without `rows` these alone.
            parameters: other values of request parameters for these rows, such as `{"max_tokens": 256}`. Refused where
                the dialect or the model does not take them, before anything is sent.
            unreadable: send rows again that may have been answered, too, though they are paid for again; first try
                `reread`. Without it they stay as they are, and a job with no other such row is refused.
        """
        from orchestrator.api.retrying import again_of

        with opened_workspace(self.work) as workspace:
            refuse_undecided(workspace, workspace.ledger.job(self.job_id))
            again = again_of(workspace, self.job_id, rows, keys, parameters or {}, pays_again=unreadable)
            if again.plain is RowKind.FAILED and not unreadable:
                refuse_unreadable(workspace, self.job_id)
            return self._run_to_end(workspace, progress, stop, again)

    def plan_retry(
        self,
        *,
        rows: str | Collection[str] | None = None,
        keys: Iterable[object] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> RetryEstimate:
        """Return how many rows `retry` would send again, and what that may cost. Nothing is sent or written."""
        from orchestrator.api.retrying import again_of, estimated

        with opened_workspace(self.work) as workspace:
            return estimated(workspace, self.job_id, again_of(workspace, self.job_id, rows, keys, parameters or {}))

    def _run_to_end(
        self,
        workspace: Workspace,
        progress: OnLook | bool,
        stop: threading.Event | None,
        again: Again | None,
    ) -> Result:
        from orchestrator.api.preflight import check_before_first_create

        context = workspace.context(self.job_id)

        def check() -> None:
            context.require_provider()
            context.check_function()
            check_before_first_create(workspace, context)

        has_fleet = bool(workspace.workers.alive(now=workspace.clock.now()))
        if workspace.lock is None and not has_fleet:  # several runs share a job's steps; a fleet would do them
            check()
            self._reopen(workspace, again)
            return drive(workspace, self.job_id, progress, stop)
        try:
            return run_or_follow(
                workspace,
                self.job_id,
                check=check,
                enter=lambda: self._reopen(workspace, again),
                progress=progress,
                stop=stop,
            )
        except LedgerBusy:
            if workspace.lock is not None and not has_fleet:
                raise
        self._reopen(workspace, again)
        return await_end(workspace, self.job_id, None, progress, stop or threading.Event())

    def _reopen(self, workspace: Workspace, again: Again | None) -> None:
        from orchestrator.api.rereading import send_failed_again
        from orchestrator.api.retrying import send_again

        if again is not None:
            send_again(workspace, self.job_id, again)
        elif workspace.ledger.job(self.job_id).state is JobState.CANCELLED:
            send_failed_again(workspace, self.job_id)
        job = workspace.admin.resume(self.job_id, now=workspace.clock.now())
        record_command(workspace, self.job_id)
        refuse_undecided(workspace, job)

    def reread(self, *, progress: OnLook | bool = True, stop: threading.Event | None = None) -> Reading:
        """Read the archived results of rows that could not be read again, with the present readers, for nothing.

        No provider is called. The output of a job that has ended is written again, as a new revision. A job that is
        stopped because its answers could not be read, and can be read now, resumes when it is run.
        """
        from orchestrator.api.rereading import reread_job

        with opened_workspace(self.work) as workspace:
            has_ended = workspace.ledger.job(self.job_id).state in WHOLE
            done = reread_job(workspace, self.job_id)
            if done.is_reopened and has_ended:
                with suppress(LedgerBusy), running(workspace, self.job_id):  # else who runs it writes the output
                    run_steps(workspace, self.job_id, progress, stop or threading.Event())
            return done

    def approve(self) -> None:
        """Let the job go on that is stopped for a decision (`status().decision`); running it again resumes it.

        Workers of a fleet go on at once. Raises LedgerError where the job waits for no decision.
        """
        with opened_workspace(self.work) as workspace:
            workspace.admin.approve(self.job_id, now=workspace.clock.now())
            record_command(workspace, self.job_id)

    def pause(self) -> None:
        """Have nothing more of the job sent until `resume`; what is in flight is still fetched and collected.

        It holds for every process and fleet, now and later: a run of a paused job waits. Pausing it again changes
        nothing. Raises CommandRefused for a job that has ended or is being cancelled.
        """
        with opened_workspace(self.work) as workspace:
            workspace.admin.pause(self.job_id, now=workspace.clock.now())
            record_command(workspace, self.job_id)

    def resume(self) -> None:
        """End a pause: the processes that work on the job send again. Raises CommandRefused where it is not paused."""
        with opened_workspace(self.work) as workspace:
            job = workspace.ledger.job(self.job_id)
            if job.paused_at is None:
                refuse_undecided(workspace, job)
            workspace.admin.end_pause(self.job_id, now=workspace.clock.now())
            record_command(workspace, self.job_id)

    def stop(self) -> tuple[WorkerProcess, ...]:
        """Ask the processes that run the job to end as Ctrl-C does, wherever they are, and return them.

        They finish the calls under way first. Where others follow the job, one of them runs it then. Raises
        CommandRefused where no process runs it, or a fleet does: see `pause` and `cancel`.
        """
        with opened_workspace(self.work) as workspace:
            asked = workspace.workers.ask_to_stop(self.job_id, workspace.clock.now())
            if not asked or not workspace.may_be_run(self.job_id):
                fleet = workspace.workers.alive(now=workspace.clock.now(), kinds={Kind.WORKER})
                why = "a fleet's workers run it: pause or cancel it" if fleet else "no process runs it"
                raise CommandRefused(f"job {self.job_id}: {why}. There is nothing to stop")
            return tuple(asked)

    def samples(self, limit: int = 3) -> list[Sample]:
        """Return rows of the job's canary and what came back for them, those first that are not good."""
        with opened_workspace(self.work) as workspace:
            return samples_of(workspace, self.job_id, limit)

    def cancel(self, *, progress: OnLook | bool = True, stop: threading.Event | None = None) -> Status:
        """Drop unsent rows, cancel batches in flight and collect their answers, unless other processes do so."""
        with opened_workspace(self.work) as workspace:
            workspace.admin.cancel(self.job_id, now=workspace.clock.now())
            record_command(workspace, self.job_id)
            try:
                with running(workspace, self.job_id):
                    stop = stop or threading.Event()
                    run_steps(workspace, self.job_id, progress, stop)
                    if stop.is_set() and workspace.ledger.job(self.job_id).state is JobState.CANCELLING:
                        raise JobInterrupted(
                            f"job {self.job_id} is being cancelled, but not to its end: cancel it again to continue"
                        )
            except LedgerBusy:
                if workspace.lock is not None and workspace.ledger.job(self.job_id).state is not JobState.CANCELLING:
                    raise
            return status_of(workspace, self.job_id)

    def unresolved(self) -> list[UnresolvedChunk]:
        """Return the unresolved chunks: what was sent, when, and why a person must decide."""
        from orchestrator.providers.private_errors import answer_before

        with opened_workspace(self.work) as workspace:
            job_files = workspace.context(self.job_id).job_files
            return [
                UnresolvedChunk(
                    chunk=chunk.name,
                    requests=chunk.request_count,
                    sent_at=attempt.sent_at,
                    attempt=attempt.number,
                    cost_usd_max=attempt.reserved_usd,
                    reason=chunk.error,
                    ids=candidates(answer_before(job_files, attempt.token)),
                )
                for chunk, attempt in workspace.admin.unresolved(self.job_id)
            ]

    def resolve_created(self, chunk: str, batch_id: str) -> None:
        """Record that the create of an unresolved chunk made this batch: its results are collected, nothing is sent."""
        self._resolve(chunk, BatchId(batch_id))

    def resolve_absent(self, chunk: str) -> None:
        """Record that the create of an unresolved chunk made no batch: its requests are sent again, and paid for.

        Check at the provider first: if the batch exists after all, its rows are paid for twice.
        """
        self._resolve(chunk, None)

    def give_up_results(self, chunk: str) -> None:
        """Give up the results of an unresolved chunk's batch, which the provider made and does not hand out.

        What is archived of them is collected; its other rows fail as `results_lost`, and are not sent again.
        """
        with opened_workspace(self.work) as workspace:
            full = chunk if "/" in chunk else f"{self.job_id}/{chunk}"
            workspace.admin.give_up_results(ChunkId(full), now=workspace.clock.now())

    def _resolve(self, chunk: str, batch_id: BatchId | None) -> None:
        with opened_workspace(self.work) as workspace:
            full = chunk if "/" in chunk else f"{self.job_id}/{chunk}"
            resolved = workspace.admin.resolve(ChunkId(full), batch_id, now=workspace.clock.now())
            record_resolution(workspace, resolved, batch_id)

    def confirm_same_account(self) -> int:
        """Record that the present key belongs to the account that all creates of the job were sent from.

        Use it after a key rotation, where the provider gives no proof. Returns how many unresolved chunks waited.
        """
        with opened_workspace(self.work) as workspace:
            key_mark = workspace.context(self.job_id).provider.traits.key_mark
            return workspace.admin.confirm_same_account(self.job_id, key_mark, now=workspace.clock.now())

"""The operations of OpenAI's dialect, without HTTP: files, batches made from files, and their list.

Rule 1: every method may run in any thread and never waits for a client.
Rule 2: whatever an answer reports is on disk before the answer is sent.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec

from orchestrator.gateway.faults import Fault, FaultPlan, decode_plan, encode_plan
from orchestrator.gateway.intake import Row
from orchestrator.gateway.lines import LineForm
from orchestrator.gateway.openai_intake import (
    ERRORS_MAX,
    CheckedInput,
    CreateRequest,
    OpenAIRefused,
    check_input,
    error_entry,
    read_input,
)
from orchestrator.gateway.openai_store import Extras, File, OpenAIStore, insert_extras, insert_file, is_alive
from orchestrator.gateway.openai_wire import batch_object
from orchestrator.gateway.service import CREATE_REFUSALS, INVALID, Service, is_invalid, late_s
from orchestrator.gateway.settings import LineShape
from orchestrator.gateway.settlement import Settler
from orchestrator.gateway.simulated import answer_openai
from orchestrator.gateway.states import (
    FINALIZING_AT,
    VALIDATED_AT,
    OpenAIStatus,
    end_of_cancel,
    fate_of,
    openai_share_run,
    openai_status,
)
from orchestrator.gateway.store import NEVER_RUN, Batch, Fate, Settlement, put_in_place, sync_folder
from orchestrator.gateway.uploads import Upload

FILE_KEPT_S: Final = 2_592_000.0  # 30 days
PURPOSES: Final = ("batch",)
OUTPUT_PURPOSE: Final = "batch_output"
BATCH_ID: Final = re.compile(r"batch_[0-9a-f]{32}")

REASONS: Final = {
    Fate.FAIL: error_entry("invalid_request", "Simulated fault: the input file was rejected."),
    Fate.FAIL_PARTIAL: error_entry("server_error", "Simulated fault: the batch ended before all requests had run."),
    Fate.TOKEN_LIMIT: error_entry(
        "token_limit_exceeded",
        "Enqueued token limit reached for this model. Please try again once some batches have been completed.",
    ),
}
INPUT_GONE: Final = error_entry("input_file_not_found", "The input file was deleted before it was read.")


def is_openai_id(batch_id: str) -> bool:
    """Return whether an id has the form of a batch id of OpenAI's dialect."""
    return BATCH_ID.fullmatch(batch_id) is not None


class OpenAIService:
    """OpenAI's dialect on top of a Service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = OpenAIStore(service.store)
        self._being_settled: set[str] = set()

    def add_file(self, arrived: Path, upload: Upload) -> File:
        """Store an uploaded file; raise OpenAIRefused(400) if it is not acceptable."""
        purpose = upload.fields.get("purpose")
        if upload.filename is None:
            raise OpenAIRefused(400, "'file' is a required property", param="file")
        if purpose not in PURPOSES:
            raise OpenAIRefused(400, "purpose: this server knows batch", param="purpose")
        if not upload.filename.endswith(".jsonl"):
            raise OpenAIRefused(400, "Invalid file format for Batch API. Must be .jsonl")
        now = self.service.clock.now()
        file = File(
            file_id=_file_id(),
            filename=upload.filename,
            purpose=purpose,
            size_bytes=upload.size_bytes,
            created_at=now,
            expires_at=now + _kept_s(upload.fields),
        )
        put_in_place(arrived, self.store.file_path(file.file_id))
        self.store.add_file(file)
        return file

    def file(self, file_id: str) -> File:
        """Return a file; raise OpenAIRefused(404) if there is none."""
        file = self.store.file(file_id, self.service.clock.now())
        if file is None:
            raise OpenAIRefused(404, "No such File object", param="id")
        return file

    def files(self, *, purpose: str | None, after: str | None, is_rising: bool, limit: int) -> tuple[list[File], bool]:
        """Return a page of files, and whether there are more."""
        start = self.file(after) if after else None
        now = self.service.clock.now()
        found = self.store.files(now, purpose=purpose, after=start, is_rising=is_rising, limit=limit + 1)
        return found[:limit], len(found) > limit

    def delete_file(self, file_id: str) -> None:
        """Delete a file; raise OpenAIRefused(404) if there is none."""
        if not self.store.delete_file(file_id, self.service.clock.now, _encoded([INPUT_GONE])):
            raise OpenAIRefused(404, "No such File object", param="id")

    def create(self, request: CreateRequest) -> dict[str, Any] | Fault:
        """Make a batch of an uploaded file, durably, unless the plan refuses it; OpenAIRefused if it cannot be made.

        Returns the fault that the answer suffers instead of the batch, if there is one.
        """
        service, config = self.service, self.service.config
        path = self._input_of(request)
        try:
            checked = check_input(
                path,
                endpoint=request.endpoint,
                requests_max=config.requests_max,
                accepts_duplicates=config.accepts_duplicates,
            )
        except FileNotFoundError as error:
            raise _no_input(request) from error
        with service.accepting:
            plan = service.plan
            fault = service.create_fault(plan)
            if fault is not None and fault.name in CREATE_REFUSALS:
                return fault
            if plan.rows.invalid and not checked.errors:
                checked.errors = _invalid_lines(plan, path)
            now = service.clock.now() + late_s(plan, fault)
            batch, extras = self._new(request, checked, path, now)
            self._add(request, path, batch, extras)
        if fault is not None:
            return fault
        return batch_object(batch, extras, OpenAIStatus.VALIDATING, batch.submitted_at)

    def look(self, batch_id: str) -> tuple[Batch, Extras]:
        """Return a batch; raise OpenAIRefused(404) if there is none, or its create has not arrived yet."""
        found = self.store.batch(batch_id)
        if found is None or found[0].submitted_at > self.service.clock.now():
            raise OpenAIRefused(404, "No batch found with the given id", param="id")
        return found

    def shown(self, batch: Batch, extras: Extras, *, hides_output: bool = False) -> dict[str, Any]:
        """Return a batch in its present state; while its results are being written it is `finalizing`."""
        now = self.service.clock.now()
        status = openai_status(batch, extras, now)
        if now >= batch.ends_at and not batch.is_settled:
            status = OpenAIStatus.FINALIZING if batch.cancelled_at is None else OpenAIStatus.CANCELLING
        off_by = self.service.plan.status.counts_off_by
        return batch_object(batch, extras, status, now, counts_off_by=off_by, hides_output=hides_output)

    def page(self, after: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of batches, newest first, and whether there are more; start settling those that have ended."""
        now = self.service.clock.now()
        start = self.look(after)[0] if after else None
        found = self.store.page(until=now - self.service.plan.list.lag_s, after=start, limit=limit + 1)
        for batch, _ in found[:limit]:
            if now >= batch.ends_at and not batch.is_settled and batch.batch_id not in self._being_settled:
                self._being_settled.add(batch.batch_id)
                self.service.settling.submit(self._settle_aside, batch.batch_id)
        shown = [self.shown(*each, hides_output=self.hides_output(each[0])) for each in found[:limit]]
        return shown, len(found) > limit

    def hides_output(self, batch: Batch) -> bool:
        """Return whether the plan hides the output file of an ended batch from this answer."""
        return batch.is_settled and batch.has_results and self.service.hides_results(batch)

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """Cancel a batch, once; raise OpenAIRefused(409) if it has ended."""
        batch, extras = self.look(batch_id)
        now = self.service.clock.now()
        if now >= batch.ends_at:
            status = openai_status(batch, extras, now)
            raise OpenAIRefused(409, f"Cannot cancel a batch with status '{status}'.")
        done_share = min(batch.done_share, openai_share_run(extras, now))
        ends_at = end_of_cancel(batch, now)
        self.service.store.cancel(batch_id, cancelled_at=now, ends_at=ends_at, done_share=done_share)
        batch, extras = self.look(batch_id)
        return batch_object(batch, extras, openai_status(batch, extras, now), now)

    def settle(self, batch_id: str) -> tuple[Batch, Extras]:
        """Write the files and the bill of an ended batch unless it was done before. Slow; one at a time."""
        batch, extras = self.look(batch_id)
        while not batch.is_settled:
            settler = Settler(
                batch=batch,
                plan=decode_plan(batch.plan),
                form=LineForm(
                    shape=LineShape.OPENAI,
                    endpoint=extras.endpoint,
                    has_ids=True,
                    told_as=decode_plan(batch.plan).lines.shape,
                ),
                answer=self.service.config.model(functools.partial(answer_openai, extras.endpoint)),
                times_run=self.service.store.times_run,
            )
            settlement = settler.settle(
                functools.partial(self._rows_of, batch, extras),
                self.store.file_path(extras.output_file_id),
                self.store.file_path(extras.error_file_id),
            )
            self._record(batch, extras, settlement)
            batch, extras = self.look(batch_id)
        return batch, extras

    def _rows_of(self, batch: Batch, extras: Extras) -> list[Row]:
        if batch.cancelled_at is not None and batch.cancelled_at < extras.validated_at:
            return []  # it was cancelled before the file was validated, so the file may be invalid
        return read_input(self.service.store.request_path(batch.batch_id))

    def _settle_aside(self, batch_id: str) -> None:
        try:
            self.settle(batch_id)
        finally:
            self._being_settled.discard(batch_id)

    def _record(self, batch: Batch, extras: Extras, settlement: Settlement) -> None:
        made = []
        for is_there, file_id, kind in (
            (settlement.has_results, extras.output_file_id, "output"),
            (settlement.has_errors, extras.error_file_id, "error"),
        ):
            if is_there:
                file = File(
                    file_id=file_id,
                    filename=f"{batch.batch_id}_{kind}.jsonl",
                    purpose=OUTPUT_PURPOSE,
                    size_bytes=self.store.file_path(file_id).stat().st_size,
                    created_at=batch.ends_at,
                    expires_at=batch.ends_at + extras.kept_s,
                    batch_id=batch.batch_id,
                )
                made.append(file)

        def also(connection: sqlite3.Connection) -> None:
            for file in made:
                insert_file(connection, file)
            statement = "UPDATE openai_batches SET has_errors = ? WHERE task_id = ?"
            connection.execute(statement, (settlement.has_errors, batch.task_id))

        self.service.store.settle(batch, settlement, also)

    def _input_of(self, request: CreateRequest) -> Path:
        file = self.store.file(request.input_file_id, self.service.clock.now())
        if file is None:
            raise _no_input(request)
        if file.purpose != "batch":
            raise OpenAIRefused(400, "The input file's purpose is not batch.", param="input_file_id")
        return self.store.file_path(file.file_id)

    def _new(self, request: CreateRequest, checked: CheckedInput, path: Path, now: float) -> tuple[Batch, Extras]:
        service = self.service
        number = service.store.next_number()
        fate, done_share = fate_of(service.plan, number)
        if checked.errors:
            fate, done_share = Fate.FAIL, 0.0
        reason = _reason_of(fate, service.plan)
        errors = checked.errors or ([reason] if reason is not None else [])
        duration_s = service.config.duration_s
        batch = Batch(
            task_id=0,
            batch_id=f"batch_{uuid.uuid4().hex}",
            file_id=request.input_file_id,
            digest="",
            size_bytes=path.stat().st_size,
            total=checked.total,
            model=checked.model,
            first_custom_id=checked.first_custom_id,
            last_custom_id=checked.last_custom_id,
            submitted_at=now,
            ends_at=now + duration_s * (VALIDATED_AT if fate in NEVER_RUN else 1.0),
            plan=encode_plan(service.plan),
            number=number,
            fate=fate,
            done_share=done_share,
        )
        kept = request.output_expires_after
        extras = Extras(
            endpoint=request.endpoint,
            completion_window=request.completion_window,
            metadata=_encoded(request.metadata),
            validated_at=now + duration_s * VALIDATED_AT,
            finalizing_at=now + duration_s * FINALIZING_AT,
            output_file_id=_file_id(),
            error_file_id=_file_id(),
            kept_s=FILE_KEPT_S if kept is None else float(kept.seconds),
            errors=_encoded(errors),
        )
        return batch, extras

    def _add(self, request: CreateRequest, path: Path, batch: Batch, extras: Extras) -> None:
        """Link the input under the batch's own name, then record the batch, if the file has not been deleted."""
        request_path = self.service.store.request_path(batch.batch_id)

        def also(connection: sqlite3.Connection, task_id: int) -> None:
            if not is_alive(connection, request.input_file_id, self.service.clock.now()):
                raise _no_input(request)
            insert_extras(connection, task_id, extras)

        try:
            os.link(path, request_path)
            sync_folder(request_path.parent)
            self.service.store.add_batch(batch, also)
        except FileNotFoundError as error:
            raise _no_input(request) from error
        except OpenAIRefused:
            with contextlib.suppress(FileNotFoundError):
                request_path.unlink()
            raise


def _invalid_lines(plan: FaultPlan, path: Path) -> list[dict[str, Any]]:
    """Return the errors of the rows for which the plan lets the validation fail; at most ERRORS_MAX are listed."""
    errors = [
        error_entry("missing_required_parameter", INVALID, line=line_no, param="body.messages")
        for line_no, row in enumerate(read_input(path), 1)
        if is_invalid(plan, row.custom_id)
    ]
    return errors[:ERRORS_MAX]


def _reason_of(fate: Fate, plan: FaultPlan) -> dict[str, Any] | None:
    """Return the error of a batch with this fate, in the plan's words where it has some."""
    reason, faults = REASONS.get(fate), plan.batch
    if fate is not Fate.FAIL or reason is None:
        return reason
    return reason | {"code": faults.code or reason["code"], "message": faults.message or reason["message"]}


def _no_input(request: CreateRequest) -> OpenAIRefused:
    message = f"No such File object: {request.input_file_id[:64]}"
    return OpenAIRefused(400, message, code="invalid_input_file", param="input_file_id")


def _kept_s(fields: dict[str, str]) -> float:
    wanted = fields.get("expires_after[seconds]")
    if wanted is None:
        return FILE_KEPT_S
    if not wanted.isascii() or not wanted.isdigit() or not 3_600 <= int(wanted) <= FILE_KEPT_S:
        raise OpenAIRefused(400, "expires_after.seconds: from 3600 to 2592000", param="expires_after")
    return float(wanted)


def _file_id() -> str:
    return f"file-{uuid.uuid4().hex}"


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()

"""The operations of OneRouter's dialect, without HTTP, and what both dialects share: create, status, cancel, settle.

Rule 1: every method may run in any thread and never waits for a client.
Rule 2: a batch is settled when its status or the bill is first asked for after its end; the time makes no difference.
Rule 3: calls are counted only where the plan has a fault for them, so that a poll without faults writes nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from orchestrator.gateway.faults import (
    Fault,
    FaultPlan,
    RouteFaults,
    decode_plan,
    draw,
    encode_plan,
    has_any,
    next_fault,
)
from orchestrator.gateway.intake import CheckedBody, RequestRefused, check_body, read_rows
from orchestrator.gateway.lines import LineForm
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.settings import Clock, GatewayConfig
from orchestrator.gateway.settlement import Settler
from orchestrator.gateway.simulated import Answer, answer_onerouter
from orchestrator.gateway.states import NEW, Standing, Words, end_of_cancel, fate_of, share_run, standing
from orchestrator.gateway.store import DENIED_DOWNLOADS, WHOLE_DOWNLOADS, Batch, Fate, Store, put_in_place
from orchestrator.gateway.wire import Delivery

INVALID = "simulated fault: text content blocks must be non-empty"
CREATE_REFUSALS = ("refuse", "error_body", "code_body")
CREATE_LOSSES = ("accept_then", "lost", "hang", "late")
ROUTE_FAULTS = ("refuse", "accept_then", "lost", "hang")
CREATE_FAULTS = CREATE_REFUSALS + CREATE_LOSSES
STATUS_FAULTS = ("not_found", "refuse", "error_body", "code_body", "lost", "stale", "unknown")
DOWNLOAD_FAULTS = ("refuse", "redirect", "cut", "cut_unannounced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a poll returns: the batch, its state, and the fault that the answer suffers."""

    batch: Batch
    standing: Standing
    fault: Fault | None


class Service:
    """The state and the operations of one gateway; close it after use."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.store = Store(config.state)
        # One thread for slow work: settling two batches at once would not be faster.
        self.settling = ThreadPoolExecutor(max_workers=1, thread_name_prefix="settling")
        self.accepting = threading.Lock()
        stored = self.store.plan()
        if config.faults is not None and (stored is None or decode_plan(stored) != config.faults):
            self.set_plan(config.faults)
        elif stored is None:
            self.set_plan(FaultPlan())
        else:
            self.plan = decode_plan(stored)

    def close(self) -> None:
        """Wait for a running settlement, then release the state folder."""
        self.settling.shutdown()
        self.store.close()

    def set_plan(self, plan: FaultPlan) -> None:
        """Set the fault plan; it outlives a restart."""
        self.store.set_plan(encode_plan(plan))
        self.plan = plan

    def arrival_path(self) -> Path:
        """Return a path for a body while it is being received."""
        return self.store.folder / "requests" / f"{uuid.uuid4()}.arriving"

    def accept(self, arrived: Path) -> Batch | Fault:
        """Make a batch of a received body, durably, unless the plan refuses it; raise RequestRefused if it is bad.

        Returns the fault that the answer suffers instead of the batch, if there is one.
        """
        checked = check_body(
            arrived, requests_max=self.config.requests_max, accepts_duplicates=self.config.accepts_duplicates
        )
        return self.accept_checked(arrived, checked, batch_id=f"batch_{uuid.uuid4()}")

    def accept_checked(
        self,
        arrived: Path,
        checked: CheckedBody,
        *,
        batch_id: str,
        fates: Mapping[Fate, Fate] | None = None,
        also: Callable[[sqlite3.Connection, int], None] | None = None,
    ) -> Batch | Fault:
        """Make a batch of a body that was checked; see `accept`.

        Args:
            fates: what the plan's fates are in a dialect that does not have them.
            also: writes further rows of the batch in the same transaction.
        """
        with self.accepting:
            plan = self.plan
            fault = self.create_fault(plan)
            if fault is not None and fault.name in CREATE_REFUSALS:
                return fault
            for row_no in invalid_rows(plan, arrived):
                raise RequestRefused(400, f"requests.{row_no}.params.messages.0: {INVALID}")
            number = self.store.next_number()
            fate, done_share = fate_of(plan, number)
            now = self.clock.now() + late_s(plan, fault)
            batch = Batch(
                task_id=0,
                batch_id=batch_id,
                file_id=f"file-{uuid.uuid4().hex}",
                digest=checked.digest,
                size_bytes=checked.size_bytes,
                total=checked.total,
                model=checked.model,
                first_custom_id=checked.first_custom_id,
                last_custom_id=checked.last_custom_id,
                submitted_at=now,
                ends_at=now + self.config.duration_s,
                plan=encode_plan(plan),
                number=number,
                fate=(fates or {}).get(fate, fate),
                done_share=done_share,
            )
            put_in_place(arrived, self.store.request_path(batch.batch_id))
            added = self.store.add_batch(batch, also)
            return added if fault is None else fault

    def find(self, batch_id: str) -> Batch:
        """Return a batch; raise RequestRefused(404) if there is none."""
        batch = self.store.batch(batch_id)
        if batch is None or batch.submitted_at > self.clock.now():
            raise RequestRefused(404, "no such batch")
        return batch

    def look(self, batch_id: str) -> Look:
        """Return a batch as a poll sees it; its counts are zero until it is settled."""
        batch = self.find(batch_id)
        fault = self.status_fault(batch)
        if fault is not None and fault.name == "stale":
            return Look(batch=batch, standing=NEW, fault=fault)
        return Look(batch=batch, standing=self.standing(batch), fault=fault)

    def status_fault(self, batch: Batch) -> Fault | None:
        """Return the fault of this poll, and count the poll."""
        plan = self.plan
        if not has_any(plan.status, STATUS_FAULTS):
            return None
        index = self.store.count(batch.batch_id, "get")
        return next_fault(plan.status, STATUS_FAULTS, plan.seed, index=index, key=f"{batch.number}/{index}")

    def route_fault(self, route: str) -> Fault | None:
        """Return the fault of this call of a route, and count the call; `route` is the name of its table."""
        plan = self.plan
        table: RouteFaults = getattr(plan, route)
        if not has_any(table, ROUTE_FAULTS):
            return None
        index = self.store.count_call(route)
        return next_fault(table, ROUTE_FAULTS, plan.seed, index=index, key=f"{route}/{index}")

    def standing(self, batch: Batch) -> Standing:
        """Return the present state of a batch."""
        words = Words(cancelled=self.config.cancelled_word, expired=decode_plan(batch.plan).batch.expired_word)
        return standing(batch, self.clock.now(), words)

    def hides_results(self, batch: Batch) -> bool:
        """Return whether the plan leaves `result_url` empty in this answer."""
        plan = self.plan
        if self.clock.now() < batch.ends_at + plan.status.results_lag_s:
            return True
        if not has_any(plan.status, ("empty_result_url",)):
            return False
        index = self.store.count(batch.batch_id, "end seen")
        key = f"{batch.number}/{index}"
        if next_fault(plan.status, ("empty_result_url",), plan.seed, index=index, key=key) is None:
            return False
        self.store.count(batch.batch_id, DENIED_DOWNLOADS)
        return True

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch, once; raise RequestRefused(400) if it has ended."""
        batch = self.find(batch_id)
        now = self.clock.now()
        if now >= batch.ends_at:
            raise RequestRefused(400, f"the batch has already ended as {self.standing(batch).word}")
        done_share = min(batch.done_share, share_run(batch, now))
        self.store.cancel(batch_id, cancelled_at=now, ends_at=end_of_cancel(batch, now), done_share=done_share)
        return self.find(batch_id)

    def settle(self, batch_id: str) -> Batch:
        """Write the results and the bill of an ended batch unless it was done before. Slow; one at a time."""
        return self.settle_as(batch_id, LineForm(shape=self.config.line_shape), answer_onerouter)

    def settle_as(self, batch_id: str, form: LineForm, answer: Callable[[msgspec.Raw], Answer | Refusal]) -> Batch:
        """Settle a batch whose result lines have this form and whose requests are answered by this function."""
        batch = self.find(batch_id)
        request_path, result_path = self.store.request_path(batch_id), self.store.result_path(batch_id)
        while not batch.is_settled:
            settler = Settler(
                batch=batch,
                plan=decode_plan(batch.plan),
                form=replace(form, told_as=decode_plan(batch.plan).lines.shape),
                answer=self.config.model(answer),
                times_run=self.store.times_run,
            )
            # The store refuses it if a cancel came in between; the loop then settles the cancelled batch.
            self.store.settle(batch, settler.settle(lambda: read_rows(request_path), result_path, None))
            batch = self.find(batch_id)
        return batch

    def download_fault(self, batch: Batch, *, is_stream: bool) -> Fault | None:
        """Return the fault of this download; a stream from the status route can be cut but not refused."""
        return self.file_fault(batch, batch.batch_id, DOWNLOAD_FAULTS[2:] if is_stream else DOWNLOAD_FAULTS)

    def file_fault(
        self, batch: Batch, counted_on: str, names: tuple[str, ...] = DOWNLOAD_FAULTS, *, has_answers: bool = True
    ) -> Fault | None:
        """Return the fault of a download of a batch's file, and count the download under `counted_on`."""
        plan = self.plan
        if plan.download.bytes_per_s and has_answers:
            # A client that gives up on a slow file is excused; a whole download, counted elsewhere, cancels the excuse.
            self.store.count(batch.batch_id, DENIED_DOWNLOADS)
        if not has_any(plan.download, names):
            return None
        index = self.store.count(counted_on, "download")
        fault = next_fault(plan.download, names, plan.seed, index=index, key=f"{batch.number}/{index}")
        if fault is not None and has_answers:
            self.store.count(batch.batch_id, DENIED_DOWNLOADS)
        return fault

    def delivery(self, fault: Fault | None) -> Delivery:
        """Return how a result file is sent under `fault`."""
        download = self.plan.download
        return Delivery(
            cut_at=download.cut_at if fault else None,
            is_announced=fault is None or fault.name != "cut_unannounced",
            bytes_per_s=download.bytes_per_s,
        )

    def count_whole_download(self, batch: Batch) -> None:
        """Record for the bill that a client was sent every line."""
        self.store.count(batch.batch_id, WHOLE_DOWNLOADS)

    def create_fault(self, plan: FaultPlan) -> Fault | None:
        """Return the fault of this create, and count the create."""
        if not has_any(plan.create, CREATE_FAULTS):
            return None
        index = self.store.count_create()
        return next_fault(plan.create, CREATE_FAULTS, plan.seed, index=index, key=str(index))


def invalid_rows(plan: FaultPlan, path: Path) -> Iterator[int]:
    """Yield the numbers, from 0, of the rows of a create's body for which the plan refuses all of it."""
    if plan.rows.invalid:
        for row_no, row in enumerate(read_rows(path)):
            if is_invalid(plan, row.custom_id):
                yield row_no


def is_invalid(plan: FaultPlan, custom_id: str) -> bool:
    """Return whether a row makes its batch be refused."""
    return draw(plan.seed, "invalid", custom_id) < plan.rows.invalid


def late_s(plan: FaultPlan, fault: Fault | None) -> float:
    """Return by how much the plan delays a create."""
    return plan.create.late_s if fault is not None and fault.name == "late" else 0.0

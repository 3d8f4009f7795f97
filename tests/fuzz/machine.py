"""Steps, people and crashes in any order that Hypothesis thinks of, over a real ledger, held against a model.

Rule 1: the model is what the provider's harness say and what the ledger said a moment ago; no rule of ours is asked.
Rule 2: a step may be interrupted in the middle of its call: others do what they like meanwhile, or the process dies.
Rule 3: at the end faults stop, people answer, and everything must come to rest.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.batches.submit import submit
from orchestrator.collector.collect import collect
from orchestrator.collector.settle import Collecting
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.changes import ChunkMoved, ShardMoved
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.model import TERMINAL, Canary, ChunkId, ChunkState, Claim, JobState, Step
from orchestrator.domain.policy import Limits, OnAmbiguous
from orchestrator.domain.recovery import Recovery
from orchestrator.job_files.request_files import LinesDraft
from orchestrator.ledger.admin import SqlAdmin
from orchestrator.ledger.db.database import Database, open_sqlite
from orchestrator.ledger.steps import SqlLedger
from orchestrator.planner.cost import Costing
from orchestrator.planner.retry import Gathering, retry
from orchestrator.planner.review import review
from orchestrator.planner.split import split
from orchestrator.providers.onerouter.dialect import READER
from tests.builders import JOB, a_chunk, a_job, added, emptied
from tests.fakes.clock import VirtualClock
from tests.fakes.job_files import MemoryJobFiles
from tests.fuzz.provider import Crash, How, SmallProvider

DIGEST: Final = "9f86d081"
LEASE_S: Final = 60.0
ROWS_MAX: Final = 4
BUDGET_USD: Final = Decimal("0.05")
COST_USD_MAX: Final = Decimal("0.01")
NANO: Final = 1_000_000_000
BODY: Final = b'{"messages":[{"role":"user","content":"%d"}]}'
CHUNK_STEPS: Final = (Step.SUBMIT, Step.RECOVER, Step.POLL, Step.CANCEL, Step.COLLECT, Step.SPLIT)
STEPS: Final = {
    Step.SUBMIT: (submit, ("job_files", "provider")),
    Step.RECOVER: (recover, ("job_files", "provider")),
    Step.POLL: (poll, ("provider", "job_files")),
    Step.CANCEL: (cancel, ("provider",)),
    Step.COLLECT: (collect, ("job_files", "provider", "collecting")),
    Step.SPLIT: (split, ("job_files", "costing")),
    Step.REVIEW: (review, ("job_files",)),
    Step.RETRY: (retry, ("job_files", "gathering")),
}
MEANWHILE: Final = ("nothing", "nothing", "another worker", "leases broken", "cancel", "time")
TURNS_MAX: Final = 400


class LedgerMachine(RuleBasedStateMachine):
    """One job over one ledger, with several workers, a provider, and people."""

    def __init__(self) -> None:
        super().__init__()
        self.database = _empty_ledger()
        self.ledger, self.admin = SqlLedger(self.database), SqlAdmin(self.database)
        self.clock = VirtualClock(random.Random(0))
        self.job_files = MemoryJobFiles()
        self.rows = 0
        self.claims: list[Claim] = []  # held by workers that have not begun, or are paused
        self.seen: dict[str, tuple[Any, ...]] = {}  # chunk -> what stood in its row when it was last looked at
        self.versions: dict[str, int] = {}

    @initialize(
        recovery=st.sampled_from([Recovery.FENCED, Recovery.UNKNOWABLE]),
        on_ambiguous=st.sampled_from(list(OnAmbiguous)),
        shards=st.integers(1, 2),
        canary=st.sampled_from([Canary.NONE, Canary.WANTED]),
    )
    def open(self, recovery: Recovery, on_ambiguous: OnAmbiguous, shards: int, canary: Canary) -> None:
        """Open a job, with one chunk, which may be a canary."""
        self.provider = SmallProvider(recovery=recovery, clock=self.clock)
        costing = Costing(price=None, output_tokens_max=1)
        self.tools: dict[str, Any] = {
            "job_files": self.job_files,
            "provider": self.provider,
            "costing": costing,
            "collecting": Collecting(job_digest=DIGEST, price=None, read_line=READER),
            "gathering": Gathering(limits=Limits(requests_max=ROWS_MAX, bytes_max=10_000), costing=costing),
        }
        self.shards = shards
        self.wager_usd = COST_USD_MAX if on_ambiguous is OnAmbiguous.RESUBMIT else Decimal(0)
        policy = {"on_ambiguous": on_ambiguous, "max_duplicate_usd": self.wager_usd, "budget_usd": BUDGET_USD}
        job = a_job(**policy, chunk_requests_max=ROWS_MAX, batches_in_flight_max=3, retry_gather_s=60.0)
        self.admin.open(replace(job, canary=canary), shards, now=self.clock.now())
        self._add(2, 0, is_canary=canary is Canary.WANTED)

    @precondition(lambda self: self._job().state is JobState.RUNNING and self.rows < 40)
    @rule(count=st.integers(1, ROWS_MAX), shard_no=st.integers(0, 1))
    def plan_a_chunk(self, count: int, shard_no: int) -> None:
        """Another chunk of a shard."""
        self._add(count, shard_no % self.shards)

    @rule(steps=st.sets(st.sampled_from(list(STEPS)), min_size=1), limit=st.integers(1, 3))
    def hand_out(self, steps: set[Step], limit: int) -> None:
        """A worker takes what is due, and does not begin yet."""
        self.claims += self.ledger.claim(sorted(steps), limit=limit, now=self.clock.now(), lease_s=LEASE_S)

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 20), how=st.sampled_from(How), meanwhile=st.sampled_from(MEANWHILE), keeps=st.booleans())
    def work(self, which: int, how: How, meanwhile: str, keeps: bool) -> None:
        """A worker runs the step it holds, perhaps long after; `keeps`: a message of it is delivered again."""
        claim = self.claims[which % len(self.claims)]
        if not keeps:
            self.claims.remove(claim)
        self._perform(claim, how, meanwhile)

    @rule(how=st.sampled_from(How), step=st.sampled_from(CHUNK_STEPS))
    def take_and_work(self, how: How, step: Step) -> None:
        """A worker takes one step and runs it at once."""
        for claim in self.ledger.claim((step,), limit=1, now=self.clock.now(), lease_s=LEASE_S):
            self._perform(claim, how, "nothing")

    @rule(
        how=st.sampled_from([How.LOST_AFTER, How.DIES_AFTER, How.LOST_BEFORE, How.WELL]),
        meanwhile=st.sampled_from(MEANWHILE),
    )
    def send(self, how: How, meanwhile: str) -> None:
        """A worker sends what is due to be sent: the one act that costs money, and so the one most often disturbed."""
        while claims := self.ledger.claim((Step.SUBMIT,), limit=1, now=self.clock.now(), lease_s=LEASE_S):
            uploads = self.ledger.chunk(ChunkId(str(claims[0].unit.chunk_id))).state is ChunkState.PLANNED
            self._perform(claims[0], How.WELL if uploads and self.provider.files is not None else how, meanwhile)
            if not uploads:
                break

    @rule(seconds=st.sampled_from([1.0, 31.0, 61.0, 301.0, 4_000.0]))
    def time_passes(self, seconds: float) -> None:
        """Leases run out, waits end."""
        self.clock.advance(seconds)

    @rule(which=st.integers(0, 20), failed_count=st.integers(0, 2))
    def a_batch_ends(self, which: int, failed_count: int) -> None:
        """The provider finishes a batch; some of its rows fail."""
        running = [batch for batch in self.provider.batches.values() if batch.outcome is None]
        if running:
            self.provider.end(running[which % len(running)], failed_count)

    @rule()
    def leases_are_broken(self) -> None:
        """An operator starts the one process that may."""
        self.admin.break_leases(JOB, now=self.clock.now())

    @rule(what=st.sampled_from(["cancel", "resume", "approve"]))
    def a_person_asks(self, what: str) -> None:
        """Cancel now and then, resume whenever, approve what needs a decision."""
        if what == "approve":
            self._approve()
        elif what == "resume":
            self.admin.resume(JOB, now=self.clock.now())
        elif self.clock.elapsed_s > 5_000:
            self.admin.cancel(JOB, now=self.clock.now())

    @rule()
    def a_person_resolves(self) -> None:
        """Say the truth of what is held, once nobody can still be sending it."""
        self._resolve()

    @rule(which=st.integers(0, 20))
    def a_stale_write(self, which: int) -> None:
        """Whoever decided on an older version changes nothing."""
        ids = sorted(self.versions)
        chunk = self.ledger.chunk(ChunkId(ids[which % len(ids)]))
        claims = self.ledger.claim((Step.REVIEW, Step.RETRY), limit=1, now=self.clock.now(), lease_s=LEASE_S)
        if chunk.version == 0 or not claims:
            return
        stale = replace(chunk, version=chunk.version - 1)
        try:
            change = ChunkMoved(before=stale, after=replace(stale, error="stale"), due_at=None)
            self.ledger.record(claims[0], change, now=self.clock.now())
        except LeaseLost:
            assert self.ledger.chunk(chunk.id) == chunk
        else:
            raise AssertionError("a stale write was taken")

    # What must always hold

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """One POST for each attempt; one live attempt of a chunk; no row at work, or answered, twice."""
        assert all(count == 1 for count in self.provider.posts.values())
        twice = "select chunk_id from attempts where state in ('open', 'created') group by chunk_id having count(*) > 1"
        assert not self._all(twice)
        abandoned = {row[0] for row in self._all("select token from attempts where state = 'abandoned'")}
        busy: Counter[str] = Counter()
        for batch in self.provider.batches.values():
            if batch.token not in abandoned:
                busy.update(list(batch.requests) if batch.outcome is None else batch.answered)
        assert not [name for name, count in busy.items() if count > 1]

    @invariant()
    def the_canary_goes_first(self) -> None:
        """Before its verdict no create of another chunk is begun."""
        others = "select 1 from chunks where attempt > 0 and not is_canary"
        assert not self._all("select 1 from jobs where canary in ('wanted', 'open')") or not self._all(others)

    @invariant()
    def versions_rise(self) -> None:
        """A unit's version never falls, and what a step has written never changes under the same one."""
        columns = (
            "id, version, state, attempt, token_sent, batch_id, outcome, results, part, succeeded, failed, waiting"
        )
        for name, version, *rest in self._all(f"select {columns} from chunks"):
            assert version >= self.versions.get(name, 0)
            if version == self.versions.get(name):
                assert tuple(rest) == self.seen[name]
            self.versions[name], self.seen[name] = version, tuple(rest)

    @invariant()
    def rows_add_up(self) -> None:
        """0 <= settled <= rows of each shard; a chunk that has ended accounts for each of its requests."""
        assert not self._all("select 1 from shards where settled_count < 0 or settled_count > row_count")
        ended = "('collected', 'failed', 'cancelled')"
        sums = "succeeded + failed + waiting + resent != request_count"
        assert not self._all(f"select 1 from chunks where state in {ended} and {sums}")
        assert not self._all("select 1 from chunks where min(succeeded, failed, waiting, resent) < 0")

    @invariant()
    def money_adds_up(self) -> None:
        """Nothing reserved is below zero, the sums agree with the rows, what is spent stays within the budget."""
        assert not self._all("select 1 from attempts where reserved_usd < 0 or cost_usd < 0")
        live = "state in ('open', 'created') and cost_usd is null"
        reserved, cost, possibly_double_paid = (
            Decimal(self._all(f"select coalesce(sum({column}), 0) from attempts where {which}")[0][0]) / NANO
            for column, which in (("reserved_usd", live), ("cost_usd", "1"), ("reserved_usd", "state = 'abandoned'"))
        )
        totals = self.ledger.totals(JOB)
        assert (totals.reserved_usd, totals.cost_usd, totals.possibly_double_paid_usd) == (
            reserved,
            cost,
            possibly_double_paid,
        )
        assert reserved + cost + possibly_double_paid <= BUDGET_USD
        assert possibly_double_paid <= self.wager_usd
        collected = {row[0] for row in self._all("select batch_id from chunks where state = 'collected'")}
        assert cost >= sum((self.provider.batches[name].fees_usd for name in collected), Decimal(0))

    def teardown(self) -> None:
        """Let all faults end: everything comes to rest, and each row has exactly one end."""
        if not hasattr(self, "provider"):
            return
        for _ in range(TURNS_MAX):
            if self._is_at_rest():
                break
            self.clock.advance(401.0)
            self._approve()
            self.admin.resume(JOB, now=self.clock.now())
            for batch in list(self.provider.batches.values()):
                if batch.outcome is None:
                    self.provider.end(batch, 0)
            self._resolve()
            for claim in self.ledger.claim(tuple(STEPS), limit=10, now=self.clock.now(), lease_s=LEASE_S):
                self._perform(claim, How.WELL, "nothing")
        self.nothing_is_sent_twice()
        self.rows_add_up()
        self.money_adds_up()
        totals = self.ledger.totals(JOB)
        # A job that has spent its budget may not go on; then what is left is planned, and nothing else.
        assert self._is_at_rest(), dict(totals.chunks)
        unsent = totals.chunks.get(ChunkState.PLANNED, 0) + totals.chunks.get(ChunkState.UPLOADED, 0)
        if not unsent and not totals.waiting:
            assert totals.succeeded + totals.failed == self.rows == totals.settled
            answered = {name for batch in self.provider.batches.values() for name in batch.answered}
            if not self._all("select 1 from chunks where state = 'cancelled'"):
                assert totals.succeeded == len(answered)

    def _is_at_rest(self) -> bool:
        totals = self.ledger.totals(JOB)
        is_spent = totals.cost_usd + totals.reserved_usd + totals.possibly_double_paid_usd + COST_USD_MAX > BUDGET_USD
        unsent = {ChunkState.PLANNED, ChunkState.UPLOADED} if is_spent else set()
        live = {state for state, count in totals.chunks.items() if count and state not in TERMINAL}
        return live <= unsent and not totals.waiting

    def _approve(self) -> None:
        if self._job().decision:
            self.admin.approve(JOB, now=self.clock.now())

    def _add(self, count: int, shard_no: int, *, is_canary: bool = False) -> None:
        shard = self.ledger.shard(JOB, shard_no)
        name = f"c{shard_no:05d}-{shard.chunk_count:05d}"
        draft = LinesDraft()
        for row in range(shard.row_count, shard.row_count + count):
            envelope = LineEnvelope()
            name_of_row = custom_id.custom_id(DIGEST, shard_no, row).encode()
            opening = envelope.before_id + name_of_row + envelope.before_body
            draft.add(opening + BODY % row + envelope.after_body + b"\n", (shard_no, row), bytes(16))
        file = draft.write(self.job_files, name)
        chunk = a_chunk(
            name,
            shard_no=shard_no,
            row_start=shard.row_count,
            row_end=shard.row_count + count,
            request_count=count,
            request_bytes=file.size_bytes,
            requests=file.name,
            cost_usd_max=COST_USD_MAX,
            is_canary=is_canary,
        )
        grown = replace(shard, row_count=shard.row_count + count, chunk_count=shard.chunk_count + 1)
        now = self.clock.now()
        for claim in self.ledger.claim((Step.PLAN,), limit=5, now=now, lease_s=0.0):
            if claim.unit.shard_no == shard_no:
                self.ledger.record(
                    claim, ShardMoved(before=shard, after=grown, due_at=now), added(chunk, due_at=now), now=now
                )
                self.rows += count

    def _perform(self, claim: Claim, how: How, meanwhile: str) -> None:
        step, names = STEPS[claim.step]
        self.provider.how, self._meanwhile = how, meanwhile
        tools = {name: self.tools[name] for name in names}
        if "provider" in tools:
            tools["provider"] = _Interrupted(self.provider, self._interrupt)
        with suppress(LeaseLost, Crash):
            step(claim, ledger=self.ledger, clock=self.clock, **tools)  # type: ignore[operator]
        self.provider.how = How.WELL

    def _interrupt(self) -> None:
        """Let others do something in the middle of a step's call."""
        what, self._meanwhile = self._meanwhile, "nothing"
        how = self.provider.how
        now = self.clock.now()
        if what == "time":
            self.clock.advance(70.0)
        elif what == "leases broken":
            self.admin.break_leases(JOB, now=now)
        elif what == "cancel":
            self.admin.cancel(JOB, now=now)
        elif what == "another worker":
            self.clock.advance(61.0)  # long enough for the lease to have run out
            for other in self.ledger.claim(CHUNK_STEPS, limit=3, now=self.clock.now(), lease_s=LEASE_S):
                self._perform(other, How.WELL, "nothing")
        self.provider.how = how

    def _resolve(self) -> None:
        for chunk, _attempt in self.admin.unresolved(JOB):
            made = [batch.id for batch in self.provider.batches.values() if batch.token == chunk.token]
            self.admin.resolve(chunk.id, made[0] if made else None, now=self.clock.now())

    def _job(self) -> Any:
        return self.ledger.job(JOB)

    def _all(self, query: str) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.exec_driver_sql(query).fetchall())


class _Interrupted:
    """A provider at whose calls something else happens first."""

    def __init__(self, inner: SmallProvider, interrupt: Any) -> None:
        self._inner = inner
        self._interrupt = interrupt

    def __getattr__(self, name: str) -> Any:
        if name != "traits":
            self._interrupt()
        return getattr(self._inner, name)


_ONE: list[Database] = []


def _empty_ledger() -> Database:
    """Return this process's ledger, in memory, without a row: its statements are compiled once."""
    if not _ONE:
        _ONE.append(open_sqlite(None))
    return emptied(_ONE[0])

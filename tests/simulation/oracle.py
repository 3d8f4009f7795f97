"""The judge: holds what the ledger and the output say against what the provider knows. Believes neither.

Rule: it reads the provider's truth directly, the ledger by its own SQL, and the output as any reader of Parquet would.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
import xxhash
import zstandard

from orchestrator.collector.finish import revision_folder
from orchestrator.domain import custom_id
from orchestrator.domain.amend import raised
from orchestrator.domain.model import TERMINAL, Job, JobState, Step
from orchestrator.domain.recovery import Recovery
from orchestrator.job_files import records
from orchestrator.ledger.db.database import Database
from orchestrator.ledger.snapshot import SqlSnapshot
from orchestrator.ledger.steps import SqlLedger
from tests.fakes.answers import answer_to
from tests.fakes.batches import UNPAID, SimulatedBatch
from tests.fakes.provider import SimulatedProvider
from tests.simulation import resends
from tests.simulation.plan import BYTES_MAX, prompt

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedJob

EMPTY: Final[Mapping[str, Any]] = {}
LOOK_EVERY: Final = 20  # events
UNDECIDED: Final = "select 1 from jobs where canary in ('wanted', 'open') and id = '{}'"
PAUSED: Final = "select 1 from jobs where paused_at is not null and id = '{}'"
BEGUN: Final = "select count(*) from attempts where job_id = '{}'"
OVERFULL: Final = "select job_id, shard_no from shards where settled_count > row_count or settled_count < 0"
TWO_ATTEMPTS: Final = (
    "select chunk_id from attempts where state in ('open', 'created') group by chunk_id having count(*) > 1"
)
SPENT: Final = (
    "select coalesce(sum(coalesce(cost_usd, reserved_usd)), 0) from attempts "
    "where state in ('open', 'created', 'abandoned') and job_id = '{}'"
)
# A job that has stopped for its budget: with a create whose cost is to come, or with a chunk of which a request fits.
STOPPED_FOR_BUDGET: Final = "select 1 from jobs where state = 'stopped' and reason like '%budget%' and id = '{}'"
UNSETTLED: Final = (
    "select chunks.id from chunks join attempts on attempts.token = chunks.token where cost_usd is null "
    "and chunks.state in ('submitting', 'ambiguous', 'unresolved', 'submitted', 'ended') and chunks.job_id = '{}'"
)
FITTING: Final = (
    "select chunks.id from chunks join jobs on jobs.id = job_id where chunks.state in ('planned', 'uploaded') "
    "and (is_canary or canary in ('none', 'passed')) and not cancel_requested "
    "and job_id = '{}' and cost_usd_max <= {} * request_count"
)
WAGERED: Final = "select coalesce(sum(reserved_usd), 0) from attempts where state = 'abandoned' and job_id = '{}'"
_FUTURE: Final = "where due_at is not null and max(due_at, lease_until) > {}"
NEXT_DUE: Final = (
    f"select min(max(due_at, lease_until)) from chunks {_FUTURE}",
    f"select min(max(due_at, lease_until)) from shards {_FUTURE}",
    "select min(paused_until) from accounts where paused_until > {}",
    f"select min(max(due_at, lease_until)) from jobs {_FUTURE}",
)
_DUE: Final = "due_at <= {0} and lease_until <= {0}"
DUE: Final = (
    f"""select distinct case
        when cancel_requested and state in ('planned', 'uploaded', 'splitting') then 'cancel'
        when cancel_requested and state = 'submitted' and not cancel_sent then 'cancel'
        else state end as kind
        from chunks where {_DUE} order by kind""",
    f"""select distinct 'shard ' || state as kind from shards
        where {_DUE} and (state = 'planning' or settled_count = row_count) order by kind""",
    f"select due from jobs where {_DUE}",
)
STEPS_OF: Final = {
    "planned": (Step.SUBMIT,),
    "uploaded": (Step.SUBMIT,),
    "submitting": (Step.RECOVER,),
    "ambiguous": (Step.RECOVER,),
    "unresolved": (Step.RECOVER,),
    "submitted": (Step.POLL,),
    "cancel": (Step.CANCEL,),
    "ended": (Step.COLLECT,),
    "splitting": (Step.SPLIT,),
    "shard planning": (Step.PLAN,),
    "shard planned": (Step.FINISH,),
    "review": (Step.REVIEW,),
    "retry": (Step.RETRY,),
    "seal": (Step.SEAL,),
}


class Broken(AssertionError):
    """A promise was broken."""


class Oracle:
    """Checks one run."""

    def __init__(self, database: Database, provider: SimulatedProvider, jobs: tuple[SimulatedJob, ...]) -> None:
        self._ledger, self._snapshot = SqlLedger(database), SqlSnapshot(database)
        self._events = 0
        self._answered: dict[tuple[str, int], int] = {}  # by job and revision
        # The one connection there is, past the transactions: it is only ever looked through between them.
        pooled = database._engine.raw_connection()
        self.connection: Any = pooled.driver_connection
        pooled.close()
        self._provider = provider
        self._jobs = {custom_id.prefix(job.digest, 0)[:8]: job for job in jobs}
        self._begun: dict[str, int] = {}  # of a paused job: how many creates were begun before
        self._known: set[str] = set()  # rows that an earlier job has an answer to
        self.seen_count = 0
        self._by_row: dict[str, list[SimulatedBatch]] = defaultdict(list)
        self._charged: dict[str, list[SimulatedBatch]] = {prefix: [] for prefix in self._jobs}

    def follow(self, job: SimulatedJob, first: SimulatedJob) -> None:
        """Judge a job that is opened late, too: what the first one has a whole answer to, it never sends."""
        prefix = custom_id.prefix(job.digest, 0)[:8]
        self._jobs[prefix], self._charged[prefix] = job, []
        folder = revision_folder("output", self._ledger.job(first.id).revision)
        table = self._read(first, json.loads(first.output.files[f"{folder}.manifest.json"]), folder)
        for name, status, code in zip(
            *(table[one] for one in ("custom_id", "llm_status", "llm_error_code")), strict=True
        ):
            if status == "succeeded" and code in (None, "truncated"):
                self._known.add(prefix + name[8:])

    def output(self, job: SimulatedJob) -> list[dict[str, Any]]:
        """Return the rows of an ended job's output."""
        folder = revision_folder("output", self._ledger.job(job.id).revision)
        table = self._read(job, json.loads(job.output.files[f"{folder}.manifest.json"]), folder)
        return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]

    def asked(self, job: SimulatedJob, rows: list[dict[str, Any]], put: Mapping[str, Any] = EMPTY) -> None:
        """From now on these rows of an output may be sent again, and no others, with these parameters."""
        job.asked = {row["custom_id"]: len(self._by_row[row["custom_id"]]) for row in rows}
        job.asked_for_answers |= any(row["llm_status"] == "succeeded" for row in rows)
        job.put = put

    def after_event(self) -> None:
        """Check what must hold at every moment."""
        self._provider.settle()
        batches = list(self._provider.batches.values())
        for batch in batches[self.seen_count :]:
            if not batch.token.startswith("foreign"):
                self._sent_once(batch)
        self.seen_count = len(batches)
        if self._provider.traits.recovery is not Recovery.KEYED:
            for token, count in self._provider.post_count.items():
                _expect(count == 1, f"attempt {token} was POSTed {count} times")
        overfull = self._all(OVERFULL)
        _expect(not overfull, f"more rows settled than there are: shards {overfull}")
        twice = self._all(TWO_ATTEMPTS)
        _expect(not twice, f"two live attempts of chunks {twice}")
        for prefix, job in self._jobs.items():
            self._bounds(job, self._charged[prefix])
        self._events += 1
        if self._events % LOOK_EVERY == 0:
            self.look_on()

    def look_on(self) -> None:
        """Look at each job as a person would: its rows add up, and what was answered stays answered."""
        now = self._provider.clock.now()
        for job in self._jobs.values():
            look = self._snapshot.look(job.id, now=now)
            _expect(look.rows.placed == look.rows.total, f"{look.rows} do not add up")
            failed = sum(one.rows for one in look.causes)
            _expect(failed == look.rows.failed, f"{look.rows.failed} rows failed, of causes {look.causes}")
            before = self._answered.get((job.id, look.revision), 0)
            _expect(look.rows.answered >= before, f"{before} rows were answered, {look.rows.answered} are")
            self._answered[job.id, look.revision] = look.rows.answered

    def paused(self, job_id: str) -> None:
        """From now on, until its pause ends, no create of a job may be begun."""
        self._begun[job_id] = int(self.first(BEGUN.format(job_id)))

    def forget_answers(self) -> None:
        """Forget how many rows were answered: the ledger has lost commits."""
        self._answered.clear()

    def _bounds(self, job: SimulatedJob, batches: list[SimulatedBatch]) -> None:
        if job.plan.has_canary and self._all(UNDECIDED.format(job.id)):
            sent, most = {name for batch in batches for name in batch.requests}, job.plan.policy.canary_rows
            _expect(len(sent) <= most, f"{len(sent)} rows were sent before the verdict on a canary of {most}")
        if job.id in self._begun and self._all(PAUSED.format(job.id)):
            begun, before = int(self.first(BEGUN.format(job.id))), self._begun[job.id]
            _expect(begun == before, f"{begun - before} creates of {job.id} were begun while it was paused")
        possibly_double_paid = self._usd(WAGERED.format(job.id))
        most = job.plan.policy.max_duplicate_usd
        _expect(possibly_double_paid <= most, f"{possibly_double_paid} USD were wagered, {most} may be")
        if job.budget_usd is not None:
            spent = self._usd(SPENT.format(job.id))
            _expect(spent <= job.budget_usd, f"{spent} USD spent or reserved, the budget is {job.budget_usd}")
            if self._all(STOPPED_FOR_BUDGET.format(job.id)):
                rest = int((job.budget_usd - spent) * 1_000_000_000)
                waits = self._all(UNSETTLED.format(job.id)) or self._all(FITTING.format(job.id, rest))
                _expect(not waits, f"{job.id} has stopped for its budget, and could wait for or send {waits}")
            charged = sum((self._fees_usd(batch) for batch in batches if batch.twin_of is None), Decimal(0))
            _expect(charged <= job.budget_usd, f"{charged} USD charged, the budget is {job.budget_usd}")

    def _fees_usd(self, batch: SimulatedBatch) -> Decimal:
        """Return what a batch has cost; where fees are not stated, without answers that no line tells of."""
        if self._provider.states_fees:
            return batch.fees_usd
        return sum((batch.fee_usd.get(name, Decimal(0)) for name in batch.told | batch.unread), Decimal(0))

    def _usd(self, query: str) -> Decimal:
        return Decimal(self._all(query)[0][0]) / 1_000_000_000

    def held_count(self, job: SimulatedJob) -> int:
        """Return how many chunks of a job wait for a person."""
        return int(self.first(f"select count(*) from chunks where state = 'unresolved' and job_id = '{job.id}'"))

    def first(self, query: str) -> Any:
        """Return the first value that a query finds."""
        return self._all(query)[0][0]

    def due_steps(self, now_s: float) -> list[Step]:
        """Return the steps that may be due: so that claims are not asked for what cannot be."""
        now_us = round(now_s * 1_000_000)
        kinds = [row[0] for query in DUE for row in self._all(query.format(now_us))]
        return list(dict.fromkeys(step for kind in kinds for step in STEPS_OF.get(kind, ())))

    def _all(self, query: str) -> list[Any]:
        return self.connection.execute(query).fetchall()  # type: ignore[no-any-return]

    def _sent_once(self, batch: SimulatedBatch) -> None:
        """See that no other batch of a row is at work, or has answered it: but twins, which the provider made, and
        those whose user has agreed to pay twice.
        """
        resubmits = self._wagers()
        for name in batch.requests:
            _expect(name not in self._known, f"{batch.id} sends row {name}, which an earlier job has the answer to")
            self._sent_for_all(batch, name)
            self._sent_as_asked(batch, name, resubmits)
            asked_at = (self._jobs[name[:8]].asked or {}).get(name, 0)
            for number, other in enumerate(self._by_row[name]):
                is_one_create = (other.token, other.account) == (batch.token, batch.account)
                if is_one_create or resubmits & {other.token, batch.token}:
                    continue
                _expect(
                    other.ended or other.twin_of is not None,
                    f"{batch.id} sends row {name} while {other.id} is still at work on it",
                )
                answered = other.statuses.get(name) == 200 and name in other.told | other.unread
                if answered and number >= asked_at and other.twin_of is None:
                    wrong = resends.problem(name, other, batch)
                    _expect(not wrong, f"{batch.id} sends row {name}, which {other.id} {wrong}")
            self._by_row[name].append(batch)
        self._charged[batch.job].append(batch)

    def _sent_for_all(self, batch: SimulatedBatch, name: str) -> None:
        """See that of rows with equal requests one is sent; but a person may have each of them sent again."""
        job = self._jobs[name[:8]]
        was_chosen = job.asked_for_answers or (job.plan.chooses and job.asked is not None)
        others = [] if was_chosen else [row for row in self._equal(name) - {name} if self._by_row[row]]
        _expect(not others, f"{batch.id} sends row {name}, whose request equals that of {others}, which was sent")

    def _sent_as_asked(self, batch: SimulatedBatch, name: str, resubmits: set[str]) -> None:
        """See that a job that has ended before sends no row but those that a person has asked for, as they were set."""
        job = self._jobs[name[:8]]
        if job.asked is None or batch.token in resubmits:
            return
        _expect(name in job.asked, f"{batch.id} sends row {name}, which nobody has asked for again")
        body = resends.read(batch, name)
        for key, value in job.put.items():
            is_set = body.get(key) == value or (key == "max_tokens" and body[key] == raised(value))
            _expect(is_set, f"{batch.id} sends row {name} with {key} {body.get(key)}: {value} was asked for")

    def _equal(self, name: str) -> frozenset[str]:
        return self._jobs[name[:8]].equal_rows.get(name, frozenset([name]))

    def _wagers(self) -> set[str]:
        return {row[0] for row in self._all("select token from attempts where state = 'abandoned'")}

    def at_end(self, plan: SimulatedJob, job: Job) -> str:
        """Check a job that has ended; return a digest of its output."""
        totals = self._ledger.totals(job.id)
        _expect(job.state in (JobState.FINISHED, JobState.CANCELLED), f"the job is {job.state}")
        live = {state: count for state, count in totals.chunks.items() if state not in TERMINAL}
        _expect(not live, f"the job has ended, but chunks are {live}")
        rows = plan.plan.row_count
        folder = revision_folder("output", job.revision)
        manifest = json.loads(plan.output.files[f"{folder}.manifest.json"])
        _expect(f"{folder}/_SUCCESS" in plan.output.files, "there is no _SUCCESS")
        table = self._read(plan, manifest, folder)
        statuses = table["llm_status"].to_pylist()
        succeeded, failed = statuses.count("succeeded"), statuses.count("failed")
        _expect(totals.rows == rows == succeeded + failed, f"{rows} rows, {totals.rows} planned, {succeeded}+{failed}")
        reused = sum(payer is not None for payer in table["llm_reused_from"])
        _expect(totals.reused == reused, f"{totals.reused} are reused by the ledger, {reused} in the output")
        _expect(totals.succeeded == succeeded, f"{totals.succeeded} succeeded by the ledger, {succeeded} in the output")
        _expect(
            totals.failed + totals.refused == failed,
            f"{totals.failed}+{totals.refused} failed by the ledger, {failed} are",
        )
        _expect(
            (manifest["rows"], manifest["succeeded"], manifest["failed"]) == (rows, succeeded, failed), "the manifest"
        )
        self._each_row(plan, table)
        if job.state is JobState.FINISHED and (plan.plan.cancel_at_s is None or plan.wants_to_cancel):
            unpaid = table["llm_error_code"].to_pylist().count(f"e{UNPAID}")
            # What only a reread shows to have been refused for credit stays failed, until a person sends it again.
            was_reread = any(map(records.is_reread, plan.job_files.names("parts")))
            _expect(was_reread or not unpaid, f"{unpaid} rows failed for want of credit: they must wait for it")
        self._money(job, totals.cost_usd)
        self._archived(plan, job)
        self._twins_cancelled(job)
        return xxhash.xxh3_64_hexdigest(json.dumps(manifest).encode())

    def published(self, plan: SimulatedJob) -> None:
        """See that whatever says that it is done can be read, whole: at any moment."""
        for name in [name for name in plan.output.files if name.endswith("/_SUCCESS")]:
            folder = name.rpartition("/")[0]
            _expect(f"{folder}.manifest.json" in plan.output.files, f"{folder} is done, and has no manifest")
            try:
                manifest = json.loads(plan.output.files[f"{folder}.manifest.json"])
            except ValueError:
                raise Broken(f"{folder} is done, and its manifest is not whole") from None
            self._read(plan, manifest, folder)

    def _read(self, plan: SimulatedJob, manifest: Any, folder: str) -> Any:
        tables = []
        for part in manifest["parts"]:
            content = plan.output.files.get(f"{folder}/{part['file']}", b"")
            _expect(xxhash.xxh3_128_hexdigest(content) == part["xxh3_128"], f"{part['file']} is not what was sealed")
            tables.append(pq.read_table(BytesIO(content)).to_pylist())
        named = [part["file"] for part in manifest["parts"]]
        _expect(named == sorted(named), "the parts are out of order")
        rows = [row for rows in tables for row in rows]
        names = ("number", "text", "custom_id", *_RESULTS, *([ANSWER] * plan.plan.typed))
        return {name: _Column([row[name] for row in rows]) for name in names}

    def _each_row(self, plan: SimulatedJob, table: Any) -> None:
        source = [
            (shard_no, row, number, text)
            for shard_no, shard in enumerate(plan.plan.tables)
            for row, (number, text) in enumerate(zip(*shard.to_pydict().values(), strict=True))
        ]
        found = zip(*(table[name] for name in ("number", "text", "custom_id", *_RESULTS)), strict=True)
        for (shard_no, row, number, text), told in zip(source, found, strict=True):
            name = custom_id.custom_id(plan.digest, shard_no, row)
            _expect(told[:3] == (number, text, name), f"row {name} is not where it was in the source")
            self._one_row(plan, name, text, told[3:])
        if plan.plan.typed:
            for response, status, answer in zip(table["llm_response"], table["llm_status"], table[ANSWER], strict=True):
                expected = json.loads(response)["answer"] if status == "succeeded" else None
                _expect(answer == expected, f"{ANSWER} is {answer!r}, the answer {response!r} of a row that {status}")

    def _one_row(self, plan: SimulatedJob, name: str, text: str | None, told: Any) -> None:
        status, response, code, reused_from = told
        batches = [batch for row in self._equal(name) for batch in self._by_row[row]]
        could_be_sent = text is not None and len(text) < BYTES_MAX
        _expect(could_be_sent or not batches, f"row {name} could not be sent, and was")
        paid = [batch for row in self._equal(name) for batch in self._by_row[row] if batch.statuses.get(row) == 200]
        if status == "succeeded":
            _expect(answer_to(prompt(text or "")) in (response or "") or code == "refused", f"row {name}: of another")
            self._newest(plan, name, response)
            _expect(bool(paid) or name in self._known, f"row {name} has an answer that nobody gave")
            if name in self._known or not self._by_row[name]:
                _expect(bool(reused_from), f"row {name} was not sent, and is not reused")
            elif len(self._equal(name)) == 1:
                _expect(not reused_from, f"row {name} was sent, and is reused from {reused_from}")
        else:
            _expect(name not in self._known, f"row {name} is dead, and an earlier job has its answer")
            texts = {text for batch in paid for row in self._equal(name) for text in batch.texts.get(row, ())}
            _expect(
                (response in texts and code in resends.FAILING) or not response,
                f"row {name} is dead ({code}), and has the answer {response!r}",
            )
            _expect(bool(code), f"row {name} is dead for no reason")
            resubmits = self._wagers()
            known = (batch for batch in paid if batch.twin_of is None and not batch.is_hidden)
            owed = (batch for batch in known if batch.token not in resubmits)
            wasted = [
                batch.id
                for batch in owed
                for row in ({name} if plan.plan.chooses else self._equal(name)) & (batch.told | batch.unread)
                if not resends.is_failure(batch, row)
            ]
            _expect(not wasted, f"row {name} is dead ({code}), but {wasted} has answered it")

    def _newest(self, plan: SimulatedJob, name: str, response: str | None) -> None:
        """See that a row bears what it was answered last, where a person has asked for another answer."""
        if len(self._equal(name)) > 1 or name in self._known:
            return
        since = self._by_row[name][(plan.asked or {}).get(name, 0) :]
        is_new = [
            batch
            for batch in since
            if batch.statuses.get(name) == 200
            and name in batch.told
            and not (batch.is_hidden or batch.twin_of or resends.is_failure(batch, name))
            and batch.token not in self._wagers()
        ]
        found = since if is_new else self._by_row[name]
        texts = {text for batch in found for text in batch.texts.get(name, ())}
        _expect((response or "") in texts, f"row {name} bears {response!r}, it was answered {sorted(texts)}")

    def _money(self, job: Job, cost_usd: Decimal) -> None:
        """Compare the ledger with the bill, where the provider states its fees."""
        if not self._provider.states_fees:
            return
        query = f"select batch_id from attempts where state = 'created' and job_id = '{job.id}'"
        known = {row[0] for row in self._all(query)}
        charged = sum((batch.fees_usd for batch in self._provider.batches.values() if batch.id in known), Decimal(0))
        _expect(charged == cost_usd, f"the bill is {charged} USD, the ledger says {cost_usd}")

    def _archived(self, plan: SimulatedJob, job: Job) -> None:
        """See that whatever could be had of a collected batch is in the archive."""
        query = f"select batch_id from chunks where state = 'collected' and job_id = '{job.id}'"
        collected = {row[0] for row in self._all(query)}
        names = plan.job_files.names("raw")
        lines = {line for name in names for line in _decompressed(plan.job_files.files[name]).split(b"\n")}
        for batch in self._provider.batches.values():
            if batch.id in collected and batch.told and not batch.cut_count:
                for kept in batch.files.values():
                    _expect(lines.issuperset(kept), f"results of {batch.id} are not in the archive")

    def _twins_cancelled(self, job: Job) -> None:
        query = f"select batch_id from attempts where state = 'created' and job_id = '{job.id}'"
        known = {row[0] for row in self._all(query)}
        for batch in self._provider.batches.values():
            if batch.twin_of in known:
                _expect(batch.cancel_asked, f"{batch.id} is one batch too many, and nobody has cancelled it")

    def next_due_in_s(self, now_s: float) -> tuple[float | None, float | None]:
        """Return how long after `now_s` (by the machine's clock) a shard, chunk or account, and a job, is next due."""
        now_us = int(now_s * 1_000_000)
        dues = [self._all(query.format(now_us))[0][0] for query in NEXT_DUE]
        units = [due for due in dues[:-1] if due is not None]
        in_s = [None if due is None else due / 1e6 - now_s for due in (min(units) if units else None, dues[-1])]
        return in_s[0], in_s[1]


_RESULTS: Final = ("llm_status", "llm_response", "llm_error_code", "llm_reused_from")
ANSWER: Final = "llm_answer"  # the column of typed answers


class _Column(list[Any]):
    """A column, as a list."""

    def to_pylist(self) -> list[Any]:
        """Return the list."""
        return self


def _decompressed(content: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(content)) as reader:
        return reader.read()


def _expect(holds: bool, words: str) -> None:
    if not holds:
        raise Broken(words)

"""What is said to a program about a work folder, a machine, a rehearsal, and errors."""

from __future__ import annotations

from orchestrator.api.documents.document import Count, Document, Part, Usd
from orchestrator.api.documents.status import JobStatus


class Difference(Part, frozen=True, kw_only=True):
    """One value that differs between two places, or one file that is missing or unknown."""

    unit: str
    what: str
    ledger: str
    archive: str  # the work folder, the output, or the provider


class Side(Part, frozen=True, kw_only=True):
    """The totals of a job in one of the two sources."""

    answers: Count  # also those that others have taken the place of, on request
    unanswered: Count  # requests that ended without one
    batches: Count
    cost_usd: Usd | None
    unpriced: Count


class Waste(Part, frozen=True, kw_only=True):
    """What was spent on one kind of waste."""

    count: Count
    usd: Usd


class Audit(Document, frozen=True, kw_only=True, tag="orchestrator.audit/1"):
    """A job's ledger, compared with its files, its output and the provider's list."""

    job_id: str
    state: str
    deep: bool
    clean: bool
    rows: Count
    succeeded: Count  # of the rows
    failed: Count
    difference_count: Count
    differences: tuple[Difference, ...]  # the first of them
    ledger: Side
    archive: Side
    under_way: dict[str, int]
    paid_for_nothing: dict[str, Waste]
    paid_for_nothing_usd: Usd
    answered_usd: Usd | None  # of the output's succeeded rows
    replaced_on_request_usd: Usd | None
    notes: tuple[str, ...]


class Recovered(Part, frozen=True, kw_only=True):
    """A recovered job, or the reason why it was not recovered."""

    job_id: str
    recovered: bool
    state: str
    chunks: dict[str, int]
    reason: str
    unexplained_batches: tuple[str, ...]


class Recover(Document, frozen=True, kw_only=True, tag="orchestrator.recover/1"):
    """What a ledger was given back."""

    work: str
    jobs: tuple[Recovered, ...]


class Rehearse(Document, frozen=True, kw_only=True, tag="orchestrator.rehearse/1"):
    """The end of a rehearsal."""

    job: str
    faults: tuple[str, ...]
    rows: Count
    is_sample: bool
    waits_for: str  # why it did not end; "" where it did
    needs_person: bool
    errors: dict[str, int]
    answers: Count  # on the server's bill
    paid_twice: Count
    status: JobStatus


class Fault(Part, frozen=True, kw_only=True):
    """One thing that the server of a rehearsal can do wrong."""

    name: str  # as `--faults` takes it
    what: str


class Faults(Document, frozen=True, kw_only=True, tag="orchestrator.faults/1"):
    """All that the server of a rehearsal can do wrong."""

    faults: tuple[Fault, ...]


class Check(Part, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    level: str  # ok, warning, error
    found: str
    todo: str


class Doctor(Document, frozen=True, kw_only=True, tag="orchestrator.doctor/1"):
    """What a run depends on."""

    exit_code: Count
    checks: tuple[Check, ...]


class Error(Document, frozen=True, kw_only=True, tag="orchestrator.error/1"):
    """Why a command gave nothing else."""

    exit_code: Count
    code: str  # the kind of error; see docs/for-programs.md
    message: str  # what happened, where, and what to type
    commands: tuple[str, ...]  # those of the message that can be typed

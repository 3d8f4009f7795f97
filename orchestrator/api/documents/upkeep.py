"""What is said to a program about a work folder, a machine, a rehearsal, and errors."""

from __future__ import annotations

from orchestrator.api.documents.document import Count, Document, Part, Usd
from orchestrator.api.documents.status import JobStatus


class Difference(Part, frozen=True, kw_only=True):
    """One value that differs between two places, or one file that is missing or unknown."""

    unit: str  # a chunk, a file, or the job
    what: str  # that differs
    ledger: str  # what the ledger says
    archive: str  # the work folder, the output, or the provider


class Side(Part, frozen=True, kw_only=True):
    """The totals of a job in one of the two sources."""

    answers: Count  # also those that others have taken the place of, on request
    unanswered: Count  # requests that ended without one
    batches: Count  # that were made
    cost_usd: Usd | None  # null where it is not known
    unpriced: Count  # answers whose cost is not known


class Waste(Part, frozen=True, kw_only=True):
    """What was spent on one kind of waste."""

    count: Count  # so many answers or requests
    usd: Usd  # what they cost


class Audit(Document, frozen=True, kw_only=True, tag="orchestrator.audit/1"):
    """A job's ledger, compared with its files, its output and the provider's list."""

    job_id: str  # that was looked at
    state: str  # of the job
    deep: bool  # every file was read, not its size alone
    clean: bool  # nothing differs
    rows: Count  # of the job
    succeeded: Count  # of the rows
    failed: Count  # of the rows
    difference_count: Count  # all of them
    differences: tuple[Difference, ...]  # the first of them
    ledger: Side  # totals by the ledger
    archive: Side  # totals by the files
    under_way: dict[str, int]  # what has not ended, by kind: how many
    paid_for_nothing: dict[str, Waste]  # by kind
    paid_for_nothing_usd: Usd  # their sum
    answered_usd: Usd | None  # of the output's succeeded rows
    replaced_on_request_usd: Usd | None  # of answers that others have taken the place of; null where it is not known
    notes: tuple[str, ...]  # what to know of the comparison


class Recovered(Part, frozen=True, kw_only=True):
    """A recovered job, or the reason why it was not recovered."""

    job_id: str  # the folder's name
    recovered: bool  # it was written back
    state: str  # of the job afterwards; "" where it was not changed
    chunks: dict[str, int]  # by the states of the ledger: how many
    reason: str  # why it was not recovered, or what to know
    unexplained_batches: tuple[str, ...]  # ids of batches whose chunk is not known


class Recover(Document, frozen=True, kw_only=True, tag="orchestrator.recover/1"):
    """What a ledger was given back."""

    work: str  # the work folder
    jobs: tuple[Recovered, ...]  # found in it


class Rehearse(Document, frozen=True, kw_only=True, tag="orchestrator.rehearse/1"):
    """The end of a rehearsal."""

    job: str  # its name
    faults: tuple[str, ...]  # that were played
    rows: Count  # that were sent
    is_sample: bool  # not all rows of the dataset
    waits_for: str  # why it did not end; "" where it did
    needs_person: bool  # a real run would wait for one, too
    errors: dict[str, int]  # failed rows, by the error code in the output
    answers: Count  # on the server's bill
    paid_twice: Count  # answers that were bought a second time
    status: JobStatus  # of the job at its end


class Fault(Part, frozen=True, kw_only=True):
    """One thing that the server of a rehearsal can do wrong."""

    name: str  # as `--faults` takes it
    what: str  # it does


class Faults(Document, frozen=True, kw_only=True, tag="orchestrator.faults/1"):
    """All that the server of a rehearsal can do wrong."""

    faults: tuple[Fault, ...]  # each can be named after `--faults`


class Check(Part, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str  # its name
    level: str  # ok, warning, error
    found: str  # what is so
    todo: str  # what to do about it; "" for nothing


class Doctor(Document, frozen=True, kw_only=True, tag="orchestrator.doctor/1"):
    """What a run depends on."""

    exit_code: Count  # 1 where a check is an error
    checks: tuple[Check, ...]  # in the order of the command's text


class Error(Document, frozen=True, kw_only=True, tag="orchestrator.error/1"):
    """Why a command gave nothing else."""

    exit_code: Count  # of the command
    code: str  # the kind of error; see docs/for-programs.md
    message: str  # what happened, where, and what to type
    commands: tuple[str, ...]  # those of the message that can be typed

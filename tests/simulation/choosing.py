"""Which rows a person has sent again, drawn; and the job as the product's own commands see it.

Rule: whether a row is meant is said twice: in the product's words, and by a function that knows nothing of these.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.audit.audit import audit_published
from orchestrator.audit.output import Published
from orchestrator.domain.policy import OutputOptions
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.domain.row_kinds import INVALID, INVALID_CODES
from orchestrator.ledger.snapshot import SqlSnapshot

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedJob, World

Row = Mapping[str, Any]
LIMIT_SET: Final = 48  # tokens: what people set
COLDER: Final = 0.5


class Wish(NamedTuple):
    """The rows that are wanted, and what is changed in their requests."""

    rows: str | None
    keys: Sequence[str]
    fits: Callable[[Row], bool]
    changes: RequestChanges
    pays_again: bool = False

    @property
    def put(self) -> dict[str, Any]:
        """What the requests are to have."""
        return {**self.changes.put, **self.changes.fields}


def drawn(chance: random.Random, table: Sequence[Row]) -> Wish:
    """Return a wish for rows of an output."""
    changes = chance.choice(
        (
            RequestChanges(),
            RequestChanges(),
            RequestChanges(put={"temperature": COLDER}),
            RequestChanges(fields={"temperature": COLDER}),
            RequestChanges(put={"max_tokens": LIMIT_SET}, output_tokens_max=LIMIT_SET),
        )
    )
    kind = chance.choice((_of_kinds, _of_kinds, _of_codes, _of_condition, _of_keys))
    rows, keys, fits = kind(chance, table)
    return Wish(rows, keys, fits, changes, pays_again=rows == "failed" and chance.random() < 0.5)


def _of_kinds(chance: random.Random, _table: Sequence[Row]) -> tuple[str | None, Sequence[str], Callable[[Row], bool]]:
    named = chance.choice(
        (
            *(("failed",), ("truncated",), ("refused",), ("empty",), (INVALID,), ("succeeded",)),
            *(("failed", "truncated"), ("truncated", "refused"), ("failed", INVALID), ("truncated", INVALID)),
        )
    )
    codes = {*named} | (INVALID_CODES if INVALID in named else set())
    return ",".join(named), (), lambda row: row["llm_status"] in named or row["llm_error_code"] in codes


def _of_codes(chance: random.Random, table: Sequence[Row]) -> tuple[str | None, Sequence[str], Callable[[Row], bool]]:
    known = sorted({row["llm_error_code"] for row in table} - {None})
    if not known:
        return _of_condition(chance, table)
    code = chance.choice(known)
    return code, (), lambda row: row["llm_error_code"] == code


def _of_condition(
    chance: random.Random, table: Sequence[Row]
) -> tuple[str | None, Sequence[str], Callable[[Row], bool]]:
    least = chance.choice(table)["number"]
    answer = chance.choice(table)["llm_response"]
    if answer is not None and "'" not in answer and chance.random() < 0.3:
        return f"llm_response = '{answer}'", (), lambda row: row["llm_response"] == answer
    if chance.random() < 0.5:
        return f"number >= {least}", (), lambda row: row["number"] >= least
    words = f"llm_error_code is not null or number = {least} and llm_status = 'succeeded'"
    return (
        words,
        (),
        lambda row: row["llm_error_code"] is not None or (row["number"] == least and row["llm_status"] == "succeeded"),
    )


def _of_keys(chance: random.Random, table: Sequence[Row]) -> tuple[str | None, Sequence[str], Callable[[Row], bool]]:
    numbers = chance.sample(range(len(table)), chance.randint(1, min(3, len(table))))
    meant = {table[number]["custom_id"] for number in numbers}
    keys = [str(number) if chance.random() < 0.5 else table[number]["custom_id"] for number in numbers]
    return None, keys, lambda row: row["custom_id"] in meant


def audited(world: World, job: SimulatedJob) -> list[str]:
    """Return the differences that an audit finds; what only a later reader can read is not parsed again."""
    finishing = job.context["finishing"]
    published = Published(
        output=job.output,
        folder="output",
        job_files=job.job_files,
        options=finishing.options,
        job_digest=job.digest,
        slice_rows=finishing.slice_rows,
        typed=finishing.typed,
    )
    deep = not world.plan.reported.unknown_shape
    found = audit_published(workspace_of(world, job), job.id, published, deep=deep)
    return [f"{one.unit}: {one.what}: {one.ledger} and {one.archive}" for one in found.differences]


def workspace_of(world: World, job: SimulatedJob) -> Any:
    """Return what commands about one job look at in its workspace."""
    context = SimpleNamespace(
        provider=None,
        folder="",
        job_files=job.job_files,
        finishing=job.context["finishing"],
        collecting=job.context["collecting"],
        typed=job.context["collecting"].typed,
        changing=job.context["gathering"].changing,
        spec=SimpleNamespace(
            job_id=job.id,
            digest=job.digest,
            response="a schema" if job.plan.typed else "",
            output_options=OutputOptions(),
            dataset_options=SimpleNamespace(key=""),
        ),
    )
    snapshot = SqlSnapshot(world.database)
    return SimpleNamespace(
        work="",
        ledger=world.ledger,
        admin=world.admin,
        snapshot=snapshot,
        clock=world.wall,
        context=lambda _job_id: context,
        look=lambda job_id: snapshot.look(job_id, now=world.wall.now()),
    )

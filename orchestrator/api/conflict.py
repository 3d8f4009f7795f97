"""Near misses: a new job of the same name as an older one that is not finished, often by an accident.

A prompt that was edited, or a row that was added, makes another job: without a word, its rows would be paid for while
those of the older one are under way. Rule: what differs is named by its key; no row is shown.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from orchestrator.api.decision import command
from orchestrator.domain.canary import CANARY
from orchestrator.domain.errors import JobConflict
from orchestrator.domain.model import ACTIVE_JOBS, Job, JobState
from orchestrator.domain.money import usd
from orchestrator.engine import spec as specs
from orchestrator.engine.function_identity import changes_of

if TYPE_CHECKING:
    from orchestrator.domain.progress import Totals
    from orchestrator.engine.spec import Spec
    from orchestrator.engine.workspace import Workspace

SHOWN: Final = 48  # characters of a text
BEFORE: Final = 12  # of them, those that are the same in both
REST: Final = 8  # characters that are shown as well rather than cut off
NAMED_MAX: Final = 6  # differences in a message
WIDTH: Final = 80
_WHOLE: Final[Any] = {"break_long_words": False, "break_on_hyphens": False}  # paths can be copied


def refuse_conflict(workspace: Workspace, spec: Spec) -> None:
    """Raise JobConflict where a job of this name is not finished, and the ledger does not know this one."""
    known = workspace.admin.jobs()  # the newest first
    if any(job.id == spec.job_id for job in known):
        return
    for older in known:
        if older.name != spec.name or older.id == spec.job_id or older.state not in ACTIVE_JOBS:
            continue
        totals = workspace.ledger.totals(older.id)
        # It failed its canary and was corrected: that is what its message advised.
        is_over = older.state is JobState.STOPPED and older.decision == CANARY and not totals.in_flight_chunks
        if not is_over:
            raise JobConflict("\n".join(_message(workspace, older, totals, spec)))


def _message(workspace: Workspace, older: Job, totals: Totals, spec: Spec) -> Iterator[str]:
    yield f"{spec.job_id} would be another job than {older.id}, which is not finished."
    differing = list(differences(specs.from_json(older.spec), spec))
    yield "  What differs:"
    for line in differing[:NAMED_MAX]:
        yield from textwrap.wrap(line, WIDTH, initial_indent="    ", subsequent_indent="      ", **_WHOLE)
    if len(differing) > NAMED_MAX:
        yield f"    and {len(differing) - NAMED_MAX:,} more"
    yield f"  The older one is {workspace.look(older.id).activity.value}: {_under_way(totals)}."
    going_on = "run" if older.paused_at is None else "resume"
    ways = (
        (command(workspace, going_on, older.id), "to go on with the older one, as it was"),
        (
            command(workspace, "cancel", older.id),
            "to end it; equal requests of the new one reuse its answers",
        ),
        ("--alongside (in Python: alongside=True)", "to run the new one beside it"),
    )
    for typed, meaning in ways:
        yield f"  {meaning}:"
        yield f"    {typed}"


def _under_way(totals: Totals) -> str:
    batches = "1 batch" if totals.in_flight_chunks == 1 else f"{totals.in_flight_chunks:,} batches"
    spent = "an unknown cost" if totals.known_cost_usd is None else usd(totals.known_cost_usd)
    done = f"{totals.succeeded + totals.failed + totals.refused:,} of {totals.rows:,} rows done"
    paid = "nothing spent" if totals.known_cost_usd == 0 else f"{spent} spent"
    flying = f"{batches} in flight for at most {usd(totals.reserved_usd)}" if totals.in_flight_chunks else ""
    return ", ".join((done, paid, flying or "nothing in flight"))


def differences(older: Spec, newer: Spec) -> Iterator[str]:
    """Yield what makes two specs two jobs: a key, what it was and what it is."""
    if older.fingerprint != newer.fingerprint:
        if older.dataset == newer.dataset:
            yield "job.dataset: the same path, with other content, or read in another way"
        else:
            yield f"job.dataset: {older.dataset} -> {newer.dataset}"
    if older.model != newer.model:
        yield f"request.model: {older.model} -> {newer.model}"
    if older.body is not None and newer.body is not None:
        yield from _differing("request", older.body, newer.body)
    elif (older.body is None) is not (newer.body is None):
        yield f"request: {_how(older)} -> {_how(newer)}"
    elif older.render != newer.render:
        yield f"request.render: {changes_of(older.render_parts, newer.render_parts)}"
    elif older.render_sample != newer.render_sample:
        yield "request.render: the same code gives other requests for the first rows (from a file, or the environment)"
    for name in ("dialect", "base_url", "options", "query", "structured_output"):
        before, after = getattr(older.provider, name), getattr(newer.provider, name)
        if before != after:
            yield f"provider.{name}: {_excerpt(before, after)} -> {_excerpt(after, before)}"
    for name in ("shard_rows", "shard_bytes"):
        if getattr(older, name) != getattr(newer, name):
            yield f"{name}: {getattr(older, name):,} -> {getattr(newer, name):,}"
    yield from _differing("response", json.loads(older.response or "{}"), json.loads(newer.response or "{}"))


def _how(spec: Spec) -> str:
    return "a function" if spec.body is None else "a template"


def _differing(name: str, before: Any, after: Any) -> Iterator[str]:
    """Yield the leaves in which two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differing(f"{name}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differing(f"{name}[{place}]", one, other)
    elif before != after and name != "request.model":
        yield f"{name}: {_excerpt(before, after)} -> {_excerpt(after, before)}"


def _excerpt(value: Any, other: Any) -> str:
    """Return a setting in few characters; of two long texts, those around the first place where they differ."""
    text = _text(value)
    if len(text) <= SHOWN + REST:
        return text
    pairs = zip(text, _text(other), strict=False)
    same = next((place for place, (one, two) in enumerate(pairs) if one != two), len(text))
    start = 0 if same < SHOWN - BEFORE else same - BEFORE
    end = start + SHOWN if start + SHOWN + REST < len(text) else len(text)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _text(value: Any) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False, default=str)

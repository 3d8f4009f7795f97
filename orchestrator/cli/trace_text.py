"""One row from the source to its answer, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.money import exact

if TYPE_CHECKING:
    from orchestrator.api.show import RowTrace, RowTry, SentBatch

NAME_MAX: Final = 32  # cells of a column of names; a longer one stands out
OUTCOME: Final = ("finish_reason", "input_tokens", "output_tokens", "error_code", "error_message")


def trace_text(found: RowTrace) -> str:
    """Return what is known of a row; whole texts, as the person has asked for this row."""
    return "\n".join(_lines(found))


def _lines(found: RowTrace) -> Iterator[str]:
    yield f"Row {found.row} of shard {found.shard}, job {found.job_id}, custom_id {found.custom_id}"
    yield ""
    yield f"source{': ' + found.source_note if found.source_note else ''}"
    yield from _fields(found.source or {})
    yield _heading(found)
    if found.request is not None:
        yield from _indented(json.dumps(found.request, indent=2, ensure_ascii=False))
    for one in found.tries:
        yield from _try(one)
    if found.price is not None:
        price = found.price
        yield f"price: {price.input_usd} in, {price.output_usd} out, USD per million tokens"
    yield "answer" if found.answer is not None else "answer: none yet"
    yield from _fields({name: value for name, value in (found.answer or {}).items() if value is not None})


def _heading(found: RowTrace) -> str:
    if found.request is None:
        return "request: none was made, or its file is gone"
    standing = next((one for one in found.tries if one.stands), None)
    has_others = any(one.request is not None for one in found.tries)
    return f"request, of revision {standing.revision}, round {standing.round}" if has_others and standing else "request"


def _try(one: RowTry) -> Iterator[str]:
    of = f", revision {one.revision}" if one.revision > 1 else ""
    if one.outcome is not None and (payer := one.outcome["reused_from"]):
        yield f"not sent: the answer of job {payer} to the same request, in chunk {one.chunk}"
    else:
        yield f"sent in chunk {one.chunk}, round {one.round}{of}: {one.state}{', ' + one.reason if one.reason else ''}"
    if one.request is not None:
        yield "  with another request"
        yield from _indented("\n".join(_indented(json.dumps(one.request, indent=2, ensure_ascii=False))))
    for batch in one.batches:
        yield f"  {_batch(batch)}"
    if one.outcome is not None:
        yield f"  {'succeeded' if one.outcome['succeeded'] else 'failed'}"
        yield from _fields({name: one.outcome[name] for name in OUTCOME if one.outcome[name] is not None}, by=4)
    for place, line in one.lines.items():
        yield f"  {place}"
        yield f"    {line}"


def _batch(batch: SentBatch) -> str:
    cost = "" if batch.cost_usd is None else f", {exact(batch.cost_usd)} for the whole batch"
    sent_at = batch.sent_at.isoformat(timespec="seconds")
    return f"attempt {batch.attempt}, sent {sent_at}: {batch.state}, batch {batch.batch_id or 'unknown'}{cost}"


def _fields(values: Mapping[str, Any], *, by: int = 2) -> Iterator[str]:
    width = min(NAME_MAX, max(map(len, values), default=0))
    for name, value in values.items():
        text = _text(value)
        first, *others = text.splitlines() or [""]
        yield f"{' ' * by}{name:<{width}}  {first}"
        yield from (f"{' ' * (by + width + 2)}{line}" for line in others)


def _text(value: Any) -> str:
    if isinstance(value, float) and isfinite(value):
        return f"{Decimal(repr(value)):f}"  # an amount of 0.000002 is not 2e-06
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())

"""Estimates a job's requests and cost by rendering its rows. Nothing is written or sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator import codec
from orchestrator.dataset.slices import Slices
from orchestrator.domain import money
from orchestrator.domain.html_table import html_table
from orchestrator.domain.packing import BYTES_PER_TOKEN_EXPECTED, Packer, text_bytes, tokens_of
from orchestrator.domain.policy import Price
from orchestrator.job_files.content_keys import ContentKeys
from orchestrator.planner.canary import wants_canary
from orchestrator.planner.duplicates import Asked
from orchestrator.planner.plan import TOO_LARGE, TOO_LARGE_MESSAGE, Planning, rows_for
from orchestrator.planner.plan_notes import Observed, Refusals, request_notes
from orchestrator.planner.reuse import look_up

if TYPE_CHECKING:
    from orchestrator.domain.dataset import ShardSpec

EXACT_ROWS_MAX: Final = 200_000  # a larger dataset is estimated from its first rows
SAMPLES: Final = 3
COSTS: Final = ("cost_usd_max", "cost_usd_expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A plan in numbers. Unless `exact`, they are scaled up from the rows that were read to all `rows`.

    Where `rows` is None they are those of the rows that were read: all rows have more.
    """

    rows: int | None  # None: the whole dataset would have to be read
    requests: int  # to be sent
    refused: int  # rows that cannot be sent
    chunks: int
    request_bytes: int
    tokens_in: int
    tokens_out_max: int
    cost_usd_max: Decimal | None  # None without a price
    cost_usd_expected: Decimal | None
    """If answers are half as long as they may be, or by what those of `judged_by` cost."""
    judged_by: int = 0  # answers of the jobs that are reused from, whose cost is known; 0: there are none
    price: Price | None  # None: it is not known
    notes: tuple[str, ...] = ()  # what to know before it is sent: the model's end, another price, long prompts
    exact: bool  # no number is scaled up
    rows_read: int
    reused: int = 0  # requests that have an answer, of another job or of this one: they are not sent
    reused_from: Mapping[str, int] = field(default_factory=dict)  # of those: by job, that with the most first
    duplicates: int = 0  # requests that equal an earlier one and get its answer: they are not sent
    canary_rows: int = 0  # sent first, alone; 0: the job has no canary
    answer_columns: Mapping[str, str] = field(default_factory=dict)  # of typed answers: their names and types
    samples: tuple[str, ...] = field(repr=False)  # request lines: they hold the prompt and rows

    @property
    def about(self) -> str:
        """The word before a number of the plan: "", "about " or "at least "."""
        if self.exact:
            return ""
        return "about " if self.rows is not None else "at least "

    def cost_bound(self, budget_usd: Decimal | None) -> Decimal | None:
        """Return the most that the job can cost; None where nothing is known that bounds it."""
        bounds = (budget_usd, None if self.rows is None else self.cost_usd_max)
        return min((one for one in bounds if one is not None), default=None)

    def _repr_html_(self) -> str:
        """Show the plan in a notebook, without the samples."""
        return html_table("Estimate (nothing has been sent)", _told(self))

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        shown = {one.name: getattr(self, one.name) for one in fields(self)}
        costs = {name: None if shown[name] is None else f"{shown[name]:f}" for name in COSTS}
        price = None if self.price is None else codec.plain(self.price)
        shown |= {"reused_from": dict(self.reused_from), "notes": list(self.notes), "samples": list(self.samples)}
        return shown | costs | {"price": price}


def _told(plan: Estimate) -> Iterator[tuple[str, object]]:
    """Yield what there is to say of a plan: what is nought is left out."""
    about = plan.about
    batches = f"{plan.chunks:,} {'batch' if plan.chunks == 1 else 'batches'}"
    yield "rows", "unknown until read" if plan.rows is None else plan.rows
    yield "requests", f"{about}{plan.requests:,} in {batches}, {plan.request_bytes / 1e6:,.1f} MB"
    for name, count, meaning in (
        ("reused", plan.reused, "have an answer already, and are not sent"),
        ("duplicates", plan.duplicates, "repeat a request, and are not sent"),
        ("refused", plan.refused, "cannot be sent"),
        ("canary", plan.canary_rows, "go first, alone"),
    ):
        if count:
            yield name, f"{about}{count:,} {meaning}"
    yield "tokens", f"at most {plan.tokens_in:,} in, {plan.tokens_out_max:,} out"
    if plan.cost_usd_max is None or plan.cost_usd_expected is None:
        yield "cost", "unknown: no price of this model is known"
    else:
        yield "cost", f"about {money.usd(plan.cost_usd_expected)}, at most {money.usd(plan.cost_usd_max)}"
    if not plan.exact:
        yield ("judged by" if plan.rows else "told of"), f"the first {plan.rows_read:,} rows"
    yield from (("column", f"{name}: {kind}") for name, kind in plan.answer_columns.items())
    yield from (("note", note) for note in plan.notes)


@dataclass(slots=True)
class _Seen:
    canary_rows: int
    asked: Asked
    rows: int = 0
    requests: int = 0
    refused: int = 0
    chunks: int = 0
    request_bytes: int = 0
    text_bytes: int = 0  # that tokens are counted of
    longest_bytes: int = 0  # likewise, of one line
    reused: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    observed: Observed = field(default_factory=Observed)
    refusals: Refusals = field(default_factory=Refusals)
    samples: list[str] = field(default_factory=list)


def estimate(
    planning: Planning,
    *,
    canary_rows: int,
    rows_max: int = EXACT_ROWS_MAX,
    rows: int | None = None,
    context_tokens: int | None = None,
) -> Estimate:
    """Render up to `rows_max` rows, and estimate all of them. Raises ConfigError, DatasetError.

    Args:
        canary_rows: by the policy; a small job has no canary all the same.
        rows: how many there are, where they were counted.
        context_tokens: how many the model takes; None: not known.
    """
    seen = _Seen(
        canary_rows=canary_rows if wants_canary(planning.source, canary_rows) else 0, asked=Asked(planning.asked)
    )
    known, exact = _seen_all(planning, seen, rows_max)
    rows = rows if known is None else known
    scale = 1 if exact or rows is None else rows / max(1, seen.rows)
    requests, size, text = (round(count * scale) for count in (seen.requests, seen.request_bytes, seen.text_bytes))
    tokens_in, tokens_out = tokens_of(text), requests * planning.costing.output_tokens_max
    price, longest = planning.costing.price, tokens_of(seen.longest_bytes)
    expected = money.cost(price, text // BYTES_PER_TOKEN_EXPECTED, tokens_out // 2)
    each = None if expected is None or not requests else expected / requests
    read = None if exact else seen.rows
    return Estimate(
        rows=rows,
        requests=requests,
        reused=round(seen.reused.total() * scale),
        reused_from={job: round(count * scale) for job, count in seen.reused.most_common()},
        duplicates=round(seen.duplicates * scale),
        refused=round(seen.refused * scale),
        chunks=max(1, round(seen.chunks * scale)) if requests else 0,
        request_bytes=size,
        tokens_in=tokens_in,
        tokens_out_max=tokens_out,
        cost_usd_max=money.cost_max(price, tokens_in, tokens_out, longest_tokens=longest),
        cost_usd_expected=expected,
        price=price,
        notes=(
            *_of_read(seen.refusals.notes(), read),
            *_notes(price, longest),
            *_of_read(request_notes(seen.observed, each, context_tokens, is_deduped=planning.asked is not None), read),
        ),
        exact=exact,
        rows_read=seen.rows,
        canary_rows=seen.canary_rows,
        samples=tuple(seen.samples),
    )


def _seen_all(planning: Planning, seen: _Seen, rows_max: int) -> tuple[int | None, bool]:
    """Look at up to about `rows_max` rows; return how many there are, if that is known, and whether all were seen."""
    looks = (None for spec in planning.source.shards for _ in _look(spec, planning, seen))
    if all(seen.rows < rows_max for _ in looks):
        return seen.rows, True
    known = [spec.row_count for spec in planning.source.shards]
    rows = None if None in known else sum(count for count in known if count is not None)
    return rows, rows == seen.rows


def _of_read(notes: Iterable[str], rows_read: int | None) -> Iterator[str]:
    """Say of which rows the notes tell, where others were not read."""
    yield from notes if rows_read is None else (f"in the first {rows_read:,} rows, {note}" for note in notes)


def _notes(price: Price | None, longest_tokens: int) -> Iterator[str]:
    if price is not None and price.long is not None and longest_tokens > price.long.over_tokens:
        yield (
            f"the longest request may have {longest_tokens:,} tokens: over {price.long.over_tokens:,}, all of them "
            f"cost {price.long.input_usd} in, {price.long.output_usd} out, USD per million"
        )
    if price is not None and price.until:
        yield f"this price holds until {price.until}; from then on another one does"


def _look(spec: ShardSpec, planning: Planning, seen: _Seen) -> Iterator[None]:
    """Render a shard's rows as planning would, and add them to `seen`; yields after each batch."""
    renderer = planning.renderer(spec.shard_no)
    rows = Slices(rows_for(renderer, planning.source, spec), 0)
    while not rows.exhausted():
        packer, first, keys = Packer(planning.limits), True, ContentKeys(renderer.envelope, planning.scope)
        slice_end = (rows.row // planning.slice_rows + 1) * planning.slice_rows
        if seen.canary_rows and not seen.requests:
            slice_end = min(slice_end, rows.row + seen.canary_rows)
        for start, batch in rows.until(slice_end):
            rendered = renderer.render(batch, row_start=start)
            seen.rows += batch.num_rows
            seen.observed.see_rows(batch, renderer.columns)
            seen.refused += len(rendered.refused)
            for one in rendered.refused:
                seen.refusals.add(one.code, (spec.shard_no, start + one.offset), one.message)
            for request in look_up(rendered.lines, start, keys, planning.answers):
                line = request.line
                text = text_bytes(line)
                if packer.too_large(len(line), text):
                    seen.refused += 1
                    seen.refusals.add(TOO_LARGE, (spec.shard_no, request.row), TOO_LARGE_MESSAGE.format(len(line)))
                    continue
                if planning.answers is not None and request.is_answered:
                    seen.reused[planning.answers.job_at(request.place)] += 1
                    continue
                if seen.asked.before(request):
                    seen.duplicates += 1
                    continue
                seen.chunks += packer.starts_new(len(line), text) or first
                first = False
                seen.requests += 1
                seen.observed.see_request(request.content_key, tokens_of(text))
                seen.request_bytes += len(line)
                seen.text_bytes += text
                seen.longest_bytes = max(seen.longest_bytes, text)
                if len(seen.samples) < SAMPLES:
                    seen.samples.append(line.decode().rstrip("\n"))
            yield

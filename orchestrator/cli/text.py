"""Formats a job as text: its final report, its progress line, the output of `plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from orchestrator.cli.sample_text import sample_lines
from orchestrator.domain.money import exact, rounded, usd
from orchestrator.domain.progress import Totals
from orchestrator.domain.reconcile import UNREADABLE

if TYPE_CHECKING:
    from orchestrator.domain.policy import Price
    from orchestrator.planner.estimate import Estimate


LINES_MAX: Final = 12  # of a text of the first request; the others are only begun
REUSED_FROM: Final = 3  # jobs that are named
FLAWS: Final = {
    "truncated": "of the succeeded: cut at a limit of tokens",
    "empty": "of the succeeded: neither text nor tool calls",
    "refused": "of the succeeded: the model or a filter refused",
}


def cost(amount: Decimal | None, unpriced: int) -> str:
    """Return a cost of which the part of `unpriced` rows is not known; None: nothing of it is."""
    if amount is None:
        return "unknown"
    return f"at least {exact(amount)}" if unpriced else exact(amount)


def report(job_id: str, totals: Totals, errors: Mapping[str, int], shares: Mapping[str, Decimal] | None = None) -> str:
    """Return the report of a job that has ended; it adds up line by line.

    Args:
        shares: of the cost: see `Result.cost_shares`.
    """
    return "\n".join([*_report(job_id, totals, Counter(errors)), *_shares(shares or {})])


def _shares(shares: Mapping[str, Decimal]) -> Iterator[str]:
    if not shares.get("replaced"):
        return
    for name, told in (
        ("rows", "of it: the rows of the output (the sum of llm_cost_usd)"),
        ("replaced", "of it: replaced on request"),
        ("nothing", "of it: paid for nothing"),
    ):
        yield f"    {exact(shares[name]):>26}  {told}"


def _report(job_id: str, totals: Totals, errors: Counter[str]) -> Iterator[str]:
    failed = totals.failed + totals.refused
    yield f"Report of {job_id}"
    rest = totals.rows - totals.succeeded - failed  # of a job that has not ended
    waiting = f" + {rest:,} not done" if rest else ""
    yield f"  rows        {totals.rows:>12,}  = {totals.succeeded:,} succeeded + {failed:,} failed{waiting}"
    if totals.reused:
        paid = totals.succeeded - totals.reused
        yield f"    reused    {totals.reused:>12,}  of the succeeded: copied, for nothing"
        yield f"    answered  {paid:>12,}  of the succeeded: in this job"
    errors += _not_in(errors, failed, totals)
    for code, count in errors.most_common(10):
        yield f"    failed    {count:>12,}  {code}"
    if len(errors) > 10:
        yield f"    failed    {sum(errors.values()) - sum(n for _, n in errors.most_common(10)):>12,}  other codes"
    for name, count in totals.flaws.items():
        if count:
            yield f"    {name:<9} {count:>12,}  {FLAWS[name]}"
    of_rows = totals.lines - totals.duplicates - totals.foreign - totals.unreadable
    others = {"duplicates": totals.duplicates, "foreign": totals.foreign, "unreadable": totals.unreadable}
    more = "".join(f" + {count:,} {name}" for name, count in others.items() if count)
    yield f"  lines       {totals.lines:>12,}  = {of_rows:,} of rows{more}"
    without = f" + {totals.missing:,} without one" if totals.missing else ""
    yield f"  sends       {of_rows + totals.missing:>12,}  = {of_rows:,} with a line{without}"
    yield f"  batches     {totals.batches:>12,}"
    known = cost(totals.known_cost_usd, totals.unpriced)
    unknown = f"  (what {counted(totals.unpriced, 'answer', 'answers')} cost is not known)" if totals.unpriced else ""
    yield f"  cost        {known:>16}{unknown}"
    if totals.possibly_double_paid_usd:
        yield f"  may have been paid twice, at most {exact(totals.possibly_double_paid_usd)} (on_ambiguous = resubmit)"


def _not_in(errors: Mapping[str, int], failed: int, totals: Totals) -> Counter[str]:
    """Return the codes of failed rows of a job without an output, as far as the ledger has them."""
    rest = failed - sum(errors.values())
    unreadable = min(rest, totals.unreadable_rows - errors.get(UNREADABLE, 0))
    return Counter({UNREADABLE: unreadable, "(codes are in the output, once it is written)": rest - unreadable})


def counted(count: int, one: str, more: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more}"


def _price(price: Price) -> str:
    """Return a price with its source."""
    source = f"{price.source}, read {price.read}" if price.source else "your settings"
    return f"{price.input_usd} in, {price.output_usd} out, USD per million tokens ({source})"


def _reused(plan: Estimate, about: str) -> Iterator[str]:
    """Say how many rows have an answer, and whose it is; the jobs with the most, one a line."""
    if plan.reused:
        of = "requests" if plan.rows is None else f"{plan.rows:,} rows"
        yield f"  reused      {about}{plan.reused:,} of {of} have an answer; they are not sent"
        yield from (f"              {count:,} from {job}" for job, count in [*plan.reused_from.items()][:REUSED_FROM])
        if len(plan.reused_from) > REUSED_FROM:
            yield f"              and from {counted(len(plan.reused_from) - REUSED_FROM, 'job', 'jobs')} more"


def _duplicates(plan: Estimate, about: str) -> Iterator[str]:
    """Say how many rows get the answer to an equal request."""
    if plan.duplicates:
        of = "requests" if plan.rows is None else f"{plan.rows:,} rows"
        more = (
            ""
            if plan.exact
            else f".\n              Only the first {plan.rows_read:,} rows are read: there may be many more"
        )
        yield f"  duplicates  {about}{plan.duplicates:,} of {of} repeat a request; each is sent once{more}"


def rest_of_sample(plan: Estimate, job: str) -> str:
    """Return what the run of all rows would send and cost after a paid sample."""
    if not plan.requests:
        return f"  all rows    have an answer: `orchestrator run {job}` sends nothing"
    about = plan.about
    cost = "at a cost that is not known"
    if plan.cost_usd_expected is not None:
        basis = f" by what {counted(plan.judged_by, 'answer', 'answers')} cost" if plan.judged_by else ""
        cost = f"for about {usd(plan.cost_usd_expected)}{basis}"
    return f"  all rows    `orchestrator run {job}` sends {about}{plan.requests:,} more, {cost}"


def plan_text(job_id: str, plan: Estimate) -> str:
    """Return what `plan` prints."""
    about = plan.about
    of_read = f"of the first {plan.rows_read:,} rows: " if plan.rows is None else ""
    batches = about + counted(plan.chunks, "batch", "batches")
    rows = (
        f"more than {plan.rows_read:,}; the file is too large to count them all now"
        if plan.rows is None
        else f"{plan.rows:,}"
    )
    cost = "unknown: no price of this model is known"
    if plan.cost_usd_max is not None and plan.cost_usd_expected is not None:
        basis = f", by what {plan.judged_by:,} answers cost" if plan.judged_by else " if answers are half as long"
        cost = f"{of_read}at most {usd(plan.cost_usd_max)}; about {rounded(plan.cost_usd_expected)}{basis}"
    lines = [
        f"Plan of {job_id} (nothing has been sent)",
        f"  rows        {rows}",
        f"  requests    {about}{plan.requests:,} in {batches}, {plan.request_bytes / 1e6:,.1f} MB",
        *_reused(plan, about),
        *_duplicates(plan, about),
        f"  refused     {about if plan.refused else ''}{plan.refused:,} rows that cannot be sent",
        f"  tokens      {of_read}at most {plan.tokens_in:,} in, {plan.tokens_out_max:,} out",
        f"  cost        {cost}",
    ]
    if plan.price is not None:
        lines.append(f"  price       {_price(plan.price)}")
    lines += [f"  column      {name}: {kind}" for name, kind in plan.answer_columns.items()]
    lines += [f"  note        {note}" for note in plan.notes]
    if plan.canary_rows:
        lines.append(f"  canary      {plan.canary_rows:,} rows go first; the rest waits until they have come back well")
    if not plan.exact and plan.rows is not None:
        lines.append(f"  judged by   the first {plan.rows_read:,} rows")
    for number, sample in enumerate(plan.samples, 1):
        lines += sample_lines(f"  request {number}   ", sample, LINES_MAX if number == 1 else 2)
    return "\n".join(lines)

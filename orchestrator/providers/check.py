"""Checks a provider's settings, key, address, model and clock, without creating or uploading anything.

Rule: an error is what would fail a create for certain. What may pass, or is not known, is a warning: a job is not held
    up by a list of models that is not to be had.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from orchestrator.domain.checks import NEEDS_PERSON, Check, Level
from orchestrator.domain.errors import ConfigError
from orchestrator.providers import catalogue
from orchestrator.providers.registry import dialect_of, key_of

if TYPE_CHECKING:
    from orchestrator.domain.policy import Price
    from orchestrator.providers.dialect import Dialect
    from orchestrator.providers.http.error_mapping import Answer
    from orchestrator.providers.model_list import ListedModel, ModelList
    from orchestrator.providers.reach import Reached
    from orchestrator.settings import ProviderSettings

SKEW_S_MAX: Final = 60.0
TELL_END_DAYS: Final = 90
_SCOPE: Final = re.compile(r"scope|permission", re.IGNORECASE)
_NO_SUCH_PATH: Final = re.compile(r"invalid url", re.IGNORECASE)


def check_provider(settings: ProviderSettings, environment: Mapping[str, str], model: str = "") -> Iterator[Check]:
    """Check one provider, and a model of it, if one is named; the list of models is read once."""
    dialect, reached, now = dialect_of(settings), None, datetime.now(UTC)
    try:
        key = key_of(settings, environment)
        yield Check(name="key", found=f"{settings.api_key_env} holds a key")
        if dialect.models_path:
            from orchestrator.providers.reach import reach

            reached = reach(dialect, key, environment)
    except ConfigError as error:
        yield Check(name="settings", level=Level.ERROR, found=str(error))
    answer = None if reached is None else reached.answer
    listed = dialect.read_models(answer.json()) if answer is not None and answer.is_success else None
    if reached is not None:
        yield from check_reached(reached, listed, settings.api_key_env, now=now)
    if model:
        yield from check_model(listed, dialect, model, now=now)


def check_reached(reached: Reached, listed: ModelList | None, variable: str, *, now: datetime) -> Iterator[Check]:
    """Judge what a look at the provider has found.

    Args:
        variable: the environment variable with the key.
    """
    if reached.proxy is not None:
        yield Check(name="proxy", found=f"{reached.proxy.place}, named by {reached.proxy.named_by}")
    answer = reached.answer
    if answer is None:
        yield _unreachable(reached)
        return
    yield _address(reached, answer)
    yield from _credential(reached, answer, listed, variable)
    yield from check_clock(answer.headers.get("date", ""), now)


def _unreachable(reached: Reached) -> Check:
    todo = "Correct base_url in [provider], or, where only a proxy leads outside, set HTTPS_PROXY"
    if reached.proxy is not None:
        todo = f"Correct base_url in [provider], or the proxy in {reached.proxy.named_by}"
    if not reached.is_certain:
        todo = f"It may pass. Else: {todo[:1].lower()}{todo[1:]}"
    level = Level.ERROR if reached.is_certain else Level.WARNING
    return Check(name="address", level=level, found=f"{reached.url}: {reached.failure}", todo=todo)


def _address(reached: Reached, answer: Answer) -> Check:
    """Judge whether an API answers at this address."""
    where = f"{reached.url} answers HTTP {answer.status}"
    is_page = answer.body.lstrip()[:1] == b"<"
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "another address")[:200]
        todo = f"A create follows no redirect: put the right address in base_url ({place})"
        return Check(name="address", level=Level.ERROR, found=f"{where}, a redirect", todo=todo)
    todo = "Is base_url right? Most end in /v1"
    if answer.is_success and is_page:
        return Check(name="address", level=Level.ERROR, found=f"{where} with a web page", todo=todo)
    if answer.status == 404 and _NO_SUCH_PATH.search(answer.body[:2_000].decode("utf-8", "replace")):
        return Check(name="address", level=Level.ERROR, found=f"{where}: no such address", todo=todo)
    if answer.status >= 500 or answer.status in (404, 405, 429) or is_page:
        return Check(name="address", level=Level.WARNING, found=where, todo=f"No list of models there. {todo}")
    return Check(name="address", found=f"{reached.url} answers in {reached.seconds:.1f} s")


def _credential(reached: Reached, answer: Answer, listed: ModelList | None, variable: str) -> Iterator[Check]:
    text = answer.body[:2_000].decode("utf-8", "replace")
    if answer.status == 401 and not _SCOPE.search(text):
        yield Check(
            name="credential",
            level=Level.ERROR,
            found=f"the key in {variable} is refused by {reached.url}: {reached.problem}",
            todo=f"Set {variable} to a key of this provider and project",
            code=NEEDS_PERSON,
        )
    elif answer.status in (401, 403):
        yield Check(
            name="credential",
            level=Level.WARNING,
            found=f"the key in {variable} may not list models (HTTP {answer.status})",
            todo="A restricted key needs the rights to write files and batches, and to read them",
        )
    elif listed is not None and listed.is_public:
        found = f"the key in {variable} is not checked: this list is given to anybody. The first create checks it"
        yield Check(name="credential", found=found)
    elif listed is not None:
        yield Check(name="credential", found=f"the key in {variable} is accepted")


def check_clock(header: str, now: datetime) -> Iterator[Check]:
    """Compare this machine's clock with a Date header."""
    try:
        theirs = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return
    ahead_s = (now - (theirs if theirs.tzinfo is not None else theirs.replace(tzinfo=UTC))).total_seconds()
    if abs(ahead_s) <= SKEW_S_MAX:
        yield Check(name="clock", found="agrees with the provider's")
        return
    direction = "ahead of" if ahead_s > 0 else "behind"
    found = f"this machine's clock is {abs(ahead_s):,.0f} s {direction} the provider's"
    yield Check(name="clock", level=Level.WARNING, found=found, todo="Synchronise it, with NTP")


def check_model(listed: ModelList | None, dialect: Dialect, model: str, *, now: datetime) -> Iterator[Check]:
    """Judge whether a model exists, until when, and at what price."""
    note = dialect.model_note(model)
    if note:
        yield Check(name="model", level=Level.WARNING, found=note, todo="Look at request.model")
    found = None if listed is None else listed.find(model)
    if listed is not None and found is None:
        similar = listed.similar(model)
        meant = f"; similar: {', '.join(similar)}" if similar else ""
        yield Check(
            name="model",
            level=Level.ERROR if listed.is_complete else Level.WARNING,
            found=f"{model} is not among the {len(listed.models):,} models of {dialect.settings.base_url}{meant}",
            todo="Correct request.model",
        )
    elif found is not None:
        yield Check(name="model", found=f"{model} is in the provider's list")
    yield from _end(found, dialect, model, now)
    yield from _price(found, dialect, model, now)


def _end(found: ListedModel | None, dialect: Dialect, model: str, now: datetime) -> Iterator[Check]:
    sold = dialect.sold_as(model)
    known = catalogue.end_of(sold)
    is_told = found is not None and found.ends_on is not None  # by the provider itself
    if found is not None and found.ends_on is not None:
        known = catalogue.End(on=found.ends_on, replacement=known.replacement if known is not None else "")
    days = None if known is None else (known.on - now.date()).days
    if known is None or days is None or days > TELL_END_DAYS:
        return
    level = Level.ERROR if days < 0 and is_told else Level.WARNING
    yield Check(name="model", level=level, found=known.told(sold, now.date()), todo="Take another model in time")


def _price(found: ListedModel | None, dialect: Dialect, model: str, now: datetime) -> Iterator[Check]:
    """Say what is known of the price; the list has the price of synchronous calls, a batch costs half of it."""
    sold = dialect.sold_as(model)
    price = dialect.settings.prices.get(model) or catalogue.price_of(sold, now.date())
    if price is None:
        todo = f'For costs and budgets give it: [provider.prices."{model}"] input_usd = "…" output_usd = "…"'
        similar = catalogue.similar_to(model, sold) if found is None else []
        meant = f"; known and similar: {', '.join(similar)}" if similar else ""
        yield Check(name="price", level=Level.WARNING, found=f"no price of {model} is known{meant}", todo=todo)
        return
    said = f"{price.input_usd} in, {price.output_usd} out, USD per million tokens"
    if found is not None and _differs(found, price):
        yield Check(
            name="price",
            level=Level.WARNING,
            found=f"reckoned with {said}; the provider lists {found.input_usd} in, {found.output_usd} out",
            todo=f'If its batches cost otherwise, give the price: [provider.prices."{model}"]',
        )
        return
    yield Check(name="price", found=f"{said} ({price.source or 'your settings'})")


def _differs(found: ListedModel, price: Price) -> bool:
    """Whether a listed price is neither ours nor the double of it."""
    pairs = ((found.input_usd, price.input_usd), (found.output_usd, price.output_usd))
    return any(listed and ours and listed not in (ours, 2 * ours) for listed, ours in pairs)

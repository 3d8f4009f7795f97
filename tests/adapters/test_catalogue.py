"""What models cost and when they end. The figures are the vendors' own, read 2026-11-30, not the file's."""

from __future__ import annotations

import json
import runpy
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.domain import money
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import LongPrompt, Price
from orchestrator.providers.catalogue import Sold, end_of, price_of
from orchestrator.providers.registry import dialect_of, provider_settings

CONFIG: Final = Path(__file__).parents[2] / "config"
TODAY: Final = date(2026, 12, 1)
LUNA: Final = Price(
    input_usd=Decimal("0.05"),
    output_usd=Decimal("0.25"),
    cached_usd=Decimal("0.005"),
    long=LongPrompt(
        over_tokens=272_000, input_usd=Decimal("0.1"), output_usd=Decimal("0.375"), cached_usd=Decimal("0.01")
    ),
)


def sold(provider: str, model: str, **options: Any) -> Sold:
    return dialect_of(provider_settings(provider, options)).sold_as(model)


def figures(found: Price | None) -> tuple[str, str] | None:
    return None if found is None else (str(found.input_usd), str(found.output_usd))


@pytest.mark.parametrize(
    ("vendor", "model", "expected"),
    [
        ("openai", "gpt-6-luna", ("0.05", "0.25")),
        ("openai", "gpt-6-luna-2026-09-01", ("0.05", "0.25")),
        ("openai", "gpt-4o-2024-05-13", ("2.5", "7.5")),  # a name with a date and a price of its own
        ("openai", "text-embedding-3-small", ("0.01", "0")),
        ("anthropic", "claude-haiku-5-5", ("0.05", "0.25")),
        ("anthropic", "claude-opus-5-5", ("2", "10")),
        ("google", "gemini-3.5-flash-lite", ("0.15", "1.25")),
        ("openai", "gpt-6-luna-x", None),
        ("openai", "ft:gpt-6-luna:mine::1", None),  # it costs more, and how much is not known
        ("nobody", "gpt-6-luna", None),
    ],
)
def test_a_model_has_the_batch_price_of_its_vendor_or_none(
    vendor: str, model: str, expected: tuple[str, str] | None
) -> None:
    assert figures(price_of(Sold(vendor=vendor, model=model), TODAY)) == expected


def test_a_price_says_where_it_is_from_and_when_that_was_read() -> None:
    found = price_of(Sold(vendor="openai", model="gpt-6-luna"), TODAY)

    assert found is not None
    assert found.source.startswith("genai-prices ")
    assert "developers.openai.com" in found.source
    assert date.fromisoformat(found.read) <= date.today()  # noqa: DTZ011 - a day of this machine
    assert found.long == LUNA.long


def test_a_promotion_ends_on_its_day() -> None:
    """gemini-3.8-flash: half of the price until 2026-12-31."""
    model = Sold(vendor="google", model="gemini-3.8-flash")
    before, after = price_of(model, date(2026, 12, 31)), price_of(model, date(2027, 1, 1))

    assert figures(before) == ("0.375", "1.875")
    assert figures(after) == ("0.75", "3.75")
    assert before is not None and before.until == "2027-01-01"
    assert after is not None and after.until == ""


@pytest.mark.parametrize(
    ("provider", "model", "options", "expected"),
    [
        ("onerouter", "openai/gpt-6-luna-batch", {}, ("openai", "gpt-6-luna")),
        ("onerouter", "gpt-4o-mini-batch", {}, ("openai", "gpt-4o-mini")),
        ("onerouter", "claude-haiku-5-5-batch", {}, ("anthropic", "claude-haiku-5-5")),
        ("openai", "gpt-6-luna", {}, ("openai", "gpt-6-luna")),
        (
            "openai",
            "openai/gpt-oss-120b",
            {"base_url": "https://api.groq.com/openai/v1"},
            ("groq", "openai/gpt-oss-120b"),
        ),
    ],
)
def test_a_dialect_knows_who_sells_a_model_and_under_which_name(
    provider: str, model: str, options: dict[str, str], expected: tuple[str, str]
) -> None:
    found = sold(provider, model, **options)

    assert (found.vendor, found.model) == expected


def test_what_was_assumed_of_a_price_is_said() -> None:
    found = price_of(sold("onerouter", "openai/gpt-6-luna-batch"), TODAY)

    assert found is not None
    assert "assuming that OneRouter charges half of the vendor's standard price" in found.source


@pytest.mark.parametrize(
    ("model", "today", "told"),
    [
        (
            "gpt-4o-mini",
            date(2026, 11, 30),
            "openai ends gpt-4o-mini in 45 days, on 2027-01-14; replacement: gpt-6-luna",
        ),
        ("gpt-4o-mini-2024-07-18", date(2027, 1, 13), "in 1 day, on 2027-01-14"),
        ("gpt-4o", date(2027, 1, 14), "openai ends gpt-4o today, on 2027-01-14"),
        ("gpt-4.1-nano", date(2026, 11, 30), "openai ended gpt-4.1-nano on 2026-10-23"),
    ],
)
def test_the_end_of_a_model_is_told_in_days_with_its_replacement(model: str, today: date, told: str) -> None:
    known = Sold(vendor="openai", model=model)
    end = end_of(known)

    assert end is not None
    assert told in end.told(known, today)


def test_a_model_that_lives_on_has_no_end() -> None:
    assert end_of(Sold(vendor="openai", model="gpt-6-luna")) is None
    assert end_of(Sold(vendor="anthropic", model="gpt-4o")) is None


def test_a_broken_file_of_prices_is_named(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("{")

    with pytest.raises(ConfigError, match=r"prices\.json: cannot be read.*make prices"):
        price_of(Sold(vendor="openai", model="gpt-6-luna"), TODAY, tmp_path)


def test_every_price_in_the_file_can_be_read() -> None:
    """Amounts, tiers and days: for each model, on a day before, within and after all of its periods."""
    content = json.loads((CONFIG / "prices.json").read_text())

    for vendor, table in content["vendors"].items():
        for model in table["models"]:
            for day in (date(2020, 1, 1), TODAY, date(2030, 1, 1)):
                found = price_of(Sold(vendor=vendor, model=model), day)
                assert found is not None and found.input_usd > 0 and found.output_usd >= 0


@pytest.mark.slow
def test_the_file_is_what_make_prices_writes_of_the_same_release() -> None:
    """Nothing in it was changed by hand."""
    content = json.loads((CONFIG / "prices.json").read_text())
    if content["source"] != f"genai-prices {version('genai-prices')}":
        pytest.skip("another release of genai-prices is installed than the file was made from")

    assert runpy.run_path(str(CONFIG / "make_prices.py"))["vendors"]() == content["vendors"]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((1_000_000 // 4, 0, 0), "0.0125"),
        ((0, 1_000_000, 0), "0.25"),
        ((272_000, 0, 0), "0.0136"),  # not more than 272,000
        ((272_001, 0, 0), "0.0272001"),  # more: all of it
        ((272_001, 1_000_000, 0), "0.4022001"),
        ((200_000, 0, 200_000), "0.001"),
        ((200_000, 0, 100_000), "0.0055"),
        ((100_000, 0, 200_000), "0.0005"),  # more cached than there are: nobody pays for less than nothing
    ],
)
def test_a_request_costs_what_its_own_prompt_costs(tokens: tuple[int, int, int], expected: str) -> None:
    """By hand, of OpenAI's price list: 0.05 / 0.25, cached 0.005; over 272K 0.10 / 0.375."""
    assert money.request_cost(LUNA, *tokens) == Decimal(expected).quantize(money.PLACES)


def test_without_a_price_for_cached_input_it_costs_what_other_input_costs() -> None:
    price = Price(input_usd=Decimal(1), output_usd=Decimal(1))

    assert money.request_cost(price, 1_000_000, 0, 1_000_000) == Decimal(1)
    assert money.request_cost(None, 1, 1) is None


def test_the_most_that_a_batch_may_cost_counts_with_long_prompts_where_there_may_be_one() -> None:
    assert money.cost_max(LUNA, 1_000_000, 1_000_000, longest_tokens=272_000) == Decimal("0.30")
    assert money.cost_max(LUNA, 1_000_000, 1_000_000, longest_tokens=272_001) == Decimal("0.475")

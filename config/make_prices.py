"""Writes config/prices.json: the batch prices of the vendors that sell batches, out of the package genai-prices (MIT).

make prices                 # after `uv pip install -U genai-prices`; look at the difference before you commit it

A price has the day from which it holds; of several, the last that has begun counts. Amounts are USD per million tokens.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

OUT = Path(__file__).parent / "prices.json"
# OpenAI's guide "Batch API": half of the synchronous price; the package has no batch price of embeddings.
HALF = Decimal("0.5")


def main() -> None:
    """Write the file, sorted, so that a difference shows what has changed."""
    made = {"source": f"genai-prices {version('genai-prices')}", "read": datetime.now(UTC).date().isoformat()}
    OUT.write_text(json.dumps(made | {"vendors": vendors()}, indent=1) + "\n", encoding="utf-8")


def vendors() -> dict[str, Any]:
    """Return each vendor's page and models."""
    found: dict[str, Any] = {}
    for provider in providers:
        models = {model.id: entry for model in provider.models if (entry := _entry(provider.id, model)) is not None}
        if models:
            found[provider.id] = {"page": (provider.pricing_urls or [""])[0], "models": dict(sorted(models.items()))}
    return dict(sorted(found.items()))


def _entry(vendor: str, model: ModelInfo) -> dict[str, Any] | None:
    batch = [variant for variant in model.price_variants or [] if variant.when == {"processing": "batch"}]
    found = [(_start(variant.constraint), _price(variant.prices)) for variant in batch]
    if not found and vendor == "openai" and "embedding" in model.id and isinstance(model.prices, ModelPrice):
        found = [(None, _price(model.prices, factor=HALF))]
    prices = [{"from": "" if start is None else start.isoformat()} | price for start, price in found if price]
    if not prices:
        return None
    names = sorted(set(_names(model)) - {model.id})
    window = {"context_tokens": model.context_window} if model.context_window else {}
    return ({"names": names} if names else {}) | window | {"prices": sorted(prices, key=lambda price: price["from"])}


def _start(constraint: object) -> date | None:
    return constraint.start_date if isinstance(constraint, StartDateConstraint) else None


def _names(model: ModelInfo) -> list[str]:
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    return [clause.equals for clause in clauses if isinstance(clause, ClauseEquals)]


def _price(prices: ModelPrice, *, factor: Decimal = Decimal(1)) -> dict[str, Any]:
    """Return the prices of text; {} for a model that is not paid by tokens of text."""
    parts = {
        "input_usd": prices.input_mtok,
        "output_usd": prices.output_mtok or Decimal(0),
        "cached_usd": prices.cache_read_mtok,
    }
    if parts["input_usd"] is None:
        return {}
    base = {name: _text(_base(part) * factor) for name, part in parts.items() if part is not None}
    tiers = sorted({tier.start for part in parts.values() if isinstance(part, TieredPrices) for tier in part.tiers})
    if not tiers:
        return base
    # The dearest tier stands for all: an estimate is then at most too high. What has no tiers costs the same in each.
    long = {name: _text(_dearest(part) * factor) for name, part in parts.items() if part is not None}
    return base | {"long": {"over_tokens": tiers[0]} | long}


def _base(part: Any) -> Decimal:
    return part.base if isinstance(part, TieredPrices) else part


def _dearest(part: Any) -> Decimal:
    return max(tier.price for tier in part.tiers) if isinstance(part, TieredPrices) else part


def _text(amount: Decimal) -> str:
    return format(amount.normalize(), "f")


if __name__ == "__main__":
    main()

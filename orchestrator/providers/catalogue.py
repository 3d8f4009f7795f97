"""What is known of models without asking anybody: batch prices and the days on which models end.

Rule 1: `config/prices.json` is generated (`make prices`), `config/model_ends.toml` is written by hand; both name their
    source and its date. The prices in a provider's table or in a job come before them.
Rule 2: a model is looked up by the vendor's name of it. Where a name ends in a date, and no model is called so, the
    name without the date counts.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import LongPrompt, Price
from orchestrator.settings import config_folder, read_toml

PRICES: Final = "prices.json"
ENDS: Final = "model_ends.toml"
SIMILAR_MAX: Final = 3
ALIKE: Final = 0.75
TUNED: Final = "ft:"  # how names of models begin that were trained further
_DATED: Final = re.compile(r"[-@](?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """A model as its vendor calls it. `assumption`: what was assumed to say so; "" where nothing was."""

    vendor: str
    model: str
    assumption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The day on which a vendor ends a model, and the replacement that it names, if any."""

    on: date
    replacement: str = ""

    def told(self, sold: Sold, today: date) -> str:
        """Return a sentence for people."""
        days = (self.on - today).days
        in_days = "today" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"
        when = f"ended {sold.model}" if days < 0 else f"ends {sold.model} {in_days},"
        return f"{sold.vendor} {when} on {self.on}" + (f"; replacement: {self.replacement}" if self.replacement else "")


def price_of(sold: Sold, on: date, folder: Path | None = None) -> Price | None:
    """Return the batch price of a model on a day; None where none is known. Raises ConfigError."""
    content = _prices(folder or config_folder())
    vendor = content["vendors"].get(sold.vendor)
    entry = None if vendor is None else _found(vendor["models"], sold.model)
    if entry is None:
        return None
    periods = entry["prices"]  # in the order of their first days
    begun = [number for number, period in enumerate(periods) if period["from"] <= on.isoformat()] or [0]
    following = periods[begun[-1] + 1]["from"] if begun[-1] + 1 < len(periods) else ""
    page = vendor["page"].removeprefix("https://")
    assumed = f", assuming that {sold.assumption}" if sold.assumption else ""
    return _price(
        periods[begun[-1]], source=f"{content['source']}, from {page}{assumed}", read=content["read"], until=following
    )


def similar_to(model: str, sold: Sold, folder: Path | None = None) -> list[str]:
    """Return models with a known price that may be meant by one without, as the provider calls them.

    Args:
        model: as the provider calls it; `sold` is the same model as its vendor calls it.
    """
    vendors = _prices(folder or config_folder())["vendors"]
    known = [vendors[sold.vendor]] if sold.vendor in vendors else vendors.values()
    names = [name for one in known for name in one["models"] if sold.model.startswith(TUNED) or TUNED not in name]
    near = difflib.get_close_matches(sold.model, names, n=SIMILAR_MAX, cutoff=ALIKE)
    return [model.replace(sold.model, name) for name in near] if sold.model in model else near


def context_tokens_of(sold: Sold, folder: Path | None = None) -> int | None:
    """Return how many tokens a model's prompt and answer may have together; None where it is not known."""
    vendor = _prices(folder or config_folder())["vendors"].get(sold.vendor)
    entry = None if vendor is None else _found(vendor["models"], sold.model)
    return None if entry is None else entry.get("context_tokens")


def end_of(sold: Sold, folder: Path | None = None) -> End | None:
    """Return when a vendor ends a model; None where no end is known. Raises ConfigError."""
    entry = _found(_ends(folder or config_folder()).get(sold.vendor, {}), sold.model)
    return None if entry is None else End(on=entry["ends"], replacement=entry.get("replacement", ""))


def _found(known: Mapping[str, Any], model: str) -> Any:
    for name in dict.fromkeys((model, _DATED.sub("", model))):
        if name in known:
            return known[name]
        for entry in known.values():
            if name in entry.get("names", ()):
                return entry
    return None


def _price(period: Mapping[str, Any], *, source: str, read: str, until: str) -> Price:
    long = period.get("long")
    return Price(
        **_amounts(period),
        long=None if long is None else LongPrompt(over_tokens=long["over_tokens"], **_amounts(long)),
        source=source,
        read=read,
        until=until,
    )


def _amounts(table: Mapping[str, Any]) -> dict[str, Any]:
    names = ("input_usd", "output_usd", "cached_usd")
    return {name: Decimal(table[name]) for name in names if name in table}


@lru_cache(maxsize=4)
def _prices(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / PRICES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / PRICES}: cannot be read: {error}. `make prices` writes it again") from None
    return content


@lru_cache(maxsize=4)
def _ends(folder: Path) -> dict[str, Any]:
    return read_toml(folder / ENDS)

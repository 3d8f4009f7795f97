"""A provider's list of its models, as a dialect reads it: which there are, and when they end."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase

SIMILAR_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model of a provider's list; the prices are those of synchronous calls, USD per million tokens."""

    id: str
    ends_on: date | None = None
    input_usd: Decimal | None = None
    output_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """The models of an account. `is_complete`: a model that is not among them cannot be used."""

    models: Sequence[ListedModel]
    is_complete: bool
    is_public: bool = False  # it is given to anybody: it proves nothing about a key

    def find(self, model: str) -> ListedModel | None:
        """Return the model of this name, or one that stands for it: `*`, `openai/*`, as routers list them."""
        exact = (listed for listed in self.models if listed.id == model)
        others = (listed for listed in self.models if "*" in listed.id and fnmatchcase(model, listed.id))
        return next(exact, None) or next(others, None)

    def similar(self, model: str) -> list[str]:
        """Return names that may be meant: spelled nearly so, or with another prefix or suffix."""
        names = [listed.id for listed in self.models]
        bare = model.rpartition("/")[2].removesuffix("-batch")
        related = [name for name in names if bare and name.rpartition("/")[2].removesuffix("-batch") == bare]
        near = difflib.get_close_matches(model, names, n=SIMILAR_MAX, cutoff=0.75)
        return list(dict.fromkeys((*related, *near)))[:SIMILAR_MAX]


def rows_of(content: object) -> list[dict[str, object]] | None:
    """Return the objects of `{"data": [{"id": …}, …]}`, with their keys in lower case; None where it is no list."""
    match content:
        case {"data": list() as rows}:
            pass
        case _:
            return None
    found = [{str(key).lower(): value for key, value in row.items()} for row in rows if isinstance(row, dict)]
    return [row for row in found if isinstance(row.get("id"), str)]


def day_of(value: object) -> date | None:
    """Read a day, given as ISO 8601, with or without a time, or in seconds; None where it is none."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).date()
        if isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}", value):
            return date.fromisoformat(value[:10])
    except (ValueError, OverflowError, OSError):
        pass
    return None

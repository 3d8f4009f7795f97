"""The table of mutants that change nothing anybody can see, each with the reason."""

from __future__ import annotations

import tomllib

from tests.mutation.plan import EQUIVALENT

TABLE = "equivalent"


def read() -> dict[str, str]:
    """Return the reasons, by the names of the mutants."""
    table = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))[TABLE]
    return {one["mutant"]: one["reason"] for one in table}

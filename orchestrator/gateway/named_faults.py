"""Fault plans by name: what providers were publicly reported to do, to be rehearsed before a real run.

Each is a fault plan of its own (`faults`), in TOML; several are combined into one. A test holds the list in
docs/gateway.md against this table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from orchestrator.gateway.faults import FaultPlan, FaultPlanError


@dataclass(frozen=True, slots=True)
class NamedFault:
    """One kind of trouble: what the server does, and the plan that makes it do so."""

    what: str
    toml: str


NAMED: Final[dict[str, NamedFault]] = {
    "rate-limit": NamedFault(
        "the first creates and polls are answered 429",
        """
        create = { refuse = { "429" = 3 }, retry_after_s = 5 }
        status = { refuse = { "429" = 2 } }""",
    ),
    "lost-create": NamedFault("the answer to the first create is lost: the batch exists", "create = { lost = 1 }"),
    "unavailable": NamedFault(
        "half of all calls are answered 503",
        """
        create = { refuse = { "503" = 0.5 } }
        status = { refuse = { "503" = 0.5 } }
        upload = { refuse = { "503" = 0.5 } }
        download = { refuse = { "503" = 1 } }""",
    ),
    "expired": NamedFault(
        "the first batch runs out of time with half of its rows answered",
        """
        batch = { expire = 1, done_share = 0.5 }""",
    ),
    "queue-full": NamedFault("the first two batches find no room in the queue", "batch = { token_limit = 2 }"),
    "failed-rows": NamedFault(
        "5 rows in 100 fail the first time, 1 is refused by a content filter",
        """
        rows = { fail = { "429" = 0.02, "500" = 0.03 }, filtered = 0.01 }""",
    ),
    "damaged-lines": NamedFault(
        "some result lines are missing, cut, repeated or not JSON",
        """
        lines = { missing = 0.01, not_json = 0.01, duplicate = 0.02, foreign_custom_id = 0.01, cut_last = 1 }""",
    ),
    "cut-download": NamedFault(
        "the first download of each result file breaks off",
        """
        download = { cut_unannounced = 1 }""",
    ),
    "out-of-credit": NamedFault(
        "half of the rows are refused for want of credit, once",
        """
        rows = { fail = { "429" = 0.5 }, code = "insufficient_quota", \
message = "You exceeded your current quota, please check your plan and billing details." }""",
    ),
    "spend-limit": NamedFault(
        "the first creates are refused: 400 billing_hard_limit_reached",
        """
        create = { refuse = { "400" = 2 }, code = "billing_hard_limit_reached", \
message = "Billing hard limit has been reached" }""",
    ),
    "bad-rows": NamedFault(
        "1 row in 100 makes its whole batch be refused; the refusal names it",
        """
        rows = { invalid = 0.01 }""",
    ),
    "wrong-model": NamedFault(
        "every batch fails in validation: the model takes no batches",
        """
        batch = { fail = 1.0, code = "model_not_found", \
message = "The provided model is not supported by the Batch API." }""",
    ),
    "unknown-shape": NamedFault("answers come in a shape that no reader knows", 'lines = { shape = "unknown" }'),
    "body-as-text": NamedFault("the body of each answer is a JSON text", 'lines = { shape = "body_string" }'),
    "gemini-body": NamedFault("answers have Gemini's form", 'lines = { shape = "gemini" }'),
    "tool-calls": NamedFault("answers are tool calls without a text", 'lines = { shape = "tool_calls" }'),
    "not-json": NamedFault("1 answer in 20 is prose, the first time: no JSON", "lines = { prose = 0.05 }"),
    "wrong-values": NamedFault(
        "in 1 JSON answer in 20 a field has a value that its schema does not allow, the first time",
        "lines = { wrong_value = 0.05 }",
    ),
    "cut-answers": NamedFault(
        "1 answer in 20 is cut at the limit of tokens, the first time", "lines = { cut_text = 0.05 }"
    ),
    "fenced-answers": NamedFault("answers stand in a code fence", "lines = { fenced = 1.0 }"),
    "plain-create": NamedFault("a create is answered with a plain batch object", 'create = { shape = "plain" }'),
    "unknown-create": NamedFault("a create is answered 200 without an id", 'create = { shape = "unknown" }'),
    "late-results": NamedFault(
        "an ended batch names its results five minutes later",
        """
        status = { results_lag_s = 300.0 }""",
    ),
    "inline-results": NamedFault(
        "the status of an ended batch holds its results",
        """
        status = { inline_results = true }""",
    ),
    "moved-results": NamedFault("a result file is answered with a redirect", "download = { redirect = 1 }"),
    "no-list": NamedFault(
        "the list of batches is forbidden, and the answer to a create is lost",
        """
        list = { refuse = { "403" = 1.0 } }
        create = { lost = 1 }""",
    ),
}


def combined(names: Iterable[str]) -> FaultPlan:
    """Return one plan with all named faults. Raises FaultPlanError for an unknown name, or two that contradict."""
    tables: dict[str, Any] = {}
    for name in names:
        if name not in NAMED:
            raise FaultPlanError(f"there is no fault {name!r}; choose from {', '.join(NAMED)}")
        for table, values in tomllib.loads(NAMED[name].toml).items():
            before = tables.setdefault(table, {})
            for key, value in values.items():
                if before.setdefault(key, value) != value:
                    raise FaultPlanError(f"{name} contradicts another of these faults, in {table}.{key}: leave one out")
    return msgspec.convert(tables, FaultPlan, str_keys=True)

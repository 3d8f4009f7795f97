"""Datasets whose rows can be told apart, job files about them, and what must hold of every finished output.

The simulated model says back the first words of the user's message, so a mark at the head of each prompt shows on
which row an answer has landed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import orchestrator
from tests.sums import sums

MODEL: Final = "gpt-4o-mini-batch"
RESULT_COLUMNS: Final = (
    "custom_id",
    "llm_response",
    "llm_status",
    "llm_finish_reason",
    "llm_tool_calls",
    "llm_reasoning",
    "llm_choices",
    "llm_input_tokens",
    "llm_output_tokens",
    "llm_cached_tokens",
    "llm_reasoning_tokens",
    "llm_cost_usd",
    "llm_attempts",
    "llm_batch_id",
    "llm_request_id",
    "llm_error_code",
    "llm_error_message",
    "llm_reused_from",
)
QUICK: Final = {"poll_s_min": 0.2, "poll_s_max": 0.5, "create_s_max": 10}


def marked(row_count: int, *, width: int = 40) -> pa.Table:
    """Return rows 0, 1, 2 … each with a text that begins with a mark of its own."""
    numbers = range(row_count)
    texts = [f"{mark(number)} {'lorem ipsum dolor ' * (width // 18 + 1)}"[: width + 12].strip() for number in numbers]
    return pa.table({"number": pa.array(numbers, pa.int64()), "text": texts})


def mark(number: int) -> str:
    """Return the mark of a row."""
    return f"mark-{number:06d}"


def write_dataset(path: Path, row_count: int, **options: Any) -> Path:
    """Write marked rows as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(marked(row_count, **options), path)
    return path


def write_job(path: Path, dataset: Path | str, url: str, **tables: Mapping[str, Any]) -> Path:
    """Write a job file about a dataset; `tables` are added to, and win over, what every quick job needs."""
    content: dict[str, dict[str, Any]] = {
        "job": {"name": path.stem, "dataset": str(dataset)},
        "request": {"model": MODEL, "prompt": "{text}"},
        "provider": {"base_url": url, **QUICK},
    }
    for name, table in tables.items():
        content[name] = content.get(name, {}) | dict(table)
    lines = []
    for name, table in content.items():
        lines.append(f"[{name}]")
        lines += [f"{json.dumps(key)} = {_toml(value)}" for key, value in table.items() if value is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def read_output(path: Path | str) -> pa.Table:
    """Return a finished output as any Parquet reader sees it."""
    folder = Path(path)
    assert (folder / "_SUCCESS").exists()
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("part-*.parquet"))])


def check_exact(
    output: pa.Table,
    source: pa.Table,
    *,
    failed: Mapping[str, int] | None = None,
    empty_count: int = 0,
    is_damaged: bool = False,
) -> None:
    """Check that each source row is there once, in order, with its own answer, or dead of an expected code.

    Args:
        empty_count: of the answers that say nothing: those show no mark.
        is_damaged: result lines are damaged: rows that they may answer fail, and are not sent again.
    """
    assert output.column_names == [*source.column_names, *RESULT_COLUMNS]
    assert output.select(source.column_names).equals(source)
    for row in output.select(["number", "llm_status", "llm_response", "llm_error_code"]).to_pylist():
        if row["llm_status"] == "succeeded":
            said = (row["llm_response"] or "").split()
            empty_count -= not said
            assert said[:2] in ([], ["[simulated]", mark(row["number"])]), row
            assert row["llm_error_code"] == (None if said else "empty"), row
        else:
            assert row["llm_status"] == "failed"
            assert row["llm_response"] is None
    died = [code for code, how in zip(*_columns(output), strict=True) if how == "failed"]
    if is_damaged:
        died = [code for code in died if code != "unreadable"]
    assert Counter(died) == Counter(failed or {})
    assert empty_count == 0
    assert len(set(output["custom_id"].to_pylist())) == source.num_rows


def _columns(output: pa.Table) -> tuple[list[Any], list[Any]]:
    return output["llm_error_code"].to_pylist(), output["llm_status"].to_pylist()


def check_counts(document: Mapping[str, Any]) -> None:
    """Check that a status or report adds up: rows, lines and sends."""
    status = sums(document)
    assert status["rows"] == status["succeeded"] + status["failed"]
    assert not status["planning"]
    assert status["waiting_for_retry"] == status["in_flight"] == status["unresolved_chunks"] == 0
    answered = status["lines"] - status["duplicates"] - status["foreign"] - status["unreadable"]
    assert answered >= status["succeeded"]
    assert answered + status["missing"] >= status["rows"] - status["failed"]


def check_audit(job_id: str, work: Path | str) -> None:
    """Check that rows, creates and bill come out the same when they are worked out again from what lies in the folder,
    and that nothing is damaged, missing or astray."""
    found = orchestrator.audit(job_id, work=work, deep=True)
    assert found.is_clean, [difference.as_dict() for difference in found.differences]
    assert found.ledger == found.archive
    assert not found.under_way, found.under_way


def check_bill(bill: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
    """Check that nobody paid twice but for answers that the provider itself withheld or damaged."""
    known = before or {"paid_twice": 0, "excused": 0, "same_custom_id": 0}
    paid_twice = bill["paid_twice"] - known["paid_twice"]
    excused = bill["excused"] - known["excused"]
    assert paid_twice == excused, bill["examples"]
    assert bill["same_custom_id"] == known["same_custom_id"]

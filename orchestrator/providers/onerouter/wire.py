"""Parses OneRouter's answer to the GET of a batch: the status of the batch, or the results themselves.

Rule 1: keys decide. An object with `custom_id` is a result line, one with a status word is a status; others are
    neither.
Rule 2: an unknown status word counts as running: a running batch is polled again; a batch that counts as ended too
    early would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import orjson

from orchestrator.domain import money
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.created_batch import unwrapped
from orchestrator.domain.faults import At, known_of, known_phrase, places_in, tokens_max_in
from orchestrator.domain.model import Outcome
from orchestrator.domain.results_at import ALL_RESULTS, Inline, ResultRef, Urls
from orchestrator.providers.http.error_mapping import BOM, for_machines, number
from orchestrator.providers.http.secret import Secret, redacted
from orchestrator.providers.outcomes import outcome_of, status_word
from orchestrator.providers.result_lines import row_name

_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_STATUS_WORD: Final = re.compile(rb'"(?:status|processing_status|task_status)"\s*:\s*"([A-Za-z_]{1,40})"')
_STATUS_NAMES: Final = ("status", "task_status", "processing_status")
_RESULTS: Final = ("results", "data", "output", "outputs", "responses", "result")  # names of the results in a status
_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:\.[0-9]*)?%")


def holds_results(head: bytes) -> bool:
    """Whether these are results, in lines or in an array, or their beginning. A broken line hides no valid ones."""
    text = head.removeprefix(BOM).lstrip()
    if text.startswith(b"["):
        return b'"custom_id"' in text
    return any("custom_id" in content for content in _objects(head.removeprefix(BOM).split(b"\n")))


def status_in_head(head: bytes) -> BatchStatus | None:
    """Parse the beginning of an answer that is longer, or no readable JSON; None where it shows no results.

    It is a result line that is broken or very long, an array of results, or a status with the results in it. A status
    word before the results decides whether the batch has ended.
    """
    text = head.removeprefix(BOM).lstrip()
    if text[:1] not in (b"{", b"[") or b'"custom_id"' not in text:
        return None
    word = _STATUS_WORD.search(text.partition(b'"custom_id"')[0]) if text.startswith(b"{") else None
    outcome = Outcome.COMPLETED if word is None else outcome_of(word[1].decode())
    return BatchStatus(outcome=outcome, results=None if outcome is None else Inline())


def status_of(content: object, key: Secret) -> BatchStatus | None:
    """Parse a status object, in any of its three forms; None where it is none."""
    content = unwrapped(content)
    if not isinstance(content, dict) or not _is_status(content):
        return None
    fields = _flat(content)
    outcome = _outcome(fields)
    errors = [fields.get(name) for name in ("error", "fail_reason", "errors")]
    provider_message = [text for text in map(_provider_message, errors) if text and _URL.match(text) is None]
    named = [text for text in map(_named, errors) if text]
    done_count, failed_count = _count(fields, "completed"), _count(fields, "failed")
    if outcome is None:
        done_count = done_count or _done_by_percent(fields)
    status = BatchStatus(
        outcome=outcome,
        word=next(filter(None, map(status_word, map(fields.get, _STATUS_NAMES))), ""),
        results=_results(fields, outcome, done_count + failed_count) if outcome is not None else None,
        done_count=done_count,
        failed_count=failed_count,
        fees_usd=_fees(fields.get("fees")),
        error=redacted(": ".join(named), key),
        provider_message=redacted(": ".join(provider_message), key),
    )
    if outcome is not Outcome.FAILED or status.results is not None or done_count or failed_count or status.fees_usd:
        return status
    return _rejected(status, provider_message)


def _rejected(status: BatchStatus, texts: list[str]) -> BatchStatus:
    """Add whose fault it is that a batch failed before any request ran; only where its words are known.

    What this provider means by a failure is documented nowhere: with unknown words requests may have run.
    """
    for text in texts:
        known = known_of(At.BATCH, codes=(text, text.partition(":")[0].strip()), message=text)
        if known is not None:
            return replace(
                status,
                rejected=known.fault,
                error=": ".join(filter(None, (status.error, known_phrase(text)))),
                places=places_in(text),
                tokens_max=tokens_max_in(text),
            )
    return status


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(content, dict):
            yield content


def _is_status(content: dict[str, Any]) -> bool:
    has_word = any(isinstance(content.get(name), str) for name in _STATUS_NAMES)
    # {"status": "error", "error": {…}} is about the call, not about a batch.
    is_error = isinstance(content.get("error"), dict) and content["error"] and not {"batch_id", "id"} & content.keys()
    return "custom_id" not in content and (has_word or isinstance(content.get("batch"), dict)) and not is_error


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Convert the answer of a create, {"batch": {…}, "task_status"}, to the form of the others."""
    inner = content.get("batch")
    fields = {**inner, **content} if isinstance(inner, dict) else dict(content)
    counts = fields.get("request_counts")
    return {**fields, **{f"{name}_count": n for name, n in counts.items()}} if isinstance(counts, dict) else fields


def _outcome(fields: dict[str, Any]) -> Outcome | None:
    processing = fields.get("processing_status")
    if isinstance(processing, str) and processing and processing.lower() != "ended":
        return None
    for name in _STATUS_NAMES:
        word = fields.get(name)
        outcome = outcome_of(word) if isinstance(word, str) else None
        if outcome is not None:
            return outcome
    return None


def _results(fields: dict[str, Any], outcome: Outcome, line_count: int) -> Urls | Inline | None:
    """Return where the results are: in the status itself, or at a URL, perhaps relative to the base URL.

    Older versions of new-api keep the URL of a success in `fail_reason`, beside which it may be words.
    """
    if any(_are_results(fields.get(name)) for name in _RESULTS):
        return Inline()
    names = ("result_url", "results_url", *(("fail_reason",) if outcome is Outcome.COMPLETED else ()))
    for name in names:
        url = fields.get(name)
        if isinstance(url, str) and url.strip() and (name != "fail_reason" or _URL.match(url.strip())):
            return Urls(refs=(ResultRef(name=ALL_RESULTS, at=url.strip(), line_count=line_count or None),))
    return None


def _are_results(value: object) -> bool:
    """Whether this is a list of results: its first one names a row."""
    return isinstance(value, list) and bool(value) and bool(row_name(orjson.dumps(value[0])))


def _count(fields: dict[str, Any], name: str) -> int:
    synonym = {"completed": "succeeded", "failed": "errored"}[name]
    return max(number(fields.get(f"{name}_count")) or number(fields.get(f"{synonym}_count")) or 0, 0)


def _done_by_percent(fields: dict[str, Any]) -> int:
    match = _PERCENT.fullmatch(progress.strip()) if isinstance(progress := fields.get("progress"), str) else None
    total = number(fields.get("total_requests")) or 0
    return total * min(int(match[1]), 100) // 100 if match is not None and total > 0 else 0


def _fees(fees: object) -> Decimal | None:
    if not isinstance(fees, str | int | float) or isinstance(fees, bool):
        return None
    return money.parse(str(fees).strip())


def _named(error: object) -> str:
    """Return the machine-readable part of an error."""
    match error:
        case {"data": [first, *_]}:
            return _named(first)
        case dict():
            return for_machines(error)
    return ""


def _provider_message(error: object) -> str:
    """Return the text of an error: a string, an object, or OpenAI's {"data": [{"code", "message"}, …]}."""
    match error:
        case str():
            return error.strip()
        case {"data": [first, *_]}:
            return _provider_message(first)
        case dict():
            parts = (error.get("code"), error.get("message"))
            return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part)
    return ""

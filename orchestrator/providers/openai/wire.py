"""Parses OpenAI's answers: the batch object, a page of the list, the two result files.

Rule 1: absent, null and empty fields mean the same; times may be seconds or ISO 8601, words may be in any case:
    providers with the same API (Azure, Groq, gateways) differ in these points.
Rule 2: an unknown status counts as running.
Rule 3: an id is put into a path only if it cannot change the path.

    {"id", "object": "batch", "status", "errors": {"data": [{"code", "line", "message"}]}, "input_file_id",
     "output_file_id", "error_file_id", "created_at", "request_counts": {"total", "completed", "failed"}, "metadata"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.created_batch import unwrapped
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.faults import At, Fault, known_of, known_phrase, places_in, tokens_max_in
from orchestrator.domain.input_file import InputState
from orchestrator.domain.model import Outcome, is_usable_id
from orchestrator.domain.results_at import FAILURES, Files, ResultRef
from orchestrator.providers.http.error_mapping import for_machines, number
from orchestrator.providers.http.secret import Secret, redacted
from orchestrator.providers.outcomes import outcome_of, status_word

TOKEN_KEY: Final = "orchestrator_attempt"  # noqa: S105 - the name of a mark in the batch's metadata
LABEL_KEY: Final = "orchestrator_chunk"
_FILES: Final = ("output", FAILURES)
_ERRORS_SHOWN_MAX: Final = 3

Fields = Mapping[str, Any]


def status_of(content: object, key: Secret) -> BatchStatus | None:
    """Read a batch object; None where it is none. Raises Unavailable for a file id that cannot be one."""
    content = unwrapped(content)
    if not isinstance(content, dict) or not isinstance(content.get("status"), str) or not _text(content.get("id")):
        return None
    outcome = outcome_of(content["status"])
    counts = content.get("request_counts")
    done_count, failed_count = (_count(counts, name) for name in ("completed", "failed"))
    errors = list(_errors(content.get("errors")))
    provider_message = [text for text in map(_words, errors) if text]
    named = [text for text in map(_name, errors[:_ERRORS_SHOWN_MAX]) if text]
    status = BatchStatus(
        outcome=outcome,
        word=status_word(content["status"]),
        results=_results(content, (done_count, failed_count)) if outcome is not None else None,
        done_count=done_count,
        failed_count=failed_count,
        error=redacted("; ".join(named), key),
        provider_message=redacted("; ".join(provider_message[:_ERRORS_SHOWN_MAX]), key),
    )
    if outcome is not Outcome.FAILED or status.results is not None or done_count or failed_count or _has_begun(content):
        return status
    return _rejected(status, errors)


def token_of(batch: Fields) -> str:
    """Return the attempt's token in a batch's metadata; "" where it has none."""
    metadata = batch.get("metadata")
    return _text(metadata.get(TOKEN_KEY)) if isinstance(metadata, dict) else ""


def file_of(batch: Fields) -> str:
    """Return the id of the input file that a batch was made from; "" where it is absent."""
    return _text(batch.get("input_file_id"))


# OpenAI has uploaded, processed, error; Azure pending, running, notRunning …; others words of their own.
_INPUT_STATES: Final = {
    InputState.PENDING: "pending running processing not_running notrunning queued uploading validating in_progress",
    InputState.STORED: "uploaded",
    InputState.READY: "processed ready succeeded available active completed validated",
    InputState.BROKEN: "error failed invalid rejected",
    InputState.MISSING: "deleted deleting expired",
}
_INPUT_STATE_OF: Final = {word: state for state, words in _INPUT_STATES.items() for word in words.split()}


def input_state_of(content: object) -> InputState:
    """Read what a file object says of the file."""
    content = unwrapped(content)
    word = _text(content.get("status")) if isinstance(content, dict) else ""
    return _INPUT_STATE_OF.get(word.lower(), InputState.UNKNOWN)


def _results(content: Fields, line_counts: Sequence[int]) -> Files | None:
    """Return the result files: the output file first, which was paid for."""
    refs = []
    for name, line_count in zip(_FILES, line_counts, strict=True):
        file_ids = _file_ids(content, name)
        for place, file_id in enumerate(file_ids, start=1):
            if not is_usable_id(file_id):
                raise Unavailable("the batch names a result file by an unusable id")
            count = line_count if len(file_ids) == 1 else 0  # of several files the counts are not told
            refs.append(ResultRef(name=name if place == 1 else f"{name}{place}", at=file_id, line_count=count or None))
    return Files(refs=tuple(refs)) if refs else None


def _file_ids(content: Fields, name: str) -> list[str]:
    """Return the ids of the output or error files: one, or, in some gateways, a list of them under either name."""
    found = list[str]()
    for key in (f"{name}_file_id", f"{name}_file_ids"):
        value = content.get(key)
        found += [_text(one) for one in (value if isinstance(value, list) else filter(None, [_text(value)]))]
    return list(dict.fromkeys(found))


def _errors(errors: object) -> Iterator[Fields]:
    found = errors.get("data") if isinstance(errors, dict) else errors
    yield from (error for error in (found if isinstance(found, list) else ()) if isinstance(error, dict))


def _has_begun(batch: Fields) -> bool:
    """Whether requests of the batch may have run: a batch that fails in validation is never in progress."""
    return bool(batch.get("in_progress_at"))


# Of several errors the first of these decides: a request is at fault only if nothing larger is.
_GRAVEST: Final = (Fault.ACCOUNT, Fault.QUEUE, Fault.JOB, Fault.SIZE, Fault.PLATFORM, Fault.ROW)


def _rejected(status: BatchStatus, errors: Sequence[Fields]) -> BatchStatus:
    """Add whose fault it is that a batch failed in validation, and which requests it names."""
    faults = [_fault(error) for error in errors] or [Fault.PLATFORM]
    fault = next(fault for fault in _GRAVEST if fault in faults)
    at_fault = [error for error in errors if _fault(error) is fault]
    texts = [_text(error.get("message")) for error in at_fault]
    phrases = list(dict.fromkeys(filter(None, map(known_phrase, texts))))
    return replace(
        status,
        rejected=fault,
        error="; ".join(filter(None, (status.error, *phrases))),
        error_code=next((named for error in at_fault if (named := for_machines({"code": error.get("code")}))), ""),
        places=tuple(place for error in at_fault for place in _places(error)),
        tokens_max=next(filter(None, map(tokens_max_in, texts)), None),
    )


def _fault(error: Fields) -> Fault:
    known = known_of(At.BATCH, codes=(_text(error.get("code")),), message=_text(error.get("message")))
    if known is not None:
        return known.fault if known.fault in _GRAVEST else Fault.PLATFORM
    return Fault.ROW if _places(error) else Fault.PLATFORM


def _places(error: Fields) -> tuple[int, ...]:
    """Return the places (from 0) of the requests that an error names; `line` counts from 1."""
    line = number(error.get("line"))
    return (line - 1,) if line is not None and line > 0 else places_in(_text(error.get("message")))


def _words(error: Fields) -> str:
    """Return a provider's error: its line, its code, its message."""
    parts = (_line(error), error.get("code"), error.get("message"))
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part)


def _name(error: Fields) -> str:
    """Return an error without the text that may quote a row."""
    return ": ".join(part for part in (_line(error), for_machines(error)) if part)


def _line(error: Fields) -> str:
    line = number(error.get("line"))
    return "" if line is None else f"line {line}"


def _count(counts: object, name: str) -> int:
    return max(number(counts.get(name)) or 0, 0) if isinstance(counts, dict) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

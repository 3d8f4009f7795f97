"""What a notice says, in each form.

Rule: it holds ids, counts, amounts and the ledger's own reasons; never a row, an answer or a key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.money import exact
from orchestrator.domain.notices import Format, Kind, Notice

if TYPE_CHECKING:
    from orchestrator.domain.look import Look

TITLES: Final = {
    Kind.FINISHED: "{} is {state}",
    Kind.PAUSED: "{} is paused",
    Kind.NEEDS_PERSON: "{} needs you",
    Kind.BUDGET: "{} has reached its budget",
}
_MARKS: Final = {Kind.FINISHED: "✓", Kind.PAUSED: "◌", Kind.NEEDS_PERSON: "!", Kind.BUDGET: "◌"}
_TAGS: Final = {  # of ntfy: it shows them as pictures
    Kind.FINISHED: ("white_check_mark", "3"),
    Kind.PAUSED: ("pause_button", "4"),
    Kind.NEEDS_PERSON: ("raised_hand", "4"),
    Kind.BUDGET: ("moneybag", "3"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent: the body of a POST, and its headers."""

    body: bytes
    headers: Mapping[str, str]
    content_type: str = "application/json"


def message(form: Format, notice: Notice, look: Look) -> Message:
    """Return what is sent of a notice; the caller signs it."""
    title = TITLES[notice.kind].format(look.name or notice.job_id, state=look.state.value)
    lines = [_counts(look), *([notice.reason] if notice.reason else [])]
    if form is Format.JSON:
        return Message(body=_compact(_payload(notice, look)), headers={})
    return _for_people(form, notice.kind, title, lines, f"orchestrator status {notice.job_id}")


def sample(form: Format, at: datetime) -> Message:
    """Return a message that tries whether messages of this form arrive."""
    text = "This is a test: notices of your jobs arrive here."
    if form is Format.JSON:
        return Message(body=_compact({"type": "test", "timestamp": _iso(at), "data": {"message": text}}), headers={})
    return _for_people(form, Kind.FINISHED, "batch-orchestrator", [text], "orchestrator status")


def _for_people(form: Format, kind: Kind, title: str, lines: Sequence[str], command: str) -> Message:
    if form is Format.SLACK:
        quoted = "\n".join([f"*{_escaped(f'{_MARKS[kind]} {title}')}*", *map(_escaped, lines)])
        return Message(body=_compact({"text": f"{quoted}\n`{_escaped(command)}`"}), headers={})
    tag, priority = _TAGS[kind]
    body = "\n".join([*lines, command]).encode()
    headers = {"Title": title, "Tags": tag, "Priority": priority}
    return Message(body=body, headers=headers, content_type="text/plain; charset=utf-8")


def _payload(notice: Notice, look: Look) -> dict[str, Any]:
    rows, money = look.rows, look.money
    return {
        "type": f"job.{notice.kind}",
        "timestamp": _iso(notice.at),
        "data": {
            "job_id": notice.job_id,
            "name": look.name,
            "state": look.state.value,
            "activity": look.activity.value,
            "reason": notice.reason,
            "rows": {
                "total": rows.total,
                "answered": rows.answered,
                "at_provider": rows.at_provider,
                "to_send_again": rows.to_send_again,
                "waiting": rows.waiting,
                "failed": rows.failed,
                "needs_decision": rows.needs_decision,
            },
            "spent_usd": None if money.spent is None else f"{money.spent:f}",
            "reserved_usd": f"{money.reserved:f}",
        },
    }


def _counts(look: Look) -> str:
    rows, spent = look.rows, look.money.spent
    failed = f", {rows.failed:,} failed" if rows.failed else ""
    cost = "" if spent is None else f" · {exact(spent)}"
    return f"{rows.answered:,} of {rows.total:,} rows answered{failed}{cost}"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

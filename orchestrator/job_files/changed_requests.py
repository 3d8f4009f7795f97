"""Changes request lines of rows that a person has sent again with other parameters.

Rule: a changed request is another request. It keeps its custom_id, and gets a content key of its own: no other job
takes its answer for the request as it was planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator import codec
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.job_files.content_keys import ContentKeys
from orchestrator.job_files.request_files import Request

if TYPE_CHECKING:
    from orchestrator.domain.batch import LineEnvelope


def changes_in(text: str) -> RequestChanges:
    """Return what a column of the ledger has."""
    return codec.decode(text, RequestChanges, name="the changed parameters") if text else RequestChanges()


def text_of(changes: RequestChanges) -> str:
    """Return changes as a column of the ledger has them; "" for none."""
    return "" if changes == RequestChanges() else codec.encode(changes).decode()


def with_body(line: bytes, envelope: LineEnvelope, changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bytes:
    """Return a request line with another body; `changed` gets the present one."""
    start = line.index(envelope.before_body, len(envelope.before_id)) + len(envelope.before_body)
    end = len(line) - len(envelope.after_body) - len(b"\n")
    return line[:start] + orjson.dumps(changed(orjson.loads(line[start:end]))) + line[end:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """Changes requests of one job."""

    envelope: LineEnvelope
    scope: Callable[[str], str]  # what beside the body determines an answer of this model; "": of the job's
    over: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]  # lays fields over a body

    def request(self, one: Request, changes: RequestChanges) -> Request:
        """Return a request with these changes. Raises ConfigError where its body cannot have a field."""

        def changed(body: Mapping[str, Any]) -> Mapping[str, Any]:
            body = changes.body(body)
            return self.over(body, changes.fields) if changes.fields else body

        try:
            line = with_body(one.line, self.envelope, changed)
        except ConfigError as error:
            raise ConfigError(f"row {one.key[1]} of shard {one.key[0]}: {error}") from None
        return Request(line, one.key, ContentKeys(self.envelope, self.scope(changes.model)).of(line))

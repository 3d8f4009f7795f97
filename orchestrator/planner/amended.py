"""Changes request lines of rows that are sent again because their answers were no use: see `domain.amend`.

Rule 1: the line keeps its custom_id, and the content key of the request as planned: the answer is one to that request.
Rule 2: a request that cannot be changed is sent again as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.amend import AMENDED, ANSWER_LENGTH_MAX, Amends, correction, raised
from orchestrator.domain.chosen import choice_in
from orchestrator.domain.row_kinds import INVALID, INVALID_CODES
from orchestrator.job_files import result_parts
from orchestrator.job_files.changed_requests import with_body

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles
    from orchestrator.providers.dialect import Dialect


class Useless(NamedTuple):
    """An answer that was no use, and why."""

    amends: Amends
    text: str
    problem: str


def useless_answers(job_files: JobFiles, chunk: Chunk) -> dict[RowKey, Useless]:
    """Return the answers of a chunk's waiting rows that call for a changed request.

    Of rows that a person has chosen, those that were not of the schema, unless their request was changed for it before.
    """
    choice = choice_in(chunk.regather)
    if not chunk.part or (choice is not None and (choice.kinds[0] != INVALID or chunk.amends == Amends.INVALID)):
        return {}
    with job_files.open(chunk.part) as part:
        return {
            one.key: Useless(AMENDED[one.code], one.text, one.message)
            for one in result_parts.read_failures(part)
            if one.code in (INVALID_CODES if choice is not None else AMENDED) and (one.retryable or choice is not None)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Amending:
    """Changes the requests of one job."""

    dialect: Dialect

    def line(self, line: bytes, answer: Useless) -> bytes:
        """Return the request line of a row for another try."""
        return with_body(line, self.dialect.envelope, lambda body: self._changed(body, answer))

    def _changed(self, body: Mapping[str, Any], answer: Useless) -> Mapping[str, Any]:
        if answer.amends is Amends.INVALID:
            shown = answer.text if len(answer.text) <= ANSWER_LENGTH_MAX else ""
            return self.dialect.with_turn(body, shown, correction(answer.problem))
        limit = self.dialect.output_limit(body)
        return body if limit is None else self.dialect.with_fields(body, {"max_tokens": raised(limit)})

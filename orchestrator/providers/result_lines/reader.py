"""The reader of result lines: the `custom_id` in a line, and the answer for that row."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from orchestrator.domain.faults import SENT_AGAIN
from orchestrator.domain.reconcile import Answer
from orchestrator.providers.result_lines import envelopes
from orchestrator.providers.result_lines.bodies import NOTHING, Body, BodyShape, Content, Plain, tokens
from orchestrator.providers.result_lines.envelopes import UnreadableLine
from orchestrator.providers.result_lines.failures import failure


@dataclass(frozen=True, slots=True)
class ResultReader:
    """Reads the result lines of one dialect.

    `bodies` are the shapes that a body may have, in the order in which they are tried; with `result_lines`, lines may
    have Anthropic's form, too.
    """

    bodies: tuple[BodyShape, ...]
    result_lines: bool = False

    def __call__(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Return the `custom_id` in the line, and the answer for that row. Raises UnreadableLine."""
        sound, decoded = envelopes.decoded_line(line)
        name = decoded.custom_id
        if type(name) is not str:
            raise UnreadableLine("no custom_id")
        exchange = envelopes.exchange_of(decoded, result_lines=self.result_lines)
        content = None if envelopes.has_failed(exchange) else self._content(exchange.body)
        code, message, fault = (None, None, None) if content else failure(exchange)
        held = content or NOTHING
        answer = Answer(  # by position: by keyword it takes nearly twice as long
            content is not None,
            held.text,
            held.finish_reason,
            held.tool_calls,
            held.reasoning,
            held.choices,
            *tokens(exchange.body),
            envelopes.request_id(exchange),
            code,
            message,
            fault in SENT_AGAIN,
            fault,
            xxhash.xxh3_64_intdigest(line),
            envelopes.raw_of(sound) if keep_raw else None,
            held.embedding,
        )
        return name, answer

    def _content(self, body: Body | Plain) -> Content | None:
        if type(body) is not Body:
            return None
        for shape in self.bodies:
            content = shape(body)
            if content is not None:
                return content
        return None

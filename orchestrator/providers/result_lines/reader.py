"""The reader of result lines: the `custom_id` in a line, and the answer for that row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from orchestrator.domain.faults import SENT_AGAIN
from orchestrator.domain.reconcile import Answer
from orchestrator.providers.result_lines import envelopes
from orchestrator.providers.result_lines.bodies import NOTHING, Body, BodyShape, Content, embedding, tokens
from orchestrator.providers.result_lines.envelopes import Exchange
from orchestrator.providers.result_lines.failures import failure
from orchestrator.providers.result_lines.other_shapes import fields_of, name_of, other_exchange


@dataclass(frozen=True, slots=True)
class ResultReader:
    """Reads the result lines of one dialect.

    `bodies` are the shapes that a body may have, in the order in which they are tried; with `result_lines`, lines may
    have Anthropic's form, too.
    """

    bodies: tuple[BodyShape, ...]
    result_lines: bool = False

    def __call__(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Return the `custom_id` in the line, and the answer for that row. Raises UnreadableLine: it names no row."""
        sound, decoded = envelopes.decoded_line(line)
        name, exchange = decoded.custom_id, envelopes.exchange_of(decoded, result_lines=self.result_lines)
        content = _content_of(exchange, self.bodies)
        if type(name) is not str:
            name = name_of(fields_of(sound))
        if content is None and not envelopes.has_failed(exchange):
            other = other_exchange(fields_of(sound), vectors=embedding in self.bodies)
            if other is not None:
                exchange, shape = other
                content = _content_of(exchange, (shape,))
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


def _content_of(exchange: Exchange, shapes: Sequence[BodyShape]) -> Content | None:
    """Return what the line answers; None for a failure, and where no shape fits."""
    body = exchange.body
    if type(body) is not Body or envelopes.has_failed(exchange):
        return None
    for shape in shapes:
        content = shape(body)
        if content is not None:
            return content
    return None

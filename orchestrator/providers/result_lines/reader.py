"""The reader of result lines: the `custom_id` in a line, and the answer for that row."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from orchestrator.domain.faults import SENT_AGAIN
from orchestrator.domain.reconcile import Answer
from orchestrator.providers.result_lines import envelopes
from orchestrator.providers.result_lines.bodies import Body, BodyShape, Content, Plain, tokens
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
        text, finish_reason, embedding = content or (None, None, None)
        code, message, fault = (None, None, None) if content else failure(exchange)
        input_tokens, output_tokens = tokens(exchange.body)
        return name, Answer(
            succeeded=content is not None,
            text=text,
            finish_reason=finish_reason,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            request_id=envelopes.request_id(exchange),
            error_code=code,
            error_message=message,
            retryable=fault in SENT_AGAIN,
            fault=fault,
            digest=xxhash.xxh3_64_intdigest(line),
            raw=envelopes.raw_of(sound) if keep_raw else None,
            embedding=embedding,
        )

    def _content(self, body: Body | Plain) -> Content | None:
        if type(body) is not Body:
            return None
        for shape in self.bodies:
            content = shape(body)
            if content is not None:
                return content
        return None

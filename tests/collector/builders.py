"""Result lines and answers as the tests of the collector need them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import BytesIO
from typing import Any

from orchestrator.collector.parse import Quarantined, read_answers
from orchestrator.domain.custom_id import custom_id
from orchestrator.domain.model import Outcome, Tally
from orchestrator.domain.policy import Price
from orchestrator.domain.reconcile import Answer, Reconciliation, RowKey, unanswered
from orchestrator.job_files.result_parts import write_part
from orchestrator.providers.onerouter.dialect import READER

DIGEST = "9f86d081"
PRICE = Price(input_usd=Decimal("0.075"), output_usd=Decimal("0.3"))


def name_of(row: int, shard_no: int = 0) -> str:
    return custom_id(DIGEST, shard_no, row)


def a_completion(content: Any = "yes", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
        **fields,
    }


def a_line(row: int = 0, *, body: Any = None, status: Any = 200, error: Any = None, **fields: Any) -> bytes:
    """Return a line of OpenAI's shape."""
    response = {"status_code": status, "request_id": f"req-{row}", "body": a_completion() if body is None else body}
    line = {"id": "batch_req_1", "custom_id": name_of(row), "response": response, "error": error, **fields}
    return json.dumps(line, ensure_ascii=False).encode()


def a_result(row: int = 0, **result: Any) -> bytes:
    """Return a line of Anthropic's shape."""
    return json.dumps({"custom_id": name_of(row), "result": result}).encode()


def read(
    blocks: Iterable[bytes], *, rows: int = 1, keep_raw: bool = False
) -> tuple[dict[RowKey, Answer], Tally, list[Quarantined]]:
    """Return what the lines said of each row, the counts, and what was set aside."""
    reconciliation = Reconciliation([(0, row) for row in range(rows)], DIGEST)
    aside = list(read_answers(blocks, reconciliation, READER, keep_raw=keep_raw))
    tally, answers = reconciliation.close(unanswered(Outcome.COMPLETED), may_send_again=True)
    return dict(answers), tally, aside


def read_one(line: bytes, *, keep_raw: bool = False) -> Answer:
    """Return what a line said of row 0."""
    answers, tally, aside = read([line], keep_raw=keep_raw)
    assert (tally.lines, tally.missing, aside) == (1, 0, [])
    return answers[0, 0]


def an_answer(text: str = "yes", **fields: Any) -> Answer:
    return Answer(**{"succeeded": True, "text": text, "finish_reason": "stop", "request_id": "r", **fields})


def a_failure(code: str = "500", **fields: Any) -> Answer:
    return Answer(**{"succeeded": False, "error_code": code, "error_message": "it broke", "retryable": True, **fields})


def a_part(
    rows: Sequence[tuple[RowKey, Answer]],
    *,
    round_: int = 1,
    fees_usd: Decimal | None = None,
    price: Price | None = None,
) -> BytesIO:
    """Return a part, ready to be read."""
    out = BytesIO()
    write_part(out, iter(rows), batch_id=f"batch_{round_}", round=round_, fees_usd=fees_usd, price=price)
    out.seek(0)
    return out

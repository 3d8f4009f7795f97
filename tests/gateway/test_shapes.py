"""OneRouter's JSON objects: each is compared with what its documentation prints, copied here by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.gateway.envelopes import fees_text
from orchestrator.gateway.settings import LineShape, ResultMode
from orchestrator.gateway.simulated import price_nano_usd
from tests.gateway.in_process import DURATION_S, START_S, a_gateway, a_row, lines_of, some_rows

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def test_a_create_is_answered_with_the_documented_envelope(tmp_path: Path) -> None:
    """Six keys on top; absent ids are empty strings, absent times null, and no request is counted yet."""
    body = json.dumps({"requests": some_rows(3)}).encode()
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send("POST", "/v1/batches", content=body)
    shown = answer.json()
    batch_id, file_id = shown["batch_id"], shown["file_id"]

    assert answer.status_code == 200
    assert re.fullmatch(f"batch_{UUID}", batch_id)
    assert re.fullmatch(r"file-[0-9a-f]{32}", file_id)
    assert shown == {
        "batch": {
            "cancelled_at": None,
            "cancelling_at": None,
            "completed_at": None,
            "completion_window": "24h",
            "created_at": 1765972352,
            "endpoint": "",
            "error_file_id": "",
            "errors": None,
            "expired_at": None,
            "expires_at": 1766058749,
            "failed_at": None,
            "finalizing_at": None,
            "id": batch_id,
            "in_progress_at": None,
            "input_file_id": file_id,
            "metadata": None,
            "object": "batch",
            "output_file_id": "",
            "request_counts": {"completed": 0, "failed": 0, "total": 0},
            "status": "validating",
        },
        "batch_id": batch_id,
        "file": {
            "bytes": len(body),
            "created_at": 1765972352,
            "filename": "batch.jsonl",
            "id": file_id,
            "object": "file",
            "purpose": "batch",
            "status": "processed",
        },
        "file_id": file_id,
        "task_id": 1,
        "task_status": "NOT_START",
    }


def test_task_ids_are_integers_that_grow(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_ids = [gateway.create([a_row()]) for _ in range(3)]
        task_ids = [gateway.status(batch_id)["task_id"] for batch_id in batch_ids]

    assert task_ids == [1, 2, 3]


def test_a_new_batch_shows_the_documented_status_with_nothing_in_it(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create(some_rows(3))
        shown = gateway.status(batch_id)

    assert shown == {
        "batch_id": batch_id,
        "completed_count": 0,
        "completion_tokens": 0,
        "error": "",
        "fail_reason": "",
        "failed_count": 0,
        "fees": "0.000000000",
        "finish_time": 0,
        "model": "gpt-4o-mini-batch",
        "progress": "0%",
        "prompt_tokens": 0,
        "result_url": "",
        "start_time": 0,
        "status": "NOT_START",
        "submit_time": 1765972352,
        "task_id": 1,
        "total_requests": 3,
        "total_tokens": 0,
    }


def test_an_ended_batch_shows_the_documented_status(tmp_path: Path) -> None:
    """Of 'What is the capital of France?' 30 bytes are 8 tokens; of '[simulated]' and its 6 words, 7."""
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create([a_row(f"row-{number}") for number in range(3)])
        gateway.end()
        shown = gateway.status(batch_id)

    url = shown.pop("result_url")
    assert re.fullmatch(rf"http://gateway\.test/resource/batch-llm/azure-batch%2F{batch_id}_[0-9a-f]{{8}}\.jsonl", url)
    assert shown == {
        "batch_id": batch_id,
        "completed_count": 3,
        "completion_tokens": 21,
        "error": "",
        "fail_reason": "",
        "failed_count": 0,
        "fees": "0.000008000",  # 24 x 0.075 + 21 x 0.30 = 8.1 millionths, cut to six places
        "finish_time": int(START_S + DURATION_S),
        "model": "gpt-4o-mini-batch",
        "progress": "100%",
        "prompt_tokens": 24,
        "start_time": 0,
        "status": "SUCCESS",
        "submit_time": 1765972352,
        "task_id": 1,
        "total_requests": 3,
        "total_tokens": 45,
    }


def test_the_fees_of_the_documentations_own_batch_are_the_documented_ones() -> None:
    assert fees_text(price_nano_usd("gpt-4o-mini-batch", 54, 1644) // 1000) == "0.000497000"
    assert fees_text(12_345_678) == "12.345678000"


def test_an_openai_result_line_is_azures(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        [line] = lines_of(gateway.run([a_row()]))
    request_id = line["response"]["request_id"]

    assert re.fullmatch(UUID, request_id)
    assert line == {
        "custom_id": "row-0",
        "response": {
            "status_code": 200,
            "request_id": request_id,
            "body": {
                "id": f"chatcmpl-{request_id}",
                "object": "chat.completion",
                "created": 1765972352,
                "model": "gpt-4o-mini-batch",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": "[simulated] What is the capital of France?",
                            "refusal": None,
                        },
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 8, "completion_tokens": 7, "total_tokens": 15},
            },
        },
        "error": None,
    }


def test_an_anthropic_result_line_is_a_tagged_message(tmp_path: Path) -> None:
    with a_gateway(tmp_path, line_shape=LineShape.ANTHROPIC) as gateway:
        [line] = lines_of(gateway.run([a_row(max_tokens=3)]))
    message = line["result"].pop("message")

    assert line == {"custom_id": "row-0", "result": {"type": "succeeded"}}
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o-mini-batch",
        "content": [{"type": "text", "text": "[simulated] What is"}],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {"input_tokens": 8, "output_tokens": 3, "service_tier": "batch"},
    }


def test_an_anthropic_failure_nests_its_error_twice(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"429": 1.0}}}, line_shape=LineShape.ANTHROPIC) as gateway:
        [line] = lines_of(gateway.run([a_row()]))

    assert line["result"]["type"] == "errored"
    assert line["result"]["error"]["type"] == "error"
    assert line["result"]["error"]["error"] == {"type": "rate_limit_error", "message": "simulated failure 429"}


def test_an_openai_failure_has_no_error_but_a_status_code(tmp_path: Path) -> None:
    with a_gateway(tmp_path, {"rows": {"fail": {"500": 1.0}}}) as gateway:
        [line] = lines_of(gateway.run([a_row()]))

    assert line["error"] is None
    assert line["response"]["status_code"] == 500
    assert line["response"]["body"] == {
        "error": {"message": "simulated failure 500", "type": "server_error", "param": None, "code": "500"}
    }


@pytest.mark.parametrize(("mode", "is_jsonl"), [(ResultMode.JSONL_STREAM, True), (ResultMode.MIXED, False)])
def test_the_other_result_modes_answer_a_poll_with_the_results(
    tmp_path: Path, mode: ResultMode, is_jsonl: bool
) -> None:
    with a_gateway(tmp_path, result_mode=mode) as gateway:
        batch_id = gateway.create(some_rows(3))
        running = gateway.send("GET", f"/v1/batches/{batch_id}")
        gateway.end()
        ended = gateway.send("GET", f"/v1/batches/{batch_id}")

    assert running.json()["status"] == "NOT_START"
    assert running.content.endswith(b"}\n") == is_jsonl
    assert running.content.count(b"\n") == is_jsonl
    assert ended.headers["content-type"] == "application/jsonl"
    assert {line["custom_id"] for line in lines_of(ended.content)} == {"row-0", "row-1", "row-2"}


def test_results_come_in_another_order_than_the_rows_and_always_the_same(tmp_path: Path) -> None:
    rows = some_rows(50)
    with a_gateway(tmp_path) as gateway:
        first, second = gateway.run(rows), gateway.run(rows)
    order = [line["custom_id"] for line in lines_of(first)]

    assert first == second
    assert order != [row["custom_id"] for row in rows]
    assert sorted(order) == sorted(row["custom_id"] for row in rows)


def test_the_result_url_can_be_on_another_host(tmp_path: Path) -> None:
    with a_gateway(tmp_path, results_url="http://files.test/") as gateway:
        batch_id = gateway.create([a_row()])
        gateway.end()

        assert gateway.status(batch_id)["result_url"].startswith("http://files.test/resource/batch-llm/azure-batch%2F")


def test_a_result_url_decoded_and_sent_with_a_slash_is_another_file(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        batch_id = gateway.create([a_row()])
        gateway.end()
        url = gateway.status(batch_id)["result_url"]

        assert gateway.send("GET", url, key=None).status_code == 200
        assert gateway.send("GET", url.replace("%2F", "/"), key=None).status_code == 404
        assert gateway.send("GET", url.replace(".jsonl", ".json"), key=None).status_code == 404

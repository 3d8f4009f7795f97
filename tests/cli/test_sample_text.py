"""Requests as `plan` shows them: what the model is told, in every dialect's form."""

from __future__ import annotations

import json

from orchestrator.cli.sample_text import sample_lines

BODY = {
    "model": "m",
    "max_tokens": 9,
    "seed": 1,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "one\n\ntwo"}],
}
SHOWN = [
    "request  system    Be brief.",
    "         user      one",
    "",
    "                   two",
    "                   model m, max_tokens 9",
    "                   also: seed",
]


def shown(line: object, lines_max: int = 12) -> list[str]:
    return [text.rstrip() for text in sample_lines("request  ", json.dumps(line), lines_max)]


def test_a_request_is_its_texts_and_its_parameters_wherever_a_dialect_puts_them() -> None:
    assert shown({"custom_id": "a", "params": BODY}) == SHOWN
    assert shown({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY}) == SHOWN


def test_an_input_is_shown_as_a_text_or_as_json() -> None:
    assert shown({"body": {"model": "e", "input": "hello"}}) == [
        "request  input     hello",
        "                   model e",
    ]
    assert shown({"body": {"input": [{"role": "user", "content": [{"type": "text"}]}]}}, 2) == [
        'request  user      [{"type": "text"}]'
    ]


def test_a_long_text_is_cut_and_fits_80_columns() -> None:
    lines = shown({"params": {"messages": [{"role": "user", "content": "word " * 500}]}}, 3)

    assert len([line for line in lines if "word" in line]) == 3
    assert lines[2].endswith("…")
    assert max(map(len, lines)) <= 80


def test_the_first_two_lines_of_a_request_show_the_row_below_a_prompt_s_blank_line() -> None:
    """`init` writes such a prompt; the second and third request of a plan would show nothing of their rows."""
    line = {"params": {"messages": [{"role": "user", "content": "One word for the mood of:\n\nIt is not warm."}]}}

    assert shown(line, 2) == ["request  user      One word for the mood of: It is not warm."]

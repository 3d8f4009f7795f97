"""One job file through three providers: the same answers and columns, whatever the provider's API is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.command_line import command_line
from tests.acceptance.datasets import read_output
from tests.gateway_process import API_KEY, running_gateway

pytestmark = pytest.mark.slow

ROWS: Final = 9
MODELS: Final = {"onerouter": "gpt-4o-mini-batch", "openai": "gpt-4o-mini", "anthropic": "claude-haiku-5-5"}
KEYS: Final = {"ONEROUTER_API_KEY": API_KEY, "OPENAI_API_KEY": API_KEY, "ANTHROPIC_API_KEY": API_KEY}
JOB: Final = """
[job]
name = "moods"
dataset = "reviews.jsonl"
provider = "{provider}"

[request]
model = "{model}"
messages = [
  {{ role = "system", content = "Answer in one word." }},
  {{ role = "user", content = "The mood of review {{id}}: {{text}}" }},
]
max_tokens = 6
stop_sequences = ["END"]
tools = [{{ name = "look_up", description = "Look up a word.", input_schema = {{ type = "object" }} }}]
tool_choice = "auto"

[policy]
chunk_requests_max = 4
retry_gather_s = 0.1

[provider]
base_url = "{url}"
poll_s_min = 0.1
poll_s_max = 0.2
"""
# What a provider words or counts by itself: ids, money, why an answer ended, the code of an error.
OWN_WORDS: Final = ("batch_id", "request_id", "cost_usd", "finish_reason", "error_code", "error_message")


def test_a_job_file_gives_the_same_answers_and_columns_through_all_three(tmp_path: Path) -> None:
    """Unchanged but for provider and model. The first row of each batch is refused, all answers are cut at 6 tokens."""
    tables: dict[str, Any] = {}
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        gateway.set_faults({"rows": {"fail": {"400": 1}, "times": 0}})
        for provider, model in MODELS.items():
            user = command_line(tmp_path / provider, **KEYS)
            user.folder.mkdir()
            lines = (f'{{"id": {number}, "text": "fine so far {number}"}}\n' for number in range(ROWS))
            (user.folder / "reviews.jsonl").write_text("".join(lines))
            (user.folder / "job.toml").write_text(JOB.format(provider=provider, model=model, url=gateway.url))
            ended = user.run("run", "job.toml")
            assert ended.code == 4, ended  # some rows failed
            [output] = user.folder.glob("work/*/output")
            tables[provider] = read_output(output)
        bill = gateway.bill()

    first = tables["onerouter"]
    statuses = ["failed" if row % 4 == 0 else "succeeded" for row in range(ROWS)]
    assert first["llm_status"].to_pylist() == statuses
    for table in tables.values():
        assert table.schema.equals(first.schema)
        for name in table.column_names:
            if name != "custom_id" and name.removeprefix("llm_") not in OWN_WORDS:
                assert table[name].to_pylist() == first[name].to_pylist(), name
    assert first["llm_response"].to_pylist()[1] == "[simulated] The mood of review 1:"
    cut = {name: set(table["llm_finish_reason"].drop_null().to_pylist()) for name, table in tables.items()}
    assert cut == {"onerouter": {"length"}, "openai": {"length"}, "anthropic": {"max_tokens"}}
    assert (bill["answers"], bill["paid_twice"]) == (3 * statuses.count("succeeded"), 0)

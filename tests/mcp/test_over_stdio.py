"""A job driven through the Model Context Protocol alone: the SDK's own client, over stdio, against a fake provider."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client, StdioServerParameters

import orchestrator
from orchestrator.api import commands
from orchestrator.api.documents.catalogue import schema_of
from orchestrator.api.job import read_job
from orchestrator.testing import KEY_VARIABLE, Failure, fake_provider
from tests.acceptance.datasets import MODEL, write_job
from tests.gateway_process import ROOT

ROWS: Final = 30
SECRET: Final = "canary-of-a-row"
PRICES: Final = {MODEL: {"input_usd": "0.10", "output_usd": "0.40"}}
Call = Callable[..., dict[str, Any]]


def answer(body: dict[str, Any]) -> str | Failure:
    text = body["messages"][0]["content"]
    return Failure(message="the filter says no") if text.endswith("bad") else f"{SECRET} {text}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the server may use: tables and job files."""
    folder = tmp_path_factory.mktemp("agent") / "mine"
    folder.mkdir()
    texts = [f"row {row}" + (" bad" if row % 10 == 9 else "") for row in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(["text", *texts]) + "\n")
    (folder.parent / "theirs.csv").write_text("text\nnot for agents\n")
    with fake_provider(answer) as fake:
        (folder.parent / "address").write_text(fake.url)
        provider = {"api_key_env": KEY_VARIABLE, "prices": PRICES, "poll_s_min": 0.1, "poll_s_max": 0.1}
        for name, tables in (
            ("mood", {}),
            ("capped", {"policy": {"budget_usd": "0.01"}, "request": {"prompt": "capped {text}"}}),
            ("poor", {"request": {"prompt": "poor {text}"}}),
            ("unfunded", {"request": {"prompt": "unfunded {text}"}}),
            ("unheard", {"request": {"model": "no-such-model"}}),
            ("raised", {"request": {"prompt": "raised {text}"}}),
            ("coded", {"request": {"render": "mine:render", "prompt": None}}),
        ):
            write_job(folder / f"{name}.toml", "rows.csv", fake.url, provider=provider, **tables)
        write_job(folder / "elsewhere.toml", "../theirs.csv", fake.url, provider=provider)
        write_job(folder / "afar.toml", "rows.csv", "https://elsewhere.example/v1", provider=provider)
        yield folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Callable[..., Any]]:
    """A function that calls a method of a client, which has started the server."""
    words = ["-m", "orchestrator", "mcp", "--work", str(folder.parent / "work"), "--budget-max", "0.08"]
    words += ["--allow-url", (folder.parent / "address").read_text(), "--allow-variable", KEY_VARIABLE]
    server = StdioServerParameters(
        command=sys.executable,
        args=words,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), KEY_VARIABLE: os.environ[KEY_VARIABLE]},
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(server)) as connected:
        yield lambda method, *given: portal.call(getattr(connected, method), *given)


@pytest.fixture
def call(client: Callable[..., Any]) -> Call:
    """Call a tool, and return its document; what it prints as text is the same."""

    def call(tool: str, **given: Any) -> dict[str, Any]:
        result = client("call_tool", tool, given)
        found: dict[str, Any] = result.structured_content
        assert json.loads(result.content[0].text) == found
        kind = found["schema"].removeprefix("orchestrator.").partition("/")[0]
        jsonschema_rs.validator_for(schema_of((kind,))).validate(found)
        assert result.is_error is (kind == "error")
        return found

    return call


def test_a_job_is_driven_to_its_end_inside_a_budget(call: Call, folder: Path) -> None:
    """Plan, run, status, results, failures: nothing of a row but in results."""
    plan = call("plan", job="mood.toml")
    assert (plan["rows"], plan["requests"], plan["samples"]) == (ROWS, ROWS, [])
    assert float(plan["cost_usd_max"]) < 0.02

    begun = call("run", job="mood.toml", budget_usd="0.02")
    assert begun["job"]["work"] == str(folder.parent / "work")
    assert float(begun["money"]["budget"]) == 0.02

    status = call("status", job="mood.toml", wait_s=60)
    assert (status["job"]["activity"], status["rows"]["answered"], status["rows"]["failed"]) == ("finished", 27, 3)
    assert float(status["money"]["spent"]) <= 0.02
    assert status["job"]["id"] in [one["job"]["id"] for one in call("status")["jobs"]]

    found, after = [], 0
    while after is not None:
        page = call("results", job=status["job"]["id"], limit=20, after=after)
        found += page["rows"]
        after = page["next"]
    assert [row["text"] for row in found] == (folder / "rows.csv").read_text().split("\n")[1:-1]
    assert found[0]["llm_response"] == f"{SECRET} row 0"

    failures = call("failures", job="mood.toml", examples=2)
    assert (failures["failed"], [cause["cause"] for cause in failures["causes"]]) == (3, ["content_filter"])
    assert [example["message"] for example in failures["causes"][0]["examples"]] == ["the filter says no"] * 2
    for document in (plan, begun, status, failures):
        assert SECRET not in json.dumps(document)


@pytest.mark.slow
def test_two_jobs_run_at_once_and_a_job_file_may_have_the_budget(call: Call) -> None:
    begun = [call("run", job="capped.toml"), call("run", job="unfunded.toml", limit=3, budget_usd="0.01")]

    for one in begun:
        ended = call("status", job=one["job"]["id"], wait_s=60)
        assert (ended["job"]["activity"], float(ended["money"]["budget"])) == ("finished", 0.01)


def test_without_a_budget_nothing_is_run(call: Call) -> None:
    refused = call("run", job="unfunded.toml")

    assert "the job has no budget: give budget_usd" in refused["message"]
    assert call("status", job="unfunded.toml")["code"] == "job_unknown"


@pytest.mark.slow
def test_a_budget_that_is_too_small_stops_the_job_and_is_not_raised(call: Call) -> None:
    call("run", job="poor.toml", budget_usd="0.000001")

    stopped = call("status", job="poor.toml", wait_s=60)
    assert stopped["job"]["activity"] == "stopped"
    assert "the budget is too small" in stopped["job"]["reason"]
    assert (float(stopped["money"]["budget"]), float(stopped["money"]["spent"])) == (0.000001, 0)
    by_id = call("run", job=stopped["job"]["id"], budget_usd="0.01")
    assert "has a budget of 0.000001 USD" in by_id["message"]
    assert call("results", job="poor.toml")["code"] == "job_not_finished"
    cancelled = call("cancel", job="poor.toml")
    assert (cancelled["job"]["state"], cancelled["rows"]["failed"]) == ("cancelled", ROWS)


def test_a_larger_budget_for_a_job_that_runs_is_its_budget_from_then_on(call: Call, folder: Path) -> None:
    """It is paused meanwhile, so that it is not done before."""
    work = folder.parent / "work"
    handle = orchestrator.submit(commands.at(read_job(folder / "raised.toml"), work), alongside=True)
    handle.pause()
    begun, raised = (call("run", job="raised.toml", budget_usd=usd) for usd in ("0.01", "0.02"))
    handle.resume()
    ended = call("status", job="raised.toml", wait_s=60)

    assert [float(one["money"]["budget"]) for one in (begun, raised, ended)] == [0.01, 0.02, 0.02]
    assert begun["job"]["worked_by"] == raised["job"]["worked_by"] != []
    assert ended["job"]["activity"] == "finished"


def test_a_budget_is_never_above_the_job_files_or_the_servers(call: Call) -> None:
    over_file = call("run", job="capped.toml", budget_usd="0.02")
    over_all = call("run", job="mood.toml", limit=3, budget_usd="0.09")

    assert "over the job file's policy.budget_usd, 0.01 USD" in over_file["message"]
    assert "over what this server may spend in all, 0.08 USD" in over_all["message"]


def test_a_model_without_a_price_is_refused_before_anything_is_sent(call: Call) -> None:
    refused = call("run", job="unheard.toml", budget_usd="0.01")

    assert refused["code"] == "config_error"
    assert "no price of 'no-such-model' is known" in refused["message"]


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        ("plan", {"job": "elsewhere.toml"}, "job.dataset"),
        ("plan", {"job": "afar.toml"}, "`orchestrator mcp --allow-url https://elsewhere.example/v1`"),
        ("plan", {"job": "../mine/../theirs.toml"}, "the job file"),
        ("plan", {"dataset": "../theirs.csv", "prompt": "{text}"}, "is not under a folder that this server may use"),
        ("plan", {"dataset": "../*.csv", "prompt": "{text}"}, "is not under a folder that this server may use"),
        ("plan", {"dataset": "s3://bucket/rows.csv", "prompt": "{text}"}, "is a URL"),
        ("run", {"job": "coded.toml", "budget_usd": "0.01"}, "request.render makes the requests by code"),
        ("plan", {"dataset": "rows.csv"}, "what is to be asked about each row"),
        ("plan", {}, "give job"),
        ("plan", {"job": "mood.toml", "prompt": "{text}"}, "go with dataset"),
        ("run", {"job": "mood.toml", "budget_usd": "0"}, "give an amount in USD above 0"),
        ("results", {"job": "mood.toml", "limit": 1_000}, "Expected `int` <= 100"),
        ("results", {"job": "mood.toml", "colums": ["text"]}, "unknown field `colums`"),
        ("status", {"job": "absent"}, ""),
        ("approve", {"job": "mood.toml"}, "there is no tool approve"),
    ],
)
def test_what_is_not_allowed_or_wrong_is_an_error_that_says_so(
    call: Call, tool: str, given: dict[str, Any], words: str
) -> None:
    found = call(tool, **given)

    assert found["schema"] == "orchestrator.error/1"
    assert words in found["message"]


def test_the_tools_are_described_by_schemas(client: Callable[..., Any]) -> None:
    """Approving is a person's, unless the server was started with --allow-approve."""
    tools = client("list_tools").tools

    assert [tool.name for tool in tools] == ["plan", "run", "status", "results", "failures", "cancel"]
    for tool in tools:
        assert tool.input_schema["type"] == tool.output_schema["type"] == "object"
        jsonschema_rs.meta.validate(tool.input_schema)
        jsonschema_rs.meta.validate(tool.output_schema)
    assert [tool.name for tool in tools if not tool.annotations.read_only_hint] == ["run", "cancel"]

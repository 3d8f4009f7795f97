"""A row has the same names on every surface: Python, the commands, the page, an agent's tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import orchestrator
from orchestrator import ConfigError, JobHandle
from orchestrator.api.row_names import RowNames
from orchestrator.api.viewer import Viewer
from orchestrator.cli.main import app
from orchestrator.domain.model import JobId
from orchestrator.engine.opening import opened_workspace
from orchestrator.mcp.arguments import ResultsArguments
from orchestrator.mcp.limits import Limits
from orchestrator.mcp.tools import Tools
from orchestrator.testing import fake_provider
from orchestrator.web.access import Access
from orchestrator.web.app import make_app

# A key may look like a place or a number, and begin as the word that may stand before it.
NAMES: Final = ["alpha", "0/3", "key:alpha", "5", "e"]
KEYED: Final = {"alpha": 0, "key:e": 4, "0/3": 1, "key:alpha": 2, "key:key:alpha": 2, "5": 3, "0/4": 4, " {id}-0-4": 4}
NUMBERED: Final = {"3": 3, "key:3": 3, "0/2": 2, "key:0/0": 0, "{ID}-0-4": 4}
ABSENT: Final = {"beta": "no row 'beta'", "0/9": "no row 9 of shard 0", "00000000-0-1": "an id of another job"}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, JobHandle]]:
    """Return a job with a column of keys, and one without."""
    work, found = tmp_path_factory.mktemp("work"), {}
    with fake_provider(lambda _: "yes") as fake:
        for has_keys in (True, False):
            given: dict[str, Any] = {"prompt": "{name}", "model": "any", "work": work, **fake.options}
            options = {"key": "name"} if has_keys else {}
            table = pd.DataFrame({"name": NAMES, "place": range(len(NAMES))})
            result = orchestrator.run(table, name=f"keys-{has_keys}".lower(), dataset_options=options, **given)
            found[has_keys] = orchestrator.open_job(result.job_id, work=work)
        yield found


def command(*arguments: str, given: str | None = None) -> Any:
    done = CliRunner().invoke(app, list(arguments), input=given)
    if isinstance(done.exception, ConfigError):
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_the_file(handle: JobHandle, path: Path, **wanted: Any) -> list[int]:
    handle.export(path / "rows.jsonl", force=True, **wanted)
    return [json.loads(line)["place"] for line in (path / "rows.jsonl").read_text().splitlines()]


def by_the_page(handle: JobHandle, name: str) -> list[int]:
    with opened_workspace(handle.work) as workspace:
        page = make_app(Viewer(workspace), Access(hosts=frozenset(), token="t"))
        browser = TestClient(page, headers={"authorization": "Bearer t"})
        found = browser.get(f"/jobs/{handle.job_id}/rows", params={"find": name})
    if found.status_code != 200:
        raise ConfigError(found.text.replace("&#39;", "'"))
    return [row for row in range(len(NAMES)) if f"row {row} of shard 0" in found.text]


def by_the_agent(handle: JobHandle, name: str) -> list[int]:
    tools = Tools(work=handle.work, limits=Limits(folders=[], budget_usd_max=Decimal(0)), may_approve=False)
    page = tools.results(ResultsArguments(job=handle.job_id, rows=(f"key:{name}",)))
    return [row["place"] for row in page.rows]


def places(batches: Any) -> list[int]:
    return [place for batch in batches for place in batch["place"].to_pylist()]


SURFACES: Final[dict[str, Callable[[JobHandle, str, Path], list[int]]]] = {
    "iter_batches kind": lambda job, name, _: places(job.results().iter_batches(kind=f"key:{name}")),
    "iter_batches keys": lambda job, name, _: places(job.results().iter_batches(keys=[name])),
    "rows": lambda job, name, _: job.results().rows(f"key:{name}")["place"].to_pylist(),
    "show": lambda job, name, _: [job.show(name).row],
    "export": lambda job, name, path: by_the_file(job, path, kind=f"key:{name}"),
    "export keys": lambda job, name, path: by_the_file(job, path, keys=[name], partial=True),
    "plan_retry": lambda job, name, _: ["one"] * job.plan_retry(keys=[name]).rows,
    "results": lambda job, name, _: [
        row["place"] for row in command("results", job.job_id, "--work", job.work, "--rows", f"key:{name}")
    ],
    "results --answers --keys": lambda job, name, _: [
        row["row"] for row in command("results", job.job_id, "--work", job.work, "--answers", "--keys", "-", given=name)
    ],
    "show, the command": lambda job, name, _: [
        command("show", job.job_id, name, "--work", job.work, "--json")[0]["row"]
    ],
    "page": lambda job, name, _: by_the_page(job, name),
    "agent": lambda job, name, _: by_the_agent(job, name),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "numbers"])
def test_each_surface_takes_each_name_of_a_row_and_refuses_what_names_none(
    jobs: dict[bool, JobHandle], tmp_path: Path, has_keys: bool, surface: str
) -> None:
    handle, found = jobs[has_keys], SURFACES[surface]
    digest = handle.job_id[-8:]

    for name, row in (KEYED if has_keys else NUMBERED).items():
        if surface in ("iter_batches kind", "rows", "export", "results", "agent") and name.startswith("key:"):
            continue  # `key:` is there already
        named = name.replace("{id}", digest).replace("{ID}", digest.upper())
        wanted = ["one"] if surface == "plan_retry" else [row]
        assert found(handle, named, tmp_path) == wanted, name
    for name, told in (ABSENT | ({} if has_keys else {"5": "has 5 rows, numbered from 0: there is no row 5"})).items():
        with pytest.raises(ConfigError, match=told):
            found(handle, name, tmp_path)


def names_of(*shard_rows: int, numbered: int | None = None) -> RowNames:
    known = len(shard_rows) if numbered is None else numbered
    return RowNames(
        job_id=JobId("any-0123abcd"), folder="", shard_rows=shard_rows, numbered_shards=known, is_planned=known == 4
    )


def test_numbers_count_over_shards_as_far_as_these_are_planned() -> None:
    found = names_of(3, 0, 2, 4).places(["0", "2", "3", "4", "5", "8"])

    assert list(found.values()) == [(0, 0), (0, 2), (2, 0), (2, 1), (3, 0), (3, 3)]
    with pytest.raises(ConfigError, match="has 9 rows so far, numbered from 0: there is no row 5"):
        names_of(3, 0, 2, 4, numbered=3).places(["5"])
    with pytest.raises(ConfigError, match=r"2 rows that you named are not there: 70, 9\. Job any-0123abcd has 9 "):
        names_of(3, 0, 2, 4).places(["70", "1", "9"])

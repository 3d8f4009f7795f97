"""Every command and snippet of README and docs is run, against a local gateway; NOT_RUN lists those that are not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docs_world import ROOT, World
from tests.gateway_process import GatewayProcess, running_gateway
from tests.test_docs import DOCS, PAGES, blocks, name_of

pytestmark = pytest.mark.slow

TUTORIAL: Final = DOCS / "tutorial.md"
REQUEST: Final = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
SHELL: Final = re.compile(r"^(?:\w+=\S+ )*(?:\.venv/bin/)?(orchestrator .+)$")

# What a job has been through before a command makes sense; the first that fits. Without one: any job, or none.
BEFORE: Final = (
    (r"retry \S+ --rows truncated", "ran"),
    (r"retry .*(key:|score)", "keyed"),
    (r"retry ", "failed"),
    (r"reread ", "unreadable"),
    (r"approve ", "waits"),
    (r"resolve ", "unresolved"),
    (r"(cancel|pause) ", "submitted"),
    (r"resume ", "paused"),
    (r"results moods", "typed"),
    (r"recover", "lost"),
    (r"(attach|status|results|export|show|batches|log|audit)\b|run (reviews-|mood-|JOB)", "ran"),
)
# The exit code where it is not 0, and why.
ENDS: Final = {
    r"rehearse .*lost-create": 3,  # OneRouter cannot be asked what became of the create
}
# Not run here, and why not. Each must be in a page, or the list is too long.
SERVERS: Final = "serves until it is stopped"
NOT_RUN: Final = {
    r"orchestrator stop": "needs a run of another process: tests/acceptance/test_terminals.py",
    r"orchestrator demo": "runs for a minute: tests/acceptance/test_demo.py",
    r"orchestrator ui": f"{SERVERS}: tests/web starts it",
    r"orchestrator (worker|beat|fleet)": f"{SERVERS}: tests/workers starts it",
    r"orchestrator gateway": f"{SERVERS}: these tests run against one",
    r"orchestrator mcp": f"{SERVERS}: tests/mcp starts it",
    r"orchestrator notify": "needs a receiver: tests/acceptance/test_notices.py",
    r"orchestrator submit .*--wait": "needs a fleet: tests/workers/test_worker.py",
    r"orchestrator resolve .*--give-up": "needs a batch whose results are gone for hours: the simulation has it",
    r"orchestrator export .* s3://": "needs an object store: tests/acceptance/test_object_store.py",
    r"make (demo|fleet|test\S*|lint|setup|torture|chaos|docs|reference)": "runs for minutes, or is what runs this test",
    r"make \w+ JOB=": "the same command with another spelling",
    r"make (worker|beat)": f"{SERVERS}",
    r"(docker|kubectl|systemctl|systemd-sysusers|journalctl)": "needs an engine, a cluster or root",
    r"(cp|install|cd) ": "goes with docker, kubectl or systemctl",
    r"python3 -m venv|\S*pip install|source ": "installs: .ci/setup and the tests of the wheel do",
    r"export ": "sets a variable of the shell",
    r"npm |tar |\.venv/bin/python examples/data": "fetches the example's source from the network",
    r"curl ": "tests/gateway asks for the same addresses",
    r"sqlite3 ": "needs sqlite3's own command line",
    r"mkdir work && chgrp": "needs a group of users",
}


# Pages whose Python and job files have tests and tables of their own, and what their examples need.
ELSEWHERE: Final = {
    DOCS / "recipes.md": "tests/acceptance/test_recipes.py",
    **dict.fromkeys((path for path in PAGES if path.parts[-3:-2] == ("examples",)), "make examples"),
}


def lines(*, run: bool) -> list[Any]:
    """Return the lines of shell blocks that are run here, or those that are not."""
    return [
        pytest.param(path, line, id=f"{name_of(path)}-{number}: {line[:60]}")
        for path in PAGES
        if path != TUTORIAL or not run
        for number, (language, code) in enumerate(blocks(path), 1)
        for line in (code.splitlines() if language == "sh" else ())
        if line.strip() and (reason(line) is None) is run
    ]


def reason(line: str) -> str | None:
    """Return why a line is not run."""
    bare = re.sub(r"^(?:\w+=\S+ )*(?:\.venv/bin/(?=orchestrator))?", "", line)
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, bare)), None)


def snippets(language: str) -> list[Any]:
    return [
        pytest.param(path, code, id=f"{name_of(path)}-{number}")
        for path in PAGES
        for number, (found, code) in enumerate(blocks(path), 1)
        if found == language
    ]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--duration-s", "0") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for commands that change no job: its job is run once."""
    return tmp_path_factory.mktemp("world") / "shared"


@pytest.mark.parametrize(("path", "line"), lines(run=True))
def test_every_command_of_the_docs_runs(
    path: Path, line: str, gateway: GatewayProcess, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SHELL.match(line)
    assert found is not None, f"neither run nor listed in NOT_RUN: {line}"
    command = found[1].removeprefix("orchestrator ")
    scene = next((scene for pattern, scene in BEFORE if re.match(pattern, command)), "")
    changes = scene != "ran" or command.startswith(("export", "retry", "batches reviews", "log reviews"))
    world = World(tmp_path / "world" if changes else shared, gateway, monkeypatch)
    world.write_jobs(code for language, code in blocks(path) if language == "toml")
    if command.startswith("init"):
        for file in world.folder.glob("*.toml"):
            file.unlink()
    elif scene:
        getattr(world, scene)()
    expected = next((code for pattern, code in ENDS.items() if re.match(pattern, command)), 0)

    assert world.run(found[1]) == expected


def test_the_tutorial_prints_what_it_shows(
    gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first step to the last, in one folder: each text block is what the commands before it printed."""
    world = World(tmp_path / "world", gateway, monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    for path in world.folder.glob("reviews.*"):
        path.unlink()
    printed = ""
    for language, code in blocks(TUTORIAL):
        if language == "csv":
            Path("reviews.csv").write_text(code, encoding="utf-8")
        elif language == "toml":
            with Path("reviews.toml").open("a", encoding="utf-8") as file:
                file.write("\n" + world.spoken(code).replace("poll_s_min = 1", "poll_s_min = 0.05"))
        elif language == "sh":
            capsys.readouterr()
            for line in code.splitlines():
                assert reason(line) is not None or world.run(line) == 0, line
            printed = capsys.readouterr().out
        elif language == "text":
            assert without_ids(printed, world) == without_ids(code, world)


def without_ids(text: str, world: World) -> str:
    """Return a text without what differs from run to run: ids, times, the folder."""
    text = text.replace(str(world.folder), "/home/me").rstrip("\n")
    return re.sub(r"\breviews-[0-9a-f]{8}\b", "reviews-1a2b3c4d", re.sub(r"\b\d:\d\d\b", "0:04", text))


@pytest.mark.parametrize(("path", "code"), snippets("python"))
def test_every_python_block_runs(
    path: Path, code: str, gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path in ELSEWHERE:
        pytest.skip(f"run by {ELSEWHERE[path]}")
    if "orchestrator.submit(" in code:
        pytest.skip("needs a fleet: tests/workers/test_worker.py")
    world = World(tmp_path / "world", gateway, monkeypatch)
    if "open_job" in code or "parts/" in code or '"output"' in code:
        world.ran()
        job_id = world.job_id
        for name in (job_id, "output"):  # as beside the work folder, where the pages stand
            source = world.folder / ".orchestrator" / job_id / ("" if name == job_id else "output")
            (world.folder / name).symlink_to(source)
    (world.folder / "requests.jsonl").write_text(json.dumps(REQUEST) + "\n", encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(world.spoken(code), name_of(path), "exec"), names)
    for name, function in list(names.items()):
        if name.startswith("test_"):
            function(tmp_path / "work")


@pytest.mark.parametrize(("path", "code"), snippets("toml"))
def test_every_job_file_of_the_docs_can_be_planned(
    path: Path, code: str, gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those with a job as they are, those of one table as a part of one."""
    if path == DOCS / "gateway.md" and "[job]" not in code:
        pytest.skip("a fault plan: tests/test_docs.py reads it")
    world = World(tmp_path / "world", gateway, monkeypatch)
    whole = code if "[job]" in code else Path("moods.toml").read_text().partition("[policy]")[0] + code
    Path("page.toml").write_text(world.spoken(whole), encoding="utf-8")

    assert world.run("orchestrator plan page.toml") == 0


def test_what_is_not_run_is_listed_and_counted() -> None:
    """So many lines of shell blocks; a reason for each; no reason without a line."""
    listed = lines(run=False)
    used = {why for line in lines(run=False) if (why := reason(line.values[1]))}

    assert used == {*NOT_RUN.values()}
    for test in re.findall(r"tests/[\w/]+(?:\.py)?", " ".join(used)):
        assert (ROOT / test).exists(), test
    assert len(listed) <= 85, "run it, rather than list it"

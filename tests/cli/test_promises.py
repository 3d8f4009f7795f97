"""What commands promise to programs, kept: each exit code of each command, and each document against its schema.

The commands run here, in this process, with all that `main` does about errors; a fake provider answers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import jsonschema_rs
import pytest

from orchestrator.api.documents.catalogue import KINDS, schema_of
from orchestrator.api.exit_codes import exit_code_of
from orchestrator.cli.main import app, ended
from orchestrator.cli.promises import EVENTS, PROMISES, WITHOUT
from orchestrator.cli.schema import documents_of
from orchestrator.domain import errors
from orchestrator.domain.errors import OrchestratorError
from orchestrator.testing import KEY_VARIABLE, Failure, fake_provider
from tests.acceptance.datasets import write_job

DOCS: Final = Path(__file__).parents[2] / "docs"
SECRET: Final = "canary-of-a-row"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command has ended."""

    code: int
    out: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ended]


def answer(body: dict[str, Any]) -> str | Failure:
    return Failure() if "bad" in body["messages"][0]["content"] else "yes"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with job files, and a provider that answers them."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "rows.csv").write_text(f"text\nfine\nbad\n{SECRET}\n")
    (folder / "fine.csv").write_text("text\nfine\nvery fine\n")
    (folder / "many.csv").write_text("text\n" + "bad\n" * 1_100)
    (folder / "damaged").mkdir()
    (folder / "damaged/ledger.db").write_text("this is no database\n" * 100)
    prices = {"gpt-4o-mini-batch": {"input_usd": "0.10", "output_usd": "0.40"}}
    before = Path.cwd()
    with fake_provider(answer) as fake, ExitStack() as stack:
        provider = {"api_key_env": KEY_VARIABLE, "prices": prices}
        for name, dataset, tables in (
            ("mood", "rows.csv", {}),
            ("fine", "fine.csv", {}),
            ("poor", "fine.csv", {"request": {"prompt": "poor {text}"}, "policy": {"budget_usd": "0.000001"}}),
            ("many", "many.csv", {"request": {"prompt": "{text}"}, "policy": {"canary_rows": 2}}),
            ("asks", "many.csv", {"request": {"prompt": "asks {text}"}, "policy": {"canary_rows": 2}}),
            ("keyless", "fine.csv", {"provider": {"api_key_env": "NOBODY_HAS_SET_THIS"}}),
        ):
            own = provider | {"poll_s_min": 0.1, "poll_s_max": 0.1} | tables.pop("provider", {})
            write_job(folder / f"{name}.toml", dataset, fake.url, provider=own, **tables)
        os.chdir(folder)
        stack.callback(os.chdir, before)
        yield folder


@pytest.fixture(scope="module")
def worked(place: Path) -> Path:
    """The folder after each job was run, once."""
    for job, code in (("mood", 4), ("fine", 0), ("poor", 3), ("many", 3)):
        assert _ended("run", f"{job}.toml", "--json") == code
    return place


def _ended(*arguments: str) -> int:
    try:
        return ended(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def run(worked: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where the job files are, and return how it has ended."""
    del worked

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = _ended(*arguments)
        return Ended(code, capsys.readouterr().out)

    return run


def check(command: str, found: Ended) -> list[str]:
    """Check that each line is a document that the command promises; return what they are."""
    validator = jsonschema_rs.validator_for(schema_of(documents_of(command)), validate_formats=True)
    for document in found.documents:
        validator.validate(document)
    return [document["schema"].removeprefix("orchestrator.").partition("/")[0] for document in found.documents]


# Each promise is seen kept: the command, its exit code, and the document that it prints.
CASES: Final[Sequence[tuple[str, int, str]]] = (
    ("init fine.csv -o new.toml", 0, "init"),
    ("init fine.csv -o mood.toml", 2, "error"),
    ("plan mood.toml", 0, "plan"),
    ("plan fine.csv", 2, "error"),
    ("run fine.toml", 0, "report"),
    ("run mood.toml", 4, "report"),
    ("run mood.toml --allow-failed", 0, "report"),
    ("run poor.toml", 3, "error"),
    ("run keyless.toml", 2, "error"),
    ("submit fine.toml", 0, "status"),
    ("submit fine.toml --wait", 0, "report"),
    ("submit mood.toml --wait", 4, "report"),
    ("submit many.toml", 3, "error"),
    ("submit absent.toml", 2, "error"),
    ("attach fine.toml", 0, "report"),
    ("attach mood.toml", 4, "report"),
    ("attach many.toml", 3, "error"),
    ("attach absent", 2, "error"),
    ("stop fine.toml", 2, "error"),
    ("status", 0, "jobs"),
    ("status poor.toml", 0, "status"),
    ("status absent", 2, "error"),
    ("results mood.toml --limit 1", 0, "results"),
    ("results poor.toml", 3, "error"),
    ("results poor.toml --partial", 0, "results"),
    ("results mood.toml --columns nothing", 2, "error"),
    ("export mood.toml -o answers.csv --force", 0, "export"),
    ("export poor.toml -o answers.csv --force", 3, "error"),
    ("export mood.toml -o answers.docx", 2, "error"),
    ("show mood.toml 1", 0, "show"),
    ("show mood.toml 17", 2, "error"),
    ("batches mood.toml", 0, "batches"),
    ("batches absent", 2, "error"),
    ("log absent", 2, "error"),
    ("cancel fine.toml", 0, "status"),
    ("cancel absent", 2, "error"),
    ("pause mood.toml", 2, "error"),
    ("resume mood.toml", 2, "error"),
    ("retry mood.toml", 4, "report"),
    ("retry fine.toml", 0, "report"),
    ("retry many.toml", 3, "error"),
    ("retry mood.toml --set nothing", 2, "error"),
    ("reread mood.toml", 0, "reread"),
    ("reread absent", 2, "error"),
    ("approve mood.toml", 2, "error"),
    ("resolve mood.toml", 0, "resolve"),
    ("resolve mood.toml c00000-00000", 2, "error"),
    ("audit mood.toml", 0, "audit"),
    ("audit absent", 2, "error"),
    ("recover", 2, "error"),
    ("rehearse fine.toml", 0, "rehearse"),
    ("rehearse fine.toml --faults nothing", 2, "error"),
    ("rehearse", 2, "error"),
    ("rehearse --list", 0, "faults"),
    ("notify fine.toml", 2, "error"),
    ("doctor fine.toml", 0, "doctor"),
    ("doctor keyless.toml", 2, "doctor"),
    ("doctor fine.toml --work damaged", 3, "doctor"),
)
# Seen in tests of their own: they change what other cases look at, or take long.
ELSEWHERE: Final = {
    ("approve", 0),
    ("pause", 0),
    ("resume", 0),
    ("stop", 0),
    ("log", 0),
    ("audit", 1),
    ("recover", 0),
    ("notify", 0),
    ("notify", 3),
    ("rehearse", 3),
    ("rehearse", 4),
}


@pytest.mark.parametrize(("line", "code", "document"), CASES, ids=[case[0] for case in CASES])
def test_a_command_ends_with_the_code_and_prints_the_document_that_it_promises(
    run: Run, line: str, code: int, document: str
) -> None:
    command, *arguments = line.split()

    found = run(command, *arguments, "--json")

    assert (found.code, check(command, found)) == (code, [document]), found.out
    if document == "error":
        assert found.documents[0]["exit_code"] == code


def test_each_exit_code_of_each_command_is_seen() -> None:
    promised = {(command, code) for command, promise in PROMISES.items() for code in (0, 2, *promise.codes)}

    seen = {(line.split()[0], code) for line, code, _ in CASES}
    assert seen | ELSEWHERE == promised
    assert seen & ELSEWHERE == set()


def test_every_command_prints_json_or_is_known_not_to() -> None:
    """A new command belongs in one of the tables of orchestrator/cli/promises.py."""
    assert set(app.commands) == PROMISES.keys() | WITHOUT
    options = {name: {word for param in one.params for word in param.opts} for name, one in app.commands.items()}
    assert {name for name, words in options.items() if "--json" in words} == PROMISES.keys()
    assert {name for name, words in options.items() if "--events" in words} == EVENTS


@pytest.mark.parametrize("command", PROMISES)
def test_a_mistake_in_the_command_line_is_an_error_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = _ended(command, "--no-such-option", "--json")

    found = Ended(code, capsys.readouterr().out)
    assert (code, check(command, found)) == (2, ["error"])
    assert found.documents[0]["code"] == "usage"


def test_an_error_names_what_to_type(run: Run) -> None:
    """Its commands are those of the message that stand alone on a line, or in backticks."""
    [found] = run("results", "poor.toml", "--json").documents

    assert found["code"] == "job_not_finished"
    job_id = re.search(r"poor-[0-9a-f]{8}", found["message"])
    assert job_id is not None
    assert found["commands"] == [f"orchestrator status {job_id[0]}", f"orchestrator results {job_id[0]} --partial"]


def test_a_bug_is_an_error_without_its_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its message may quote a row; the traceback is for standard error."""

    def fails() -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setitem(app.commands, "fails", click.Command("fails", params=[click.Option(["--json"], is_flag=True)]))
    monkeypatch.setattr(app.commands["fails"], "callback", lambda **_: fails())
    with pytest.raises(ZeroDivisionError):
        ended(["fails", "--json"])

    [found] = Ended(1, capsys.readouterr().out).documents
    assert found == {
        "schema": "orchestrator.error/1",
        "exit_code": 1,
        "code": "unexpected",
        "message": "ZeroDivisionError",
        "commands": [],
    }


def test_every_error_has_the_code_of_its_kind() -> None:
    """By hand: a class that is added belongs here."""
    wrong = {"ConfigError", "JobConflict", "JobUnknown", "LedgerBusy", "JobBusy", "DatasetError", "CommandRefused"}
    waiting = {"JobNotFinished", "JobStopped", "JobNeedsDecision", "JobUnresolved", "JobTimeout"}
    kinds = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, OrchestratorError)}
    for kind in kinds:
        name = kind.__name__
        code = 2 if name in wrong else 3 if name in waiting else 130 if name == "JobInterrupted" else 1
        assert exit_code_of(kind.__new__(kind)) == code, name


def test_the_text_has_no_row_where_the_documents_have_none(run: Run) -> None:
    for line in ("run mood.toml --allow-failed", "status", "batches mood.toml", "log mood.toml", "audit mood.toml"):
        assert SECRET not in run(*line.split(), "--json").out
    assert SECRET in run("results", "mood.toml", "--json").out


def test_pages_of_rows_follow_each_other(run: Run) -> None:
    """Each page names where the next one begins, the last one nowhere."""
    found, after = [], 0
    while after is not None:
        [page] = run("results", "mood.toml", "--json", "--limit", "2", "--after", str(after)).documents
        assert page["after"] == after
        found += [row["text"] for row in page["rows"]]
        after = page["next"]

    assert found == ["fine", "bad", SECRET]
    [failed] = run("results", "mood.toml", "--json", "--limit", "1", "--rows", "failed").documents
    assert ([row["text"] for row in failed["rows"]], failed["next"]) == (["bad"], None)
    [rest] = run("results", "mood.toml", "--json", "--rows", "succeeded", "--after", "1").documents
    assert [row["text"] for row in rest["rows"]] == [SECRET]


def test_a_log_is_lines_of_events(run: Run) -> None:
    found = run("log", "mood.toml", "--json", "--all")

    assert found.code == 0
    assert set(check("log", found)) == {"event"}
    assert [one["event"] for one in found.documents][:2] == ["job.opened", "shard.planned"]


def test_a_job_that_waits_for_a_person_says_what_to_type_and_goes_on_when_approved(run: Run) -> None:
    assert run("run", "asks.toml", "--json").code == 3
    [waits] = run("status", "asks.toml", "--json").documents
    assert (waits["job"]["activity"], waits["job"]["decision"]) == ("needs you", "canary")
    job_id = waits["job"]["id"]
    assert waits["commands"] == [f"orchestrator approve {job_id}", f"orchestrator cancel {job_id}"]

    approved = run("approve", job_id, "--json")

    assert (approved.code, check("approve", approved)) == (0, ["status"])
    assert approved.documents[0]["job"]["decision"] == ""
    for command in ("pause", "resume"):
        found = run(command, job_id, "--json")
        assert (found.code, check(command, found)) == (0, ["status"])
        assert (found.documents[0]["job"]["paused_at"] is None) is (command == "resume")
    cancelled = run("cancel", job_id, "--json")
    assert (cancelled.code, check("cancel", cancelled)) == (0, ["status"])
    rows = cancelled.documents[0]["rows"]
    assert (rows["total"], rows["failed"]) == (1_100, 1_100)


def test_a_lost_ledger_and_a_lost_file_are_told(run: Run, place: Path) -> None:
    shutil.copytree(place / ".orchestrator", place / "lost", ignore=shutil.ignore_patterns("ledger.db*"))
    recovered = run("recover", "--work", "lost", "--json")
    assert (recovered.code, check("recover", recovered)) == (0, ["recover"])
    assert {one["recovered"] for one in recovered.documents[0]["jobs"]} == {True}

    [archived] = (place / "lost").glob("fine-*/raw/*")
    archived.unlink()
    audited = run("audit", archived.parts[-3], "--work", "lost", "--json")
    assert (audited.code, check("audit", audited)) == (1, ["audit"])
    assert audited.documents[0]["clean"] is False


def test_a_receiver_of_notices_that_is_not_there_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY_URL", "http://127.0.0.1:9/hook")

    found = run("notify", "--json")

    assert (found.code, check("notify", found)) == (3, ["doctor"])
    assert found.documents[0]["exit_code"] == 3


def test_events_are_lines_and_the_last_one_is_the_report(run: Run, place: Path) -> None:
    write = (place / "mood.toml").read_text().replace("mood", "events")
    (place / "events.toml").write_text(write.replace('"prompt" = "{text}"', '"prompt" = "again: {text}"'))

    found = run("run", "events.toml", "--events")

    assert found.code == 4
    *events, last = check("run", found)
    assert (set(events), last) == ({"event"}, "report")
    names = [one["event"] for one in found.documents[:-1]]
    assert names[:2] == ["run.started", "job.opened"]
    assert [name for name in names if name.startswith("chunk.")][-2:] == ["chunk.ended", "chunk.collected"]
    assert names[-2:] == ["job.finished", "run.activity"]
    looks = [one["position"] for one in found.documents[:-1] if one["event"].startswith("run.a")]
    assert looks
    for look in looks:
        assert look["rows"]["total"] == sum(
            look["rows"][name]
            for name in ("answered", "failed", "to_send_again", "at_provider", "waiting", "needs_decision")
        )
    assert SECRET not in found.out
    again = run("run", "events.toml", "--events")
    assert [one.get("event") for one in again.documents] == [
        "run.started",
        "run.activity",
        None,
    ], "what is over is not told again"


def test_the_published_schemas_are_those_of_the_program() -> None:
    """`orchestrator schema --into docs/schemas` writes them anew."""
    published = {path.stem: json.loads(path.read_text()) for path in (DOCS / "schemas").glob("*.json")}

    assert published == {name: schema_of((name,)) for name in KINDS}


def test_each_document_has_a_version_and_a_schema_that_a_later_field_does_not_break() -> None:
    for name in KINDS:
        written = json.dumps(schema_of((name,)))
        assert f'"orchestrator.{name}/1"' in written
        assert '"additionalProperties": false' not in written


def test_every_field_of_every_document_says_what_it_means() -> None:
    """In the schemas and in docs/json-documents.md, from the comment behind the field."""
    mute = [
        f"{name}.{field}"
        for name, one in schema_of(tuple(KINDS))["$defs"].items()
        for field, of in one["properties"].items()
        if not of["description"] or of["description"] == "USD, exact"
    ]

    assert mute == []


def test_a_schema_is_printed_for_a_command_and_for_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert _ended("schema", "status") == 0
    assert json.loads(capsys.readouterr().out) == schema_of(("status", "jobs", "error"))
    assert _ended("schema", "report") == 0
    assert json.loads(capsys.readouterr().out) == schema_of(("report",))
    assert _ended("schema", "worker") == 2
    assert _ended("schema") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PROMISES)

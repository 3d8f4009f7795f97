"""The documentation against the code: links lead somewhere, commands parse, snippets are valid, named tests exist.

Nothing is called and nothing is sent: commands are parsed, job files are read, Python is compiled.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

import orchestrator
from orchestrator.api.job import read_job
from orchestrator.cli import main
from orchestrator.gateway.faults import FaultPlan, read_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
# Folder by folder: .venv, node_modules and what else may lie here has thousands of its own.
FOLDERS: Final = ("benchmarks", "config", "docs", "examples", "tests")
PAGES: Final = sorted([*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))])
FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LANGUAGES: Final = ("csv", "json", "promql", "python", "sh", "sql", "text", "toml", "yaml")
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"`([^`\n]+)`")
SHELL_COMMAND: Final = re.compile(r"^(?:\w+=\S+ )*(?:\.venv/bin/)?(orchestrator .+)$", re.MULTILINE)
OWN_PATH: Final = re.compile(r"(?:orchestrator|gateway|tests|config|docs|examples|benchmarks)/[\w./-]*")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    level = re.match(r"#+", heading)
    assert level is not None
    found = re.search(
        rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{len(level[0])}}} |\Z)", without_fences(text), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"no heading {heading!r}"
    return found[1]


def without_fences(text: str) -> str:
    return FENCE.sub("", text)


def rows(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield for each row of the tables in `text` the code words of its first cell, and its second cell."""
    for line in text.splitlines():
        if line.startswith("| `"):
            first, second = [cell.strip() for cell in line.strip("|").split("|")][:2]
            yield CODE.findall(first), second


def names(text: str) -> list[str]:
    return [word for words, _ in rows(text) for word in words]


def fenced(language: str) -> list[Any]:
    return [
        pytest.param(path, code, id=f"{name_of(path)}-{number}")
        for path in PAGES
        for number, (found, code) in enumerate(blocks(path), 1)
        if found == language
    ]


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page, each its language and its text without the indent of a list."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [(language, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)) for indent, language, code in found]


def commands() -> list[Any]:
    """Return every `orchestrator …` command line of a shell block or a code word."""
    found = []
    for path in PAGES:
        shown = [
            command for language, code in blocks(path) if language == "sh" for command in SHELL_COMMAND.findall(code)
        ]
        text = without_fences(path.read_text(encoding="utf-8"))
        spoken = [word for word in CODE.findall(text) if re.match(r"orchestrator [a-z]+( |$)", word)]
        found += [(path, command) for command in [*shown, *spoken]]
    return [pytest.param(command, id=f"{name_of(path)}: {command[:60]}") for path, command in found]


def group() -> click.Group:
    return main.app


def test_what_the_pages_say_of_the_code_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, keys, columns, errors, signatures: `make reference` writes them, and nobody by hand."""
    monkeypatch.syspath_prepend(str(ROOT / "config"))
    reference = importlib.import_module("make_reference")
    pages = dict(reference.pages())

    assert {path.name for path in pages} >= {"command-line.md", "job-file.md", "output.md", "python-api.md"}
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is behind the code: run `make reference`"


def test_each_command_and_public_name_has_its_block() -> None:
    for name in ("command-line.md", "python-api.md"):
        for heading, after in re.findall(r"^## `(\w+)`\n\n(.+)$", page(name), re.MULTILINE):
            assert heading == "Progress" or re.match(rf"<!-- make reference: \w+ {heading}\b", after), heading


def test_the_python_page_documents_the_public_names_and_no_others() -> None:
    """docs/python-api.md: a heading or a row of the errors for each name in `orchestrator.__all__`."""
    text = page("python-api.md")
    headings = re.findall(r"^## `(\w+)`$", text, re.MULTILINE)

    assert sorted([*headings, *names(section(text, "## Errors"))]) == sorted(orchestrator.__all__)


def test_the_command_page_documents_the_commands_and_no_others() -> None:
    command = group()

    assert re.findall(r"^## `(\w+)`$", page("command-line.md"), re.MULTILINE) == list(command.commands)


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_docs_parses(line: str) -> None:
    """The command exists, its options exist, its arguments are as many as it takes."""
    words = shlex.split(line, comments=True)
    if words[1:2] == ["COMMAND"] or words[1].startswith("-"):
        return
    command = group().commands[words[1]]
    needs_job = any(param.required and param.param_type_name == "argument" for param in command.params)
    arguments = words[2:] or (["JOB"] if needs_job else [])  # a command that is named, not shown in full

    with contextlib.suppress(click.exceptions.Exit):  # an option that prints a list and exits
        command.make_context(words[1], arguments)


def test_every_block_names_its_language() -> None:
    """What is indented is no block: a reader's copy button and the tests that execute blocks would not see it."""
    for path in PAGES:
        if path.parent.name != "decisions":
            assert {language for language, _ in blocks(path)} <= {*LANGUAGES}, path
            assert not re.findall(
                r"^\n {4,}[^ *\d-]", without_fences(path.read_text(encoding="utf-8")), re.MULTILINE
            ), path


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))

        assert named <= targets, path


@pytest.mark.parametrize(("path", "code"), fenced("toml"))
def test_every_toml_block_is_a_job_or_a_fault_plan(
    path: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the paths of a job file start at its folder
    file = tmp_path / "block.toml"
    file.write_text(code, encoding="utf-8")

    found = tomllib.loads(code)
    if "job" in found:
        assert read_job(file).provider_settings.dialect in ("onerouter", "openai", "anthropic")
    elif path == DOCS / "gateway.md":
        assert read_plan(file) != FaultPlan()
    else:  # a part of a job file, of which tests/test_docs_run.py makes a whole one
        assert set(found) <= {"policy", "provider"}


@pytest.mark.parametrize(("path", "code"), fenced("python"))
def test_every_python_block_compiles_and_uses_public_names(path: Path, code: str) -> None:
    compile(code, name_of(path), "exec")
    used = set(re.findall(r"\borchestrator\.(\w+)", code))

    assert used <= {*orchestrator.__all__, "testing"}


def test_every_relative_link_leads_somewhere() -> None:
    """The file is there, and has the heading."""
    for path in PAGES:
        for target in LINK.findall(without_fences(path.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = (path.parent / file).resolve() if file else path
            assert found.exists(), (path, target)
            if anchor:
                assert anchor in anchors(found), (path, target)


def anchors(path: Path) -> set[str]:
    """Return the anchors a code host makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", without_fences(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_path_of_ours_that_is_named_exists() -> None:
    """Decisions speak of their own day."""
    for path in PAGES:
        if path.parent.name != "decisions" or path.name == "README.md":
            for word in CODE.findall(without_fences(path.read_text(encoding="utf-8"))):
                if OWN_PATH.fullmatch(word) and "<" not in word:
                    assert (ROOT / word).exists(), (path, word)


def test_every_page_is_reachable() -> None:
    """Each page of docs/ is linked from the first one, each decision from the list of decisions, and in mkdocs.yml."""
    for path in DOCS.glob("*.md"):
        if path.name != "README.md":
            assert f"({path.name})" in page("README.md"), path.name
            assert path.name in (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), path.name
    for path in (DOCS / "decisions").glob("*.md"):
        if path.name != "README.md":
            assert f"({path.name})" in page("decisions/README.md"), path.name


def test_every_test_that_a_page_names_exists() -> None:
    """`tests/file.py::test_name`, as the pages on failures and threats give their proofs."""
    for path in PAGES:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text(encoding="utf-8")):
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(def {name}\(|{name} = )", text, re.MULTILINE), (path, name)

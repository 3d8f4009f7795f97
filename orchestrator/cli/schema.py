"""`orchestrator schema`: the JSON Schema of what a command prints with `--json`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.promises import EVENTS, PROMISES
from orchestrator.cli.terminal import show
from orchestrator.domain.errors import ConfigError


@click.command
@click.argument("command", required=False)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the schema of each document to a file there.",
)
def schema(command: str | None, into: Path | None) -> None:
    """Print the JSON Schema of what a command prints with --json.

    Of each line, with --events, and of errors. Without COMMAND: which documents there are.
    """
    from orchestrator.api.documents.catalogue import KINDS, schema_of
    from orchestrator.api.documents.document import schema_name

    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        for name in KINDS:
            (into / f"{name}.json").write_text(json.dumps(schema_of((name,)), indent=2) + "\n", encoding="utf-8")
        return
    if command is None:
        for name in PROMISES:
            show(f"{name:<10}  {', '.join(schema_name(KINDS[one]) for one in documents_of(name))}")
        return
    names = documents_of(command) if command in PROMISES else (command,)
    if names[0] not in KINDS:
        raise ConfigError(f"{command} is no command with --json, and no document. Type `orchestrator schema` for all")
    show(json.dumps(schema_of(names), indent=2))


def documents_of(command: str) -> tuple[str, ...]:
    """Return the kinds of documents that a command may print."""
    events = ("event",) if command in EVENTS else ()
    return (*PROMISES[command].documents, *events, "error")


COMMANDS = (schema,)

"""`orchestrator init`: a job file for a table."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.arguments import json_option
from orchestrator.cli.terminal import fitted, show, show_as
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api.drafting import Draft

EXAMPLE: Final = 36
NAME: Final = 20


@click.command
@click.argument("dataset")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: beside you, by its name."
)
@click.option("--provider", default="onerouter", show_default=True, help="Who answers.")
@click.option("--model", help="As the provider calls it. Default: a cheap one.")
@click.option("--prompt", help="With columns in braces. Default: one that you then edit.")
@json_option
def init(
    dataset: str, output: Path | None, provider: str, model: str | None, prompt: str | None, as_json: bool
) -> None:
    """Look at a table, and write a job file for it.

    Sends nothing. DATASET is a file, a folder, a glob or a URL.
    """
    from orchestrator.api.drafting import draft

    stem = Path(dataset.rstrip("/")).name.partition(".")[0].replace("*", "") or "job"
    place = output or Path(f"{stem}.toml")
    again = f"orchestrator init {shlex.quote(dataset)} --output OTHER.toml"
    if place.exists():
        raise ConfigError(f"{place} is there already: nothing was written. For another file: {again}")
    found = draft(dataset, place, provider=provider, model=model, prompt=prompt)
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(found.text)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from None
    if as_json:
        show_as("init", _values(dataset, place, found))
    else:
        show("\n".join(_told(dataset, place, found, edit=prompt is None)))


def _values(dataset: str, place: Path, found: Draft) -> dict[str, object]:
    columns = [
        {"name": one.name, "type": one.type, "empty": one.empty, "example": one.example} for one in found.columns
    ]
    return {
        "job_file": str(place),
        "dataset": dataset,
        "rows": found.rows,
        "rows_seen": found.rows_seen,
        "columns": columns,
        "prompt": found.prompt,
        "model": found.model,
        "provider": found.provider,
        "commands": (f"orchestrator plan {shlex.quote(str(place))}",),
    }


def _told(dataset: str, place: Path, found: Draft, *, edit: bool) -> Iterator[str]:
    from orchestrator.api.amounts import counted

    rows = "rows not counted yet" if found.rows is None else counted(found.rows, "row", "rows")
    read = "all were read" if found.rows == found.rows_seen else f"the first {found.rows_seen:,} were read"
    yield fitted(f"{dataset}  {rows}; {read}" if found.rows_seen else f"{dataset}  no rows: nothing would be sent")
    yield ""
    yield f"  {'column':<{NAME}} {'type':<10} {'empty':>6}   example"
    for one in found.columns:
        example = one.example if len(one.example) <= EXAMPLE else f"{one.example[: EXAMPLE - 1]}…"
        yield f"  {_cut(one.name, NAME):<{NAME}} {_cut(one.type, 10):<10} {one.empty:>6,}   {example}".rstrip()
    yield ""
    yield f"wrote {place}"
    yield fitted(f"  prompt  {json.dumps(found.prompt, ensure_ascii=False)}")
    yield f"  model   {found.model} at {found.provider}"
    yield ""
    yield f"  {'edit the prompt, then ' if edit else ''}see what it would send and cost:"
    yield f"    orchestrator plan {shlex.quote(str(place))}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


COMMANDS = (init,)

"""Writes a job file for a table, by looking at its first rows: what `orchestrator init` does."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator import settings as configuration
from orchestrator.dataset.csv import DELIMITERS
from orchestrator.dataset.dataset import AS_USUAL, Dataset, open_dataset
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.domain.policy import OutputOptions
from orchestrator.planner.template import IMAGE, placeholders, refuse_unknown_column
from orchestrator.storage.location import is_url

if TYPE_CHECKING:
    import pyarrow as pa

_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
ROWS: Final = 1_000  # that are looked at
PROMPT_COLUMNS_MAX: Final = 2
TEXT_LENGTH: Final = 20  # of the longest value, in characters: a column of shorter ones is a label, not a text
EXAMPLE_MAX: Final = 200
# One model of each provider that is cheap and will be there for a while; see config/prices.json.
MODELS: Final = {
    "onerouter": "openai/gpt-6-luna-batch",
    "openai": "gpt-6-luna",
    "anthropic": "claude-haiku-5-5",
}
PREFIX: Final = OutputOptions().prefix
_NEEDS_QUOTES: Final = re.compile(r'[{}]|^"')
ENCODINGS: Final = ("utf-16", "cp1252")  # that are tried where a file is not UTF-8: each refuses what it cannot be


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What was seen of a column."""

    name: str
    type: str
    empty: int  # null, or text without a letter, among the rows that were looked at
    example: str
    length: int  # of the longest value as text

    @property
    def is_text(self) -> bool:
        """Whether a prompt is likely to be about it."""
        return self.type in ("string", "large_string", "string_view") and self.length >= TEXT_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job file to be written, and what it is made from."""

    text: str
    columns: tuple[Column, ...]
    rows: int | None  # None: not known before all are read
    rows_seen: int
    prompt: str
    model: str
    provider: str


def draft(
    dataset: str,
    place: Path,
    *,
    name: str = "",
    provider: str = "onerouter",
    model: str | None = None,
    prompt: str | None = None,
) -> Draft:
    """Return a job file for a table. Nothing is written or sent. Raises ConfigError, DatasetError.

    Args:
        place: where it will be written: its paths start there.
        prompt: None: one that names the columns of texts.
    """
    model = model or model_of(provider)
    source, options = _opened(dataset)
    columns, seen = _columns(source)
    if not columns:
        raise DatasetError(f"{dataset} has no columns: there is nothing to ask about")
    for column in placeholders({"prompt": prompt or ""}):
        refuse_unknown_column(column.removeprefix(IMAGE), "--prompt", source.schema)
    prompt = prompt or _prompt(columns)
    counts = [shard.row_count for shard in source.shards]
    return Draft(
        text=_text(
            name or name_of(dataset), _beside(dataset, place), options, provider, model, prompt, _prefix(columns)
        ),
        columns=tuple(columns),
        rows=seen if seen < ROWS else None if None in counts else sum(count or 0 for count in counts),
        rows_seen=seen,
        prompt=prompt,
        model=model,
        provider=provider,
    )


def _opened(dataset: str) -> tuple[Dataset, ReadOptions]:
    """Open the table; a CSV file that is separated by something else than commas, by that."""
    settings = configuration.load(os.environ)
    look = partial(open_dataset, dataset, shard_rows=settings.shard_rows, shard_bytes=settings.shard_bytes)
    try:
        source = look()
        _first_rows(source)
        return source, AS_USUAL
    except DatasetError as error:
        for encoding, delimiter in product((AS_USUAL.encoding, *ENCODINGS), ("", *DELIMITERS)):
            options = ReadOptions(encoding=encoding, delimiter=delimiter)
            try:
                found = look(options=options)
                rows = _first_rows(found)
            except (DatasetError, ConfigError):
                continue
            is_text = all(name.isprintable() for name in found.schema.names) and _is_readable(rows)
            if is_text and (len(found.schema.names) > 1 or encoding != AS_USUAL.encoding):
                return found, options
        raise DatasetError(_without_settings(str(error))) from None


def _without_settings(told: str) -> str:
    """Return an error without the advice to change a job file: there is none yet."""
    before, found, _ = told.partition(": set ")
    return f"{before}: convert it to UTF-8, or write the job file by hand, with [dataset]" if found else told


def _is_readable(rows: pa.Table) -> bool:
    """Return whether texts were decoded rightly, as far as one can tell: no control character is in them."""
    texts = (value for name in rows.column_names for value in rows[name].to_pylist() if isinstance(value, str))
    return not any(_CONTROL.search(text) for text in texts)


def _columns(source: Dataset) -> tuple[list[Column], int]:
    table = _first_rows(source)
    return [_column(name, table[name]) for name in table.column_names], table.num_rows


def _first_rows(source: Dataset) -> pa.Table:
    import pyarrow as pa

    batches, seen = list[pa.RecordBatch](), 0
    for shard in source.shards:
        for batch in source.batches(shard):
            batches.append(batch.slice(0, ROWS - seen))
            seen += batches[-1].num_rows
            if seen >= ROWS:
                break
        if seen >= ROWS:
            break
    return pa.Table.from_batches(batches, source.schema)


def _column(name: str, values: pa.ChunkedArray) -> Column:
    texts = ["" if value is None else str(value) for value in values.to_pylist()]
    full = [text for text in texts if text.strip()]
    example = " ".join(next(iter(full), "").split())
    return Column(
        name=name,
        type=str(values.type),
        empty=len(texts) - len(full),
        example=example[:EXAMPLE_MAX],
        length=max(map(len, full), default=0),
    )


def _prompt(columns: list[Column]) -> str:
    texts = [one for one in columns if one.is_text]
    longest = sorted(texts or columns, key=lambda one: -one.length)[:PROMPT_COLUMNS_MAX]
    chosen = [one for one in columns if one in longest]
    return "One word for the mood of:\n\n" + "\n\n".join(_placeholder(one.name) for one in chosen)


def _placeholder(name: str) -> str:
    """Return what stands for a column in a prompt; in quotes where its name has braces or begins with a quote."""
    quoted = name.replace('"', '""')
    return f'{{"{quoted}"}}' if _NEEDS_QUOTES.search(name) else f"{{{name}}}"


def _prefix(columns: list[Column]) -> str:
    """Return the prefix of the result columns; of a table that has some already, such as an export, a free one."""
    names = {one.name for one in columns}
    if OutputOptions().custom_id not in names and not any(name.startswith(PREFIX) for name in names):
        return PREFIX
    free = (f"llm{number}_" for number in count(2))
    return next(prefix for prefix in free if not any(name.startswith(prefix) for name in names))


def model_of(provider: str) -> str:
    """Return a provider's usual model. Raises ConfigError where there is none."""
    if provider not in MODELS:
        raise ConfigError(f"name a model for provider {provider!r}: --model MODEL")
    return MODELS[provider]


def name_of(dataset: str) -> str:
    """Return a job's name for a table: that of its file."""
    stem = Path(dataset.rstrip("/")).name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "job"


def _beside(dataset: str, place: Path) -> str:
    if is_url(dataset):
        return dataset
    return os.path.relpath(dataset, place.absolute().parent)


def _text(name: str, dataset: str, options: ReadOptions, provider: str, model: str, prompt: str, prefix: str) -> str:
    def toml(text: str) -> str:
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    others = f'\n[output]\nprefix = "{prefix}"\ncustom_id = "{prefix}custom_id"\n' if prefix != PREFIX else ""
    given = {name: getattr(options, name) for name in ("delimiter", "encoding")}
    odd = {name: value for name, value in given.items() if value != getattr(AS_USUAL, name)}
    of_csv = "".join(["\n[dataset]\n", *(f"{name} = {toml(value)}\n" for name, value in odd.items())]) if odd else ""
    return f"""\
[job]
name = {toml(name)}
dataset = {toml(dataset)}
provider = {toml(provider)}
{of_csv}
[request]
model = {toml(model)}
prompt = {toml(prompt)}  # a name in braces is a column
max_tokens = 64                 # of each answer: a longer one is cut off
# system = "You read product reviews."

# [response]                    # typed answers, each field a column
# mood = {{ enum = ["good", "bad", "mixed"], description = "the mood of the whole text" }}

[policy]
budget_usd = "5.00"             # never more than this; `orchestrator plan` says what it would cost
# null_policy = "skip"          # a row without a value in a column of the prompt is not sent
{others}"""

"""Writes what the code knows into the pages of docs/, between `<!-- make reference: … -->` and `<!-- end -->`.

make reference      # after a change of a command, a key, a column, an error or a public name

command NAME        the help of a command: usage, what it does, its options
gateway             the options of the local server, which reads them itself
keys TABLE          the keys of a job file's table, or the program's settings: default and meaning
metrics             the metrics: kind, labels, meaning
columns             the columns of the output: name and type; their meaning is kept from the page
errors, exit codes  the public errors, and what the command line makes of them
promises            the documents and exit codes of each command
documents           the fields of each document
function NAME       the signature and the docstring of a public function
class NAME [without MEMBER…]   the same of a class, with its fields and members; MODULE:NAME: of one that is not public
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

import orchestrator
from orchestrator.api import exit_codes
from orchestrator.api.documents import catalogue, meanings
from orchestrator.api.documents.catalogue import name_of
from orchestrator.api.documents.document import schema_name
from orchestrator.api.job import TABLES, Job
from orchestrator.api.metrics import METRICS
from orchestrator.cli import main, promises
from orchestrator.collector.join import choices_type, result_fields
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.notices import Notify
from orchestrator.domain.policy import OutputOptions, Policy
from orchestrator.gateway import __main__ as server
from orchestrator.settings import ProviderSettings, Settings

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
BLOCK: Final = re.compile(r"(<!-- make reference: ([^\n]+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SECTION: Final = re.compile(r"^(Args|Raises|Returns):$", re.MULTILINE)
ENTRY: Final = re.compile(r"^ {4}([\w, ]+): ", re.MULTILINE)
EVERYWHERE: Final = {"work": "`--work`", "as_json": "`--json`", "allow_failed": "`--allow-failed`"}
CLASSES: Final = {
    "policy": Policy,
    "output": OutputOptions,
    "provider": ProviderSettings,
    "dataset": ReadOptions,
    "notify": Notify,
}
REQUIRED_IN_FILES: Final = ("name", "dataset", "model")
FILLED_IN: Final = {"requests_max": 10_000, "bytes_max": 50_000_000}  # of every provider, by `settings.provider`


def pages() -> Iterator[tuple[Path, str]]:
    """Yield each page that has a block, with its text as it should be."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            yield path, BLOCK.sub(lambda found: f"{found[1]}\n{_made(found[2], found[3])}\n\n{found[4]}", text)


def _made(what: str, before: str) -> str:
    kind, _, rest = what.partition(" ")
    makers: dict[str, Callable[[], str]] = {
        "command": lambda: command(rest),
        "keys": lambda: keys(rest),
        "metrics": metrics,
        "columns": lambda: columns(before),
        "errors": errors,
        "exit": codes,
        "promises": promised,
        "documents": documents,
        "gateway": gateway,
        "function": lambda: function(rest),
        "class": lambda: class_(*rest.split(" without ")),
    }
    return re.sub(r"\[?`?docs/([\w-]+)\.md(#[\w-]+)?`?\]?(?!\))", r"[\1.md](\1.md\2)", _own_links(makers[kind]()))


def _own_links(text: str) -> str:
    return re.sub(r"\]\(docs/", "](", text)


def command(name: str) -> str:
    """Return a command's help as Markdown."""
    found = main.app.commands[name]
    with click.Context(found, info_name=f"orchestrator {name}") as context:
        shown, common = [], []
        for param in found.params:
            if not isinstance(param, click.Option) or param.hidden:
                continue
            if param.name in EVERYWHERE:
                common.append(EVERYWHERE[param.name])
                continue
            record = param.get_help_record(context)
            assert record is not None
            shown.append(_option(param, *record))
        pieces = [piece for piece in found.collect_usage_pieces(context) if piece != "[ARGUMENTS]..."]
        usage = " ".join([context.command_path, *pieces])
    parts = [_joined(found.help or ""), f"```text\n{usage}\n```"]
    if shown:
        parts.append("\n".join(["| option | |", "| --- | --- |", *shown]))
    if common:
        parts.append(f"{'Also' if shown else 'Options:'} {', '.join(common)}.")
    return "\n\n".join(parts)


def _option(param: click.Option, spelled: str, help_text: str) -> str:
    spelled = re.sub(r"\[[\w|]+\]", "KIND", spelled.replace("INTEGER RANGE", "N"))
    said = re.sub(r"; x>=\d+|x>=\d+", "", help_text).replace("  []", "").replace("  [", " [")
    if isinstance(param.type, click.Choice):
        said = f"{said} KIND: {', '.join(f'`{one}`' for one in param.type.choices)}."
    return f"| `{spelled}` | {said.strip()} |"


def gateway() -> str:
    """Return the options of the local server."""
    parser = server._parser()
    rows = []
    for one in parser._actions[1:]:  # but for --help
        choices = f" {'|'.join(map(str, one.choices))}" if one.choices else ""
        spelled = f"{one.option_strings[0]}{choices or (f' {one.metavar}' if one.metavar else '')}"
        said = parser._get_formatter()._expand_help(one)
        rows.append(f"| `{spelled.replace('|', ' or ')}` | {said[0].upper()}{said[1:]} |")
    return "\n".join(["| option | |", "| --- | --- |", *rows])


def keys(table: str) -> str:
    """Return the table of a job file's keys, or of the program's settings."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for name, default, meaning in _keys(table):
        assert meaning, f"{table}.{name}: say what it means, under the field"
        lines.append(f"| `{name}` | {default} | {meaning} |")
    return "\n".join(lines)


def _keys(table: str) -> Iterator[tuple[str, str, str]]:
    if table == "settings":
        defaults = tomllib.loads((ROOT / "config/defaults.toml").read_text(encoding="utf-8"))
        meanings = field_meanings(Settings)
        yield from ((name, written(value), meanings[name]) for name, value in defaults.items())
    elif table in CLASSES:
        meanings = field_meanings(CLASSES[table])
        for one in fields(CLASSES[table]):
            # Of these two the first is `job.provider`; the second are keys of a dialect, on the dialect's own page.
            if not (table == "provider" and one.name in ("name", "options")):
                default = FILLED_IN.get(one.name, default_of(one)) if table == "provider" else default_of(one)
                yield one.name, written(default), meanings[one.name]
    else:
        meanings, known = arguments(Job), {one.name: one for one in fields(Job)}
        for name in TABLES[table] or ():
            default = "required" if name in REQUIRED_IN_FILES else written(default_of(known[name]))
            yield name, default, meanings[name][0].upper() + meanings[name][1:]


def metrics() -> str:
    """Return the table of metrics, by the names by which queries find them."""
    lines = ["| metric | labels | meaning |", "| --- | --- | --- |"]
    for name, one in METRICS.items():
        called = {"counter": f"`{name}_total`", "gauge": f"`{name}`", "summary": f"`{name}_count`, `{name}_sum`"}
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| {called[one.kind]} | {labels} | {'' if one.of_ledger else 'Of the process. '}{one.help} |")
    return "\n".join(lines)


def columns(before: str) -> str:
    """Return the table of result columns; what they mean is kept from the page."""
    meanings = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", before, re.MULTILINE))
    import pyarrow as pa

    found = result_fields(OutputOptions(raw=True), vector_type=pa.list_(pa.float32(), 3))
    spelled = {
        choices_type(pa.string()): "list of struct",
        found.field("llm_embedding").type: "list of float32",
        pa.float64(): "float64",
    }
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    rows = [f"| `{one.name}` | {spelled.get(one.type, str(one.type))} | {meanings[one.name]} |" for one in found]
    return "\n".join([*lines, *rows])


def errors() -> str:
    """Return the tree of public errors."""
    found = [one for one in map(_public, orchestrator.__all__) if _is_error(one)]
    lines = ["| error | is also | exit code | meaning |", "| --- | --- | --- | --- |"]
    for one in sorted(found, key=lambda kind: (len(kind.__mro__), kind.__name__)):
        above = f"`{one.__bases__[0].__name__}`" if one is not orchestrator.OrchestratorError else ""
        code = exit_codes.exit_code_of(one("")) if one is not orchestrator.OrchestratorError else ""
        lines.append(f"| `{one.__name__}` | {above} | {code} | {_prose(inspect.getdoc(one) or '')} |")
    return "\n".join(lines)


def _is_error(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Exception)


def codes() -> str:
    """Return the exit codes of the command line, as its help has them."""
    _, _, listed = (main.app.help or "").partition("Exit codes:")
    rows = re.findall(r"^\s+(\d+)\s+(.+)$", listed, re.MULTILINE)
    known = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert known <= {int(code) for code, _ in rows}, "an exit code is not in the help"
    return "\n".join(["| code | meaning |", "| --- | --- |", *(f"| `{code}` | {meaning} |" for code, meaning in rows)])


def promised() -> str:
    """Return what each command promises to a program."""
    lines = ["| command | documents | exit codes, beside those of any command |", "| --- | --- | --- |"]
    for name, promise in promises.PROMISES.items():
        documents = ", ".join(f"`{one}`" for one in promise.documents)
        meanings = "; ".join(f"`{code}` {meaning}" for code, meaning in promise.codes.items())
        lines.append(f"| `{name}` | {documents} | {meanings} |")
    return "\n".join(lines)


def documents() -> str:
    """Return the fields of all documents, and of the objects within them."""
    schema = catalogue.schema_of(tuple(catalogue.KINDS))
    parts = []
    found = schema["$defs"]
    kinds = {kind.__name__: schema_name(kind) for kind in catalogue.KINDS.values()}
    for name in sorted(found, key=lambda one: (one not in kinds, list(kinds).index(one) if one in kinds else 0, one)):
        one = found[name]
        lines = ["| field | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{field}` | {_typed(of)} | {of['description']} |" for field, of in one["properties"].items()]
        parts.append(
            f"### {f'`{kinds[name]}`' if name in kinds else name}\n\n{one['description']}\n\n" + "\n".join(lines)
        )
    return "\n\n".join(parts)


def _typed(of: Mapping[str, Any]) -> str:
    """Return the type of a field in words, with a link to the object that it is."""
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        kinds = {kind.__name__: name_of(kind) for kind in catalogue.KINDS.values()}
        return f"[{name}](#{f'orchestrator{kinds[name]}1' if name in kinds else name.lower()})"
    if "anyOf" in of:
        return " or ".join(map(_typed, of["anyOf"]))
    if "enum" in of:
        return "text"
    if of.get("type") == "array":
        return f"list of {_typed(of['items'])}"
    if of.get("type") == "object":
        return f"object of {_typed(more)}" if (more := of.get("additionalProperties")) else "object"
    if of.get("format") == "date-time":
        return "time"
    spelled = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
    amount = of.get("type") == "string" and "pattern" in of
    return "amount" if amount else spelled.get(of.get("type", ""), "any")


def function(name: str) -> str:
    """Return the signature and the docstring of a public function."""
    found = _public(name)
    return f"```text\n{name}{signature(found)}\n```\n\n{_prose(inspect.getdoc(found) or '')}"


def class_(name: str, without: str = "") -> str:
    """Return the docstring of a public class, its fields and its members."""
    found, left_out = _public(name), without.split()
    parts = [_prose(inspect.getdoc(found) or "")]
    members = []
    if is_dataclass(found) and found not in (Job, *CLASSES.values()):  # their fields are the keys of a job file
        meanings = field_meanings(found)
        shown = [one.name for one in fields(found) if not one.name.startswith("_") and one.name not in left_out]
        plain = ", ".join(f"`{one}`" for one in shown if not meanings[one])
        members += [(plain, "what the name says" if "," not in plain else "what their names say")] if plain else []
        members += [(f"`{one}`", meanings[one]) for one in shown if meanings[one]]
    methods = []
    for member, value in vars(found).items():
        if member.startswith("_") or member in left_out or not (callable(value) or isinstance(value, property)):
            continue
        said = _flat(inspect.getdoc(value) or "")
        if isinstance(value, property):
            members.append((f"`{member}`", said))
        else:
            methods.append(f"- `{member}{signature(value, is_method=True)}`: {said}")
    if members:
        parts.append("\n".join(["| member | |", "| --- | --- |", *(f"| {one} | {said} |" for one, said in members)]))
    return "\n\n".join(part for part in [*parts, "\n".join(methods)] if part)


def signature(found: Any, *, is_method: bool = False) -> str:
    """Return a signature without types, but for what is returned."""
    known = inspect.signature(found)
    bare = known.replace(
        parameters=[_untyped(one) for one in list(known.parameters.values())[1 if is_method else 0 :]],
        return_annotation=inspect.Signature.empty,
    )
    returned = "" if known.return_annotation in ("None", inspect.Signature.empty) else f" -> {known.return_annotation}"
    return re.sub(r"\(/, |\(\*?/\)", "(", str(bare).replace(", /", "")) + ("" if is_method else returned)


def _untyped(one: inspect.Parameter) -> inspect.Parameter:
    default = one.default.value if isinstance(one.default, StrEnum) else one.default
    return one.replace(annotation=inspect.Parameter.empty, default=default)


def field_meanings(found: type) -> dict[str, str]:
    """Return what is said about each field of a class, as one line; "" where nothing is said."""
    return {name: _flat(said) for name, said in meanings.field_meanings(found).items()}


def arguments(found: Any) -> dict[str, str]:
    """Return what a docstring says about each argument."""
    listed = _sections(inspect.getdoc(found) or "").get("Args", "")
    parts = ENTRY.split(listed)[1:]
    return {names: _flat(said) for names, said in zip(parts[::2], parts[1::2], strict=True)}


def _sections(text: str) -> dict[str, str]:
    """Return a docstring's sections, the first under "", each without its heading."""
    parts = SECTION.split(text)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _prose(text: str) -> str:
    """Return a docstring as Markdown: paragraphs, and a list for each section."""
    found = _sections(text)
    parts = [_joined(paragraph) for paragraph in re.split(r"\n\s*\n", found.pop("").strip()) if paragraph]
    for heading, body in found.items():
        entries = ENTRY.split(body)[1:]
        after = body.split("\n\n", 1)[1:]  # what follows the list, back at the margin
        listed = zip(entries[::2], entries[1::2], strict=True)
        lines = [f"- {_names(names)}: {_joined(said.partition(chr(10) + chr(10))[0])}" for names, said in listed]
        parts += ["\n".join(["Raises:", "", *lines] if heading == "Raises" else lines)]
        parts += [_joined(one) for one in after if one.strip() and not one.startswith(" ")]
    return "\n\n".join(parts)


def _names(names: str) -> str:
    return ", ".join(f"`{name.strip()}`" for name in names.split(","))


def _flat(text: str) -> str:
    """Return a docstring as one line, for a cell of a table."""
    return re.sub(r"(^| )- (?=`)", r"\1", " ".join(_prose(text).split()))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _public(name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    return getattr(import_module(f"orchestrator.{module}"), attribute) if module else getattr(orchestrator, name)


def default_of(one: Field[Any]) -> Any:
    """Return the default of a field."""
    return one.default_factory() if one.default_factory is not MISSING else one.default


def written(value: Any) -> str:
    """Return a default as a job file writes it."""
    if value is MISSING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, StrEnum | str):
        return f"`'{value}'`" if '"' in value else f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Mapping):
        return "`{}`"
    if isinstance(value, tuple):
        return "`[]`"
    assert isinstance(value, int | float | Decimal), value
    return f"`{value}`"


def run() -> None:
    """Write the pages that differ."""
    for path, text in pages():
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    run()

"""A job as a user defines it: in Python, or as a TOML file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Required, TypeAlias, TypedDict

from orchestrator import settings as configuration
from orchestrator.api.response import read_response, with_path
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.html_table import html_table
from orchestrator.domain.notices import Notify, read_notify
from orchestrator.domain.policy import OutputOptions, Policy
from orchestrator.domain.response_schema import ResponseSchema
from orchestrator.engine.row_function import make_importable
from orchestrator.planner.template import body_of, check_places, placeholders
from orchestrator.providers.registry import check_policy, provider_settings
from orchestrator.settings import ProviderSettings, check_types, policy, read_toml, refuse_unknown
from orchestrator.storage.download import shown
from orchestrator.storage.location import beside

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as pads

    class ArrowTable(Protocol):
        """A table of any library that exports Arrow: polars, DuckDB, nanoarrow."""

        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            """Return a capsule of an ArrowArrayStream."""

    Columns: TypeAlias = Mapping[str, Iterable[Any]]
    Rows: TypeAlias = Iterable[Mapping[str, Any]]
    Frame: TypeAlias = pd.DataFrame | pa.Table | pads.Dataset | pa.RecordBatchReader | ArrowTable
    Table: TypeAlias = str | PathLike[str] | Frame | Columns | Rows

TOKENS_MAX: Final = 2**31 - 1  # of an answer: more than any provider takes
INT64_MAX: Final = 2**63 - 1
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
PARAMETERS: Final = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "reasoning_effort",
    "response_format",
    "seed",
    "metadata",
)
Row: TypeAlias = dict[str, Any]


class JobFields(TypedDict, total=False):
    """The fields of a Job other than its dataset: the keyword arguments of `run`, `plan` and `submit`."""

    model: Required[str]
    prompt: str | None
    system: str | None
    messages: Sequence[Mapping[str, Any]] | str | None
    render: Callable[[Row], Mapping[str, Any]] | str | None
    render_version: str | None
    name: str
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    stop_sequences: Sequence[str] | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: Mapping[str, Any] | str | None
    thinking: Mapping[str, Any] | None
    reasoning_effort: str | None
    response_format: Mapping[str, Any] | None
    seed: int | None
    metadata: Mapping[str, Any] | None
    parameters: Mapping[str, Any]
    response: Mapping[str, Any] | type | str | Path | None
    provider: str
    provider_options: Mapping[str, Any]
    policy: Mapping[str, Any] | Policy
    output_options: Mapping[str, Any] | OutputOptions
    dataset_options: Mapping[str, Any]
    notify: Mapping[str, Any]
    work: str | Path | None
    output: str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Job:
    """One dataset, one request template, one model, one output. Checked when it is made: raises ConfigError.

    A Job is equal only to itself, because comparing DataFrames gives no single truth value. Compare job ids instead.

    Args:
        dataset: a path or URL: a file, a folder or a glob of Parquet, CSV, JSON or Arrow files
            ([Datasets](docs/datasets.md)). In Python also a table: of pandas, polars, pyarrow, DuckDB or anything else
            with `__arrow_c_stream__`, a Hugging Face Dataset, a dict of columns, or rows, each a dict, in a list or
            from an iterator.
        model: as the provider calls it, such as `"openai/gpt-6-luna-batch"`.
        prompt: the text of one user message, with `{column}` and `{image:column}` in it. Or give `messages`, or
            `render`.
        system: the system text.
        messages: all messages, each a table with `role` and `content`; or `"{column}"`,
            [the column that has them](docs/datasets.md#conversations).
        render: instead of all of these, a function of a row (a dict) that returns the request (a dict): these same
            keys, or the provider's own body. In a file its name, `"package.module:function"`, which a fleet's workers
            import, too. Its code, and the values that it reaches, are a part of the job's identity.
        render_version: your own name for the version of the `render` function, in place of its code and values.
        name: the first half of the job's id: lower-case letters, digits, `-` and `_`, at most 64, beginning with a
            letter or a digit.
        max_tokens: the longest answer. Estimates assume 1,024 where it is not set.
        temperature: a number.
        top_p: a number.
        top_k: a whole number.
        stop_sequences: a list of texts that end an answer.
        tools: a list of tools, `{ name, description, input_schema }` or in OpenAI's form.
        tool_choice: `"auto"`, `"none"`, `"any"`, or `{ type = "tool", name = "…" }`.
        thinking: Anthropic's table.
        reasoning_effort: `"none"`, `"low"` …, as the model has it.
        response_format: `{ type = "json_object" }`, or a JSON schema in OpenAI's form.
        seed: a whole number.
        metadata: a table that goes into each request.
        parameters: the provider's own fields; they go into the body as they are. Placeholders work in them, too.
        response: what an answer is, for [typed answers](docs/typed-answers.md): a dict of fields or of a JSON Schema,
            the path of a file with one, or a pydantic class.
        provider: a table of `config/providers.toml`, or a name of your own with all of `[provider]`.
        provider_options: a dict of the `[provider]` keys; each overrides that table's.
        policy: how the job is run: a dict of the `[policy]` keys, or a `Policy`.
        output_options: a dict of the `[output]` keys, or an `OutputOptions`.
        dataset_options: how files are written: a dict of the `[dataset]` keys.
        work: the work folder. Without it: the environment's `ORCHESTRATOR_WORK`, else the nearest `.orchestrator` in
            the folder of the job file or script, or above it, else a new one there. `--work` overrides it.
        output: the folder of the result. Without it: `output/` in the job's folder. It must be empty, or hold this
            job's output, and cannot be changed once the job has begun.
    """

    dataset: Table
    model: str
    prompt: str | None = None
    system: str | None = None
    messages: Sequence[Mapping[str, Any]] | str | None = None
    render: Callable[[Row], Mapping[str, Any]] | str | None = None
    render_version: str | None = None
    name: str = "job"
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: Sequence[str] | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: Mapping[str, Any] | str | None = None
    thinking: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None
    response_format: Mapping[str, Any] | None = None
    seed: int | None = None
    metadata: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    response: Mapping[str, Any] | type | str | Path | None = None
    provider: str = "onerouter"
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] | Policy = field(default_factory=dict)
    output_options: Mapping[str, Any] | OutputOptions = field(default_factory=dict)
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    notify: Mapping[str, Any] = field(default_factory=dict)
    work: str | Path | None = None
    output: str | Path | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"job.name {self.name!r} must be lower-case letters, digits, - and _, 64 at most, "
                "beginning with a letter or a digit"
            )
        if not self.model:
            raise ConfigError("request.model is empty: name the model as the provider calls it")
        if self.render is not None and (self.prompt or self.system or self.messages or self.all_parameters):
            raise ConfigError("render makes the whole body: give no prompt, system, messages or parameters beside it")
        if self.render is None:
            if self.render_version is not None:
                raise ConfigError("request.render_version names the version of a render function: there is none")
            placeholders(self.body)
            check_places(self.body)
        self.response_schema  # noqa: B018 - reading it checks it
        self.resolved_policy  # noqa: B018
        self.resolved_output_options  # noqa: B018
        self.resolved_dataset_options  # noqa: B018
        self.resolved_notify  # noqa: B018

    def __repr__(self) -> str:
        """Show the name, the model and where the rows are; no row, no prompt, no parameter."""
        dataset = f"dataset={_shown(self.dataset)}"
        return f"Job(name={self.name!r}, model={self.model!r}, provider={self.provider!r}, {dataset})"

    def _repr_html_(self) -> str:
        """Show the same in a notebook."""
        rows = [("model", self.model), ("provider", self.provider), ("dataset", _shown(self.dataset).strip("'"))]
        return html_table(f"Job {self.name}", rows)

    @property
    def all_parameters(self) -> dict[str, Any]:
        """The body's fields other than model, system and messages, in the order of the Messages API's documentation."""
        named = {name: getattr(self, name) for name in PARAMETERS if getattr(self, name) is not None}
        if twice := sorted(named.keys() & self.parameters.keys()):
            raise ConfigError(f"{', '.join(twice)}: given twice, also in parameters")
        return named | dict(sorted(self.parameters.items()))  # one order: see `content_keys`

    @property
    def body(self) -> dict[str, object]:
        """The request's body, with its placeholders."""
        return body_of(
            model=self.model,
            prompt=self.prompt,
            system=self.system,
            messages=self.messages,
            parameters=self.all_parameters,
        )

    @property
    def response_schema(self) -> ResponseSchema | None:
        """What an answer is; None where it is a text."""
        return read_response(self.response)

    @property
    def provider_settings(self) -> ProviderSettings:
        """The provider's table, with this job's overrides."""
        return provider_settings(self.provider, self.provider_options)

    @property
    def resolved_policy(self) -> Policy:
        """The policy with the provider's limits in it."""
        table = self.provider_settings
        if isinstance(self.policy, Policy):
            return check_policy(policy({}, table, given=self.policy), table)
        return check_policy(policy(self.policy, table), table)

    @property
    def resolved_output_options(self) -> OutputOptions:
        """The names of the result columns."""
        if isinstance(self.output_options, OutputOptions):
            return self.output_options
        refuse_unknown(self.output_options, [f.name for f in fields(OutputOptions)], "[output]")
        options = OutputOptions(**self.output_options)
        check_types(options, "[output]")
        return options

    @property
    def resolved_dataset_options(self) -> ReadOptions:
        """How files are written."""
        refuse_unknown(self.dataset_options, [f.name for f in fields(ReadOptions)], "[dataset]")
        return ReadOptions(**self.dataset_options)

    @property
    def resolved_notify(self) -> Notify | None:
        """Where notices of the job go; None: as the settings of the process that sends say."""
        return read_notify(self.notify)


def _shown(dataset: Any) -> str:
    """Return a description of a dataset without its contents: its path, or its type and size."""
    if isinstance(dataset, str | PathLike):
        return repr(shown(fspath(dataset)))
    kind = type(dataset).__name__
    shape = getattr(dataset, "shape", None)
    if isinstance(shape, tuple) and len(shape) == 2:
        return f"<{kind} of {shape[0]} rows and {shape[1]} columns>"
    return f"<{kind}>"


def _check_kinds(job: Job) -> None:
    """Raise ConfigError for a field of a wrong type that no other check would find before the job runs."""
    optional = ("prompt", "system", "render_version")
    for name in ("name", "model", "provider", *optional):
        given = getattr(job, name)
        if not isinstance(given, str) and (given is not None or name not in optional):
            there = "; its settings go into provider_options" if name == "provider" and isinstance(given, dict) else ""
            raise ConfigError(f"{name} must be a text, not {type(given).__name__}{there}")
    for name in ("work", "output"):
        if not isinstance(getattr(job, name), str | Path | None):
            raise ConfigError(f"job.{name} must be a path")
    tables = (job.parameters, "request.parameters"), (job.provider_options, "[provider]")
    options = (
        (job.policy, "[policy]"),
        (job.output_options, "[output]"),
        (job.dataset_options, "[dataset]"),
        (job.notify, "[notify]"),
    )
    for table, name in (*tables, *options):
        if not isinstance(table, Mapping | Policy | OutputOptions):
            raise ConfigError(f"{name} must be a table")
    if job.render is not None and not isinstance(job.render, str) and not callable(job.render):
        raise ConfigError('request.render must be a function, or the name of one: "package.module:function"')
    messages = () if job.messages is None else job.messages
    is_list = isinstance(messages, Sequence) and all(isinstance(message, Mapping) for message in messages)
    if not is_list and not isinstance(messages, str):
        raise ConfigError("request.messages must be a list of tables, each with a role and a content")
    check_numbers({name: getattr(job, name) for name in PARAMETERS})


def check_numbers(parameters: Mapping[str, Any]) -> None:
    """Raise ConfigError for a number of a wrong type: a provider would refuse every row for it, one by one."""
    for name, kinds, kind in (
        ("max_tokens", int, f"a whole number from 1 to {TOKENS_MAX:,}"),
        ("temperature", int | float, "a number"),
        ("top_p", int | float, "a number"),
        ("top_k", int, "a whole number"),
        ("seed", int, "a whole number"),
    ):
        given = parameters.get(name)
        if given is None:
            continue
        is_one = isinstance(given, kinds) and not isinstance(given, bool) and -INT64_MAX <= given <= INT64_MAX
        if not is_one or (name == "max_tokens" and not 1 <= given <= TOKENS_MAX):
            raise ConfigError(f"request.{name} must be {kind}")


TABLES: Final = {
    "job": ("name", "dataset", "provider", "work", "output"),
    "request": ("model", "prompt", "system", "messages", "render", "render_version", "parameters", *PARAMETERS),
    "response": None,  # fields of the user's own
    "policy": tuple(f.name for f in fields(Policy)),
    "provider": None,  # checked against the provider's own fields
    "output": tuple(f.name for f in fields(OutputOptions)),
    "dataset": tuple(f.name for f in fields(ReadOptions)),
    "notify": tuple(f.name for f in fields(Notify)),
}


def read_job(path: Path) -> Job:
    """Read a job file; its relative paths start at its folder. Raises ConfigError that names the file and the key."""
    text = read_toml(path)
    refuse_unknown(text, TABLES, str(path))
    for table, known in TABLES.items():
        if not isinstance(text.get(table, {}), dict):
            raise ConfigError(f"{path}: {table} must be a table: [{table}]")
        if known is not None:
            refuse_unknown(text.get(table, {}), known, f"{path}: [{table}]")
    job, request = dict(text.get("job", {})), text.get("request", {})
    for table, name in (("job", "name"), ("job", "dataset"), ("request", "model")):
        if not isinstance(text.get(table, {}).get(name), str):
            raise ConfigError(f'{path}: [{table}] needs {name} = "…"')
    folder = path.absolute().parent
    _refuse_other_folder(path, folder, job["dataset"])
    for name in ("dataset", "work", "output"):
        if isinstance(job.get(name), str):
            job[name] = beside(folder, job[name])
    options = dict(text.get("dataset", {}))
    if options.get("image_folder") and isinstance(options["image_folder"], str):
        options["image_folder"] = beside(folder, options["image_folder"])
    job.setdefault("work", configuration.load(os.environ, start=folder).work)
    if isinstance(request.get("render"), str):
        make_importable(folder)
    try:
        return Job(
            **job,
            **request,
            response=with_path(text["response"], path.parent) if "response" in text else None,
            provider_options=text.get("provider", {}),
            policy=text.get("policy", {}),
            output_options=text.get("output", {}),
            dataset_options=options,
            notify=text.get("notify", {}),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _refuse_other_folder(path: Path, folder: Path, dataset: str) -> None:
    """Raise ConfigError for a dataset that is where the command was typed, and not where the job file's paths start."""
    try:
        is_elsewhere = "://" not in dataset and Path(dataset).exists() and not (folder / dataset).exists()
    except OSError:  # a name that no file can have: whoever opens it says so
        return
    if is_elsewhere:
        there = os.path.relpath(dataset, folder)
        raise ConfigError(
            f'{path}: job.dataset = "{dataset}" starts at the folder of the job file, and there is no such file; there '
            f'is one in the current folder. Write dataset = "{there}"'
        )

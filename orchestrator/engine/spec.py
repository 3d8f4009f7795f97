"""The identity of a job, and everything needed to resume it: the content of `job.json`.

Rule 1: the digest covers only what changes an answer or its source: the dataset, the body, the dialect, the address,
        the shards. It does not cover policy, names of keys, or paths.
Rule 2: it holds no secret: a key is given by the name of its environment variable.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from orchestrator import codec
from orchestrator.domain import custom_id
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.money import OUTPUT_TOKENS_ASSUMED
from orchestrator.domain.policy import OutputOptions, Price
from orchestrator.settings import ProviderSettings

FORMAT: Final = 1
API_VERSION: Final = ("api-version", "api_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A job, as stored."""

    name: str
    dataset: str  # its location
    fingerprint: str
    model: str
    body: Mapping[str, Any] | None = None  # None: a function renders it
    render: str = ""  # the identity of that function
    render_path: str = ""  # "package.module:function", if any process can import it
    provider: ProviderSettings
    shard_rows: int
    shard_bytes: int
    dataset_options: ReadOptions = field(default_factory=ReadOptions)  # in the digest as part of the fingerprint
    output: str = ""  # "": in the job's own folder
    output_options: OutputOptions = field(default_factory=OutputOptions)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        identity = {
            "format": FORMAT,
            "dataset": self.fingerprint,
            "model": self.model,
            "body": self.body,
            "render": self.render,
            "dialect": self.provider.dialect,
            "base_url": self.provider.base_url.rstrip("/"),
            "shards": [self.shard_rows, self.shard_bytes],
        }
        if self.provider.options:
            identity["options"] = self.provider.options
        # A part of the address; but another version of the API gives the same answers to the same requests.
        query = {name: value for name, value in self.provider.query.items() if name not in API_VERSION}
        if query:
            identity["query"] = query
        return hashlib.sha256(_canonical(identity).encode()).hexdigest()

    @property
    def job_id(self) -> JobId:
        """`<name>-<8 hex of the digest>`."""
        return JobId(f"{self.name}-{self.digest[: custom_id.DIGEST_LENGTH]}")

    @property
    def price(self) -> Price | None:
        """The model's price, where it is known."""
        return self.provider.prices.get(self.model)

    @property
    def output_tokens_max(self) -> int:
        """The most tokens of an answer with all its choices, for estimates."""
        body = self.body or {}
        wanted = body.get("max_tokens", body.get("max_completion_tokens", body.get("max_output_tokens")))
        choices = body.get("n")
        tokens = wanted if isinstance(wanted, int) else OUTPUT_TOKENS_ASSUMED
        return tokens * max(1, choices if isinstance(choices, int) else 1)

    def to_json(self) -> str:
        """Return the spec as JSON text."""
        body = None if self.body is None else json.loads(_canonical(self.body))  # in the form that the digest uses
        kept = {"format": FORMAT, "job_id": self.job_id} | codec.plain(replace(self, body=None)) | {"body": body}
        return json.dumps(kept, indent=2)


def from_json(text: str) -> Spec:
    """Return the spec that `to_json` wrote; fields of other versions are ignored. Raises StorageError."""
    return codec.decode(text, Spec, name="job.json")


def render_mark(function: Callable[..., Any]) -> str:
    """Return the identity of a row function: its name, its source (or code), and the values it uses.

    Raises ConfigError for a function that uses a value without such an identity: two jobs must not look like one.
    """
    if isinstance(function, partial):
        given = f"{_value_text(function.args)}{_value_text(function.keywords)}"
        return f"{render_mark(function.func)}:{hashlib.sha256(given.encode()).hexdigest()[:16]}"
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    try:
        content = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        content = "" if code is None else _code_text(code)
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    content += _value_text((cells, getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)))
    return f"{name}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _value_text(value: object) -> str:
    """Return a text of a value that a function uses, the same in every process. Raises ConfigError."""
    if value is None or isinstance(value, str | bytes | int | float | Decimal | Path):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_value_text(key)}:{_value_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(map(_value_text, value)))}}}"
    if isinstance(value, ModuleType | type):
        return value.__name__
    if callable(value):
        return render_mark(value)
    raise ConfigError(
        f"render uses a {type(value).__name__}, which a later run cannot tell from another one: "
        "make it a module-level name, or use text, numbers, lists or dicts instead"
    )


def _code_text(code: CodeType) -> str:
    """Return a text of a function's code, the same in every process: no addresses, no order of a set."""
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_code_text(constant))
        else:
            constants.append(str(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant))
    return repr((code.co_code.hex(), code.co_names, constants))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)

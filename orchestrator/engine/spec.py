"""The identity of a job, and everything needed to resume it: the content of `job.json`.

Rule 1: the digest covers only what changes an answer or its source: the dataset, the body, the dialect, the address,
        the shards. It does not cover policy, names of keys, or paths.
Rule 2: it holds no secret: a key is given by the name of its environment variable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator import codec
from orchestrator.domain import custom_id
from orchestrator.domain.dataset import ReadOptions
from orchestrator.domain.model import JobId
from orchestrator.domain.money import OUTPUT_TOKENS_ASSUMED
from orchestrator.domain.notices import Notify
from orchestrator.domain.policy import OutputOptions, Price
from orchestrator.domain.response_schema import ResponseSchema
from orchestrator.providers.request_fields import output_limit_of
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
    response: str = ""  # the schema of answers in canonical form; "": answers are texts. In order: fields keep theirs
    render: str = ""  # the identity of that function's code, or the user's name for its version
    render_sample: str = ""  # the digest of what it renders for the first rows
    render_parts: Mapping[str, str] = field(default_factory=dict)  # what `render` is made of, to say what has changed
    render_path: str = ""  # "package.module:function", if any process can import it
    provider: ProviderSettings
    shard_rows: int
    shard_bytes: int
    dataset_options: ReadOptions = field(default_factory=ReadOptions)  # in the digest as part of the fingerprint
    output: str = ""  # "": in the job's own folder
    output_options: OutputOptions = field(default_factory=OutputOptions)
    notify: Notify | None = None  # None: as the settings of the process that sends say

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        identity = {
            "format": FORMAT,
            "name": self.name,  # else two jobs that ask the same would have rows of the same custom_ids
            "dataset": self.fingerprint,
            "body": self.body,
            "render": self.render and [self.render, self.render_sample],
            "shards": [self.shard_rows, self.shard_bytes],
        } | self._answered_by
        return hashlib.sha256(_canonical(identity).encode()).hexdigest()

    def scope(self, model: str = "") -> str:
        """Return what beside a request's own body determines its answer; equal for jobs that may take each other's.

        Args:
            model: another one than the job's.
        """
        return _canonical(self._answered_by | ({"model": model} if model else {}))

    @property
    def _answered_by(self) -> dict[str, Any]:
        identity: dict[str, Any] = {
            "model": self.model,
            "dialect": self.provider.dialect,
            "base_url": self.provider.base_url.rstrip("/"),
        }
        if self.response:
            identity["response"] = [self.response, self.provider.structured_output]
        if self.provider.options:
            identity["options"] = self.provider.options
        # A part of the address; but another version of the API gives the same answers to the same requests.
        query = {name: value for name, value in self.provider.query.items() if name not in API_VERSION}
        if query:
            identity["query"] = query
        return identity

    @property
    def job_id(self) -> JobId:
        """`<name>-<8 hex of the digest>`."""
        return JobId(f"{self.name}-{self.digest[: custom_id.DIGEST_LENGTH]}")

    @property
    def response_schema(self) -> ResponseSchema | None:
        """The schema of answers; None where they are texts."""
        return ResponseSchema(self.response) if self.response else None

    @property
    def price(self) -> Price | None:
        """The model's price, where it is known."""
        return self.provider.prices.get(self.model)

    @property
    def output_limit(self) -> int | None:
        """The limit of tokens that a template sets for an answer; None where it sets none."""
        return output_limit_of(self.body or {})

    @property
    def output_tokens_max(self) -> int:
        """The most tokens of an answer with all its choices, for estimates."""
        choices = (self.body or {}).get("n")
        tokens = OUTPUT_TOKENS_ASSUMED if self.output_limit is None else self.output_limit
        return tokens * max(1, choices if isinstance(choices, int) else 1)

    def to_json(self) -> str:
        """Return the spec as JSON text."""
        # In its own order: the fields of a schema are answered in that order, and a resumed job sends the same bytes.
        body = None if self.body is None else json.loads(json.dumps(self.body, default=str))
        kept = {"format": FORMAT, "job_id": self.job_id} | codec.plain(replace(self, body=None)) | {"body": body}
        return json.dumps(kept, indent=2)


def from_json(text: str) -> Spec:
    """Return the spec that `to_json` wrote; fields of other versions are ignored. Raises StorageError."""
    return codec.decode(text, Spec, name="job.json")


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)

"""The Anthropic dialect: Message Batches, whose requests are part of the create.

A field is sent as the Messages API has it. What the API, its version or a batch would refuse is refused here: a refused
create costs nothing, but a field that is refused row by row costs every row its turn.

Source: the types of anthropic 2.14.0 and the bytes it sends, seen 2026-11-30; the notes on API version 2026-10-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.batch import Traits
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.recovery import Recovery
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.model_list import ListedModel, ModelList, rows_of
from orchestrator.providers.request_fields import Refuser, accepted_names, messages_params
from orchestrator.providers.result_lines import ResultReader, messages
from orchestrator.providers.structured_output import SchemaRules

if TYPE_CHECKING:
    from orchestrator.providers.anthropic.provider import Anthropic
    from orchestrator.providers.http.client import HttpClient

SETTLE_MARGIN: Final = 0.2  # of the time a create may take
OLD_VERSION: Final = "2023-06-01"
SAMPLING: Final = ("temperature", "top_p", "top_k")
SAMPLING_UNTIL: Final = (4, 6)  # later models refuse sampling under the old version, too
FIELDS: Final = frozenset(
    {"model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "tools", "tool_choice", "thinking"}
    | {"output_config", "cache_control", "container", "inference_geo", "service_tier", "diagnostics"}
)
NEUTRAL: Final = frozenset({"prompt", "stop", "response_format", "reasoning_effort"})
OUTPUT_FIELDS: Final = {"response_format": "format", "reasoning_effort": "effort"}  # their names in `output_config`
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
FOREIGN_BLOCKS: Final = frozenset({"image_url", "input_audio", "file", "refusal"})
# platform.claude.com, "Structured outputs", JSON Schema limitations and schema complexity limits; what its SDK moves to
# the description: anthropic 2.14.0, lib/_parse/_transform.py. Read 2026-12-01.
SCHEMA_RULES: Final = SchemaRules(
    api="Anthropic's structured output",
    source='Anthropic, "Structured outputs: JSON Schema limitations"',
    keywords=frozenset({"anyOf", "additionalProperties"}),
    checked_here=frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
        | {"pattern", "minItems", "maxItems", "uniqueItems"}
    ),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    takes_recursion=False,
    unions_max=16,
    min_items_max=1,
)
SCHEMA_FROM: Final = (4, 5)  # the same page: Claude 4.5 and later, and Opus 4.1
_LEAVE_OUT: Final = "Leave it out"
_MODEL: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicOptions:
    """The options of `[provider]` that only this dialect has."""

    version: str = "2026-10-21"  # the header anthropic-version
    accepts: tuple[str, ...] = ()  # request fields to send as they are, though they would be refused here

    def __post_init__(self) -> None:
        if not isinstance(self.version, str) or _DATE.fullmatch(self.version) is None:
            raise ConfigError(f'[provider]: version must be a date, such as "{OLD_VERSION}", not {self.version!r}')
        object.__setattr__(self, "accepts", accepted_names(self.accepts))


class AnthropicDialect(Dialect):
    """See the module."""

    options_type = AnthropicOptions
    options: AnthropicOptions
    schema_rules = SCHEMA_RULES
    _reader = ResultReader(bodies=(messages,), result_lines=True)

    @property
    def traits(self) -> Traits:
        """Batches are listed without a mark: a lost one is known by its results, and its absence by waiting."""
        return Traits(
            name=self.settings.name,
            recovery=Recovery.SETTLED,
            settle_s=self.settings.create_s_max * (1 + SETTLE_MARGIN),
            lag_s=self.settings.list_lag_s,
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """The API's version; a beta or a workspace is named in the table's own `headers`."""
        return {"anthropic-version": self.options.version}

    def request_body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return `params`. Raises ConfigError."""
        refuser = Refuser(api="Anthropic's messages", model=str(request.get("model")))
        self._check(request, refuser)
        ours = [key for key in OUTPUT_FIELDS if key in request and key not in self.options.accepts]
        others = {key: value for key, value in request.items() if key not in ours}
        body = messages_params(others, refuser, self.options.accepts)
        _check_messages(body["messages"], refuser)
        config = {OUTPUT_FIELDS[key]: _output(key, request[key], refuser) for key in ours}
        return body | {"output_config": {**(body.get("output_config") or {}), **config}} if config else body

    def takes_schema(self, model: str) -> bool:
        """Models of version 4.5 on do, and Opus 4.1; a name that is not known is taken to be a later one."""
        found = _MODEL.match(model)
        if found is None or model.startswith("claude-opus-4-1"):
            return True
        return (int(found[1]), int(found[2] or 0)) >= SCHEMA_FROM

    models_path = "/models?limit=1000"

    def read_models(self, content: object) -> ModelList | None:
        """Read `{"data": [{"id", …}]}`. It has no aliases, so a model may be good and not be in it.

        Source: anthropic 2.14.0, resources/models.py and types/model_info.py.
        """
        rows = rows_of(content)
        return (
            None
            if rows is None
            else ModelList(models=[ListedModel(id=str(row["id"])) for row in rows], is_complete=False)
        )

    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Read a line of the results."""
        return self._reader(line, keep_raw=keep_raw)

    def connect(self, http: HttpClient) -> Anthropic:
        """Return the provider."""
        from orchestrator.providers.anthropic.provider import Anthropic

        return Anthropic(http, self.traits)

    def _check(self, request: Mapping[str, Any], refuser: Refuser) -> None:
        """Refuse fields that the API does not have, a batch cannot serve, or this version or model does not take."""
        for key in request:
            if key in self.options.accepts:
                continue
            if key in ("stream", "speed"):
                raise refuser.error(key, "a batch has no such choice", _LEAVE_OUT)
            if key in SAMPLING:
                self._check_sampling(key, refuser)
            elif key not in FIELDS and key not in NEUTRAL:
                raise refuser.unknown(key)
        if not request.get("max_tokens"):
            raise refuser.error("max_tokens", f"{refuser.api} require it", "Set request.max_tokens, such as 1024")
        others = request["metadata"].keys() - {"user_id"} if isinstance(request.get("metadata"), Mapping) else ()
        for key in sorted(others):
            raise refuser.unknown(f"metadata.{key}")

    def _check_sampling(self, key: str, refuser: Refuser) -> None:
        found = _MODEL.match(refuser.model)
        is_early = found is not None and (int(found[1]), int(found[2] or 0)) <= SAMPLING_UNTIL
        if not is_early:
            raise refuser.error(key, "this model takes no sampling parameters, and answers HTTP 400", _LEAVE_OUT)
        if self.options.version != OLD_VERSION:
            why = f"API version {self.options.version} refuses it at any value"
            raise refuser.error(key, why, f'{_LEAVE_OUT}, or set provider.version = "{OLD_VERSION}"')


def _output(key: str, wanted: Any, refuser: Refuser) -> Any:
    """Translate `response_format` or `reasoning_effort` for `output_config`."""
    match key, wanted:
        case "reasoning_effort", str() if wanted in EFFORTS:
            return wanted
        case "response_format", (
            {"type": "json_schema", "json_schema": {"schema": schema}} | {"type": "json_schema", "schema": schema}
        ):
            return {"type": "json_schema", "schema": schema}
    known = {"reasoning_effort": ", ".join(EFFORTS), "response_format": "a JSON schema, in OpenAI's form"}
    raise refuser.error(key, f"{refuser.api} do not know this value", f"Known: {known[key]}; or leave it out")


def _check_messages(given: Any, refuser: Refuser) -> None:
    """Refuse roles and blocks that have no form here, and blocks where API version 2026-10-21 refuses them."""
    for number, message in enumerate(given):
        place, role, content = f"messages[{number}]", message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            raise refuser.error(place, f"{refuser.api} have no role {role!r} there", "Give request.system as a text")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            kind = block.get("type") if isinstance(block, Mapping) else None
            if kind in FOREIGN_BLOCKS or (kind == "document" and role == "assistant"):
                why = f"{refuser.api} take no block {kind!r} in a message of the {role}"
                raise refuser.error(f"{place}.content[{index}]", why, "Known: text, image, document")

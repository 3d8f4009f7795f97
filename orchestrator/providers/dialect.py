"""A dialect is pure code for one family of providers: its format of requests, states, results and errors.

Rule 1: no I/O. A dialect converts a request into a body and a result line into an answer, and names the provider's
    traits; the `Provider` that it makes does the exchanges.
Rule 2: a request that the provider or the model would refuse is refused here, before anything is sent: the error names
    the key, the model and the fix.
Rule 3: the module of a dialect does not import its HTTP side at the top: checking a job needs no HTTP client.
Rule 4: `request_body` of a body that it made returns the same body: a user's function may return either form.

A dialect is registered as an entry point of the group `batch_orchestrator.dialects`; see docs/architecture.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.request_changes import laid_over
from orchestrator.providers.catalogue import Sold
from orchestrator.providers.request_fields import output_limit_of
from orchestrator.providers.structured_output import BY_WORDS, NATIVE, SchemaRules, sent_form, with_native, with_words

if TYPE_CHECKING:
    from orchestrator.domain.batch import Traits
    from orchestrator.domain.reconcile import Answer
    from orchestrator.domain.response_schema import ResponseSchema
    from orchestrator.ports import Provider
    from orchestrator.providers.http.auth import Auth
    from orchestrator.providers.http.client import HttpClient
    from orchestrator.providers.http.secret import Secret
    from orchestrator.providers.model_list import ModelList
    from orchestrator.settings import ProviderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """The options of a dialect that has none of its own."""


class Dialect(ABC):
    """One dialect, set up by a provider's table of settings.

    `options_type` is a frozen dataclass: the keys of `[provider]` that only this dialect has, checked in its
    `__post_init__`, which raises ConfigError.
    """

    options_type: ClassVar[type[Any]] = NoOptions
    envelope: LineEnvelope = LineEnvelope()
    models_path: str = ""  # of the list of models, behind the base URL; "": there is none
    gives_vectors: bool = False  # answers are embeddings, not text
    is_polled_by_list: ClassVar[bool] = False  # one call tells of many batches: see docs/decisions/0015

    def __init__(self, settings: ProviderSettings, options: Any) -> None:
        self.settings = settings
        self.options = options

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """The provider's traits; the mark of the key is not known here."""

    @abstractmethod
    def request_body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the neutral fields of a request into the provider's body. Raises ConfigError.

        Keys that are not neutral fields are the provider's own, and stay as they are. Strings may be templates with
        `{column}` placeholders: they may be moved and concatenated, not inspected.
        """

    schema_rules: ClassVar[SchemaRules | None] = None  # of its structured output; None: it has none that is documented

    def takes_schema(self, model: str) -> bool:  # noqa: ARG002 - dialects override it
        """Return whether a model has the dialect's structured output."""
        return self.schema_rules is not None

    def rules_for(self, model: str) -> SchemaRules | None:
        """Return what structured output of this model takes; None where it is asked in words. Raises ConfigError."""
        wanted, rules = self.settings.structured_output, self.schema_rules
        if wanted == BY_WORDS or rules is None or not (wanted == NATIVE or self.takes_schema(model)):
            return None
        return rules

    def asks_for(self, request: Mapping[str, Any], schema: ResponseSchema, *, is_template: bool) -> dict[str, Any]:
        """Return a request, in neutral fields, that asks for answers of a schema: natively, or in words."""
        rules = self.rules_for(str(request.get("model")))
        if rules is None:
            return with_words(request, schema, is_template=is_template)
        return with_native(request, sent_form(schema, rules), is_template=is_template)

    def output_limit(self, body: Mapping[str, Any]) -> int | None:
        """Return the limit of tokens of an answer that a body sets; None where it sets none."""
        return output_limit_of(body)

    def with_fields(self, body: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a provider's body with other values of these fields, neutral ones or its own. Raises ConfigError."""
        return self.request_body(laid_over(body, fields))

    def with_turn(self, body: Mapping[str, Any], answer: str, reply: str) -> dict[str, Any]:
        """Return a provider's body whose conversation goes on: the model's answer, if it has one, and a reply to it."""
        turn = [{"role": "assistant", "content": answer}] if answer.strip() else []
        turn.append({"role": "user", "content": reply})
        key = "messages" if "messages" in body else "input"  # as OpenAI's responses have it
        before = body.get(key, ())
        return {**body, key: [*([{"role": "user", "content": before}] if isinstance(before, str) else before), *turn]}

    @abstractmethod
    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Return the `custom_id` in a result line, and the answer for that row. Raises UnreadableLine."""

    @abstractmethod
    def connect(self, http: HttpClient) -> Provider:
        """Return the provider behind an HTTP client."""

    def read_models(self, content: object) -> ModelList | None:  # noqa: ARG002 - dialects override it
        """Read the answer to a GET of `models_path`; None where it is no list."""
        return None

    def model_note(self, model: str) -> str:  # noqa: ARG002 - likewise
        """Return what is odd about the name of a model for batches; "" where nothing is."""
        return ""

    def sold_as(self, model: str) -> Sold:
        """Return who sells a model, and under which name: for prices and the days on which models end."""
        return Sold(vendor=self.settings.dialect, model=model)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of every request, beside the key's; the table's `headers` replace those of the same name."""
        return {}

    def auth(self, key: Secret) -> Auth:
        """Return how a request is authenticated."""
        from orchestrator.providers.http.auth import Bearer

        return Bearer(key)

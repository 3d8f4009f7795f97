"""The OneRouter dialect: "standard Messages API parameters", in requests that are part of the create.

Source: infron.ai/docs/batch-apis/llm-batch-api/create-new-batch, read 2026-11: the fields of `params`. Whether the
service takes others is not documented; `accepts` lets them through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain import money
from orchestrator.domain.batch import Traits
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.recovery import Recovery
from orchestrator.providers.catalogue import Sold
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.model_list import ListedModel, ModelList, rows_of
from orchestrator.providers.openai.schema_rules import RULES
from orchestrator.providers.request_fields import Refuser, accepted_names, messages_params
from orchestrator.providers.result_lines import ResultReader, chat, cohere, gemini, messages, responses
from orchestrator.providers.structured_output import BY_WORDS, NATIVE, SchemaRules

if TYPE_CHECKING:
    from orchestrator.providers.http.client import HttpClient
    from orchestrator.providers.onerouter.provider import OneRouter

VENDORS: Final = {"gpt-": "openai", "o3": "openai", "o4": "openai", "claude-": "anthropic", "gemini-": "google"}
SETTLE_MARGIN: Final = 0.2  # of the time a create may take: a minute on five
# Neutral fields that are not among the documented parameters.
FORMAT: Final = "response_format"
UNDOCUMENTED: Final = (FORMAT, "reasoning_effort", "seed", "dimensions", "stream", "n")
# Result lines are not documented: every shape that the documents hint at is accepted.
READER: Final = ResultReader(bodies=(chat, responses, messages, gemini, cohere), result_lines=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRouterOptions:
    """The options of `[provider]` that only this dialect has."""

    accepts: tuple[str, ...] = ()  # request fields to send as they are, though they are not documented

    def __post_init__(self) -> None:
        object.__setattr__(self, "accepts", accepted_names(self.accepts))


class OneRouterDialect(Dialect):
    """See the module."""

    options_type = OneRouterOptions
    options: OneRouterOptions

    @property
    def traits(self) -> Traits:
        """Batches cannot be listed or marked: a person must resolve an ambiguous create."""
        return Traits(
            name=self.settings.name,
            recovery=Recovery.UNKNOWABLE,
            settle_s=self.settings.create_s_max * (1 + SETTLE_MARGIN),
        )

    def request_body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return `params`. Raises ConfigError."""
        refuser = Refuser(api="OneRouter's documented batch parameters", model=str(request.get("model")))
        for key in UNDOCUMENTED:
            if key in request and key not in self.options.accepts and not (key == FORMAT and self._asks_natively):
                raise refuser.unknown(key)
        return messages_params(request, refuser, self.options.accepts)

    @property
    def _asks_natively(self) -> bool:
        return self.settings.structured_output == NATIVE or FORMAT in self.options.accepts

    def rules_for(self, model: str) -> SchemaRules | None:  # noqa: ARG002 - of all models alike
        """None, unless the user says that the service takes a schema: its documents name no such field."""
        return RULES if self._asks_natively and self.settings.structured_output != BY_WORDS else None

    models_path = "/models"

    def read_models(self, content: object) -> ModelList | None:
        """Read the list of models, which the service gives to anybody, with prices per million tokens.

        Whether batch models are in it is not documented: it is complete only if some are.

        Source: a public client that reads it (apmantza/pi-free, infron-models.ts at 2e961ae), read 2026-11-30.
        """
        rows = rows_of(content)
        if rows is None:
            return None
        models = [
            ListedModel(
                id=str(row["id"]),
                input_usd=_amount(row.get("min_prompt_price")),
                output_usd=_amount(row.get("min_completion_price")),
            )
            for row in rows
        ]
        return ModelList(models=models, is_complete=any(one.id.endswith("-batch") for one in models), is_public=True)

    def model_note(self, model: str) -> str:
        """Say so where a name does not end as the documents have it."""
        return (
            "" if model.endswith("-batch") else f"OneRouter's documents name models for batches NAME-batch, not {model}"
        )

    def sold_as(self, model: str) -> Sold:
        """Return the vendor's model behind `openai/gpt-6-luna-batch` or `gpt-6-luna-batch`.

        "All usage is charged at 50% of the standard API prices" (infronai.gitbook.io/docs/batch-apis/overview, read
        2026-11-22), and so are the vendors' own batches.
        """
        vendor, _, name = model.rpartition("/")
        name = name.removesuffix("-batch")
        if not vendor:
            vendor = next((vendor for prefix, vendor in VENDORS.items() if name.startswith(prefix)), "")
        return Sold(vendor=vendor, model=name, assumption="OneRouter charges half of the vendor's standard price")

    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Read a line in any of the shapes that are possible."""
        return READER(line, keep_raw=keep_raw)

    def connect(self, http: HttpClient) -> OneRouter:
        """Return the provider."""
        from orchestrator.providers.onerouter.provider import OneRouter

        return OneRouter(http, self.traits)


def _amount(value: object) -> Decimal | None:
    """Return a listed price; None where it is none."""
    return money.parse(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None

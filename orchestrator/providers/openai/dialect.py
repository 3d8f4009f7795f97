"""The OpenAI dialect: input files, batches with metadata, and one of three endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from orchestrator.domain.batch import LineEnvelope, Traits
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.reconcile import Answer
from orchestrator.domain.recovery import Recovery
from orchestrator.providers.catalogue import Sold
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.model_list import ListedModel, ModelList, day_of, rows_of
from orchestrator.providers.openai.models import has_structured_output
from orchestrator.providers.openai.requests import BODIES
from orchestrator.providers.openai.schema_rules import RULES
from orchestrator.providers.request_fields import accepted_names
from orchestrator.providers.result_lines import ResultReader, chat, embedding, responses
from orchestrator.settings import ProviderSettings

if TYPE_CHECKING:
    from orchestrator.providers.http.client import HttpClient
    from orchestrator.providers.openai.provider import OpenAI

SETTLE_MARGIN: Final = 0.2  # of the time a create may take
VENDORS: Final = {"api.groq.com": "groq", "api.mistral.ai": "mistral", "api.x.ai": "x-ai"}
OWN_HOST: Final = "api.openai.com"
EMBEDDINGS: Final = "/v1/embeddings"
READERS: Final[Mapping[str, ResultReader]] = {
    "/v1/chat/completions": ResultReader(bodies=(chat,)),
    "/v1/responses": ResultReader(bodies=(responses,)),
    EMBEDDINGS: ResultReader(bodies=(embedding,)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions:
    """The options of `[provider]` that only this dialect has."""

    endpoint: str = "/v1/chat/completions"
    accepts: tuple[str, ...] = ()  # request fields to send as they are, though the tables here would refuse them

    def __post_init__(self) -> None:
        if self.endpoint not in BODIES:
            raise ConfigError(f"[provider]: endpoint must be one of {', '.join(BODIES)}, not {self.endpoint!r}")
        object.__setattr__(self, "accepts", accepted_names(self.accepts))


class OpenAIDialect(Dialect):
    """See the module."""

    options_type = OpenAIOptions
    is_polled_by_list = True
    schema_rules = RULES
    options: OpenAIOptions

    def __init__(self, settings: ProviderSettings, options: OpenAIOptions) -> None:
        super().__init__(settings, options)
        before_body = b'","method":"POST","url":"' + options.endpoint.encode() + b'","body":'
        self.envelope = LineEnvelope(before_body=before_body)
        self.gives_vectors = options.endpoint == EMBEDDINGS
        self._reader = READERS[options.endpoint]
        self._body = BODIES[options.endpoint]

    @property
    def traits(self) -> Traits:
        """A batch has its attempt's mark and its own input file, so an ambiguous create can be looked up."""
        return Traits(
            name=self.settings.name,
            recovery=Recovery.FENCED,
            settle_s=self.settings.create_s_max * (1 + SETTLE_MARGIN),
            lag_s=self.settings.list_lag_s,
        )

    def request_body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body for the endpoint. Raises ConfigError."""
        return self._body(request, self.options.accepts)

    def takes_schema(self, model: str) -> bool:
        """All models of today do; older ones are asked in words."""
        return has_structured_output(model)

    models_path = "/models"

    def read_models(self, content: object) -> ModelList | None:
        """Read `{"data": [{"id", "shutdown_date"}, …]}`.

        OpenAI's own list has every model of the project. Others list what they serve under other names than a job's
        (Azure: deployments), or not all of it.

        Source: openai 3.57.0, types/model.py.
        """
        rows = rows_of(content)
        if rows is None:
            return None
        models = [ListedModel(id=str(row["id"]), ends_on=day_of(row.get("shutdown_date"))) for row in rows]
        host = urlsplit(self.settings.base_url).hostname or ""
        return ModelList(models=models, is_complete=host == OWN_HOST or host.endswith(f".{OWN_HOST}"))

    def sold_as(self, model: str) -> Sold:
        """By the address: services with the same API have prices of their own."""
        host = urlsplit(self.settings.base_url).hostname or ""
        return Sold(vendor=VENDORS.get(host, "openai"), model=model)

    def read_line(self, line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
        """Read a line of an output or an error file."""
        return self._reader(line, keep_raw=keep_raw)

    def connect(self, http: HttpClient) -> OpenAI:
        """Return the provider."""
        from orchestrator.providers.openai.provider import OpenAI

        return OpenAI(http, self.traits, endpoint=self.options.endpoint)

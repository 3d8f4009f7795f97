"""What the steps of one job work with: its provider, files, dataset, and the rules that its spec sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from orchestrator.collector.collect import Collecting
from orchestrator.collector.finish import Finishing
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.domain import custom_id
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.policy import Limits, Policy
from orchestrator.engine.spec import Spec
from orchestrator.planner.cost import Costing
from orchestrator.planner.plan import SLICE_ROWS, Planning
from orchestrator.planner.render import CallableRenderer, Envelope, Renderer, TemplateRenderer
from orchestrator.planner.template import compile_body
from orchestrator.ports import Checkpoint, JobFiles, Provider, Source, never_interrupted
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.onerouter.adapter import OneRouter
from orchestrator.providers.openai.adapter import OpenAI
from orchestrator.providers.private_errors import PrivateErrors
from orchestrator.settings import ProviderSettings
from orchestrator.storage.location import join, parent_and_name
from orchestrator.storage.open import open_job_files

OUTPUT: Final = "output"
RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]
DIALECTS: Final[Mapping[str, Callable[[HttpClient, ProviderSettings], Provider]]] = {
    "onerouter": lambda http, settings: OneRouter(http, settings.name),
    "openai": lambda http, settings: OpenAI(http, settings.name, lag_s=settings.list_lag_s),
}


def connect(settings: ProviderSettings, environment: Mapping[str, str]) -> Provider:
    """Return the provider behind a table of settings. Raises ConfigError: unknown dialect, missing key."""
    dialect = DIALECTS.get(settings.dialect)
    if dialect is None:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"provider {settings.name!r}: unknown dialect {settings.dialect!r}; known: {known}")
    key = environment.get(settings.api_key_env, "")
    if not key:
        raise ConfigError(
            f"the environment variable {settings.api_key_env} is not set: "
            f"it must hold the API key of provider {settings.name!r} ({settings.base_url})"
        )
    http = HttpClient(settings.base_url, Secret(key), timeouts=Timeouts(create_s=settings.create_s_max))
    return dialect(http, settings)


@dataclass
class JobContext:
    """What the steps of one job work with; each is made when it is first needed."""

    spec: Spec
    work: str
    connect: Callable[[ProviderSettings], Provider]
    text: str = ""  # the spec as the ledger has it
    render: RowFunction | None = None
    opened: Dataset | None = None

    @property
    def folder(self) -> str:
        """The location of the job's own folder."""
        return join(self.work, self.spec.job_id)

    @property
    def output_folder(self) -> str:
        """The location of the first revision of the output."""
        return self.spec.output or join(self.folder, OUTPUT)

    @property
    def job_files(self) -> JobFiles:
        """The job's files."""
        return open_job_files(self.folder)

    @cached_property
    def provider(self) -> Provider:
        """The provider; what it says in its own words is kept among the job's files."""
        return PrivateErrors(self.connect(self.spec.provider), lambda: self.job_files, self.folder)

    @cached_property
    def source(self) -> Source:
        """The dataset."""
        if self.opened is not None:
            return self.opened
        return open_dataset(self.spec.dataset, shard_rows=self.spec.shard_rows, shard_bytes=self.spec.shard_bytes)

    @property
    def costing(self) -> Costing:
        """What requests may cost."""
        return Costing(price=self.spec.price, output_tokens_max=self.spec.output_tokens_max)

    @property
    def finishing(self) -> Finishing:
        """What output is made with."""
        parent, name = parent_and_name(self.output_folder)
        return Finishing(
            source=self.source,
            fingerprint=self.spec.fingerprint,
            options=self.spec.output_options,
            job_digest=self.spec.digest,
            slice_rows=SLICE_ROWS,
            output=open_job_files(parent, is_private=not self.spec.output),
            folder=name,
        )

    @property
    def collecting(self) -> Collecting:
        """What results are read with."""
        return Collecting(
            job_digest=self.spec.digest,
            price=self.spec.price,
            keep_raw=self.spec.output_options.raw,
        )

    def require_provider(self) -> Provider:
        """Return the provider. Raises ConfigError where its key is missing: called before a job is entered."""
        return self.provider

    def renderer(self, shard_no: int, policy: Policy, checkpoint: Checkpoint = never_interrupted) -> Renderer:
        """Return what makes request lines of a shard's rows."""
        traits = self.provider.traits
        envelope = Envelope(before_id=traits.line_open, before_body=traits.line_body, after_body=traits.line_close)
        id_prefix = custom_id.prefix(self.spec.digest, shard_no).encode()

        def label(row: int) -> str:
            return f"row {row}" if len(self.source.shards) == 1 else f"row {row} of shard {shard_no}"

        if self.spec.body is not None:
            return TemplateRenderer(
                compiled=compile_body(self.spec.body, self.source.schema),
                envelope=envelope,
                id_prefix=id_prefix,
                null_policy=policy.null_policy.value,
                row_label=label,
            )
        if self.render is None:
            raise ConfigError(
                f"job {self.spec.job_id} renders its rows with a Python function, which only your program has: "
                "call orchestrator.run(...) there to go on with it"
            )
        return CallableRenderer(
            function=self.render,
            model=self.spec.model,
            envelope=envelope,
            id_prefix=id_prefix,
            row_label=label,
            checkpoint=checkpoint,
        )


def planning_of(context: JobContext, policy: Policy, checkpoint: Checkpoint = never_interrupted) -> Planning:
    """Return what a plan is made from."""
    return Planning(
        source=context.source,
        renderer=lambda shard_no: context.renderer(shard_no, policy, checkpoint),
        limits=limits_of(policy),
        costing=context.costing,
        checkpoint=checkpoint,
    )


def limits_of(policy: Policy) -> Limits:
    """Return what one batch may hold."""
    return Limits(
        requests_max=policy.chunk_requests_max,
        bytes_max=policy.chunk_bytes_max,
        tokens_max=policy.chunk_tokens_max,
    )


class NoKey(Mapping[str, str]):
    """An environment in which every key is a stand-in: to check what does not need a key, before asking for it."""

    def __getitem__(self, name: str) -> str:
        return "not-needed"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def keyless(provider: ProviderSettings) -> Provider:
    """Return a provider to ask for its traits only."""
    return connect(provider, NoKey())

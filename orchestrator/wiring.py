"""Which concrete thing stands behind each port, and each step bound to what it needs. Nobody else names adapters."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from orchestrator import spec as specs
from orchestrator.batches.cancel import cancel
from orchestrator.batches.poll import poll
from orchestrator.batches.recover import recover
from orchestrator.batches.submit import submit
from orchestrator.collector.collect import Collecting, collect
from orchestrator.collector.finish import Finishing, finish
from orchestrator.collector.seal import seal
from orchestrator.domain import custom_id
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import Claim, JobId, Step
from orchestrator.domain.policy import Limits, Policy
from orchestrator.ledger.database import Database, open_sqlite
from orchestrator.ledger.desk import SqlDesk
from orchestrator.ledger.overview import SqlOverview
from orchestrator.ledger.sql import SqlLedger
from orchestrator.planner.costing import Costing
from orchestrator.planner.plan import SLICE_ROWS, Planning, plan
from orchestrator.planner.read import Dataset, open_dataset
from orchestrator.planner.render import CallableRenderer, Envelope, Renderer, TemplateRenderer
from orchestrator.planner.retry import Gathering, retry
from orchestrator.planner.review import review
from orchestrator.planner.split import split
from orchestrator.planner.template import compile_body
from orchestrator.ports import Provider, Source, Spool
from orchestrator.providers.exchange import Timeouts
from orchestrator.providers.http import HttpClient
from orchestrator.providers.onerouter import OneRouter
from orchestrator.providers.secret import Secret
from orchestrator.settings import ProviderSettings
from orchestrator.spec import Spec
from orchestrator.spooled import RowReader
from orchestrator.storage.local import LocalSpool

LEDGER: Final = "ledger.db"
OUTPUT: Final = "output"
RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]


class SystemClock:
    """The `Clock` of this machine."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)

    def draw(self) -> float:
        """Return a uniform number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret

    def token(self) -> str:
        """Return 32 random hexadecimal digits."""
        return secrets.token_hex(16)


def connect(settings: ProviderSettings, environment: Mapping[str, str]) -> Provider:
    """Return the provider behind a table of settings. Raises ConfigError: unknown dialect, missing key."""
    if settings.dialect != "onerouter":
        raise ConfigError(f"provider {settings.name!r}: unknown dialect {settings.dialect!r}; known: onerouter")
    key = environment.get(settings.api_key_env, "")
    if not key:
        raise ConfigError(
            f"the environment variable {settings.api_key_env} is not set: "
            f"it must hold the API key of provider {settings.name!r} ({settings.base_url})"
        )
    http = HttpClient(settings.base_url, Secret(key), timeouts=Timeouts(create_s=settings.create_s_max))
    return OneRouter(http, settings.name)


@dataclass(slots=True)
class Workbench:
    """An open work folder: its ledger, and the tools for each of its jobs."""

    work: Path
    database: Database
    environment: Mapping[str, str] = field(repr=False)
    clock: SystemClock = field(default_factory=SystemClock)
    _tools: dict[JobId, JobTools] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ledger(self) -> SqlLedger:
        """The ledger, for steps."""
        return SqlLedger(self.database)

    @property
    def overview(self) -> SqlOverview:
        """The ledger, for sums."""
        return SqlOverview(self.database)

    @property
    def desk(self) -> SqlDesk:
        """The ledger, for people."""
        return SqlDesk(self.database)

    def tools(self, job_id: JobId) -> JobTools:
        """Return the tools of a job, made from its spec in the ledger where nobody has given a newer one."""
        with self._lock:
            if job_id not in self._tools:
                spec = specs.from_json(self.ledger.job(job_id).spec)
                self._tools[job_id] = JobTools(spec=spec, work=self.work, environment=self.environment)
            return self._tools[job_id]

    def equip(self, spec: Spec, *, render: RowFunction | None = None, source: Dataset | None = None) -> JobTools:
        """Make the tools of a job from what its user has just given."""
        tools = JobTools(spec=spec, work=self.work, environment=self.environment, render=render, opened=source)
        with self._lock:
            self._tools[spec.job_id] = tools
        return tools

    def perform(self, claim: Claim) -> None:
        """Run the step that was claimed."""
        step, names = _STEPS[claim.step]
        job_id = claim.unit.job_id
        kit = Kit(bench=self, tools=self.tools(job_id), policy=self.ledger.job(job_id).policy)
        step(claim, **{name: getattr(kit, name) for name in names})

    def close(self) -> None:
        """Close the ledger."""
        self.database.close()


@dataclass
class JobTools:
    """What the steps of one job work with; each is made when it is first needed."""

    spec: Spec
    work: Path
    environment: Mapping[str, str] = field(repr=False)
    render: RowFunction | None = None
    opened: Dataset | None = None

    @property
    def folder(self) -> Path:
        """The job's own folder."""
        return self.work / self.spec.job_id

    @property
    def output_folder(self) -> Path:
        """Where the first revision of the output goes."""
        return Path(self.spec.output) if self.spec.output else self.folder / OUTPUT

    @property
    def spool(self) -> Spool:
        """The job's files."""
        return LocalSpool(self.folder)

    @cached_property
    def provider(self) -> Provider:
        """The provider."""
        return connect(self.spec.provider, self.environment)

    @cached_property
    def source(self) -> Source:
        """The dataset."""
        if self.opened is not None:
            return self.opened
        return open_dataset(self.spec.dataset, shard_rows=self.spec.shard_rows, shard_bytes=self.spec.shard_bytes)

    @property
    def reader(self) -> RowReader:
        """Finds the row of a request line."""
        return RowReader(self.provider.traits, self.spec.digest)

    @property
    def costing(self) -> Costing:
        """What requests may cost."""
        return Costing(price=self.spec.price, output_tokens_max=self.spec.output_tokens_max)

    @property
    def finishing(self) -> Finishing:
        """What output is made with."""
        return Finishing(
            source=self.source,
            fingerprint=self.spec.fingerprint,
            options=self.spec.output_options,
            job_digest=self.spec.digest,
            slice_rows=SLICE_ROWS,
            output=LocalSpool(self.output_folder.parent),
            folder=self.output_folder.name,
        )

    @property
    def collecting(self) -> Collecting:
        """What results are read with."""
        return Collecting(
            reader=self.reader,
            job_digest=self.spec.digest,
            price=self.spec.price,
            keep_raw=self.spec.output_options.raw,
        )

    def renderer(self, shard_no: int, policy: Policy) -> Renderer:
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
                f"job {self.spec.job_id} renders its rows with a Python function: "
                "go on with it from the program that has that function, with orchestrator.run(...)"
            )
        return CallableRenderer(
            function=self.render, model=self.spec.model, envelope=envelope, id_prefix=id_prefix, row_label=label
        )


@dataclass(frozen=True, slots=True)
class Kit:
    """Everything that any step of one job takes, under the job's present policy."""

    bench: Workbench
    tools: JobTools
    policy: Policy

    def __getattr__(self, name: str) -> Any:
        """Return what does not depend on the policy: the workbench's own, or the job's."""
        owner = self.bench if name in ("ledger", "overview", "clock") else self.tools
        return getattr(owner, name)

    @property
    def planning(self) -> Planning:
        """What a plan is made from."""
        return planning_of(self.tools, self.policy)

    @property
    def gathering(self) -> Gathering:
        """What retry chunks are made with."""
        return Gathering(limits=limits_of(self.policy), costing=self.tools.costing, reader=self.tools.reader)


def planning_of(tools: JobTools, policy: Policy) -> Planning:
    """Return what a plan is made from."""
    return Planning(
        source=tools.source,
        renderer=lambda shard_no: tools.renderer(shard_no, policy),
        limits=limits_of(policy),
        costing=tools.costing,
    )


def limits_of(policy: Policy) -> Limits:
    """Return what one batch may hold."""
    return Limits(
        requests_max=policy.chunk_requests_max,
        bytes_max=policy.chunk_bytes_max,
        tokens_max=policy.chunk_tokens_max,
    )


def open_workbench(work: Path, environment: Mapping[str, str]) -> Workbench:
    """Open, or make, a work folder. Raises LedgerError or ConfigError."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the work folder {work} cannot be made: {error.strerror}") from None
    return Workbench(work=work, database=open_sqlite(work / LEDGER), environment=environment)


def version() -> str:
    """Return the program's version."""
    return metadata.version("batch-orchestrator")


# Each step, and the names of what it takes; `Kit` has them all.
_STEPS: Final[Mapping[Step, tuple[Callable[..., None], tuple[str, ...]]]] = {
    Step.PLAN: (plan, ("ledger", "overview", "spool", "planning", "clock")),
    Step.SUBMIT: (submit, ("ledger", "overview", "spool", "provider", "clock")),
    Step.RECOVER: (recover, ("ledger", "overview", "spool", "provider", "clock")),
    Step.POLL: (poll, ("ledger", "provider", "clock")),
    Step.CANCEL: (cancel, ("ledger", "provider", "clock")),
    Step.COLLECT: (collect, ("ledger", "spool", "provider", "collecting", "clock")),
    Step.SPLIT: (split, ("ledger", "spool", "costing", "reader", "clock")),
    Step.REVIEW: (review, ("ledger", "overview", "clock")),
    Step.RETRY: (retry, ("ledger", "overview", "spool", "gathering", "clock")),
    Step.FINISH: (finish, ("ledger", "overview", "spool", "finishing", "clock")),
    Step.SEAL: (seal, ("ledger", "overview", "finishing", "clock")),
}

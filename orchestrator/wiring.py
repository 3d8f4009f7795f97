"""Which concrete thing stands behind each port, and each step bound to what it needs. Nobody else names adapters."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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
from orchestrator.domain.errors import ConfigError, LeaseLost
from orchestrator.domain.lanes import Lane
from orchestrator.domain.members import Kind, Member
from orchestrator.domain.model import Claim, Job, JobId, Step
from orchestrator.domain.policy import Limits, Policy
from orchestrator.ledger.clock import LedgerClock, clock_skew_s
from orchestrator.ledger.database import Database, open_ledger
from orchestrator.ledger.desk import SqlDesk
from orchestrator.ledger.fleet import SqlFleet
from orchestrator.ledger.overview import SqlOverview
from orchestrator.ledger.sql import SqlLedger
from orchestrator.location import is_url, join, parent_and_name
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
from orchestrator.storage.places import check_place, open_spool

LEDGER: Final = "ledger.db"
LOCK: Final = "runner.lock"
MARK: Final = "_ledger"  # in a work folder: which ledger's files it holds
WORK_MARK: Final = "work_mark"
TOOLS_MAX: Final = 64  # jobs whose tools are kept; a fleet's worker may meet many in its life
SQLITE: Final = "sqlite:///"
OUTPUT: Final = "output"
RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]


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


@dataclass
class Workbench:
    """An open work folder: its ledger, and the tools for each of its jobs."""

    work: str  # a location
    database: Database
    environment: Mapping[str, str] = field(repr=False)
    lock: Path | None = None  # what the processes at work on an SQLite ledger hold
    _tools: dict[JobId, JobTools] = field(default_factory=dict)
    _providers: dict[tuple[object, ...], Provider] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def clock(self) -> LedgerClock:
        """The time at the ledger."""
        return LedgerClock(self.database)

    @property
    def ledger(self) -> SqlLedger:
        """The ledger, for steps."""
        return SqlLedger(self.database)

    @property
    def fleet(self) -> SqlFleet:
        """The ledger, for the processes of a fleet."""
        return SqlFleet(self.database)

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
        return self._tools_of(self.ledger.job(job_id))

    def _tools_of(self, job: Job) -> JobTools:
        with self._lock:
            known = self._tools.pop(job.id, None)
            if known is None or known.text != job.spec:  # opened again, perhaps at another place or price
                spec = specs.from_json(job.spec)
                render = known.render if known is not None else None
                known = JobTools(spec=spec, text=job.spec, work=self.work, connect=self.provider, render=render)
            self._tools[job.id] = known  # the one used last stands last
            while len(self._tools) > TOOLS_MAX:
                del self._tools[next(iter(self._tools))]
            return known

    def equip(self, spec: Spec, *, render: RowFunction | None = None, source: Dataset | None = None) -> JobTools:
        """Make the tools of a job from what its user has just given."""
        tools = JobTools(
            spec=spec, text=spec.to_json(), work=self.work, connect=self.provider, render=render, opened=source
        )
        with self._lock:
            self._tools[spec.job_id] = tools
        return tools

    def provider(self, settings: ProviderSettings) -> Provider:
        """Return the provider behind a table of settings; jobs of one account share its connections."""
        key = (settings.name, settings.dialect, settings.base_url, settings.api_key_env, settings.create_s_max)
        with self._lock:
            if key not in self._providers:
                self._providers[key] = connect(settings, self.environment)
            return self._providers[key]

    def skew_s(self) -> float:
        """Return how far this machine's clock is ahead of the ledger's, seconds."""
        return clock_skew_s(self.database)

    def enlist(self, kind: Kind, host: str, lanes: Sequence[Lane]) -> str:
        """Enter this process among those at work on the ledger, and return its id there."""
        now, member_id = self.clock.now(), self.clock.token()
        member = Member(
            id=member_id,
            host=host,
            pid=os.getpid(),
            kind=kind,
            lanes=tuple(lanes),
            version=version(),
            started_at=now,
            seen_at=now,
        )
        self.fleet.enlist(member, now=now)
        return member_id

    def perform(self, claim: Claim) -> None:
        """Run the step that was claimed. One that lost a race gives its unit back, for somebody to decide anew."""
        step, names = _STEPS[claim.step]
        job = self.ledger.job(claim.unit.job_id)
        kit = Kit(bench=self, tools=self._tools_of(job), policy=job.policy)
        try:
            step(claim, **{name: getattr(kit, name) for name in names})
        except LeaseLost:
            with suppress(LeaseLost):  # it was the claim itself that was lost
                self.give_back(claim)
            raise

    def give_back(self, claim: Claim) -> None:
        """Let go of a claim without a word on its unit. Raises LeaseLost, LedgerError."""
        self.ledger.record(claim, now=self.clock.now())

    def close(self) -> None:
        """Close the ledger."""
        self.database.close()


@dataclass
class JobTools:
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
    def spool(self) -> Spool:
        """The job's files."""
        return open_spool(self.folder)

    @cached_property
    def provider(self) -> Provider:
        """The provider."""
        return self.connect(self.spec.provider)

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
        parent, name = parent_and_name(self.output_folder)
        return Finishing(
            source=self.source,
            fingerprint=self.spec.fingerprint,
            options=self.spec.output_options,
            job_digest=self.spec.digest,
            slice_rows=SLICE_ROWS,
            output=open_spool(parent),
            folder=name,
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


def open_workbench(work: str, ledger_url: str, environment: Mapping[str, str]) -> Workbench:
    """Open, or make, a work folder and its ledger. Raises LedgerError or ConfigError."""
    if not is_url(work):
        _make_folder(Path(work))
    if not ledger_url and is_url(work):
        raise ConfigError(
            f"the work folder {work} is in an object store, so the ledger needs a place of its own: set "
            "ORCHESTRATOR_LEDGER_URL to postgresql://…, or, where one machine does all the work, to sqlite:////a/file"
        )
    database = open_ledger(ledger_url or f"{SQLITE}{join(work, LEDGER)}")
    path = None if database.is_shared else Path(ledger_url.removeprefix(SQLITE) or join(work, LEDGER))
    bench = Workbench(work=work, database=database, environment=environment, lock=path and path.with_name(LOCK))
    if ledger_url:
        _bind(bench)
    return bench


def _bind(bench: Workbench) -> None:
    """Make sure that the work folder is the one that this ledger's files are in. Raises ConfigError.

    A ledger that lies elsewhere could be opened with any folder: an empty one, or one that only this machine sees.
    """
    spool, candidate = work_files(bench.work), bench.clock.token()
    with spool.create(MARK) as file:
        file.write(candidate.encode())
    with spool.open(MARK) as file:
        found = file.read().decode()
    known = bench.fleet.remember(WORK_MARK, found)
    if found == known:
        return
    if found == candidate:
        spool.remove(MARK)
    bench.close()
    raise ConfigError(
        f"the work folder {bench.work} is not the one that the ledger's files are in, as far as this machine sees: "
        "all machines of a fleet need one folder that they share, or one in an object store (ORCHESTRATOR_WORK)"
    )


def work_files(work: str) -> Spool:
    """Return the files of a work folder, once it is known that its store can be relied on. Raises ConfigError."""
    check_place(work)
    return open_spool(work)


def check_places(tools: JobTools) -> None:
    """Raise ConfigError where the store of the work folder or of the output cannot be relied on."""
    for location in sorted({tools.work, parent_and_name(tools.output_folder)[0]}):
        check_place(location)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the work folder {folder} cannot be made: {error.strerror}") from None


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

"""Another version of the program as a worker of a simulated world: its own steps, rules and statements.

Rule: the world's ports speak the present program's words. Here they are put into the other's, and its errors back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.model import Claim, Step, Unit
from orchestrator.domain.policy import Policy
from orchestrator.ledger.database import Database
from tests.fakes.batches import HOME
from tests.fakes.credentials import Credential
from tests.simulation.kit import BODY
from tests.simulation.plan import BYTES_MAX, OUTPUT_TOKENS_MAX
from tests.simulation.switching import SwitchingLedger, SwitchingPort, SwitchingProvider, SwitchingSpool
from tests.upgrade.versions import Version

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedJob, World


class Program:
    """A version at work on a world's ledger."""

    def __init__(self, version: Version, database: Database) -> None:
        self.version = version
        database_of = version.module("ledger.database").Database
        self.database = database_of(database._engine, one_connection=True)
        self.ledger = version.module("ledger.sql").SqlLedger(self.database)
        self.overview = version.module("ledger.overview").SqlOverview(self.database)
        self.desk = version.module("ledger.desk").SqlDesk(self.database)
        self.steps = version.module("wiring.bench")._STEPS
        self.lease_lost: type[Exception] = version.module("domain.errors").LeaseLost
        self._step = version.module("domain.model").Step

    def migrate(self) -> None:
        """Make this version's tables."""
        with self.database.write() as transaction:
            self.version.module("ledger.migrations").migrate(transaction)

    def job(self, policy: Policy, **facts: Any) -> Any:
        """Return a job in this version's words."""
        theirs = self.version.made("domain.policy", "Policy", **_values(policy))
        return self.version.made("domain.model", "Job", policy=theirs, **facts)

    def theirs(self, claim: Any) -> Any:
        """Return a claim in this version's words."""
        unit = self.version.made("domain.model", "Unit", **_values(claim.unit))
        return self.version.made("domain.model", "Claim", unit=unit, step=self._step(claim.step), token=claim.token)

    def claim(self, steps: list[Step], **asked: Any) -> list[Claim]:
        """Let this version hand out what is due; return it in the present program's words."""
        found = self.ledger.claim([self._step(step) for step in steps], **asked)
        return [Claim(unit=Unit(**_values(one.unit)), step=Step(one.step), token=one.token) for one in found]

    def error(self, error: OrchestratorError) -> Exception:
        """Return an error of the ports as this version knows it."""
        kind = getattr(self.version.module("domain.errors"), type(error).__name__)
        if (cause := getattr(error, "error", None)) is not None:
            words: Any = self.error(cause)
            told: dict[str, Any] = {}
        else:
            names = (name for name in ("status", "request_id", "retry_after_s") if hasattr(error, name))
            words, told = str(error), {name: getattr(error, name) for name in names}
        made: Exception = kind(words, **told)
        return made

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Turn the ports' errors into this version's."""
        try:
            yield
        except OrchestratorError as error:
            raise self.error(error) from error


class TheirPort:
    """A port of the world as another version calls it."""

    def __init__(self, port: Any, program: Program) -> None:
        self._port, self._program = port, program

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method whose errors are the other version's."""
        function = getattr(self._port, name)

        def call(*args: Any, **keywords: Any) -> Any:
            with self._program.speaking():
                return function(*args, **keywords)

        return call


class TheirProvider(TheirPort):
    """The provider."""

    @property
    def traits(self) -> Any:
        """What it is like, as far as the other version asks."""
        version, traits = self._program.version, self._port.traits
        recovery = version.module("domain.recovery").Recovery(traits.recovery)
        return version.made("domain.batch", "Traits", **(_values(traits) | {"recovery": recovery}))

    def status(self, batch_id: Any) -> Any:
        """Say how a batch stands."""
        version = self._program.version
        with self._program.speaking():
            found = self._port.status(batch_id)
        outcome = None if found.outcome is None else version.module("domain.model").Outcome(found.outcome)
        return version.made("domain.batch", "BatchStatus", **(_values(found) | {"outcome": outcome}))

    def results(self, batch_id: Any, where: str) -> Iterator[Any]:
        """Stream the results."""
        with self._program.speaking():
            for file in self._port.results(batch_id, where):
                yield self._program.version.made(
                    "domain.batch", "ResultFile", name=file.name, blocks=self._blocks(file.blocks)
                )

    def _blocks(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        with self._program.speaking():
            yield from blocks


class TheirSpool(TheirPort):
    """A folder of files."""

    @contextmanager
    def create(self, name: str) -> Iterator[Any]:
        """Open a new file for writing."""
        with self._program.speaking(), self._port.create(name) as file:
            yield file

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open a file in place for reading."""
        with self._program.speaking(), self._port.open(name) as file:
            yield file


def kit(program: Program, job: SimulatedJob, world: World) -> dict[str, Any]:
    """Return everything that any step of the other version takes for a job."""
    of, switch, plan = program.version.module, world.switch, job.plan
    provider = TheirProvider(SwitchingProvider("provider", Credential(world.provider, HOME), switch), program)
    traits = provider.traits
    reader = of("spooled").RowReader(traits, job.digest)
    price = None if plan.price is None else program.version.made("domain.policy", "Price", **_values(plan.price))
    costing = of("planner.costing").Costing(price=price, output_tokens_max=OUTPUT_TOKENS_MAX)
    limits = of("domain.policy").Limits(requests_max=plan.policy.chunk_requests_max, bytes_max=BYTES_MAX)
    render, slice_rows = of("planner.render"), world.plan.slice_rows

    def renderer(shard_no: int) -> Any:
        return render.TemplateRenderer(
            compiled=of("planner.template").compile_body(BODY, job.source.schema),
            envelope=render.Envelope(
                before_id=traits.line_open, before_body=traits.line_body, after_body=traits.line_close
            ),
            id_prefix=of("domain.custom_id").prefix(job.digest, shard_no).encode(),
            null_policy=plan.policy.null_policy.value,
        )

    return {
        "ledger": SwitchingLedger("their ledger", program.ledger, switch),
        "overview": SwitchingPort("their overview", program.overview, switch),
        "spool": TheirSpool(SwitchingSpool("spool", job.spool, switch), program),
        "provider": provider,
        "clock": world.wall,
        "planning": of("planner.plan").Planning(
            source=job.source, renderer=renderer, limits=limits, costing=costing, slice_rows=slice_rows
        ),
        "gathering": of("planner.retry").Gathering(limits=limits, costing=costing, reader=reader),
        "collecting": of("collector.collect").Collecting(reader=reader, job_digest=job.digest, price=price),
        "finishing": of("collector.finish").Finishing(
            source=job.source,
            fingerprint=job.source.fingerprint,
            options=of("collector.join").OutputOptions(),
            job_digest=job.digest,
            slice_rows=slice_rows,
            output=TheirSpool(SwitchingSpool("output", job.output, switch), program),
            folder="output",
        ),
        "costing": costing,
        "reader": reader,
    }


def _values(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in fields(value)}

"""What the steps of a simulated job work with: the production parts, behind ports that can be stopped."""

from __future__ import annotations

import atexit
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from orchestrator.collector.collect import Collecting
from orchestrator.collector.finish import Finishing
from orchestrator.collector.join import OutputOptions
from orchestrator.domain import custom_id
from orchestrator.domain.policy import Limits
from orchestrator.ledger.database import Database, open_sqlite
from orchestrator.ledger.schema import metadata
from orchestrator.planner.costing import Costing
from orchestrator.planner.plan import Planning
from orchestrator.planner.render import Envelope, TemplateRenderer
from orchestrator.planner.retry import Gathering
from orchestrator.planner.template import compile_body
from orchestrator.spooled import RowReader
from tests.simulation.mutants import Variant
from tests.simulation.plan import BYTES_MAX, OUTPUT_TOKENS_MAX, Scenario
from tests.simulation.switching import SwitchingLedger, SwitchingPort, SwitchingProvider, SwitchingSpool

if TYPE_CHECKING:
    from tests.simulation.world import World

DIGEST: Final = hashlib.sha256(b"simulation").hexdigest()
BODY: Final = {"model": "m", "messages": [{"role": "user", "content": "Say {text}"}]}


@cache
def _one_ledger() -> Database:
    """Return this process's ledger, in memory: opened once, because its statements are compiled once."""
    database = open_sqlite(None)
    atexit.register(database.close)
    return database


def an_empty_ledger() -> Database:
    """Return a ledger without a row."""
    database = _one_ledger()
    with database.write() as transaction:
        for table in metadata.sorted_tables:
            if table.name != "meta":
                transaction.execute(table.delete())
    return database


def kit(plan: Scenario, variant: Variant, world: World) -> dict[str, Any]:
    """Return everything that any step takes, by the name it takes it under."""
    switch = world.switch
    provider = SwitchingProvider("provider", variant.provider(world.provider), switch)
    traits = provider.traits
    reader = RowReader(traits, DIGEST)
    costing = Costing(price=plan.price, output_tokens_max=OUTPUT_TOKENS_MAX)
    limits = Limits(requests_max=plan.policy.chunk_requests_max, bytes_max=BYTES_MAX)

    def renderer(shard_no: int) -> TemplateRenderer:
        return TemplateRenderer(
            compiled=compile_body(BODY, world.source.schema),
            envelope=Envelope(before_id=traits.line_open, before_body=traits.line_body, after_body=traits.line_close),
            id_prefix=custom_id.prefix(DIGEST, shard_no).encode(),
            null_policy=plan.policy.null_policy.value,
        )

    return {
        "ledger": SwitchingLedger("ledger", world.ledger, switch),
        "overview": SwitchingPort("overview", world.overview, switch),
        "spool": SwitchingSpool("spool", world.spool, switch),
        "provider": provider,
        "clock": world.clock,
        "planning": Planning(
            source=world.source, renderer=renderer, limits=limits, costing=costing, slice_rows=plan.slice_rows
        ),
        "gathering": Gathering(limits=limits, costing=costing, reader=reader),
        "collecting": Collecting(reader=reader, job_digest=DIGEST, price=plan.price),
        "finishing": Finishing(
            source=world.source,
            fingerprint=world.source.fingerprint,
            options=OutputOptions(),
            job_digest=DIGEST,
            slice_rows=plan.slice_rows,
            output=SwitchingSpool("output", world.output, switch),
            folder="output",
        ),
        "costing": costing,
        "reader": reader,
    }

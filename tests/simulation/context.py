"""What the steps of a simulated job work with: the production parts, behind ports that can be stopped."""

from __future__ import annotations

import atexit
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from orchestrator.collector.finish import Finishing
from orchestrator.collector.settle import Collecting
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.domain import custom_id
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.policy import Limits, OutputOptions
from orchestrator.domain.response_schema import canonical
from orchestrator.job_files.asked_keys import AskedKeys
from orchestrator.job_files.changed_requests import Changing
from orchestrator.ledger.db.database import Database, open_sqlite
from orchestrator.planner.amended import Amending
from orchestrator.planner.cost import Costing
from orchestrator.planner.overlay import Overlay
from orchestrator.planner.plan import Planning
from orchestrator.planner.render import TemplateRenderer
from orchestrator.planner.retry import Gathering
from orchestrator.planner.template import compile_body
from orchestrator.providers.onerouter.dialect import READER
from orchestrator.providers.registry import dialect_of
from orchestrator.settings import ProviderSettings
from tests.builders import emptied
from tests.fakes.answers import TYPED
from tests.fakes.batches import HOME
from tests.fakes.credentials import OTHER, ROTATED, Credential
from tests.simulation.plan import BYTES_MAX, OUTPUT_TOKENS_MAX
from tests.simulation.switching import SwitchingJobFiles, SwitchingLedger, SwitchingProvider
from tests.simulation.variant import Variant

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedJob, World

BODY: Final = {"model": "m", "messages": [{"role": "user", "content": "Say {text}"}]}
SCHEMA: Final = canonical({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]})
TYPED_BODY: Final = {**BODY, "max_tokens": OUTPUT_TOKENS_MAX, TYPED: {"type": "json_object"}}
DIALECT: Final = dialect_of(
    ProviderSettings(
        name="simulated",
        dialect="onerouter",
        base_url="https://simulated.example/v1",
        api_key_env="",
        requests_max=1,
        bytes_max=1,
        structured_output="native",
    )
)


@cache
def _one_ledger() -> Database:
    """Return this process's ledger, in memory: opened once, because its statements are compiled once."""
    database = open_sqlite(None)
    atexit.register(database.close)
    return database


def an_empty_ledger() -> Database:
    """Return a ledger without a row."""
    return emptied(_one_ledger())


def context(job: SimulatedJob, variant: Variant, world: World) -> dict[str, Any]:
    """Return everything that any step of a job takes, by the name it takes it under."""
    switch, plan, digest = world.switch, job.plan, job.digest
    seen = {key: Credential(world.provider, key) for key in (HOME, ROTATED, OTHER)}
    providers = {key: SwitchingProvider("provider", variant.provider(one), switch) for key, one in seen.items()}
    costing = Costing(price=plan.price, output_tokens_max=OUTPUT_TOKENS_MAX)
    limits = Limits(requests_max=plan.policy.chunk_requests_max, bytes_max=BYTES_MAX)
    typed = TypedAnswers(SCHEMA) if plan.typed else None

    def renderer(shard_no: int) -> TemplateRenderer:
        return TemplateRenderer(
            compiled=compile_body(TYPED_BODY if plan.typed else BODY, job.source.schema),
            envelope=LineEnvelope(),
            id_prefix=custom_id.prefix(digest, shard_no).encode(),
            null_policy=plan.policy.null_policy.value,
        )

    return {
        "ledger": SwitchingLedger("ledger", world.ledger, switch),
        "job_files": SwitchingJobFiles("job_files", job.job_files, switch),
        "provider": providers[HOME],
        "providers": providers,
        "clock": world.wall,
        "planning": Planning(
            source=job.source,
            renderer=renderer,
            limits=limits,
            costing=costing,
            slice_rows=world.plan.slice_rows,
            asked=AskedKeys() if plan.policy.dedupe else None,
        ),
        "gathering": Gathering(
            limits=limits,
            costing=costing,
            amending=Amending(dialect=DIALECT) if plan.typed else None,
            changing=Changing(
                envelope=LineEnvelope(),
                scope=lambda _model: "",
                over=Overlay(DIALECT, is_typed=plan.typed).body,
            ),
        ),
        "collecting": Collecting(job_digest=digest, price=plan.price, read_line=READER, typed=typed),
        "finishing": Finishing(
            source=job.source,
            fingerprint=job.source.fingerprint,
            options=OutputOptions(),
            job_digest=digest,
            slice_rows=world.plan.slice_rows,
            output=SwitchingJobFiles("output", job.output, switch),
            folder="output",
            typed=typed,
        ),
        "costing": costing,
    }

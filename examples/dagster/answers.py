"""A Dagster asset whose rows have a model's answer beside them, with checks that say whether they are any good.

Rule: the asset is a location and numbers, never the table itself, so that the table may have any size.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

import orchestrator

CHECKS = {
    "rows_add_up": "Every row of the dataset is in the output: rows = succeeded + failed.",
    "few_failed": "No larger a share of the rows has failed than may fail.",
    "whole_answers": "No larger a share of the answers is cut off, empty or refused than may be.",
    "audit": "The ledger agrees with the files and the output.",
}


def answers_asset(
    name: str,
    job: Callable[[], orchestrator.Job],
    *,
    deps: Sequence[Any] = (),
    failed_share_max: float = 0.01,
    flawed_share_max: float = 0.01,
    group_name: str | None = None,
) -> dg.AssetsDefinition:
    """Return an asset that runs a job, and its four checks.

    Materialised again, the job goes on where it was, or is found to have ended: nothing is paid twice. An interrupt
    of the run ends it safely.

    Args:
        job: makes the job; it is called when the asset is materialised.
        deps: the assets that the dataset comes from.
        failed_share_max: of all rows.
        flawed_share_max: of all answers.
    """
    specs = [dg.AssetCheckSpec(check, asset=name, description=told) for check, told in CHECKS.items()]

    @dg.asset(name=name, deps=deps, check_specs=specs, group_name=group_name, kinds={"llm", "parquet"})
    def answers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        described = job()
        result = orchestrator.run(described, progress=logged(context))
        checks = list(checked(result, described, failed_share_max, flawed_share_max))
        return dg.MaterializeResult(metadata=metadata_of(result), check_results=checks)

    return answers


def logged(context: dg.AssetExecutionContext) -> Callable[[orchestrator.Look], None]:
    """Return a progress callback that logs what the job does, when that changes."""
    last = ""

    def look(now: orchestrator.Look) -> None:
        nonlocal last
        told = f"{now.activity}: {now.rows.answered:,} of {now.rows.total:,} rows answered, {now.rows.failed:,} failed"
        if told != last:
            last = told
            context.log.info(f"{now.job_id} {told}")

    return look


def metadata_of(result: orchestrator.Result) -> dict[str, Any]:
    """Return what Dagster shows, and draws over time."""
    counts = {name: dg.MetadataValue.int(count) for name, count in result.counts.items()}
    cost = {} if result.cost_usd is None else {"cost_usd": dg.MetadataValue.float(float(result.cost_usd))}
    columns = [dg.TableColumn(field.name, str(field.type)) for field in result.schema()]
    return {
        "dagster/row_count": dg.MetadataValue.int(result.counts["rows"]),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/uri": dg.MetadataValue.path(str(result.path)),
        "job_id": dg.MetadataValue.text(result.job_id),
        **counts,
        **cost,
    }


def checked(
    result: orchestrator.Result, job: orchestrator.Job, failed_share_max: float, flawed_share_max: float
) -> Iterable[dg.AssetCheckResult]:
    """Yield the results of the checks."""
    rows, succeeded, failed = (result.counts[name] for name in ("rows", "succeeded", "failed"))
    yield dg.AssetCheckResult(passed=rows == succeeded + failed, check_name="rows_add_up", metadata=result.counts)
    yield dg.AssetCheckResult(
        passed=failed <= failed_share_max * rows,
        check_name="few_failed",
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"failed": failed, "causes": dict(result.errors())},
    )
    yield dg.AssetCheckResult(
        passed=sum(result.flaws.values()) <= flawed_share_max * succeeded,
        check_name="whole_answers",
        severity=dg.AssetCheckSeverity.WARN,
        metadata=result.flaws,
    )
    audit = orchestrator.audit(result.job_id, work=job.work)
    yield dg.AssetCheckResult(
        passed=audit.is_clean, check_name="audit", metadata={"differences": audit.difference_count}
    )

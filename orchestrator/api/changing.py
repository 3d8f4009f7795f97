"""Works out what other parameters mean for the requests of a job, and refuses what its dialect refuses."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.api.job import check_numbers
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.policy import Policy
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.engine.job_context import JobContext
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files.changed_requests import Changing, changes_in, text_of
from orchestrator.job_files.request_files import keyed_requests_of
from orchestrator.planner.template import placeholders, without_braces_doubled
from orchestrator.providers.catalogue import price_of
from orchestrator.providers.structured_output import literal, refuse_beside_schema

if TYPE_CHECKING:
    from orchestrator.domain.model import Chunk
    from orchestrator.domain.reconcile import RowKey
    from orchestrator.ports import JobFiles

PROMPT: Final = ("prompt", "messages", "system", "input", "render", "contents", "instructions")
A_PROMPT: Final = [{"role": "user", "content": "."}]  # in place of the job's own: the difference is about the rest
USUAL: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k"})
ALIKE: Final = 0.9  # of 1: a name with one letter too few or too many, and neither top_p and top_k


def request_changes(context: JobContext, policy: Policy, given: Mapping[str, Any]) -> RequestChanges:
    """Return what changes in each body. Raises ConfigError."""
    spec = context.spec
    _check(context, given)
    model = str(given["model"]) if given.get("model", spec.model) != spec.model else ""
    price = None
    if model:
        known = spec.provider.prices.get(model)
        price = known or price_of(context.dialect.sold_as(model), datetime.now(UTC).date())
        if price is None and policy.budget_usd is not None:
            raise ConfigError(f"policy.budget_usd is set, but no price of {model!r} is known: give it under [provider]")
    tokens = replace(spec, body={**(spec.body or {}), **given}).output_tokens_max
    return replace(
        RequestChanges(fields=given) if spec.body is None else _of_template(context, spec.body, given),
        model=model,
        price=price,
        output_tokens_max=0 if tokens == spec.output_tokens_max else tokens,
    )


def _check(context: JobContext, given: Mapping[str, Any]) -> None:
    """Raise ConfigError for what no request of the job can have."""
    body = context.spec.body
    for name in PROMPT:
        if name in given:
            where = "the job file" if body is not None else "the function"
            raise ConfigError(
                f"{name} makes other requests, and so another job: change it in {where}. Here go parameters such "
                "as max_tokens, temperature or model"
            )
    if context.vectors is not None:
        planned = {"model": context.spec.model, "dimensions": (body or {}).get("dimensions")}
        for name in planned.keys() & given.keys():
            if given[name] != planned[name]:
                raise ConfigError(
                    f"another {name} makes other vectors, and those of one column are of one model and one length: "
                    "change it in the job file, which makes another job"
                )
    for name in given.keys() - (body or {}).keys() - USUAL:
        # A provider that ignores what it does not know would be paid for the same answers once more.
        if near := difflib.get_close_matches(name, [*(body or {}), *USUAL], n=1, cutoff=ALIKE):
            raise ConfigError(f"there is no parameter {name}; did you mean {near[0]}?")
    check_numbers(given)
    placeholders(literal(dict(given)))  # what JSON cannot express
    if body is None:
        if context.spec.response:
            refuse_beside_schema(given)
        return
    text = orjson.dumps(given).decode()
    if found := [name for name in placeholders(body) if f"{{{name}}}" in text]:
        raise ConfigError(f"a parameter cannot be another for each row: {', '.join(found)} is a column of the prompt")


def _of_template(context: JobContext, body: Mapping[str, Any], given: Mapping[str, Any]) -> RequestChanges:
    before = {**body, **({"messages": A_PROMPT} if "messages" in body else {})}
    # What is given is no template: it is written as one beside the job's own, and read again.
    old, new = (context.translated(one, is_template=True) for one in (before, {**before, **literal(dict(given))}))
    changed = {name: without_braces_doubled(value) for name, value in new.items() if old.get(name, old) != value}
    if moved := sorted(changed.keys() & {*PROMPT}):
        raise ConfigError(f"{', '.join(given)}: the prompt itself would change ({', '.join(moved)}): start another job")
    return RequestChanges(put=changed, drop=tuple(sorted(old.keys() - new.keys())))


def check_bodies(
    changing: Changing, job_files: JobFiles, changes: RequestChanges, rows: Iterable[tuple[Chunk, Collection[RowKey]]]
) -> None:
    """Raise ConfigError where the request of one of these rows cannot have the parameters that are given."""
    for chunk, keys in rows:
        wanted = frozenset(keys)
        for one in keyed_requests_of(job_files, chunk) if wanted else ():
            if one.key in wanted:
                changing.request(one, changes.after(changes_in(chunk.changes)))


def changes_text(workspace: Workspace, job_id: JobId, given: Mapping[str, Any]) -> str:
    """Return the changes as the ledger has them; "" for none. Raises ConfigError."""
    if not given:
        return ""
    return text_of(request_changes(workspace.context(job_id), workspace.ledger.job(job_id).policy, given))

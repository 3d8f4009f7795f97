"""Works out what other parameters mean for the requests of a job, and refuses what its dialect refuses."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.api.job import check_numbers
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.domain.policy import Policy
from orchestrator.domain.request_changes import RequestChanges
from orchestrator.engine.job_context import JobContext
from orchestrator.engine.workspace import Workspace
from orchestrator.job_files.changed_requests import text_of
from orchestrator.planner.template import placeholders
from orchestrator.providers.catalogue import price_of

PROMPT: Final = ("prompt", "messages", "system", "input", "render")
A_PROMPT: Final = [{"role": "user", "content": "."}]  # in place of the job's own: the difference is about the rest
USUAL: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k"})
ALIKE: Final = 0.9  # of 1: a name with one letter too few or too many, and neither top_p and top_k


def request_changes(context: JobContext, policy: Policy, given: Mapping[str, Any]) -> RequestChanges:
    """Return what changes in each body. Raises ConfigError."""
    spec = context.spec
    if spec.body is None:
        raise ConfigError(
            f"the requests of {spec.job_id} are made by a render function, which may make bodies of many shapes: set "
            f"{', '.join(given)} in the function and run it again. That is another job of the same name, which reuses "
            "the answers to requests that stay the same; give the parameter only for the rows that need it"
        )
    for name in PROMPT:
        if name in given:
            raise ConfigError(
                f"{name} makes other requests, and so another job: change it in the job file. Here go parameters such "
                "as max_tokens, temperature or model"
            )
    for name in given.keys() - spec.body.keys() - USUAL:
        # A provider that ignores what it does not know would be paid for the same answers once more.
        if near := difflib.get_close_matches(name, [*spec.body, *USUAL], n=1, cutoff=ALIKE):
            raise ConfigError(f"there is no parameter {name}; did you mean {near[0]}?")
    check_numbers(given)
    if found := sorted(placeholders(dict(given))):
        raise ConfigError(f"a parameter cannot be another for each row: {', '.join(found)} is a placeholder")
    before = {**spec.body, **({"messages": A_PROMPT} if "messages" in spec.body else {})}
    old, new = (context.translated(body, is_template=True) for body in (before, {**before, **given}))
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    if moved := sorted(changed.keys() & {*PROMPT, "contents", "instructions"}):
        raise ConfigError(f"{', '.join(given)}: the prompt itself would change ({', '.join(moved)}): start another job")
    model = str(given["model"]) if given.get("model", spec.model) != spec.model else ""
    price = None
    if model:
        known = spec.provider.prices.get(model)
        price = known or price_of(context.dialect.sold_as(model), datetime.now(UTC).date())
        if price is None and policy.budget_usd is not None:
            raise ConfigError(f"policy.budget_usd is set, but no price of {model!r} is known: give it under [provider]")
    tokens = replace(spec, body={**spec.body, **given}).output_tokens_max
    return RequestChanges(
        put=changed,
        drop=tuple(sorted(old.keys() - new.keys())),
        model=model,
        price=price,
        output_tokens_max=0 if tokens == spec.output_tokens_max else tokens,
    )


def changes_text(workspace: Workspace, job_id: JobId, given: Mapping[str, Any]) -> str:
    """Return the changes as the ledger has them; "" for none. Raises ConfigError."""
    if not given:
        return ""
    return text_of(request_changes(workspace.context(job_id), workspace.ledger.job(job_id).policy, given))

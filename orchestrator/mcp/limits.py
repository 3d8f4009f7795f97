"""What an agent may use and spend: folders, and an amount for all jobs that it starts.

Rule 1: a job has a budget, or it is not run. The server never raises one: it is the agent's, within the job file's.
Rule 2: a job file is read where it lies under an allowed folder only, and so are the files that it names. A job whose
        rows are rendered by a function is refused: it would run code.
Rule 3: where rows are sent, and with which key, is for a person to allow: see `providers`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.response import FILE
from orchestrator.domain import money
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.model import JobId
from orchestrator.mcp.providers import AllowedProviders
from orchestrator.storage.location import locate

if TYPE_CHECKING:
    from orchestrator.api.job import Job


@dataclass(slots=True, kw_only=True)
class Limits:
    """The limits of one server process."""

    folders: Sequence[Path]  # resolved
    budget_usd_max: Decimal  # of all jobs that are started here, together
    providers: AllowedProviders = field(default_factory=AllowedProviders)
    _given: dict[JobId, Decimal] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check_path(self, given: str | Path, what: str) -> None:
        """Raise ConfigError for a path that is not under an allowed folder, and for a URL."""
        text = str(given)
        if "://" in text:
            raise ConfigError(f"{what} {text} is a URL: this server reads and writes in its own folders only")
        place = Path(locate(text))  # as who reads it takes it: "~" is a home folder
        if not place.exists():  # of a glob, the folder above its first part with a sign
            place = Path(re.split(r"/[^/]*[*?\[]", str(place), maxsplit=1)[0] or "/")
        if not self._is_within(place):
            named = ", ".join(map(str, self.folders))
            raise ConfigError(
                f"{what} {text} is not under a folder that this server may use ({named}). A person can add one: "
                "`orchestrator mcp --allow FOLDER`"
            )

    def _is_within(self, place: Path) -> bool:
        return any(place.resolve().is_relative_to(folder) for folder in self.folders)  # ".." and links are followed

    def _check_files(self, dataset: str, format_name: str) -> None:
        """Raise ConfigError where a folder or a glob has a link that leads elsewhere; DatasetError where it is none."""
        from orchestrator.dataset.dataset import NAMED_FORMATS
        from orchestrator.dataset.delta import LOG
        from orchestrator.dataset.files import find_files

        place = Path(locate(dataset))
        if (place / LOG).is_dir():  # a table that names its files itself
            found = list(place.rglob("*"))
        else:
            files = find_files(dataset, format_name=NAMED_FORMATS.get(format_name, format_name))[1]
            found = [Path(file.path) for file in files]
        for file in found:
            if not self._is_within(file):
                raise ConfigError(f"job.dataset {dataset}: {file} is a link to what is not this server's to use")

    def check_job(self, job: Job) -> None:
        """Raise ConfigError for a job that reads or writes elsewhere, or runs code."""
        if job.render is not None:
            raise ConfigError("request.render makes the requests by code: a person runs such a job, not this server")
        self.providers.check(job)
        self.check_path(str(job.dataset), "job.dataset")
        self._check_files(str(job.dataset), job.resolved_dataset_options.format)
        if isinstance(job.response, Mapping) and isinstance(job.response.get(FILE), str):
            self.check_path(job.response[FILE], "response.schema")
        if job.output is not None:
            self.check_path(job.output, "job.output")
        if folder := job.dataset_options.get("image_folder"):
            self.check_path(folder, "dataset.image_folder")
        if certificates := job.provider_settings.ca_file:
            self.check_path(certificates, "provider.ca_file")

    def within(self, job: Job, budget_usd: Decimal | None) -> Job:
        """Return a job with the budget that it is given here: within its own. Raises ConfigError where it has none."""
        policy = job.resolved_policy
        own = policy.budget_usd
        if budget_usd is None and own is None:
            raise ConfigError(
                "the job has no budget: give budget_usd, the most that it may cost (`plan` says what it may), or set "
                "policy.budget_usd in the job file"
            )
        if budget_usd is not None and own is not None and budget_usd > own:
            raise ConfigError(
                f"budget_usd {money.exact(budget_usd)} is over the job file's policy.budget_usd, {money.exact(own)}: "
                "a person raises it there"
            )
        return replace(job, policy=replace(policy, budget_usd=own if budget_usd is None else budget_usd))

    def take(self, job_id: JobId, budget_usd: Decimal) -> Decimal | None:
        """Count a job's budget, and return the one that it had before.

        Raises ConfigError where all jobs together would be over what the server may spend.
        """
        with self._lock:
            others = sum((given for job, given in self._given.items() if job != job_id), Decimal(0))
            counted = max(budget_usd, self._given.get(job_id, budget_usd))  # a greater one may be spent by now
            if others + counted > self.budget_usd_max:
                taken = f", of which other jobs have {money.exact(others)}" if others else ""
                raise ConfigError(
                    f"a budget of {money.exact(budget_usd)} is over what this server may spend in all, "
                    f"{money.exact(self.budget_usd_max)}{taken}. A person can raise it: "
                    "`orchestrator mcp --budget-max USD`"
                )
            before = self._given.get(job_id)
            self._given[job_id] = counted
            return before

    def give_back(self, job_id: JobId, before: Decimal | None) -> None:
        """Count what a job had before: it could not be begun."""
        with self._lock:
            if before is None:
                self._given.pop(job_id, None)
            else:
                self._given[job_id] = before


def amount(text: str, name: str) -> Decimal:
    """Return an amount that was given as text. Raises ConfigError."""
    found = money.parse(text)
    if found is None or not found:
        raise ConfigError(f"{name} {text}: give an amount in USD above 0, as in 0.50")
    return found

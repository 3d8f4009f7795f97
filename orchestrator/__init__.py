"""Batch orchestrator: a language model's answer beside every row of a dataset, through Batch APIs."""

from orchestrator.api import audit, open_job, plan, recover, run, submit
from orchestrator.auditing.findings import Audit
from orchestrator.domain.errors import ConfigError, DatasetError, OrchestratorError
from orchestrator.handle import JobHandle, JobHeld, JobInterrupted, JobStopped, JobUnfinished
from orchestrator.job import Job, read_job
from orchestrator.rebuilding.run import Recovered
from orchestrator.result import Result, Status

__all__ = [
    "Audit",
    "ConfigError",
    "DatasetError",
    "Job",
    "JobHandle",
    "JobHeld",
    "JobInterrupted",
    "JobStopped",
    "JobUnfinished",
    "OrchestratorError",
    "Recovered",
    "Result",
    "Status",
    "audit",
    "open_job",
    "plan",
    "read_job",
    "recover",
    "run",
    "submit",
]

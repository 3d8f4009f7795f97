"""Anthropic's Message Batches: batches made by one inline POST, and listed without any mark of ours.

    POST   /messages/batches                     {"requests": [line, line, …]}  ->  the batch object
    GET    /messages/batches/{id}                the batch object, with `results_url` once it has ended
    GET    /messages/batches?limit=&after_id=    {"data": [batch object, …], "has_more"}, newest first
    POST   /messages/batches/{id}/cancel         no body

    {"id", "type": "message_batch", "processing_status": "in_progress" | "canceling" | "ended", "results_url", …,
     "request_counts": {"processing", "succeeded", "errored", "canceled", "expired"}}

Until a batch has ended, all its requests count as processing. A status that is not known counts as running.

Source: the types of anthropic 2.14.0 and the bytes it sends, seen 2026-11-30.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from orchestrator.domain.batch import BatchStatus, Listed, LostCreate, ResultFile, Submission, Traits
from orchestrator.domain.errors import BadRequest, Unavailable
from orchestrator.domain.model import BatchId, Outcome
from orchestrator.domain.results_at import ALL_RESULTS, ResultRef, ResultsAt, Urls
from orchestrator.ports import HasFiles, HasList
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.creates import batch_or_problem, failed_create
from orchestrator.providers.http.error_mapping import Problem, error_of, is_ended_already, number, problem_of
from orchestrator.providers.http.exchange import path_of
from orchestrator.providers.http.result_download import GONE, beginning
from orchestrator.providers.inline_create import inline_create
from orchestrator.providers.listing import Page, pages, statuses_of
from orchestrator.providers.outcomes import status_word
from orchestrator.providers.unmarked_batches import UnmarkedBatches

PATH: Final = "/messages/batches"
PAGE_LENGTH: Final = 1_000  # the API's maximum
COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")


class Anthropic:
    """One workspace at Anthropic; see the port `Provider`. It has no input files."""

    files: HasFiles | None = None

    def __init__(self, http: HttpClient, traits: Traits) -> None:
        self._http = http
        self._search = UnmarkedBatches(
            pages=self._pages,
            status_of=status_of,
            count_of=lambda batch: counts_of(batch).total(),
            results=self.results,
        )
        self.traits = replace(traits, key_mark=http.key_mark)

    @property
    def batch_list(self) -> HasList:
        """The list of the workspace's batches."""
        return self

    def create(self, submission: Submission) -> BatchId:
        """See the port."""
        answer = inline_create(self._http, PATH, submission)
        problem = batch_or_problem(answer, self._http.key)
        if not isinstance(problem, Problem):
            return problem
        raise failed_create(answer, problem, self._http.key)

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port."""
        answer = self._http.call("GET", path_of("messages", "batches", batch_id))
        status = status_of(answer.json()) if answer.is_success else None
        if status is not None:
            return status
        problem = problem_of(answer, self._http.key)
        if problem is not None:
            raise error_of(problem, gone=GONE)
        raise Unavailable(f"HTTP {answer.status}, but no batch object in the answer to a poll")

    def results(self, batch_id: BatchId, where: ResultsAt) -> Generator[ResultFile]:  # noqa: ARG002 - of the port
        """See the port."""
        match where:
            case Urls(refs=(ResultRef(at=url, line_count=line_count),)):
                opened = self._http.fetch(url)
            case _:
                raise BadRequest("Anthropic's results are at one URL")
        with opened as download:
            blocks = chain((beginning(download, self._http.key),), download.blocks)
            yield ResultFile(name=ALL_RESULTS, blocks=blocks, line_count=line_count)

    def cancel(self, batch_id: BatchId) -> None:
        """See the port."""
        answer = self._http.call("POST", path_of("messages", "batches", batch_id, "cancel"))
        problem = problem_of(answer, self._http.key) if not answer.is_success else None
        if problem is not None and not is_ended_already(problem):
            raise error_of(problem, gone=GONE)

    def statuses(self) -> Iterator[Mapping[BatchId, BatchStatus]]:
        """See the port."""
        return statuses_of(self._pages(), status_of)

    def _pages(self) -> Iterator[Page]:
        return pages(self._http, PATH, limit=PAGE_LENGTH, cursor="after_id")

    def find(self, lost: LostCreate) -> Sequence[Listed] | None:
        """See the port. That nothing is found under another key proves nothing: nothing shows whose list it is."""
        return self._search.find(lost) or (None if lost.is_other_key else [])


def status_of(batch: object) -> BatchStatus | None:
    """Read a batch object; None where it is none."""
    if not isinstance(batch, dict) or not isinstance(batch.get("processing_status"), str):
        return None
    word = status_word(batch["processing_status"])
    if word != "ended":
        return BatchStatus(outcome=None, word=word)
    counts, url = counts_of(batch), batch.get("results_url")
    cut_short = Outcome.CANCELLED if counts["canceled"] else Outcome.EXPIRED if counts["expired"] else None
    where = url if isinstance(url, str) else ""
    ref = ResultRef(name=ALL_RESULTS, at=where, line_count=counts.total() or None)
    return BatchStatus(
        outcome=cut_short or Outcome.COMPLETED,
        word=word,
        results=Urls(refs=(ref,)) if where else None,
        done_count=counts["succeeded"],
        failed_count=counts["errored"] + counts["canceled"] + counts["expired"],
    )


def counts_of(batch: Mapping[str, Any]) -> Counter[str]:
    """Return how many requests a batch has, by what became of them; what cannot be read is 0."""
    counts = batch.get("request_counts")
    given = counts if isinstance(counts, dict) else {}
    return Counter({name: max(number(given.get(name)) or 0, 0) for name in COUNTS})

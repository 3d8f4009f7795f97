"""OneRouter (also called Infron): batches made by one inline POST; a lost batch cannot be found again.

Rule 1: an answer is classified by its keys, never by its number of lines: the documents describe two forms of the same
    GET, a status object and the results themselves, and either may be on one line.
Rule 2: a poll reads the beginning of an answer and disconnects; `results` reads the results as a stream.

    POST /batches               {"requests": [line, line, …]}  ->  {"batch_id", "batch": {"id", …}, …}
    GET  /batches/{id}          status object, with `result_url` once it has ended; or the result lines
    POST /batches/{id}/cancel   no body

Source: infron.ai/docs/batch-apis and …/api-reference/batch-processing-api/get-status-of-a-batch, read 2026-11; the
status words are those of QuantumNous/new-api (model/task.go), whose field names these are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from typing import Final

from orchestrator.domain.batch import BatchStatus, ResultFile, Submission, Traits
from orchestrator.domain.errors import BadRequest, Gone, ProviderError, Unavailable
from orchestrator.domain.model import BatchId, Outcome
from orchestrator.domain.results_at import ALL_RESULTS, Inline, ResultRef, ResultsAt, Urls
from orchestrator.ports import HasFiles, HasList
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.creates import batch_or_problem, failed_create
from orchestrator.providers.http.error_mapping import (
    BOM,
    Answer,
    Problem,
    error_of,
    is_ended_already,
    problem_of,
)
from orchestrator.providers.http.exchange import Download, path_of
from orchestrator.providers.http.result_download import ACCEPTED
from orchestrator.providers.inline_create import inline_create
from orchestrator.providers.onerouter.wire import holds_results, status_in_head, status_of

PLACES_MAX: Final = 4  # where results are looked for, each named by the status at the one before
HEAD_BYTES_MAX: Final = 256 << 10
# Not simply "no … provider": after "no response from provider" the upstream may have begun.
_NO_PROVIDER: Final = re.compile(
    r"routing requirement|^no available channel for model\b"
    r"|\bno (?:available |suitable |model )*providers? (?:is |are |that |which )?(?:meets?|available|found|match)",
    re.IGNORECASE,
)
_MISSING: Final = (404, 410)


class OneRouter:
    """One account at OneRouter; see the port `Provider`. It has neither input files nor a list of batches."""

    files: HasFiles | None = None
    batch_list: HasList | None = None

    def __init__(self, http: HttpClient, traits: Traits) -> None:
        self._http = http
        self.traits = replace(traits, key_mark=http.key_mark)

    def create(self, submission: Submission) -> BatchId:
        """See the port. A 503 that names routing is documented as "nothing was started"; any other is ambiguous."""
        answer = inline_create(self._http, "/batches", submission)
        problem = batch_or_problem(answer, self._http.key)
        if not isinstance(problem, Problem):
            return problem
        raise failed_create(answer, problem, self._http.key, proves_absence=_is_no_provider(problem))

    def status(self, batch_id: BatchId) -> BatchStatus:
        """See the port. Where the answer is the results themselves, the batch has ended, and they are `Inline`."""
        answer = self._http.head("GET", path_of("batches", batch_id), size_max=HEAD_BYTES_MAX, enough=holds_results)
        if answer.is_success and holds_results(answer.body):
            return BatchStatus(outcome=Outcome.COMPLETED, results=Inline())
        content = answer.json()
        status = status_of(content, self._http.key) if answer.is_success else None
        if status is not None:
            return status
        status = status_in_head(answer.body) if answer.is_success and content is None else None
        if status is not None:
            return status
        raise self._error(answer, gone=_MISSING)

    def results(self, batch_id: BatchId, where: ResultsAt) -> Iterator[ResultFile]:
        """See the port. A file's blocks can be read until the next file is asked for.

        The GET of a batch has two documented forms, and some servers alternate between them: where there is a status
        instead of the results, the place that it names is asked, a few times.
        """
        for _ in range(PLACES_MAX):
            opened, line_count = self._opened(batch_id, where)
            with opened as download:
                answer = _beginning(download)
                if not answer.is_success:
                    # Without the key, 401 says nothing about the account: the link has expired.
                    raise self._error(answer, gone=(403, *_MISSING) if download.has_key else (401, 402, 403, *_MISSING))
                is_other = not holds_results(answer.body)
                status = status_of(answer.json(), self._http.key) if is_other and answer.is_whole else None
                if status is None or isinstance(status.results, Inline):
                    if is_other and status is None:
                        self._check_no_other(answer, may_be_empty=isinstance(where, Urls))
                    blocks = chain((answer.body,), download.blocks)
                    yield ResultFile(name=ALL_RESULTS, blocks=blocks, line_count=line_count)
                    return
            if status.is_running:
                raise Unavailable("the batch runs again, by its status where its results should be")
            where = status.results or Inline()
        raise Gone(f"the status of the batch where its results should be, {PLACES_MAX} times")

    def _opened(self, batch_id: BatchId, where: ResultsAt) -> tuple[AbstractContextManager[Download], int | None]:
        match where:
            case Inline(line_count=line_count):
                return self._http.download(path_of("batches", batch_id)), line_count
            case Urls(refs=(ResultRef(at=url, line_count=line_count),)):
                return self._http.fetch(url), line_count
        raise BadRequest("OneRouter's results are at one URL, or in the answer to the GET of the batch")

    def cancel(self, batch_id: BatchId) -> None:
        """See the port."""
        answer = self._http.call("POST", path_of("batches", batch_id, "cancel"))
        problem = problem_of(answer, self._http.key)
        if problem is not None and not is_ended_already(problem):
            raise error_of(problem, gone=_MISSING)

    def _check_no_other(self, answer: Answer, *, may_be_empty: bool) -> None:
        """Refuse an answer that is clearly not results. Anything else was paid for, and is archived and parsed."""
        text = answer.body.removeprefix(BOM).lstrip()
        if not text and not may_be_empty:
            raise Unavailable("an empty answer where the results should be")
        if answer.status == ACCEPTED:
            raise Unavailable("HTTP 202: the results are not there yet", status=ACCEPTED)
        if text.startswith(b"<"):
            raise Unavailable("a web page where the results should be")
        problem = problem_of(answer, self._http.key) if answer.is_whole else None
        if problem is not None:
            raise error_of(problem, gone=_MISSING)

    def _error(self, answer: Answer, *, gone: Collection[int]) -> ProviderError:
        problem = problem_of(answer, self._http.key)
        if problem is None:
            return Unavailable(f"HTTP {answer.status}, with neither a status nor results in it", status=answer.status)
        return error_of(problem, gone=gone)


def _is_no_provider(problem: Problem) -> bool:
    return problem.status == 503 and problem.in_envelope and _NO_PROVIDER.search(problem.text) is not None


def _beginning(download: Download) -> Answer:
    """Read until the answer can be classified; the bytes read are its `body`, the rest is left in the download."""
    head, is_whole, is_success = b"", False, 200 <= download.status < 300
    try:
        for block in download.blocks:
            head += block
            if len(head) > HEAD_BYTES_MAX or (is_success and holds_results(head)):
                break
        else:
            is_whole = True
    except Unavailable:
        if is_success:
            raise
    return Answer(status=download.status, headers=download.headers, body=head, is_whole=is_whole)

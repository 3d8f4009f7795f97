"""Reads the answer to a create, and to an upload of its input file, for all dialects.

Rule 1: a create is refused only if that is certain. A redirect with 301, 307 or 308 is: the request was not carried out
        there, and it is never sent to another place. After a 302 or 303 it may have been carried out.
Rule 2: what was answered with success and is not understood may have made a batch: all of it goes into a private file.
Rule 3: where the answer may come from another server than was meant, the message names the URL that was asked.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from orchestrator.domain.created_batch import created_batch, field_names
from orchestrator.domain.errors import BadRequest, CreateAmbiguous, CreateRefused, Misplaced, ProviderError
from orchestrator.domain.model import BatchId
from orchestrator.providers.http.error_mapping import (
    Answer,
    Problem,
    create_failure,
    error_of,
    problem_of,
)
from orchestrator.providers.http.secret import Secret, redacted

_MOVED: Final = frozenset({301, 307, 308})
_REDIRECTS: Final = _MOVED | {302, 303}
_NO_SUCH_PLACE: Final = frozenset({404, 405, 410})
ASK: Final = "Is base_url right?"


def batch_or_problem(answer: Answer, key: Secret) -> BatchId | Problem:
    """Return the batch that a create made, or the error that it was answered with.

    Raises CreateAmbiguous: a success that is not understood, or an answer of another server.
    """
    batch_id = created_batch(answer.json()) if answer.is_success else None
    if batch_id is not None:
        return batch_id
    problem = problem_of(answer, key)
    if problem is None:
        raise CreateAmbiguous(_not_understood(answer, key), answer=_kept(answer), is_cut=not answer.is_whole)
    return problem


def failed_create(
    answer: Answer, problem: Problem, key: Secret, *, proves_absence: bool = False
) -> CreateRefused | CreateAmbiguous:
    """Classify an error in answer to a create; see `create_failure`."""
    elsewhere = misplaced(answer, key)
    if answer.status in _REDIRECTS - _MOVED:
        return CreateAmbiguous(str(elsewhere), answer=_kept(answer))
    if answer.status in _MOVED and elsewhere is not None:
        return CreateRefused(elsewhere)
    failure = create_failure(problem, proves_absence=proves_absence)
    is_at_fault = isinstance(failure, CreateRefused) and isinstance(failure.error, BadRequest)
    return CreateRefused(elsewhere) if is_at_fault and elsewhere is not None else failure


def misplaced(answer: Answer, key: Secret) -> Misplaced | None:
    """Return the error for an answer that shows that there is no such API at the address; None for any other."""
    if answer.status not in _NO_SUCH_PLACE | _REDIRECTS and not (answer.is_success and answer.is_web_page):
        return None
    problem = problem_of(answer, key)
    provider_message = "" if problem is None else problem.provider_message
    request_id = "" if problem is None else problem.request_id
    return Misplaced(
        _elsewhere(answer, problem, key),
        status=answer.status,
        request_id=request_id,
        provider_message=provider_message,
    )


def refusal_of_upload(answer: Answer, problem: Problem, key: Secret) -> ProviderError:
    """Classify the error of an upload: as with a create, "too large" has several forms."""
    failure = create_failure(problem)
    refusal = failure.error if isinstance(failure, CreateRefused) else error_of(problem)
    return misplaced(answer, key) or refusal


def _elsewhere(answer: Answer, problem: Problem | None, key: Secret) -> str:
    """Say what was asked and what came, where the address may be wrong."""
    what = f"HTTP {answer.status}"
    if answer.status in _REDIRECTS:
        what += f" and a redirect to {redacted(_host(answer.headers.get('location', '')), key)}, which is not followed"
    elif answer.is_web_page:
        what += " and a web page"
    elif problem is not None:
        what = problem.message
    question = "" if problem is not None and problem.in_envelope else f". {ASK}"
    return f"{answer.asked} was answered with {what}{question}"


def _not_understood(answer: Answer, key: Secret) -> str:
    if answer.is_web_page:
        return _elsewhere(answer, None, key)
    content = answer.json()
    names = field_names(content)
    if names:
        shape = f"its fields: {', '.join(names)}"
    elif not answer.body.strip():
        shape = "it is empty"
    else:
        shape = "it is no JSON object" if answer.is_whole else "it is cut short"
    return f"{answer.asked} was answered with HTTP {answer.status}, but with no id that is surely a batch's; {shape}"


def _kept(answer: Answer) -> bytes:
    return f"HTTP {answer.status} to {answer.asked}\n\n".encode() + answer.body


def _host(location: str) -> str:
    try:
        return urlsplit(location).hostname or "another path"
    except ValueError:
        return "an address that cannot be read"

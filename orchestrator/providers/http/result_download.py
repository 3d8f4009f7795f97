"""The beginning of a downloaded result file, which shows whether it is one."""

from __future__ import annotations

from typing import Final

from orchestrator.domain.errors import Unavailable
from orchestrator.providers.http.client import ANSWER_BYTES_MAX
from orchestrator.providers.http.error_mapping import BOM, Answer, error_of, problem_of
from orchestrator.providers.http.exchange import Download
from orchestrator.providers.http.secret import Secret

GONE: Final = (404, 410)
ACCEPTED: Final = 202


def beginning(download: Download, key: Secret) -> bytes:
    """Return the first block of a result file. Raises ProviderError for an answer that is clearly none."""
    is_success = 200 <= download.status < 300
    head = b""
    try:
        for block in download.blocks:
            head += block
            if head and (is_success or len(head) > ANSWER_BYTES_MAX):
                break
    except Unavailable:
        if is_success:
            raise
    if b'"custom_id"' in head and is_success:
        return head
    if download.status == ACCEPTED:
        raise Unavailable("HTTP 202: the results are not there yet", status=ACCEPTED)
    answer = Answer(status=download.status, headers=download.headers, body=head)
    problem = problem_of(answer, key)
    if problem is not None:
        raise error_of(problem, gone=GONE)
    if head.removeprefix(BOM).lstrip().startswith(b"<"):
        raise Unavailable("a web page where the results should be")
    return head

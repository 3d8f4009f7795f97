"""The vector length of an embeddings job: one length for all rows; an answer of another length is a failure.

Rule 1: the length is what the request asks for (`dimensions`), else that of the first answer of the job. The first
    chunk that is collected writes it into a file, which is created once and never changed; the others read it.
Rule 2: an answer of another length is that row's failure. It was paid for, so it is not sent again by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from orchestrator.domain import custom_id
from orchestrator.domain.errors import StorageError
from orchestrator.providers.result_lines import FLOAT_BYTES

if TYPE_CHECKING:
    from orchestrator.collector.parse import ReadLine
    from orchestrator.domain.reconcile import Answer
    from orchestrator.ports import JobFiles

LENGTH_FILE: Final = "vector_length.json"
WRONG_LENGTH: Final = "vector_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The length of a job's vectors; None: that of its first answer."""

    length: int | None = None

    def known(self, job_files: JobFiles) -> int | None:
        """Return the length; None where it is not asked for and no answer has been read yet."""
        if self.length is not None or not job_files.exists(LENGTH_FILE):
            return self.length
        with job_files.open(LENGTH_FILE) as file:
            content = json.loads(file.read())
        if not isinstance(content, dict) or not isinstance(content.get("length"), int):
            raise StorageError(f"{LENGTH_FILE} is damaged: it does not hold the length of the job's vectors")
        length: int = content["length"]
        return length

    def agreed(self, job_files: JobFiles, found: int) -> int:
        """Return the length; where none is known yet, `found` becomes it for the whole job."""
        known = self.known(job_files)
        if known is not None:
            return known
        with job_files.create(LENGTH_FILE) as file:
            file.write(json.dumps({"length": found}).encode())
        return self.known(job_files) or found  # another chunk may have been first

    def type(self, job_files: JobFiles) -> Any:
        """Return the Arrow type of the output column."""
        length = self.known(job_files)
        return pa.list_(pa.float32()) if length is None else pa.list_(pa.float32(), length)

    def checking(self, read_line: ReadLine, job_files: JobFiles, job_digest: str) -> ReadLine:
        """Return a decoder that turns an answer with a vector of another length into a failure."""
        length = self.known(job_files)

        def read(line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
            nonlocal length
            name, answer = read_line(line, keep_raw=keep_raw)
            if answer.embedding is None:
                return name, answer
            found = len(answer.embedding) // FLOAT_BYTES
            if length is None and custom_id.parse(name, job_digest) is not None:
                length = self.agreed(job_files, found)
            if length is None or found == length:
                return name, answer
            message = f"the vector has {found} numbers, and those of this job have {length}"
            failed = answer._replace(
                succeeded=False, embedding=None, error_code=WRONG_LENGTH, error_message=message, retryable=False
            )
            return name, failed

        return read

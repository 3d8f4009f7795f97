"""Typed answers: each is checked against the job's schema when it is collected, and becomes columns when it is written.

Rule 1: a row succeeds only with an answer that is valid: `llm_status = "succeeded"` means that its columns hold it.
    Any other answer fails its row: `refused`, `truncated`, `invalid_json`, `schema_mismatch`. Its text is kept.
Rule 2: columns are made from the text of the answer, which parts keep: a job that is retried, read again or reused
    needs no other column in them.
Rule 3: no answer stops a job. A message names places of the schema; that of a mismatch may quote the answer, and stands
    in the output beside it and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from jsonschema_rs import Draft202012Validator, ValidationError

from orchestrator.collector.answer_columns import AnswerColumn, Convert, Unfit, column_of
from orchestrator.collector.answer_json import NoJson, read_json, shown_path
from orchestrator.domain.errors import ConfigError, OutputError
from orchestrator.domain.faults import Fault
from orchestrator.domain.response_schema import ResponseSchema
from orchestrator.domain.row_kinds import INVALID_JSON, REFUSALS, SCHEMA_MISMATCH, TRUNCATIONS, RowKind

if TYPE_CHECKING:
    from orchestrator.collector.parse import ReadLine
    from orchestrator.domain.reconcile import Answer

ERRORS_MAX: Final = 3  # in a message
CUT: Final = "the answer was cut at the limit of tokens"
MESSAGE_MAX: Final = 500  # characters


class Invalid(ValueError):
    """An answer that is not of the schema."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:MESSAGE_MAX])
        self.code = code


@dataclass(frozen=True)
class TypedAnswers:
    """The answers of a job with a schema."""

    schema: ResponseSchema
    has_limit: bool = True  # requests have a limit of tokens, which can be raised

    @cached_property
    def columns(self) -> tuple[AnswerColumn, ...]:
        """The columns, in the order of the fields."""
        return tuple(column_of(name, schema) for name, schema in self.schema.fields.items())

    @cached_property
    def _unsure(self) -> list[tuple[str, Convert]]:
        """The fields whose valid values a column may be unable to hold."""
        return [(one.field, one.kind.convert) for one in self.columns if one.kind.convert and not one.kind.is_sure]

    @cached_property
    def _validator(self) -> Draft202012Validator:
        try:
            return Draft202012Validator(self.schema.document, validate_formats=True)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.instance_path if part != "properties")
            raise ConfigError(f"response.{place}: {error.message}" if place else f"response: {error.message}") from None

    def check_schema(self) -> None:
        """Raise ConfigError where the schema is none: a wrong type, a pattern that is no regular expression."""
        self._validator  # noqa: B018 - making it checks it

    def names(self, prefix: str, own: Collection[str]) -> list[str]:
        """Return the names of the columns. Raises ConfigError where one would be there twice.

        Args:
            own: the names that other result columns have: a field of such a name gets a longer one.
        """
        found: list[str] = []
        for column in self.columns:
            name = prefix + column.field
            if name in own:
                name = f"{prefix}response_{column.field}"
            if name in found or name in own:
                raise ConfigError(
                    f"response.{column.field}: its column would be {name}, as another is: rename the field"
                )
            found.append(name)
        return found

    def read(self, text: str | None) -> dict[str, Any]:
        """Return an answer's fields. Raises Invalid."""
        try:
            found = read_json(text or "")
        except NoJson as error:
            raise Invalid(INVALID_JSON, str(error)) from None
        try:
            if not self._validator.is_valid(found):
                raise Invalid(SCHEMA_MISMATCH, "; ".join(self._errors(found)))
        except ValueError as error:  # nested deeper than the validator goes
            if isinstance(error, Invalid):
                raise
            raise Invalid(SCHEMA_MISMATCH, "the answer is nested too deep") from None
        for field, convert in self._unsure:
            value = found.get(field)
            if value is not None:
                try:
                    convert(value)
                except Unfit as error:
                    raise Invalid(SCHEMA_MISMATCH, f"{shown_path([field])}: {error}") from None
        fields: dict[str, Any] = found
        return fields

    def _errors(self, found: Any) -> Iterator[str]:
        for number, error in enumerate(self._validator.iter_errors(found)):
            if number == ERRORS_MAX:
                yield "…"
                return
            yield f"{shown_path(error.instance_path)}: {error.message}"

    def checking(self, read_line: ReadLine, *, resends: bool) -> ReadLine:
        """Return a decoder that fails a row whose answer is not of the schema.

        Args:
            resends: such a row is sent again, with another request; False where it has been.
        """

        def read(line: bytes, *, keep_raw: bool) -> tuple[str, Answer]:
            name, answer = read_line(line, keep_raw=keep_raw)
            return name, self._checked(answer, resends=resends) if answer.succeeded else answer

        return read

    def _checked(self, answer: Answer, *, resends: bool) -> Answer:
        if answer.finish_reason in REFUSALS:
            return _failed(answer, RowKind.REFUSED, "the model or a filter refused to answer", resends=False)
        try:
            self.read(answer.text)
        except Invalid as error:
            if answer.finish_reason in TRUNCATIONS:
                return _failed(answer, RowKind.TRUNCATED, CUT, resends=resends and self.has_limit)
            return _failed(answer, error.code, str(error), resends=resends)
        return answer

    def arrays(self, succeeded: Any, texts: Any) -> list[Any]:
        """Return the columns for rows, null where they have failed. Raises OutputError."""
        answers: list[dict[str, Any] | None] = []
        for is_answer, text in zip(succeeded.to_pylist(), texts.to_pylist(), strict=True):
            try:
                answers.append(read_json(text or "") if is_answer else None)
            except NoJson as error:
                raise OutputError(f"a row has succeeded with an answer that is not of the schema: {error}") from None
        try:
            return [column.array(answers) for column in self.columns]
        except (Unfit, pa.ArrowException, AttributeError, TypeError) as error:
            raise OutputError(
                f"a row has succeeded with an answer that is not of the schema ({type(error).__name__})"
            ) from None


def _failed(answer: Answer, code: str, message: str, *, resends: bool) -> Answer:
    return answer._replace(
        succeeded=False, error_code=str(code), error_message=message, retryable=resends, fault=Fault.ROW
    )

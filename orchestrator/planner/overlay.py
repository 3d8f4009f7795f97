"""Lays other parameters over the body of a request that a function has rendered.

Rule 1: what the dialect or the body's model does not take is refused, as in a template.
Rule 2: the prompt stays as it is, and so does the way in which the model is asked for answers of a schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.providers.dialect import Dialect

PROMPT: Final = ("prompt", "messages", "system", "input", "contents", "instructions")  # in any dialect
FORMAT_IN: Final = ("text", "output_config")  # tables that may have the schema, of Responses and of Anthropic


@dataclass(frozen=True, slots=True)
class Overlay:
    """Changes bodies of one dialect."""

    dialect: Dialect
    is_typed: bool  # answers have a schema

    def body(self, body: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a provider's body with other values of these fields, neutral ones or its own. Raises ConfigError."""
        given = self._beside_schema(body, fields) if self.is_typed else fields
        changed = self.dialect.with_fields(body, given)
        if moved := sorted(name for name in PROMPT if body.get(name) != changed.get(name)):
            raise ConfigError(f"{', '.join(fields)}: the prompt itself would change ({', '.join(moved)})")
        return changed

    def _beside_schema(self, body: Mapping[str, Any], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        before, after = body.get("model"), fields.get("model", body.get("model"))
        if (self.dialect.rules_for(str(before)) is None) is not (self.dialect.rules_for(str(after)) is None):
            raise ConfigError(
                f"request.model: {after} is asked for answers of a schema in another way than {before}, which changes "
                "the prompt: start another job"
            )
        kept = {
            name: body[name]["format"] for name in FORMAT_IN if name in fields and "format" in (body.get(name) or {})
        }
        return {**fields, **{name: {**(fields[name] or {}), "format": schema} for name, schema in kept.items()}}

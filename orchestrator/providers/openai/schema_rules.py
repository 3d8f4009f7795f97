"""What OpenAI's structured output takes of JSON Schema, strict: for chat completions and for the Responses API.

Source: developers.openai.com, "Structured model outputs", section "Supported schemas", as of February 2026
(jsonschemaprofiles.unitvectorylabs.com/schemas/openai keeps a copy), read 2026-12-01.
"""

from __future__ import annotations

from typing import Final

from orchestrator.providers.structured_output import SchemaRules

RULES: Final = SchemaRules(
    api="OpenAI's structured output",
    source='OpenAI, "Structured model outputs: supported schemas"',
    keywords=frozenset(
        {"anyOf", "pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
        | {"minItems", "maxItems", "additionalProperties"}
    ),
    checked_here=frozenset({"minLength", "maxLength", "uniqueItems"}),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    takes_recursion=True,
    depth_max=10,
    fields_max=5_000,
    enum_values_max=1_000,
    enum_length_from=250,
    enum_length_max=15_000,
    names_length_max=120_000,
)

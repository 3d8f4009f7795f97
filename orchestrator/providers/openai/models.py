"""The request fields that OpenAI's models refuse, by the prefix of a model's name. `accepts` overrides it.

A name is compared without its vendor ("openai/gpt-5") and without "ft:". An unknown name is treated as a classic model:
every field of the API is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_SAMPLING: Final = ("temperature", "top_p")
_LEAVE_OUT: Final = "Leave it out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """The request fields that a family of models accepts."""

    prefixes: tuple[str, ...] = ()
    counts_reasoning: bool = False  # max_completion_tokens instead of max_tokens
    sampling: bool = True  # temperature and top_p; False: only with a reasoning effort of "none"
    refuses: Mapping[str, str] = field(default_factory=dict)  # key -> what to do instead
    source: str = ""
    read: str = ""


CLASSIC: Final = ModelRule()
_REPORTS: Final = "six public reports of 400s: 'use max_completion_tokens', 'temperature is not supported'"
RULES: Final = (
    ModelRule(prefixes=("gpt-5", "gpt-6"), counts_reasoning=True, sampling=False, source=_REPORTS, read="2026-11-30"),
    ModelRule(
        prefixes=("o3", "o4"),
        counts_reasoning=True,
        sampling=False,
        refuses={"stop": _LEAVE_OUT},
        source=f"{_REPORTS}; openai 3.57.0, chat/completion_create_params.py, on `stop`",
        read="2026-11-30",
    ),
    ModelRule(prefixes=("o1",), counts_reasoning=True, sampling=False, source=_REPORTS, read="2026-11-30"),
    ModelRule(
        prefixes=("gpt-3.5", "gpt-4"),
        refuses={"reasoning_effort": "Leave it out, or take a model that reasons"},
        source="PROVIDERS, table of request fields: effort is of GPT-5, GPT-6 and the o-series",
        read="2026-11-30",
    ),
)


@lru_cache(maxsize=64)
def rule_of(model: str) -> ModelRule:
    """Return the family of a model."""
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    for rule in RULES:
        for prefix in rule.prefixes:
            following = name[len(prefix) : len(prefix) + 1]
            if name.startswith(prefix) and not following.isalnum():
                return rule
            if name.startswith(prefix) and prefix.startswith("gpt-") and following.isalpha():  # gpt-4o
                return rule
    return CLASSIC


def refused_sampling(rule: ModelRule, effort: object) -> tuple[str, ...]:
    """Return the sampling fields that a model refuses at this reasoning effort."""
    return () if rule.sampling or effort == "none" else _SAMPLING


# Structured output begins with gpt-4o-mini and gpt-4o-2024-08-06: developers.openai.com, "Structured model outputs",
# read 2026-11-30. A name that is not known is taken to have it.
_WITHOUT_SCHEMA: Final = re.compile(
    r"gpt-3\.5|gpt-4(?![.o\d])|gpt-4o-2024-05-13|chatgpt-4o|o1-(?:mini|preview)|davinci|babbage"
)


def has_structured_output(model: str) -> bool:
    """Return whether a model takes a JSON schema for its answer."""
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    return _WITHOUT_SCHEMA.match(name) is None


# Models of texts alone: issues of langgenius/dify-official-plugins (910), BerriAI/litellm (8175, 4790) and
# SillyTavern/SillyTavern (3470), read 2026-12-01. A name that is not known is taken to see.
_WITHOUT_IMAGES: Final = re.compile(r"gpt-3\.5|o1-(?:mini|preview)|o3-mini|davinci|babbage|text-embedding")


def takes_images(model: str) -> bool:
    """Return whether a model takes images."""
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    return _WITHOUT_IMAGES.match(name) is None

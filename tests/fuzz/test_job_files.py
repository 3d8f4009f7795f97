"""Job files, jobs in Python and provider settings, made worse: each is taken, or refused by a ConfigError, and no more.

A user's mistake must come back as a sentence that names it, never as a traceback of ours.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.job import TABLES, Job, read_job
from orchestrator.domain.errors import ConfigError
from orchestrator.settings import ProviderSettings, Settings, load, policy, provider
from tests.test_job_file import FULL, LEAST
from tests.tiers import examples

SEEDS: Final = 400
WORDS: Final = (
    *(
        "[",
        "]",
        "[[",
        "=",
        '"',
        "'",
        '"""',
        "{",
        "}",
        ",",
        ".",
        "#",
        "\n",
        "\\",
        "\\u0000",
        "\\ud800",
        "\x00",
        "\ufeff",
        "é",
    ),
    *(
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "true",
        "1979-05-27",
        "25:61:00",
        "0x1",
        "9" * 5_000,
        "[" * 2_000,
        "a." * 2_000,
    ),
    *("[policy]", "[job]", "[request]", "[provider]", "[output]", "prices", "name", "budget_usd", "{text}", "{", "}}"),
)
SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(
        ["", "{text}", "{", "}", "{}", "{a b}", "1e999999", "sNaN", "-1", "hold", "onerouter", "é", "a" * 300]
    )
    | st.binary(max_size=3)
    | st.dates()
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("role"), inner, max_size=3)
    ),
    max_leaves=6,
)
QUICK: Final = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def refused_politely() -> Iterator[None]:
    """Let a ConfigError pass, and nothing else."""
    with contextlib.suppress(ConfigError):
        yield


def mutated(text: str, chance: random.Random) -> str:
    """Return a job file with one to four things wrong with it."""
    for _ in range(chance.randint(1, 4)):
        first = chance.randrange(len(text) + 1)
        end = min(len(text), first + chance.choice((0, 1, 3, 10)))
        if chance.random() < 0.5:
            lines = text.split("\n")
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
            text = "\n".join(lines)
        else:
            text = text[:first] + chance.choice(WORDS) + text[end:]
    return text


def test_a_mutated_job_file_is_read_or_refused(tmp_path: Path) -> None:
    """By bytes and by lines; a failure shows its seed."""
    path = tmp_path / "job.toml"
    for seed in range(SEEDS):
        chance = random.Random(seed)
        content = mutated(chance.choice((FULL, LEAST)), chance).encode("utf-8", "surrogatepass")
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.1 else content)
        try:
            with refused_politely():
                read_job(path)
        except Exception as error:
            error.add_note(f"seed {seed}: {content[:500]!r}")
            raise


@pytest.mark.parametrize(
    "content", [b"a = " + b"[" * 5_000, b"a = " + b"9" * 5_000, b"a" + b".a" * 5_000 + b" = 1", b"\xff"]
)
def test_a_job_file_that_python_itself_stumbles_over_is_refused(content: bytes) -> None:
    """Brackets nested beyond its stack, a number beyond its digits, bytes that are no text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_bytes(content)

        with pytest.raises(ConfigError, match=r"job\.toml"):
            read_job(path)


@QUICK
@given(st.dictionaries(st.sampled_from([field for field in Job.__dataclass_fields__ if field != "render"]), VALUES))
def test_a_job_in_python_of_any_values_is_taken_or_refused(fields: dict[str, Any]) -> None:
    """Checked when it is made, and again when its parts are read; what is taken can be read."""
    with refused_politely():
        job = Job(**{"dataset": "d.csv", "model": "m", "prompt": "{text}"} | fields)
        _ = (job.body, job.resolved_policy, job.resolved_output_options, job.provider_settings)


@QUICK
@given(st.sampled_from(["policy", "output_options", "provider_options"]), st.data())
def test_a_table_of_a_job_of_any_values_is_taken_or_refused(table: str, data: st.DataObject) -> None:
    known = {"policy": "policy", "output_options": "output"}.get(table)
    names = TABLES[known] if known is not None else tuple(ProviderSettings.__dataclass_fields__)
    values = data.draw(st.dictionaries(st.sampled_from(names or ()) | st.text(max_size=4), VALUES, max_size=4))
    with refused_politely():
        job = Job(dataset="d.csv", model="m", prompt="{text}", **{table: values})
        _ = (job.resolved_policy, job.resolved_output_options, job.provider_settings)


@QUICK
@given(st.dictionaries(st.sampled_from(list(ProviderSettings.__dataclass_fields__)), VALUES, max_size=5), st.booleans())
def test_a_providers_table_of_any_values_is_taken_or_refused(overrides: dict[str, Any], own: bool) -> None:
    needed = {"dialect": "onerouter", "base_url": "http://localhost:1", "api_key_env": "K"} if own else {}
    with refused_politely():
        found = provider("mine" if own else "onerouter", needed | overrides)
        policy({}, found)


@QUICK
@given(
    st.dictionaries(
        st.sampled_from([f"ORCHESTRATOR_{name.upper()}" for name in Settings.__dataclass_fields__]),
        st.text(max_size=12)
        | st.sampled_from(["9" * 5_000, "nan", "inf", "1e400", "-1", "0", "٣", " 1", "s3://", "://"]),
        max_size=3,
    )
)
def test_an_environment_of_any_values_is_taken_or_refused(environment: dict[str, str]) -> None:
    with refused_politely():
        load(environment)

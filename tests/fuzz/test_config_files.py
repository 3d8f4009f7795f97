"""The shipped settings, made worse: `providers.toml` and `defaults.toml` are read, or refused by a ConfigError."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.settings import config_folder, load, policy, provider
from tests.fuzz.test_job_files import mutated, refused_politely
from tests.tiers import examples

SEEDS: Final = 400
PROVIDERS: Final = (config_folder() / "providers.toml").read_text(encoding="utf-8")
DEFAULTS: Final = (config_folder() / "defaults.toml").read_text(encoding="utf-8")
NAMES: Final = ("onerouter", "openai", "mine")
OWN: Final[dict[str, Any]] = {"dialect": "onerouter", "base_url": "http://localhost:1", "api_key_env": "K"}


def without_words(text: str) -> str:
    """Leave out comments: a mistake in one is none."""
    return "\n".join(line.partition("#")[0].rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("name", ["providers.toml", "defaults.toml"])
def test_a_mutated_file_of_settings_is_read_or_refused(tmp_path: Path, name: str) -> None:
    """And what is read can be used: every provider, alone and with a table of the job's own."""
    sound = {"providers.toml": without_words(PROVIDERS), "defaults.toml": without_words(DEFAULTS)}
    for seed in range(examples(SEEDS)):
        content = mutated(sound[name], random.Random(seed)).encode("utf-8", "surrogatepass")
        (tmp_path / name).write_bytes(content)
        try:
            if name == "defaults.toml":
                with refused_politely():
                    load({}, tmp_path)
                continue
            for provider_name in NAMES:
                for overrides in ({}, OWN):
                    with refused_politely():
                        policy({}, provider(provider_name, overrides, tmp_path))
        except Exception as error:
            error.add_note(f"seed {seed}: {content[:500]!r}")
            raise


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("onerouter = 1", "onerouter"),
        ("onerouter = []", "onerouter"),
        ("[[onerouter]]\ndialect = 'openai'", "onerouter"),
        ("[onerouter]\nprices = 1", "prices"),
        ("[onerouter]\nprices = { m = 1 }", "prices"),
        ("[onerouter]\nprices = { m = { input_usd = [], output_usd = {} } }", "prices"),
        ("[onerouter]\nbase_url = 1", "base_url"),
        ("[onerouter]\nname = 'other'", "name"),
        ("[onerouter]\nrequests_max = 1979-05-27", "requests_max"),
        ("[onerouter]\ncreate_s_max = nan", "create_s_max"),
        ("[onerouter]\npoll_s_min = 0", "poll_s_min"),
    ],
)
def test_a_table_of_another_shape_is_refused_with_its_name(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "providers.toml").write_text(content, encoding="utf-8")
    overrides = {name: value for name, value in OWN.items() if name != words}

    with pytest.raises(ConfigError, match=words):
        policy({}, provider("onerouter", overrides, tmp_path))

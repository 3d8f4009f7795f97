"""No file of a deployment holds a secret: only names of variables, empty places and words that ask to be replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.deploy import files
from tests.deploy.files import FILES, PAGE, name_of

PLACEHOLDER: Final = "CHANGE-ME"
SECRET_NAME: Final = re.compile(r"PASSWORD|SECRET|API_KEY|ACCESS_KEY|TOKEN|AUTH")
SHIPPED: Final = {"GATEWAY_API_KEY": "local"}  # the simulated provider's, in the docs for everybody to read
# A password in a URL, unless it is a variable; the usual looks of keys.
IN_A_URL: Final = re.compile(r"://[^/\s:@]*:(?!CHANGE-ME@|\$\{\w+[^}]*\}@|password@)[^/\s@]+@")
LOOKS_LIKE_A_KEY: Final = re.compile(r"\bsk-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}|BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{20,}")


@pytest.mark.parametrize("path", [*FILES, PAGE], ids=name_of)
def test_no_file_holds_a_password_or_a_key(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert IN_A_URL.findall(text) == []
    assert LOOKS_LIKE_A_KEY.findall(text) == []


def test_every_secret_value_is_a_variable_a_gap_or_a_placeholder() -> None:
    """Of every place that names a password, key or token."""
    given: dict[str, object] = {}
    for path in (files.DEPLOY / ".env.example", *files.SYSTEMD.glob("*.env*")):
        given |= {f"{path.name}: {key}": value for key, value in files.environment_file(path).items()}
    (compose,) = files.documents(files.COMPOSE)
    for name, service in compose["services"].items():
        given |= {f"{name}: {key}": value for key, value in service.get("environment", {}).items()}
    for path, document in files.objects_of_base():
        for key, value in (document.get("stringData", {}) | document.get("data", {})).items():
            given[f"{path.name}: {key}"] = value

    secrets = {where: value for where, value in given.items() if SECRET_NAME.search(where.split(": ")[1])}
    assert len(secrets) > 10
    for where, value in secrets.items():
        variable = where.split(": ")[1]
        assert value in (None, "", PLACEHOLDER, SHIPPED.get(variable)) or re.fullmatch(r"\$\{\w+[^}]*\}", str(value)), (
            where
        )


def test_the_image_is_given_no_secret() -> None:
    """Neither by ARG nor by ENV: both stay readable in its layers."""
    text = " ".join(words for instruction, words in files.dockerfile() if instruction in ("ARG", "ENV"))

    assert SECRET_NAME.search(text) is None


def test_what_is_filled_in_stays_out_of_version_control() -> None:
    ignored = (files.DEPLOY / ".gitignore").read_text(encoding="utf-8").splitlines()

    assert {".env", "secret.yaml"} <= set(ignored)


def test_what_is_filled_in_stays_out_of_the_image() -> None:
    """The build sees what the list names, and of config/deploy the list names the locks alone."""
    named = (files.DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")

    assert "*" in named
    let_in = [line for line in named if line.startswith("!") and ("deploy" in line or ".env" in line)]
    assert let_in == ["!config/deploy/build.lock", "!config/deploy/requirements.lock"]

"""The compose file: its form by the published schema, its sense by what the program and the broker need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from orchestrator.domain.errors import ConfigError
from orchestrator.fleet.embedded import find_server, tied
from tests.deploy import files
from tests.deploy.files import COMPOSE, DEPLOY, FILLED_IN, compose, run_tool
from tests.servers.postgres import must_skip

START_TRIES: Final = 200
BETWEEN_TRIES_S: Final = 0.05
STOP_S: Final = 10.0
# Handed to the containers if .env has it, and rarely needed: keys that end by themselves.
NOT_IN_THE_EXAMPLE: Final = {"AWS_SESSION_TOKEN"}
WORKERS: Final = {"worker-control", "worker-transfer", "worker-heavy"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def ours() -> dict[str, Any]:
    return {name: service for name, service in services().items() if "build" in service}


def fleet() -> dict[str, Any]:
    return {name: service for name, service in ours().items() if service["command"][1] in ("worker", "beat")}


def test_it_has_the_form_of_the_compose_specification() -> None:
    checked = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_variable_it_takes_is_in_the_example_and_no_other() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    taken = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"^ +([A-Z_]+):$", text, re.MULTILINE))
    offered = set(re.findall(r"^(?:# )?(\w+)=", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))

    assert taken - NOT_IN_THE_EXAMPLE == offered


def test_what_must_be_filled_in_is_refused_where_it_is_empty() -> None:
    """`:?` stops Compose; a plain variable would start a broker with an empty password."""
    text = COMPOSE.read_text(encoding="utf-8")
    empty = {name for name, value in files.environment_file(DEPLOY / ".env.example").items() if not value}

    assert empty == FILLED_IN.keys()
    for name in empty:
        assert re.findall(rf"\$\{{{name}(.{{2}})", text) == [":?"] * len(re.findall(rf"\$\{{{name}\b", text)), name


def test_names_that_are_referred_to_exist() -> None:
    """Volumes, networks, configs, and services that are waited for; Compose itself would say so only when it starts."""
    document = compose()
    for name, service in document["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in document["volumes"] or source.startswith((".", "/")), (name, volume)
        assert set(service["networks"]) <= document["networks"].keys(), name
        assert {config["source"] for config in service.get("configs", [])} <= document["configs"].keys(), name
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in document["services"][needed], name


def test_the_build_finds_its_files() -> None:
    for name, service in ours().items():
        context = (DEPLOY / service["build"]["context"]).resolve()

        assert context == files.ROOT, name
        assert (context / service["build"]["dockerfile"]) == files.DOCKERFILE, name


def test_broker_and_ledger_can_be_reached_by_nobody_else() -> None:
    """No port of the host, and no network but the one without a way out: why the broker may do without TLS."""
    document = compose()
    servers = {"valkey", "postgres"}

    assert all("ports" not in service for service in document["services"].values())
    for name in servers:
        assert document["services"][name]["networks"] == ["servers"], name
    assert document["networks"]["servers"]["internal"] is True
    assert all({"servers", "outside"} == set(service["networks"]) for service in fleet().values())
    assert all(service["depends_on"].keys() == servers for service in fleet().values())


def test_there_are_two_beats_and_all_of_the_fleet_see_one_work_folder() -> None:
    found = fleet()

    assert found["beat"]["deploy"]["replicas"] == 2
    assert {service["volumes"][0] for service in found.values()} == {"work:/work"}
    assert {service["environment"]["ORCHESTRATOR_WORK"] for service in found.values()} == {"/work"}


def test_the_providers_key_goes_to_workers_and_to_nobody_else() -> None:
    """Who submits does not talk to the provider; who does not have a key cannot lose it."""
    told = {name for name, service in services().items() if "ONEROUTER_API_KEY" in service.get("environment", {})}

    assert told == WORKERS


def test_the_programs_containers_have_no_rights_to_spare() -> None:
    for name, service in ours().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name


def test_the_gateway_and_the_command_line_start_only_when_asked_for() -> None:
    started = {name for name, service in services().items() if "profiles" not in service}

    assert started == {"valkey", "postgres", "beat", *WORKERS}


def test_the_brokers_configuration_starts_a_broker_that_wants_a_password_and_forgets_nothing(tmp_path: Path) -> None:
    """A real server on the text of the compose file, but for its port and folder."""
    try:
        program = find_server()
    except ConfigError as error:
        must_skip(str(error))
    configuration = tmp_path / "valkey.conf"
    content = compose()["configs"]["valkey"]["content"]
    configuration.write_text(content.replace("dir /data\n", f"dir {tmp_path}\n"), encoding="utf-8")
    place = tmp_path / "s"
    command = [str(program), str(configuration), "--port", "0", "--unixsocket", str(place)]
    server = subprocess.Popen(tied(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        patience = Retry(ConstantBackoff(BETWEEN_TRIES_S), START_TRIES, supported_errors=(redis.ConnectionError,))
        with redis.Redis(unix_socket_path=str(place), password=FILLED_IN["VALKEY_PASSWORD"], retry=patience) as known:
            told = {name: known.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "appendfsync")}
        with redis.Redis(unix_socket_path=str(place)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.terminate()
        server.communicate(timeout=STOP_S)

    assert told == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}

"""The systemd units: every key is one we know, and systemd's own checker has nothing to say where there is one.

Rule 1: our own reading holds the units on every machine. It knows the keys by a list written by hand, so that a typo is
        red where systemd is not installed, too.
Rule 2: `systemd-analyze` ends with 0 for an unknown key, which systemd ignores: only what it prints tells.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.deploy import files
from tests.deploy.files import SYSTEMD, systemd_processes, unit, units

INSTALLED: Final = "/opt/orchestrator/bin/orchestrator"
YES: Final = "yes"
KNOWN: Final = {  # systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5)
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        *("Type", "ExecStart", "Restart", "RestartSec", "TimeoutStopSec", "KillMode", "KillSignal"),
        *("User", "Group", "UMask", "WorkingDirectory", "Environment", "EnvironmentFile"),
        *("StateDirectory", "StateDirectoryMode", "RuntimeDirectory"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities"),
        *("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectProc", "ProtectClock"),
        *("ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
        *("ProtectControlGroups", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
        *("RestrictSUIDSGID", "LockPersonality", "RemoveIPC"),
        *("SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    },
    "Install": {"WantedBy"},
}
DEMANDED: Final = {
    "Restart": "always",
    "KillMode": "mixed",
    "KillSignal": "SIGTERM",
    "NoNewPrivileges": YES,
    "ProtectSystem": "strict",
    "ProtectHome": YES,
    "PrivateTmp": YES,
    "CapabilityBoundingSet": "",
}
MAY_BE_GIVEN_AGAIN: Final = {"Environment", "EnvironmentFile", "SystemCallFilter"}


def unit_name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", units(), ids=unit_name)
def test_every_key_is_known_and_given_once(path: Path) -> None:
    """systemd ignores what it does not know: `Restarts=always` would be a worker that stays down."""
    sections = unit(path)

    assert sections.keys() == KNOWN.keys()
    for section, assignments in sections.items():
        keys = [key for key, _ in assignments]
        assert set(keys) <= KNOWN[section], section
        assert [key for key in set(keys) if keys.count(key) > 1 and key not in MAY_BE_GIVEN_AGAIN] == []


@pytest.mark.parametrize("path", units(), ids=unit_name)
def test_a_unit_is_restarted_stopped_gently_and_confined(path: Path) -> None:
    sections = unit(path)
    service = dict(sections["Service"])

    assert {key: service.get(key) for key in DEMANDED} == DEMANDED
    assert service["User"] not in ("", "root")
    assert dict(sections["Unit"])["StartLimitIntervalSec"] == "0", "systemd would give up after a few quick failures"
    assert dict(sections["Install"])["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("path", units(), ids=unit_name)
def test_a_command_is_absolute_and_needs_no_shell(path: Path) -> None:
    words = shlex.split(dict(unit(path)["Service"])["ExecStart"])

    assert words[0] == INSTALLED
    assert [word for word in words if re.search(r"[|&;<>`]|\$\(|\$(?!\{\w+\}$)", word)] == []


@pytest.mark.parametrize("path", units(), ids=unit_name)
def test_the_heartbeat_lies_in_a_folder_that_systemd_makes(path: Path) -> None:
    """`%t` is /run, where a service may write below its RuntimeDirectory only."""
    service = unit(path)["Service"]
    given = dict(value.split("=", 1) for key, value in service if key == "Environment")

    assert given["ORCHESTRATOR_HEARTBEAT"] == f"%t/{dict(service)['RuntimeDirectory']}/heartbeat"


def test_a_template_has_instances_with_names_that_systemd_allows() -> None:
    """A comma is not allowed: why an instance is the name of a file with queues, and not the queues themselves."""
    instances = [path.stem.removeprefix("worker-") for path in SYSTEMD.glob("worker-*.env")]

    assert sorted(instances) == ["control", "heavy", "transfer"]
    assert [name for name in instances if not re.fullmatch(r"[\w:.-]+", name)] == []
    for path in SYSTEMD.glob("worker-*.env"):
        assert files.environment_file(path).keys() == {"QUEUES", "THREADS", "METRICS_HOST", "METRICS_PORT"}, path.name
    assert len(systemd_processes()) == len(instances) + 1


def test_the_user_of_the_units_is_the_one_that_is_made() -> None:
    (line,) = [
        line.split()
        for line in (SYSTEMD / "orchestrator.sysusers").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    used = {(dict(unit(path)["Service"])["User"], dict(unit(path)["Service"])["StateDirectory"]) for path in units()}

    assert line[0] == "u"
    assert {(line[1], Path(line[-1]).name)} == used


def test_systemds_own_checker_has_nothing_to_say_where_it_is_installed(tmp_path: Path) -> None:
    """Of copies that name an interpreter which is here. Without systemd the tests above stand alone."""
    program = shutil.which("systemd-analyze")
    copies = []
    for path in units():
        copy = tmp_path / path.name.replace("@.", "@control.")
        copy.write_text(path.read_text(encoding="utf-8").replace(INSTALLED, sys.executable), encoding="utf-8")
        copies.append(copy)
    if program is None:
        return

    checked = subprocess.run([program, "verify", *copies], capture_output=True, text=True, check=False)

    named = "\n".join(line for line in checked.stderr.splitlines() if "orchestrator" in line)
    assert named == ""

"""The deployment files, read for tests: what each starts, with which environment; and the tools that check them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "config" / "deploy"
DOCKERFILE: Final = DEPLOY / "Dockerfile"
COMPOSE: Final = DEPLOY / "compose.yaml"
BASE: Final = DEPLOY / "kubernetes" / "base"
KEDA: Final = DEPLOY / "kubernetes" / "keda"
SYSTEMD: Final = DEPLOY / "systemd"
PAGE: Final = ROOT / "docs" / "deployment.md"
FILES: Final = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".env")
# What a person fills in, filled in.
FILLED_IN: Final = {"VALKEY_PASSWORD": "a1", "POSTGRES_PASSWORD": "b2", "ONEROUTER_API_KEY": "c3"}
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)(?:(:[-?])([^}]*))?\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What one of the files starts."""

    where: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_s: float | None = None  # from SIGTERM to SIGKILL, where the file says so

    @property
    def is_fleet(self) -> bool:
        """Whether it is a worker or a beat."""
        return "orchestrator" in Path(self.argv[0]).name and self.argv[1] in ("worker", "beat")

    @property
    def queues(self) -> list[str]:
        """What it serves."""
        return self.argv[self.argv.index("--queues") + 1].split(",") if "--queues" in self.argv else []


def name_of(path: Path) -> str:
    """Return how a test is called that concerns a file."""
    return path.relative_to(ROOT).as_posix()


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the checkers that the development extra installs; it lies beside the interpreter."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        missing = f"{name} is not installed: make setup"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run([program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return what a YAML file holds."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def manifests(*folders: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every object of Kubernetes in these folders, with its file."""
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            for document in documents(path):
                yield path, document


def environment_file(path: Path) -> dict[str, str]:
    """Return the assignments of a file of the form NAME=value."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def interpolated(value: Any) -> Any:
    """Return a part of the compose file as Compose sees it, beside a filled-in .env."""
    if isinstance(value, dict):
        return {key: interpolated(part) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part) for part in value]
    return _VARIABLE.sub(_substitute, value) if isinstance(value, str) else value


def _substitute(found: re.Match[str]) -> str:
    name, kind, otherwise = found.groups()
    if name is None:
        return "$"
    given = (environment_file(DEPLOY / ".env.example") | FILLED_IN).get(name)
    if kind == ":-":
        return given or otherwise
    if not given:
        raise KeyError(f"compose.yaml names {name}, which .env.example does not have")
    return given


def compose() -> dict[str, Any]:
    """Return the compose file, its variables filled in."""
    (document,) = documents(COMPOSE)
    whole: dict[str, Any] = interpolated(document)
    return whole


def compose_processes() -> list[Process]:
    """Return the services that run our image."""
    return [
        Process(
            where=f"compose.yaml: {name}",
            argv=service["command"],
            environment={key: value for key, value in service.get("environment", {}).items() if value is not None},
            grace_s=seconds(service["stop_grace_period"]),
        )
        for name, service in compose()["services"].items()
        if "build" in service
    ]


def kubernetes_processes() -> list[Process]:
    """Return the containers of the deployments, with what their pods get from the config map and the secret."""
    objects = {(document["kind"], document["metadata"].get("name")): document for _, document in objects_of_base()}
    found = []
    for (kind, name), document in objects.items():
        if kind != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        for container in pod["containers"]:
            environment: dict[str, str] = {}
            for source in container["envFrom"]:
                if "configMapRef" in source:
                    environment |= objects["ConfigMap", source["configMapRef"]["name"]]["data"]
                else:
                    environment |= objects["Secret", source["secretRef"]["name"]]["stringData"]
            found.append(
                Process(
                    where=f"kubernetes: {name}",
                    argv=container["command"],
                    environment=environment,
                    grace_s=pod["terminationGracePeriodSeconds"],
                )
            )
    return found


def objects_of_base() -> list[tuple[Path, dict[str, Any]]]:
    """Return the fleet's objects, the example of the secret among them; the kustomization itself is none."""
    return [(path, document) for path, document in manifests(BASE) if document["kind"] != "Kustomization"]


def units() -> list[Path]:
    """Return the systemd units."""
    return sorted(SYSTEMD.glob("*.service"))


def unit(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return a unit's sections, each with its assignments in order. Raises ValueError for a line that is neither."""
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            current = sections.setdefault(heading[1], [])
        elif (assignment := re.fullmatch(r"(\w+)=(.*)", line)) and current is not None:
            current.append((assignment[1], assignment[2]))
        else:
            raise ValueError(f"{path.name}: {line!r} is neither a section nor an assignment")
    return sections


def systemd_processes() -> list[Process]:
    """Return what the units start: a template once for each file that names an instance."""
    found = []
    for path in units():
        service = unit(path)["Service"]
        single = dict(service)
        instances = [file.stem.removeprefix("worker-") for file in sorted(SYSTEMD.glob("worker-*.env"))]
        for instance in instances if "@" in path.name else [""]:
            environment: dict[str, str] = {}
            for key, value in service:
                if key == "EnvironmentFile":
                    environment |= environment_file(_shipped(value.replace("%i", instance)))
                elif key == "Environment":
                    variable, _, text = value.partition("=")
                    environment[variable] = text
            argv = [
                re.sub(r"^\$\{(\w+)\}$", lambda name, given=environment: given[name[1]], word)  # type: ignore[misc]
                for word in shlex.split(single["ExecStart"])
            ]
            found.append(
                Process(
                    where=f"systemd: {path.name} {instance}".rstrip(),
                    argv=argv,
                    environment=environment,
                    grace_s=seconds(single["TimeoutStopSec"]),
                )
            )
    return found


def _shipped(installed: str) -> Path:
    """Return our file for one of /etc/orchestrator."""
    name = Path(installed).name
    return next(path for path in (SYSTEMD / name, SYSTEMD / f"{name}.example") if path.exists())


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def image_processes() -> list[Process]:
    """Return what a container runs that is told nothing."""
    return [Process(where="Dockerfile", argv=json.loads(text)) for word, text in dockerfile() if word == "CMD"]


def page_processes() -> list[Process]:
    """Return the commands of ours that the page shows."""
    shown = re.findall(
        r"(?<=cli )orchestrator [^`\n#]+|(?<=`)orchestrator (?:worker|beat)[^`\n#]*", PAGE.read_text(encoding="utf-8")
    )
    return [Process(where=f"deployment.md: {command}", argv=shlex.split(command)) for command in shown]


def processes() -> list[Process]:
    """Return everything of ours that any of the files starts."""
    return [
        *image_processes(),
        *compose_processes(),
        *kubernetes_processes(),
        *systemd_processes(),
        *page_processes(),
    ]


def seconds(text: str) -> float:
    """Return a duration such as 360s, 6m or 360. Raises KeyError for another unit."""
    number, unit_name = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}[unit_name]


def version() -> str:
    """Return the program's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])

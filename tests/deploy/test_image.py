"""The Dockerfile without Docker: its sources exist, its linter is content, its health check tells young from old."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

from tests.deploy import files
from tests.deploy.files import DOCKERFILE, ROOT, dockerfile, run_tool

IGNORED: Final = DOCKERFILE.with_name("Dockerfile.dockerignore")
STALE_S: Final = 60


def copied() -> list[str]:
    """Return what the first stage takes from the checkout."""
    words = [text.split() for instruction, text in dockerfile() if instruction == "COPY"]
    return [source.removeprefix("./") for line in words if not line[0].startswith("--from") for source in line[:-1]]


def probes() -> list[tuple[str, list[str]]]:
    """Return every command that looks at the heartbeat."""
    found = []
    for instruction, text in dockerfile():
        if instruction == "HEALTHCHECK":
            found.append(("Dockerfile", json.loads(text.split("CMD", 1)[1])))
    for _, document in files.objects_of_base():
        if document["kind"] == "Deployment":
            for container in document["spec"]["template"]["spec"]["containers"]:
                found += [
                    (f"{document['metadata']['name']}: {kind}", container[kind]["exec"]["command"])
                    for kind in ("startupProbe", "livenessProbe")
                ]
    return found


def test_the_linter_has_nothing_to_say() -> None:
    checked = run_tool("hadolint", "--no-color", DOCKERFILE)

    assert checked.stdout + checked.stderr == ""
    assert checked.returncode == 0


def test_what_is_copied_exists_and_is_let_in() -> None:
    """The file of exceptions begins with `*`: what it does not name is not there for COPY."""
    let_in = [line[1:] for line in IGNORED.read_text(encoding="utf-8").splitlines() if line.startswith("!")]

    assert sorted(copied()) == sorted(let_in)
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_what_is_copied_is_all_that_the_wheel_is_made_of() -> None:
    """Every package, every file that pyproject.toml names, and the configuration that the program reads."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, wheel = pyproject["project"], pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"]}
    needed |= {"config/defaults.toml", "config/providers.toml"}
    needed |= {"config/deploy/build.lock", "config/deploy/requirements.lock"}  # and of what it is installed with

    assert set(copied()) == needed


def test_it_runs_as_a_user_with_a_number_who_is_not_root() -> None:
    """Kubernetes refuses `runAsNonRoot` with a name; the manifests say the same number."""
    (user,) = [text for instruction, text in dockerfile() if instruction == "USER"]
    pods = [
        document["spec"]["template"]["spec"]["securityContext"]
        for _, document in files.objects_of_base()
        if document["kind"] == "Deployment"
    ]

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert {f"{pod['runAsUser']}:{pod['runAsGroup']}" for pod in pods} == {user}


def test_every_image_is_pinned_by_a_tag_with_a_number_and_ours_by_the_version() -> None:
    stages = [text.split()[0] for instruction, text in dockerfile() if instruction == "FROM"]
    services = [service["image"] for service in files.compose()["services"].values()]
    pods = [
        container["image"]
        for _, document in files.objects_of_base()
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    (kustomization,) = files.documents(files.BASE / "kustomization.yaml")
    chosen = [f"{image['name']}:{image['newTag']}" for image in kustomization["images"]]
    told = re.findall(r"batch-orchestrator:[\w.-]+", DOCKERFILE.read_text(encoding="utf-8"))

    found = {*stages, *services, *pods, *chosen, *told}
    assert [image for image in found if not re.fullmatch(r"[\w./-]+:\d+\.?\d*[\w.-]*", image)] == []
    ours = {image for image in found if fnmatch(image, "batch-orchestrator*")}
    assert ours == {f"batch-orchestrator:{files.version()}"}


@pytest.mark.parametrize("probe", [pytest.param(command, id=where) for where, command in probes()])
@pytest.mark.parametrize(("age_s", "is_alive"), [(0, True), (STALE_S - 10, True), (STALE_S + 5, False), (None, False)])
def test_a_probe_tells_a_fresh_heartbeat_from_an_old_one(
    probe: list[str], age_s: float | None, is_alive: bool, tmp_path: Path
) -> None:
    """Run for real: exit 0 below a minute, not 0 above it or where there is no file."""
    heartbeat = tmp_path / "a heartbeat"
    if age_s is not None:
        heartbeat.touch()
        os.utime(heartbeat, times=(time.time() - age_s,) * 2)

    done = subprocess.run(
        probe,
        env=os.environ | {"ORCHESTRATOR_HEARTBEAT": str(heartbeat)},
        capture_output=True,
        check=False,
    )

    assert (done.returncode == 0) is is_alive

"""What the image is made of is named by version and digest, and is what pyproject.toml asks for (S14)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.files import DEPLOY, ROOT, dockerfile

LOCK: Final = DEPLOY / "requirements.lock"
BUILD_LOCK: Final = DEPLOY / "build.lock"
EXTRAS: Final = ("postgres", "object-store")  # of the image
# Where the image runs: markers are asked for it, not for the machine of the test.
IMAGE: Final = default_environment() | {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
ENTRY: Final = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)( ; [^\\]+)? \\$")
DIGEST: Final = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def locked(lock: Path = LOCK) -> dict[str, tuple[Version, str, int]]:
    """Return what is locked: the version, where it is for, how many digests. Raises ValueError for any other line."""
    found: dict[str, tuple[Version, str, int]] = {}
    name = ""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if entry := ENTRY.match(line):
            name = canonicalize_name(entry[1])
            found[name] = (Version(entry[2]), (entry[3] or "").removeprefix(" ; ").strip(), 0)
        elif DIGEST.match(line) and name:
            version, marker, count = found[name]
            found[name] = (version, marker, count + 1)
        else:
            raise ValueError(f"{lock.name}: {line!r}")
    return found


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**IMAGE, "extra": extra}) for extra in ("", *extras))


def asked_for() -> list[Requirement]:
    """Return what pyproject.toml asks for in the image."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    return [requirement for requirement in map(Requirement, texts) if applies(requirement, ())]


def needed() -> dict[str, list[Requirement]]:
    """Return all that is needed below that, by what the installed packages say of themselves."""
    found: dict[str, list[Requirement]] = {}
    left = asked_for()
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, []).append(requirement)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system than this one
            continue
        left += [below for below in map(Requirement, texts) if applies(below, requirement.extras)]
    return found


@pytest.mark.parametrize("lock", [LOCK, BUILD_LOCK], ids=lambda lock: lock.name)
def test_every_package_is_pinned_with_digests_and_no_place_to_get_it_from(lock: Path) -> None:
    """A digest decides; from which index it comes is the builder's affair."""
    found = locked(lock)

    assert len(found) >= (40 if lock is LOCK else 4)
    assert [name for name, (_, _, count) in found.items() if count == 0] == []
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text


def test_the_lock_has_what_pyproject_asks_for_in_the_versions_it_allows() -> None:
    """Whoever changes a requirement and forgets `make lock` finds out here."""
    found = locked()

    for requirement in asked_for():
        version, _, _ = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_the_wheel_is_built_with_what_pyproject_names() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    found = locked(BUILD_LOCK)

    for requirement in map(Requirement, requires):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)][0])


def test_the_lock_is_complete_and_holds_nothing_else() -> None:
    """All that the packages need in turn; and nobody's package that nothing needs."""
    markers = {name: Marker(marker) for name, (_, marker, _) in locked().items() if marker}
    found = {name for name in locked() if name not in markers or markers[name].evaluate(IMAGE)}

    assert found == needed().keys()


def of_this_system() -> list[str]:
    return sorted(name for name, (_, marker, _) in locked().items() if not marker or Marker(marker).evaluate())


@pytest.mark.parametrize("package", of_this_system())
def test_what_is_locked_is_what_was_tested(package: str) -> None:
    """A package of another version than the one these tests run with is told, where it is of another main version."""
    version, _, _ = locked()[package]

    assert Version(metadata.version(package)).major == version.major


def test_the_image_installs_by_the_lock_and_nothing_besides() -> None:
    """Two installs: the locked packages by their digests, then ours without looking for any other."""
    runs = [text for instruction, text in dockerfile() if instruction == "RUN"]
    installs = [
        part.split() for run in runs for part in run.split("&&") if "pip install" in part or "pip wheel" in part
    ]

    builder, locked_ones, wheel, ours = installs
    for words, lock in ((builder, BUILD_LOCK), (locked_ones, LOCK)):
        assert {"--require-hashes", "--only-binary=:all:", f"config/deploy/{lock.name}"} <= set(words)
    assert {"--no-deps", "--no-build-isolation"} <= set(wheel)
    assert {"--no-deps", "--no-index"} <= set(ours)


def test_workflows_name_no_action_that_can_change() -> None:
    """There are none today; one that is added names its actions by commit."""
    for path in Path(ROOT, ".github").rglob("*.y*ml"):
        for action in re.findall(r"uses:\s*(\S+)", path.read_text(encoding="utf-8")):
            assert re.search(r"@[0-9a-f]{40}$", action), (path.name, action)

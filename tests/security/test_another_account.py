"""A valid key of another account, between a create whose answer was lost and its recovery: one create, in all (S17).

Two gateways are two accounts of one provider; a key says which of them a program sees.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.command_line import CommandLine, command_line
from tests.acceptance.datasets import check_exact, marked, read_output, write_dataset, write_job
from tests.acceptance.openai_jobs import MODEL, PROVIDER
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway
from tests.servers.accounts import door

pytestmark = pytest.mark.slow

ROWS: Final = 20  # one chunk
OURS: Final = "sk-canary-project-one"
ROTATED: Final = "sk-canary-project-one-new"  # of the same project
THEIRS: Final = "sk-canary-project-two"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A job whose only create was made, and whose answer nobody has."""

    ours: GatewayProcess
    theirs: GatewayProcess
    job: Path
    cli: CommandLine

    def run(self, key: str, *arguments: str) -> Any:
        """Run a command with this key in the environment."""
        with_key = replace(self.cli, environment={**self.cli.environment, "OPENAI_API_KEY": key})
        return with_key.run(*(arguments or ("run", self.job, "--json")))

    @property
    def creates(self) -> tuple[int, int]:
        """How many batches there are in our account, and in theirs."""
        return len(self.ours.batches()), len(self.theirs.batches())

    def check_healed(self) -> None:
        """See that each row has its own answer, that there was one create, and that nothing was paid twice."""
        [output] = self.cli.work.glob("*/output")
        check_exact(read_output(output), marked(ROWS))
        assert self.creates == (1, 0)
        assert self.ours.bill()["answers"] == ROWS
        assert self.theirs.bill()["answers"] == 0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """The provider makes the batch, and the program is killed before it hears of it."""
    with (
        running_gateway(tmp_path / "ours", "--duration-s", "0.2") as ours,
        running_gateway(tmp_path / "theirs", "--duration-s", "0.2") as theirs,
        door({OURS: port_of(ours), ROTATED: port_of(ours), THEIRS: port_of(theirs)}, API_KEY) as entrance,
    ):
        tables: dict[str, Any] = {"job": {"provider": "openai"}, "request": {"model": MODEL}, "provider": PROVIDER}
        dataset = write_dataset(tmp_path / "rows.parquet", ROWS)
        job = write_job(tmp_path / "swapped.toml", dataset, entrance.url, **tables)
        cli = command_line(tmp_path / "user", key=None, OPENAI_API_KEY=OURS)
        ours.set_faults({"create": {"hang": 1, "hang_s": 60.0}})
        cli.cut_short("run", job, when=lambda: len(ours.batches()) == 1, what="the batch whose answer never comes")
        ours.set_faults({})
        yield Scene(ours=ours, theirs=theirs, job=job, cli=cli)


def port_of(gateway: GatewayProcess) -> int:
    return int(gateway.base_url.rpartition(":")[2])


@pytest.mark.timeout(200)
def test_a_key_of_another_account_makes_no_create_look_absent(scene: Scene) -> None:
    """Its list is empty and it has no such file: that proves nothing. The first key back, the job heals by itself."""
    held = scene.run(THEIRS)

    assert held.code == 3, held
    assert scene.creates == (1, 0)
    [told] = json.loads(scene.run(THEIRS, "resolve", scene.job, "--json").out)["unresolved"]
    assert "another API key than OPENAI_API_KEY holds now" in told["reason"]
    assert scene.run(THEIRS).code == 3

    finished = scene.run(OURS)

    assert finished.code == 0, finished
    scene.check_healed()
    assert not any(key in text for key in (OURS, THEIRS) for text in texts(scene.cli.work))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_new_key_of_the_same_project_is_known_by_what_it_sees(scene: Scene) -> None:
    """The batch bears our token and is in its list, so nobody is asked."""
    finished = scene.run(ROTATED)

    assert finished.code == 0, finished
    scene.check_healed()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_ledger_made_again_from_the_work_folder_knows_the_key_too(scene: Scene) -> None:
    """The mark stands beside the intent: a lost ledger makes no key look like the right one."""
    for file in scene.cli.work.glob("ledger.db*"):
        file.unlink()
    recovered = scene.run(THEIRS, "recover")
    assert recovered.code == 0, recovered

    held = scene.run(THEIRS)

    assert held.code == 3, held
    assert scene.creates == (1, 0)
    assert scene.run(OURS).code == 0
    scene.check_healed()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_person_may_say_that_a_new_key_is_of_the_same_account(scene: Scene) -> None:
    """Where nothing shows it: the way out is a person's word. Said of the wrong key, it is paid for."""
    assert scene.run(THEIRS).code == 3
    assert scene.run(THEIRS, "resolve", scene.job, "c00000-00000", "--same-account").code == 2
    said = scene.run(THEIRS, "resolve", scene.job, "--same-account")
    assert said.code == 0, said
    assert "1 chunk can continue with the new key" in said.out

    finished = scene.run(THEIRS)

    assert finished.code == 0, finished
    assert scene.creates == (1, 1)  # it was believed


def texts(work: Path) -> Iterator[str]:
    """Return the content of everything in a work folder, as text."""
    read: Callable[[Path], bytes] = Path.read_bytes
    yield from (read(path).decode("latin-1") for path in work.rglob("*") if path.is_file())

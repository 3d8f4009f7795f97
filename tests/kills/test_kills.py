"""Whatever dies, and wherever: run again, plainly, the job ends exact, each chunk was made once, nothing is paid twice.

A share of the campaigns of `python -m tests.kills`: the same code, fewer trials.
"""

from __future__ import annotations

import os

import pytest

from tests.kills.disk import full, power
from tests.kills.jobs import Workspace
from tests.kills.launcher import ForkServerPool
from tests.kills.points import points
from tests.kills.readers import readers
from tests.kills.syscalls import ERRORS, KILL, Fault, syscalls

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SEED = int(os.environ.get("KILLS_SEED", "1"))


def test_a_process_killed_at_any_line_leaves_a_job_that_can_be_seen_through(
    workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """SIGKILL before lines of the program, spread over all that a run reaches; sometimes the next run dies, too."""
    campaign = points(workspace, fork_servers, trials=6, seed=SEED)

    assert campaign.failures == []
    assert campaign.trials == 6
    assert campaign.counts["kills"] >= 4


@pytest.mark.usefixtures("traced")
def test_a_process_killed_before_any_system_call_leaves_a_job_that_can_be_seen_through(
    workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """SIGKILL before calls that change the disk or use the network, from the first to the last."""
    campaign = syscalls(workspace, fork_servers, KILL, every=90)

    assert campaign.failures == []
    assert campaign.trials >= 4


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("fault", [ERRORS[0], ERRORS[-1]], ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_call_that_fails_ends_the_run_with_a_sentence_and_the_next_run_ends_exact(
    fault: Fault, workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """EIO once, ENOSPC for good: no traceback, no silence, nothing sent twice."""
    campaign = syscalls(workspace, fork_servers, fault, every=180)

    assert campaign.failures == []
    assert campaign.trials >= 2


@pytest.mark.usefixtures("traced")
def test_a_full_disk_is_named_and_once_there_is_space_the_job_ends_exact(
    workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """Whatever the size: no part of a dataset is seen under the output's name; the message names the place."""
    campaign = full(workspace, fork_servers, sizes=4)

    assert campaign.failures == []
    assert campaign.counts["said what is full"] >= 2


@pytest.mark.usefixtures("traced")
def test_power_lost_while_the_output_is_written_shows_no_part_of_it(
    workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """What was not synced is lost, or some of it: what can be seen is whole, and the next run makes the rest."""
    campaign = power(workspace, fork_servers, every=150)

    assert campaign.failures == []
    assert campaign.trials >= 3


@pytest.mark.usefixtures("traced")
def test_readers_see_whole_files_or_none_while_the_writer_is_killed(
    workspace: Workspace, fork_servers: ForkServerPool
) -> None:
    """Two processes read the place of the output all the while; who goes by the manifest sees none or all."""
    campaign = readers(workspace, fork_servers, kills=4, seed=SEED)

    assert campaign.failures == []
    assert campaign.counts["kills"] == 4
    assert campaign.counts["seen: looks at some"] > 0

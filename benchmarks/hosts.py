"""Several hosts on one machine: network namespaces with addresses of their own, one of them cut off and healed.

    sudo .venv/bin/python -m benchmarks.hosts        # needs root and iproute2 (apt-get install iproute2)

                              bridge 10.77.0.1: broker, PostgreSQL, gateway, submitter
          .--------------------------.--------------------------.
    10.77.0.11: worker, beat   10.77.0.12: worker, beat   10.77.0.13: worker      <- its cable is pulled for a minute

The work folder is on the disk that all of them have. The job must end exact, with one create for each chunk; and the
host that was cut off must be at work again afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import psutil

from benchmarks.chaos.run import ENDED, Outcome, Size, check_end, resolve_held, submit
from benchmarks.chaos.stage import CREATE_S, KEY_VARIABLE, LEASE_S, TICK_S, environment
from orchestrator import JobHandle, OrchestratorError
from orchestrator.domain.errors import ConfigError, LedgerError
from orchestrator.fleet.embedded import LOOPBACK, running_broker
from tests.acceptance.datasets import marked
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.postgres import running_postgres
from tests.servers.processes import Process, ended_at_last
from tests.servers.proxy import running_proxy
from tests.sums import sums

SUBNET: Final = "10.77.0"
SERVERS: Final = f"{SUBNET}.1"
HOSTS: Final = 3
BEATS: Final = 2
BATCH_S: Final = 6.0  # with twenty in flight, the job outlasts the minute
CUT_AT: Final = 0.1  # of the chunks
LOOK_S: Final = 0.2
DEADLINE_S: Final = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A namespace, its address, and the end of its cable at the bridge."""

    name: str
    address: str
    cable: str


def main() -> int:
    """Run the job; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosts", description="A job on three hosts.")
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--cut-s", type=float, default=60.0, help="how long one host is cut off")
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("network namespaces need root, and iproute2: apt-get install iproute2", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # through every `finally`: no namespace stays behind
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    try:
        _play(folder, Size(batches=options.batches), options.cut_s)
    except (AssertionError, OrchestratorError) as error:
        print(f"FAILED: {type(error).__name__}: {error}\nlogs: {folder / 'logs'}")
        return 1
    shutil.rmtree(folder)
    return 0


def _play(folder: Path, size: Size, cut_s: float) -> None:
    with contextlib.ExitStack() as stack:
        hosts = stack.enter_context(_network())
        gateway = stack.enter_context(
            running_gateway(folder / "gateway", "--host", SERVERS, "--duration-s", str(BATCH_S))
        )
        broker = stack.enter_context(running_broker(folder / "broker"))
        door = stack.enter_context(running_proxy((LOOPBACK, broker.port), host=SERVERS))
        database = stack.enter_context(running_postgres(durable=True, address=SERVERS))
        settings = {
            "ORCHESTRATOR_WORK": str(folder / "work"),
            "ORCHESTRATOR_LEDGER_URL": database.url,
            "ORCHESTRATOR_BROKER_URL": broker.url.replace(f"{LOOPBACK}:{broker.port}", f"{SERVERS}:{door.port}"),
            "ORCHESTRATOR_BROKER_INSECURE": "true",  # with its password, but without TLS
            "ORCHESTRATOR_TICK_S": str(TICK_S),
            "ORCHESTRATOR_LEASE_S": str(LEASE_S),
        }
        stack.enter_context(environment(settings))
        processes = [process for number, host in enumerate(hosts) for process in _processes(number, host, folder)]
        stack.enter_context(ended_at_last(processes))
        source = marked(size.batches * size.rows)
        job = submit(gateway, folder / "work", source, size)
        for process in processes:
            process.start()
        watch = _Watch(job, gateway, processes, hosts[-1])
        watch.see_through(cut_s=cut_s, batches=size.batches)
        check_end(job, gateway, source, watch.outcome)
        print(
            f"exact: chunks {watch.outcome.chunks}, creates {watch.outcome.creates}, "
            f"paid twice {watch.outcome.paid_twice}; held {watch.outcome.held}, of these the provider had "
            f"{watch.outcome.adopted}; {watch.at_work_after_s:.0f} s after the healing the host was at work again"
        )


class _Watch:
    """Looks at the job, pulls the cable and puts it back, does the operator's part."""

    def __init__(self, job: JobHandle, gateway: GatewayProcess, processes: list[Process], victim: Host) -> None:
        self.job = job
        self.gateway = gateway
        self.processes = processes
        self.victim = victim
        self.outcome = Outcome(seed=0)
        self.at_work_after_s: float = math.inf
        self._begun = time.monotonic()
        self._cut_at = self._healed_at = math.inf
        self._stale: set[int] = set()

    def see_through(self, *, cut_s: float, batches: int) -> None:
        """Wait for the end of the job, and of everything that is to happen meanwhile."""
        while True:
            now = time.monotonic()
            status = self._look()
            state = "ledger away" if status is None else status["state"]
            done = 0 if status is None else status["chunks"].get("collected", 0)
            if self._cut_at == math.inf and done >= CUT_AT * batches:
                self._pull(f"{done} of {batches} batches collected")
            if self._healed_at == math.inf and now >= self._cut_at + cut_s:
                self._heal(f"{done} of {batches} batches collected")
            if self.at_work_after_s == math.inf and self._links() - self._stale and now > self._healed_at:
                self.at_work_after_s = now - self._healed_at
            if state in ENDED:
                break
            assert now < self._begun + DEADLINE_S, f"not finished after {DEADLINE_S:g} s: {status}"
            gone = [process.name for process in self.processes if not process.is_running]
            assert not gone, f"ended by themselves: {', '.join(gone)}"
            self._resolve(now)
            time.sleep(LOOK_S)
        self._say(f"job {state}")
        assert self._healed_at < math.inf, "the job ended before the host was healed: ask for more batches"
        assert self.at_work_after_s < math.inf, "the healed host did no work"

    def _look(self) -> dict[str, Any] | None:
        try:
            return sums(self.job.status().as_dict())
        except (LedgerError, ConfigError):
            return None

    def _pull(self, why: str) -> None:
        _ip(f"link set {self.victim.cable} down")
        self._cut_at = time.monotonic()
        self._say(f"{self.victim.name} is cut off ({why})")

    def _heal(self, why: str) -> None:
        self._stale = self._links()
        _ip(f"link set {self.victim.cable} up")
        self._healed_at = time.monotonic()
        self._say(f"{self.victim.name} is healed ({why})")

    def _links(self) -> set[int]:
        """Return the ports of the connections that the gateway has from the host, dead ones included."""
        port = int(self.gateway.base_url.rpartition(":")[2])
        links = psutil.net_connections("tcp4")
        return {
            link.raddr.port
            for link in links
            if link.laddr.port == port and link.raddr and link.raddr.ip == self.victim.address
        }

    def _resolve(self, now: float) -> None:
        # Who is cut off sends nothing, but what was on the wire may still arrive once the cable is back.
        settled = self._cut_at == math.inf or now > self._healed_at + 2 * CREATE_S
        said = resolve_held(self.gateway, self.job, nobody_can_send=settled)
        self.outcome.held += len(said)
        self.outcome.adopted += sum(batch is not None for batch in said)

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {what}", flush=True)


def _processes(number: int, host: Host, folder: Path) -> list[Process]:
    roles = ["worker", "beat"] if number < BEATS else ["worker"]
    return [
        Process(
            name=f"{role}{number}",
            command=["ip", "netns", "exec", host.name, sys.executable, "-m", "orchestrator", role],
            environment={**os.environ, KEY_VARIABLE: GatewayProcess.api_key},
            log=folder / "logs" / f"{role}{number}.log",
        )
        for role in roles
    ]


def _leave(_number: int, _frame: Any) -> NoReturn:
    sys.exit(1)


@contextlib.contextmanager
def _network() -> Iterator[list[Host]]:
    """Make a bridge and hosts on it; take them away at the end, whatever happens."""
    bridge = "bqhosts"
    hosts = [
        Host(name=f"bqhost{number}", address=f"{SUBNET}.{10 + number}", cable=f"bqcable{number}")
        for number in range(1, HOSTS + 1)
    ]
    try:
        _ip(f"link add name {bridge} type bridge")
        _ip(f"address add {SERVERS}/24 dev {bridge}")
        _ip(f"link set {bridge} up")
        for host in hosts:
            _ip(f"netns add {host.name}")
            _ip(f"link add {host.cable} type veth peer name eth0 netns {host.name}")
            _ip(f"link set {host.cable} master {bridge} up")
            _ip(f"-n {host.name} address add {host.address}/24 dev eth0")
            _ip(f"-n {host.name} link set lo up")
            _ip(f"-n {host.name} link set eth0 up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "link", "del", host.cable], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", bridge], check=False, stderr=subprocess.DEVNULL)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


if __name__ == "__main__":
    sys.exit(main())

"""Requests drawn from the description of the gateway's API (`gateway_api`), to a real server, on loopback.

Some requests keep to the description, some break it in one place. Ids are drawn, too; every second one that may be
there is taken from the stock, so that what is behind a 404 is reached. `OPENAPI_EXAMPLES` says how many requests are
drawn of each operation, beside the boundary cases, and `OPENAPI_SEED` which ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.gateway_api import document
from tests.fuzz.stock import Stock
from tests.gateway_process import API_KEY, GatewayProcess, running_gateway

pytestmark = pytest.mark.slow

EXAMPLES: Final = int(os.environ.get("OPENAPI_EXAMPLES", "12"))
SEED: Final = int(os.environ.get("OPENAPI_SEED", "1"))
DESCRIBED: Final = schemathesis.openapi.from_dict(
    document(),
    config=schemathesis.Config.from_dict(
        {"seed": SEED, "generation": {"allow-extra-parameters": False, "with-security-parameters": False}}
    ),
)
FOR_WHOEVER_ASKS: Final = {  # by hand
    "GET /healthz",
    "GET /v1/models",
    "GET /resource/batch-llm/azure-batch%2F{name}",
}
NO_ROUTE: Final = (404, 404)  # a verb or a path that is nobody's is that before it is anybody's


def keeps_its_inside_to_itself(_context: Any, response: schemathesis.Response, _case: schemathesis.Case) -> None:
    """No answer shows a traceback, a path of this machine, or the key."""
    shown = response.content + repr(response.headers).encode()

    for word in (b"Traceback", b'File "', b"sqlite3", API_KEY.encode(), str(Path.cwd()).encode()):
        assert word not in shown, word


CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    keeps_its_inside_to_itself,
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One server for all requests: what one of them does to it, the next one meets. It logs nothing all the while."""
    with running_gateway(tmp_path_factory.mktemp("gateway") / "state", "--duration-s", "0.3") as gateway:
        yield gateway
        log = (gateway.state / "output.log").read_text()
    assert log.splitlines() == [f"gateway: {gateway.url}"]


@pytest.fixture(scope="module")
def stock(gateway: GatewayProcess) -> Iterator[Stock]:
    with httpx.Client(base_url=gateway.base_url, headers=gateway.headers) as client:
        yield Stock(client)


@pytest.fixture(autouse=True)
def no_faults_are_left(gateway: GatewayProcess) -> Iterator[None]:
    """A drawn fault plan is in force until the next one is drawn, and no longer than its own test."""
    yield
    gateway.set_faults({})


@DESCRIBED.parametrize()
@seeded(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_as_described(
    case: schemathesis.Case, gateway: GatewayProcess, stock: Stock
) -> None:
    """No 5xx, only declared statuses and shapes; what the description forbids is a 4xx; and nothing without the key."""
    stock.put_into(case)
    address: dict[str, Any] = {"base_url": gateway.base_url, "headers": gateway.headers}

    answer = stock.upload(case) if stock.is_upload(case) else case.call(**address)

    case.validate_response(answer, checks=CHECKS, headers=gateway.headers, transport_kwargs=address)
    if case.operation.label not in FOR_WHOEVER_ASKS:
        stranger = case.call(base_url=gateway.base_url)
        assert stranger.status_code == 401 or (stranger.status_code, answer.status_code) == NO_ROUTE
        keeps_its_inside_to_itself(None, stranger, case)

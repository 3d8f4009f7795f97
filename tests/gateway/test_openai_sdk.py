"""The `openai` client, driving a gateway process over a socket."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from tests.gateway.openai_scenes import ENDPOINT, a_line, jsonl, names, some_lines
from tests.gateway_process import GatewayProcess, running_gateway
from tests.lazily import Lazily

if TYPE_CHECKING:
    import openai
    from openai.types import Batch
else:
    openai = Lazily("openai")

DEADLINE_S = 60.0
LOOK_EVERY_S = 0.02
FINAL = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One process for the tests that do not kill it; each sets the faults it needs."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--duration-s", "0.5") as running:
        yield running


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    gateway.set_faults({})
    with a_client(gateway) as opened:
        yield opened


def a_client(gateway: GatewayProcess, retries_max: int = 0) -> openai.OpenAI:
    return openai.OpenAI(api_key=gateway.api_key, base_url=gateway.url, max_retries=retries_max, timeout=30)


def upload(client: openai.OpenAI, count: int = 5) -> str:
    return client.files.create(file=("in.jsonl", jsonl(some_lines(count))), purpose="batch").id


def create(client: openai.OpenAI, file_id: str, **metadata: str) -> Batch:
    return client.batches.create(
        input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h", metadata=metadata or None
    )


def ended(client: openai.OpenAI, batch_id: str) -> Batch:
    """Poll a batch until it has ended, as a user's script would."""
    deadline = time.monotonic() + DEADLINE_S
    while (batch := client.batches.retrieve(batch_id)).status not in FINAL:
        assert time.monotonic() < deadline, batch.status
        time.sleep(LOOK_EVERY_S)
    return batch


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[dict[str, object]]:
    assert file_id is not None
    return [json.loads(line) for line in client.files.content(file_id).read().splitlines()]


def test_a_batch_goes_all_the_way(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    """Upload, create with metadata, poll, output and error content, delete."""
    gateway.set_faults({"rows": {"fail": {"500": 2}, "times": 0}})
    file = client.files.create(file=("in.jsonl", io.BytesIO(jsonl(some_lines(5)))), purpose="batch")
    created = create(client, file.id, token="abc")
    batch = ended(client, created.id)
    client.files.delete(file.id)

    assert (file.object, file.purpose, file.bytes) == ("file", "batch", len(jsonl(some_lines(5))))
    assert (created.status, created.metadata, created.input_file_id) == ("validating", {"token": "abc"}, file.id)
    assert (batch.status, batch.metadata, batch.model) == ("completed", {"token": "abc"}, "gpt-4o-mini")
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 5, "completed": 3, "failed": 2}
    assert batch.usage is not None
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    assert names(lines_of(client, batch.output_file_id)) == {"row-2", "row-3", "row-4"}
    assert names(lines_of(client, batch.error_file_id)) == {"row-0", "row-1"}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError, match="No such File object"):
        create(client, file.id)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"model": "gpt-6-luna", "input": "Question?", "max_output_tokens": 16}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Question?", "dimensions": 8}),
    ],
)
def test_the_other_endpoints_go_all_the_way_too(
    client: openai.OpenAI, endpoint: Literal["/v1/responses", "/v1/embeddings"], body: dict[str, Any]
) -> None:
    """Of two rows one is refused, because `messages` is a key of neither endpoint."""
    lines = [a_line(url=endpoint, body=body), a_line("bad", url=endpoint, body=body | {"messages": []})]
    file = client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    created = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    batch = ended(client, created.id)

    assert (batch.status, batch.endpoint) == ("completed", endpoint)
    assert names(lines_of(client, batch.output_file_id)) == {"row-0"}
    assert names(lines_of(client, batch.error_file_id)) == {"bad"}


def test_lists_page_by_themselves(client: openai.OpenAI) -> None:
    file_id = upload(client, 1)
    made = [create(client, file_id).id for _ in range(5)]

    listed = [batch.id for batch in client.batches.list(limit=2)]
    assert listed[:5] == made[::-1]
    assert len(set(listed)) == len(listed)
    files = [file.id for file in client.files.list(limit=1, purpose="batch")]
    assert file_id in files
    assert len(set(files)) == len(files)


def test_a_batch_is_cancelled(tmp_path: Path) -> None:
    with running_gateway(tmp_path, "--duration-s", "15") as gateway, a_client(gateway) as client:
        created = create(client, upload(client))
        cancelling = client.batches.cancel(created.id)
        batch = ended(client, created.id)

        assert (cancelling.status, batch.status) == ("cancelling", "cancelled")
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(created.id)


def test_an_expired_batch_gives_up_both_files(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    gateway.set_faults({"batch": {"expire": 1}})
    batch = ended(client, create(client, upload(client, 4)).id)

    assert batch.status == "expired"
    assert len(lines_of(client, batch.output_file_id)) == len(lines_of(client, batch.error_file_id)) == 2


def test_a_batch_that_failed_says_why(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    gateway.set_faults({"batch": {"token_limit": 1}})
    batch = ended(client, create(client, upload(client)).id)

    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [error.code for error in batch.errors.data] == ["token_limit_exceeded"]


def test_refusals_are_the_clients_own_exceptions(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    gateway.set_faults({"list": {"refuse": {"429": 1, "500": 1}}})
    with pytest.raises(openai.RateLimitError):
        client.batches.list()
    with pytest.raises(openai.InternalServerError):
        client.batches.list()
    with pytest.raises(openai.AuthenticationError), openai.OpenAI(api_key="wrong", base_url=gateway.url) as stranger:
        stranger.batches.list()
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_" + "0" * 32)


@pytest.mark.parametrize("fault", [{"accept_then": {"500": 1}}, {"lost": 1}])
def test_the_clients_default_retries_pay_twice_for_a_lost_answer(
    gateway: GatewayProcess, client: openai.OpenAI, fault: dict[str, object]
) -> None:
    """Why our client never retries a create: one call of this client makes two batches, and the bill shows it."""
    for batch in client.batches.list():
        ended(client, batch.id)  # also those of other tests: the bill must change by this test's answers only
    file_id = upload(client, 3)
    before = gateway.bill()
    gateway.set_faults({"create": fault})
    with a_client(gateway, retries_max=2) as retrying:
        known = create(retrying, file_id)
    found = [batch.id for batch in client.batches.list() if batch.input_file_id == file_id]
    for batch_id in found:
        ended(client, batch_id)

    assert len(found) == 2
    assert known.id in found
    assert gateway.bill()["answers"] - before["answers"] == 6


def test_a_lost_create_is_found_and_adopted(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    file_id = upload(client, 3)
    gateway.set_faults({"create": {"hang": 1}})
    with pytest.raises(openai.APITimeoutError):
        create(client.with_options(timeout=0.5), file_id, token="mine")
    deadline = time.monotonic() + DEADLINE_S
    while not (found := [batch.id for batch in client.batches.list() if batch.metadata == {"token": "mine"}]):
        assert time.monotonic() < deadline

    assert len(lines_of(client, ended(client, *found).output_file_id)) == 3


@pytest.mark.slow
def test_a_fenced_late_create_never_arrives(gateway: GatewayProcess, client: openai.OpenAI) -> None:
    file_id = upload(client, 3)
    gateway.set_faults({"create": {"late": 1, "late_s": 3.0}})
    with pytest.raises(openai.APIConnectionError):
        create(client, file_id)
    client.files.delete(file_id)
    past_s = time.monotonic() + 3.5

    while time.monotonic() < past_s:
        assert file_id not in {batch.input_file_id for batch in client.batches.list(limit=5).data}
    assert file_id not in {batch["file_id"] for batch in gateway.batches()}


@pytest.mark.slow
def test_what_a_client_was_told_is_still_so_after_a_kill(tmp_path: Path) -> None:
    """kill -9 after each kind of answer: files, deletes, batches, cancels, results and the bill are as they were."""
    with running_gateway(tmp_path, "--duration-s", "4") as gateway, a_client(gateway) as client:
        kept, deleted = upload(client, 3), upload(client, 3)
        running, cancelled = create(client, kept, token="a"), create(client, kept)
        client.batches.cancel(cancelled.id)
        client.files.delete(deleted)
        gateway.kill()
        gateway.restart()
        batches = {batch.id: ended(client, batch.id) for batch in (running, cancelled)}
        output_id = batches[running.id].output_file_id
        results, bill = lines_of(client, output_id), gateway.bill()
        gateway.kill()
        gateway.restart()

        assert {file.id for file in client.files.list(purpose="batch")} == {kept}
        assert [batches[batch.id].status for batch in (running, cancelled)] == ["completed", "cancelled"]
        assert batches[running.id].metadata == {"token": "a"}
        assert {batch.id: batch for batch in client.batches.list()} == batches
        assert (lines_of(client, output_id), gateway.bill()) == (results, bill)
        assert bill["answers"] == 3


def test_an_upload_cut_off_by_a_kill_was_never_a_file(tmp_path: Path) -> None:
    """The process dies after half of a body."""
    with running_gateway(tmp_path, "--duration-s", "0") as gateway, a_client(gateway) as client:

        def half() -> Iterator[bytes]:
            head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
            yield head + jsonl(some_lines(1_000))
            gateway.kill()
            yield b"more"

        headers = gateway.headers | {"content-type": "multipart/form-data; boundary=x"}
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{gateway.url}/files", headers=headers, content=half())
        gateway.restart()

        assert list(client.files.list()) == []
        assert list((tmp_path / "requests").iterdir()) == list((tmp_path / "files").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")
def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    """40 MB pass in and out; the server's own memory, without page cache, grows by less than 16 MB."""
    line = jsonl([a_line("row-0", "word " * 2_000)])
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        for number in range(4_000):
            file.write(line.replace(b"row-0", b"row-%d" % number))
    with running_gateway(tmp_path / "state", "--duration-s", "0") as gateway, a_client(gateway) as client:
        before_bytes = own_bytes(gateway)
        file_id = client.files.create(file=path, purpose="batch").id
        ended(client, create(client, file_id).id)
        with client.files.with_streaming_response.content(file_id) as answer:
            received_bytes = sum(len(piece) for piece in answer.iter_bytes())

        assert received_bytes == path.stat().st_size > 40_000_000
        assert own_bytes(gateway) - before_bytes < 16_000_000


def own_bytes(gateway: GatewayProcess) -> int:
    """The anonymous memory of a gateway: the kernel can take back mapped files."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024

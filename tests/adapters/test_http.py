"""The way to a provider: what goes out, what a broken exchange becomes, and that every one of them ends."""

from __future__ import annotations

import contextlib
import gzip
import inspect
import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from orchestrator.domain.errors import (
    BadRequest,
    ConfigError,
    CreateAmbiguous,
    CreateRefused,
    OrchestratorError,
    StorageError,
    Unavailable,
)
from orchestrator.providers.http import connection
from orchestrator.providers.http.auth import Header
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.exchange import NotConnected, Pinned, Timeouts
from orchestrator.providers.http.failures import HTTPX_ERRORS
from orchestrator.providers.http.secret import Secret
from tests.adapters.wire import (
    Answers,
    Connection,
    Play,
    WireServer,
    answer,
    header,
    saying,
    saying_last,
    serving,
    target,
)
from tests.servers.certificates import self_signed, served_with

KEY: Final = "sk-canary-9f86d081884c7d65"
HURRIED: Final = Timeouts(call_s=0.4, create_s=0.4, download_s=0.4)
PATIENT: Final = Timeouts(connect_s=15.0, read_s=15.0, write_s=15.0, call_s=20.0, create_s=20.0, download_s=20.0)
HEAD_OF_200: Final = b"HTTP/1.1 200 OK\r\n"

HTTPX_CLASSES: Final = [
    value for value in vars(httpx).values() if inspect.isclass(value) and issubclass(value, Exception)
]
# By hand: only these are raised before anything is sent.
REFUSING: Final = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


@contextlib.contextmanager
def client_of(url: str, **settings: Any) -> Iterator[HttpClient]:
    client = HttpClient(f"{url}/v1", Secret(KEY), **({"timeouts": PATIENT} | settings))
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def client_and_server(play: Play, **settings: Any) -> Iterator[tuple[HttpClient, WireServer]]:
    with serving(play) as server, client_of(server.url, **settings) as client:
        yield client, server


def create(client: HttpClient, *blocks: bytes) -> Any:
    body = blocks or (b'{"requests":[]}',)
    return client.create("/batches", iter(body), size_bytes=sum(map(len, body)))


def everything(client: HttpClient, path: str = "/results") -> bytes:
    with client.download(path) as download:
        return b"".join(download.blocks)


def raised(act: Callable[[], object]) -> OrchestratorError:
    with pytest.raises(OrchestratorError) as caught:
        act()
    return caught.value


def made(error_class: type[Exception]) -> Exception:
    """Make an httpx error that carries a request with the key in it, where the class can carry one."""
    request = httpx.Request("POST", "https://api.example/v1/batches", headers={"Authorization": f"Bearer {KEY}"})
    if error_class is httpx.HTTPStatusError:
        return httpx.HTTPStatusError(f"as sent: Bearer {KEY}", request=request, response=httpx.Response(500))
    if issubclass(error_class, httpx.RequestError):
        return error_class(f"as sent: Bearer {KEY}", request=request)
    return error_class() if not inspect.signature(error_class).parameters else error_class(f"as sent: {KEY}")


# What goes out


def test_a_call_bears_the_key_our_name_and_no_wish_for_compression() -> None:
    with client_and_server(saying(answer(200, b"{}"))) as (client, server):
        found = client.call("GET", "/batches/b-1")

        assert (found.status, found.body, found.is_whole) == (200, b"{}", True)
        (request,) = server.requests
        assert request.startswith(b"GET /v1/batches/b-1 HTTP/1.1\r\n")
        assert header(request, b"authorization") == b"Bearer " + KEY.encode()
        assert header(request, b"user-agent").startswith(b"batch-orchestrator/")  # type: ignore[union-attr]
        assert header(request, b"accept-encoding") == b"identity"


def test_a_create_is_sent_with_its_length_and_not_in_chunks() -> None:
    blocks = [b"[", b"1," * 100_000, b"", b"2]"]
    with client_and_server(saying(answer(200, b"{}"))) as (client, server):
        create(client, *blocks)

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert body == b"".join(blocks)
        assert header(head, b"content-length") == str(len(body)).encode()
        assert header(head, b"transfer-encoding") is None
        assert header(head, b"content-type") == b"application/json"


def test_polls_share_a_connection_and_each_create_has_its_own() -> None:
    """A server that closes an idle connection under a create leaves it in doubt for nothing."""
    with client_and_server(saying(answer(200, b"{}"))) as (client, server):
        for _ in range(3):
            client.call("GET", "/batches/b-1")
        assert server.connection_count == 1

        create(client)
        create(client)
        assert server.connection_count == 3


def test_a_fork_gets_a_connection_of_its_own() -> None:
    with client_and_server(saying(answer(200, b"{}"))) as (client, server):
        client.call("GET", "/batches/b-1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the server's threads stay behind, as they should
            child = os.fork()
        if child == 0:
            try:
                client.call("GET", "/batches/b-2")
                os._exit(0)
            finally:
                os._exit(1)
        _, exit_status = os.waitpid(child, 0)
        client.call("GET", "/batches/b-3")

        assert exit_status == 0
        assert server.connection_count == 2


def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(saying(answer(200, b"proxy"))) as proxy, serving(saying(answer(200, b"itself"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with client_of(server.url) as direct:
            assert direct.call("GET", "/").body == b"itself"


def test_the_key_goes_where_the_dialect_wants_it() -> None:
    with serving(saying(answer(200, b"{}"))) as server:
        with client_of(server.url, auth=Header("x-api-key", Secret(KEY))) as client:
            client.call("GET", "/")

        assert f"x-api-key: {KEY}".encode() in server.requests[0]
        assert b"Authorization" not in server.requests[0]


def test_loggers_that_write_urls_are_silent() -> None:
    assert logging.getLogger("httpx").level == logging.WARNING
    assert logging.getLogger("httpcore").level == logging.WARNING


# Errors of the exchange


def test_every_httpx_exception_is_one_we_translate() -> None:
    assert len(HTTPX_CLASSES) > 20
    assert [error for error in HTTPX_CLASSES if not issubclass(error, HTTPX_ERRORS)] == []


@pytest.mark.parametrize("error_class", HTTPX_CLASSES, ids=lambda error_class: error_class.__name__)
def test_a_create_is_refused_only_where_nothing_can_have_been_sent(error_class: type[Exception]) -> None:
    transport = Answers(made(error_class))
    with client_of("https://api.example", transport=transport) as client:
        error = raised(lambda: create(client))

    assert type(error) is (CreateRefused if error_class.__name__ in REFUSING else CreateAmbiguous)
    assert len(transport.requests) == 1


def test_an_unknown_httpx_exception_leaves_a_create_ambiguous() -> None:
    class Novel(httpx.TransportError):
        pass

    with client_of("https://api.example", transport=Answers(Novel("new"))) as client, pytest.raises(CreateAmbiguous):
        create(client)


@pytest.mark.parametrize("error_class", HTTPX_CLASSES, ids=lambda error_class: error_class.__name__)
@pytest.mark.parametrize("act", [create, lambda client: client.call("GET", "/"), everything])
def test_no_error_bears_the_key(act: Callable[[HttpClient], object], error_class: type[Exception]) -> None:
    """Not in its words, its frames' variables or the exceptions behind it: an httpx error holds the whole request."""
    with client_of("https://api.example", transport=Answers(made(error_class))) as client:
        error = raised(lambda: act(client))

    assert error.__cause__ is None
    assert error.__context__ is None
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY not in told + repr(error)
    inner = getattr(error, "error", error)
    assert KEY not in repr(inner)
    assert inner.__context__ is None


def test_a_broken_create_over_a_real_socket_bears_no_key_either() -> None:
    with client_and_server(saying_last(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n")) as (client, _):
        error = raised(lambda: create(client))

    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY not in told
    assert error.__context__ is None


def test_a_connection_refused_refuses_the_create() -> None:
    with serving(saying(answer(200))) as server:
        url = server.url
    with client_of(url) as client:
        error = raised(lambda: create(client))
        assert isinstance(error, CreateRefused)
        assert isinstance(error.error, NotConnected)

        with pytest.raises(Unavailable):
            client.call("GET", "/")


def test_a_name_that_does_not_exist_refuses_the_create() -> None:
    with client_of("https://nowhere.invalid") as client, pytest.raises(CreateRefused):
        create(client)


@pytest.mark.parametrize(
    "provider_message",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"\x15\x03\x01\x00\x02\x02\x16 not HTTP at all\r\n\r\n",
    ],
    ids=["nothing", "a status line", "half a header", "garbage"],
)
def test_a_lost_answer_leaves_the_create_ambiguous_and_is_not_asked_for_again(provider_message: bytes) -> None:
    with client_and_server(saying_last(provider_message)) as (client, server):
        with pytest.raises(CreateAmbiguous):
            create(client)

        assert len(server.requests) == server.connection_count == 1


def test_what_comes_in_the_place_of_an_answer_is_not_quoted_in_the_error() -> None:
    """It may be the rest of somebody's results; it stands apart, with the provider's own words."""
    with client_and_server(saying_last(b"a row of somebody\r\n\r\n")) as (client, _):
        with pytest.raises(Unavailable) as called:
            client.call("GET", "/batches/b")
        with pytest.raises(CreateAmbiguous) as created:
            create(client)

    for caught in (called, created):
        assert "RemoteProtocolError" in str(caught.value)
        assert "a row" not in f"{caught.value} {caught.value!r}"
        assert "a row of somebody" in caught.value.provider_message


def test_a_cut_answer_to_a_create_is_kept_as_far_as_it_came() -> None:
    """Its status may settle the matter, and an id that came whole is an id."""
    provider_message = HEAD_OF_200 + b"Content-Length: 100\r\n\r\n" + b'{"batch_id":"b-1"}'
    with client_and_server(saying_last(provider_message)) as (client, _):
        found = create(client)

    assert (found.status, found.body, found.is_whole) == (200, b'{"batch_id":"b-1"}', False)


def test_a_cut_answer_to_a_call_is_unavailable() -> None:
    provider_message = HEAD_OF_200 + b"Content-Length: 100\r\n\r\n" + b'{"status":"SUCCESS"}'
    with client_and_server(saying_last(provider_message)) as (client, _), pytest.raises(Unavailable):
        client.call("GET", "/batches/b-1")


def test_a_redirect_of_anything_but_a_get_is_an_answer_and_is_not_followed() -> None:
    with (
        serving(saying(answer(200, b'{"batch_id":"b-1"}'))) as elsewhere,
        client_and_server(saying(answer(307, location=elsewhere.url))) as (client, _),
    ):
        assert create(client).status == 307
        assert client.call("POST", "/cancel").status == 307
        assert client.call("DELETE", "/file").status == 307
        assert elsewhere.requests == []


def test_requests_that_cannot_be_read_at_all_refuse_the_create_before_there_is_a_connection() -> None:
    def unreadable() -> Iterator[bytes]:
        raise StorageError("requests/c0.jsonl.zst is gone")
        yield b""

    with client_and_server(saying(answer(200))) as (client, server):
        with pytest.raises(CreateRefused, match=r"c0\.jsonl\.zst is gone"):
            client.create("/batches", unreadable(), size_bytes=10)

        assert server.connection_count == 0


def test_requests_that_break_off_leave_the_create_ambiguous() -> None:
    def breaking() -> Iterator[bytes]:
        yield b'{"requests":['
        raise StorageError("requests/c0.jsonl.zst is cut")

    with client_and_server(saying(answer(200))) as (client, server):
        error = raised(lambda: client.create("/batches", breaking(), size_bytes=100))

        assert isinstance(error, CreateAmbiguous)
        assert error.__context__ is None
        assert server.requests == []


def test_a_length_that_was_misjudged_leaves_the_create_ambiguous() -> None:
    with client_and_server(saying(answer(200))) as (client, _), pytest.raises(CreateAmbiguous):
        client.create("/batches", iter([b"12345"]), size_bytes=4)


# Deadlines


def drip_headers(connection: Connection) -> None:
    connection.send(HEAD_OF_200 + b"X-Slow: ")
    connection.drip()


def drip_body(connection: Connection) -> None:
    connection.send(HEAD_OF_200 + b"Content-Length: 1000000\r\n\r\n")
    connection.drip()


def drip_chunks(connection: Connection) -> None:
    connection.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.drip(b"1\r\nx\r\n")


def say_nothing(connection: Connection) -> None:
    connection.stopped.wait()


@pytest.mark.parametrize("play", [drip_headers, drip_body, drip_chunks, say_nothing])
@pytest.mark.parametrize("act", [lambda client: client.call("GET", "/"), everything], ids=["call", "download"])
def test_a_server_that_drips_is_left_at_the_deadline(act: Callable[[HttpClient], object], play: Play) -> None:
    """Each byte comes well within every timeout of httpx."""
    with client_and_server(play, timeouts=HURRIED) as (client, _), pytest.raises(Unavailable, match="deadline"):
        act(client)


@pytest.mark.parametrize("play", [drip_headers, say_nothing])
def test_a_create_that_ends_at_its_deadline_is_ambiguous(play: Play) -> None:
    with client_and_server(play, timeouts=HURRIED) as (client, _), pytest.raises(CreateAmbiguous, match="deadline"):
        create(client)


def test_a_create_whose_body_is_not_received_ends_at_its_deadline_and_is_ambiguous() -> None:
    with (
        serving(say_nothing, reads_body=False) as server,
        client_of(server.url, timeouts=HURRIED) as client,
        pytest.raises(CreateAmbiguous, match="deadline"),
    ):
        create(client, *[b" " * (1 << 20)] * 64)


# Reading as it comes


def test_a_head_is_read_no_further_than_is_wanted() -> None:
    def endless(connection: Connection) -> None:
        connection.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        connection.stopped.wait()

    with client_and_server(endless) as (client, _):
        found = client.head("GET", "/", size_max=1_000, enough=lambda head: b"\n" in head)

    assert (found.body, found.is_whole) == (b"first\n", False)


def test_a_head_is_no_longer_than_its_bound() -> None:
    with client_and_server(saying(answer(200, b"x" * 300_000))) as (client, _):
        found = client.head("GET", "/", size_max=100_000, enough=lambda _: False)

    assert (len(found.body), found.is_whole) == (100_000, False)


CUTS: Final = {
    "against its length": b"Content-Length: 100\r\n\r\n" + b'{"custom_id":"a"}\n',
    "within its chunks": b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + b'{"custom_id":"a"}\n\r\n',
    "within a line, without a length": b"\r\n" + b'{"custom_id":"a"}\n{"cust',
}


@pytest.mark.parametrize("provider_message", CUTS.values(), ids=CUTS.keys())
def test_a_download_that_is_cut_is_unavailable(provider_message: bytes) -> None:
    with client_and_server(saying_last(HEAD_OF_200 + provider_message)) as (client, _), pytest.raises(Unavailable):
        everything(client)


@pytest.mark.parametrize("body", [b'{"custom_id":"a"}\n', b'{"custom_id":"a"}\n{"custom_id":"b"}', b""])
def test_a_download_without_a_length_that_ends_with_a_line_is_whole(body: bytes) -> None:
    with client_and_server(saying_last(HEAD_OF_200 + b"\r\n" + body)) as (client, _):
        assert everything(client) == body


def test_compression_that_was_not_asked_for_is_undone() -> None:
    content = b'{"custom_id":"a"}\n' * 10_000
    body = gzip.compress(content[:9_000]) + gzip.compress(content[9_000:])
    with client_and_server(saying(answer(200, body, content_encoding="gzip"))) as (client, _):
        assert everything(client) == content


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_other_encodings_are_unavailable(encoding: str) -> None:
    with (
        client_and_server(saying(answer(200, b"x", content_encoding=encoding))) as (client, _),
        pytest.raises(Unavailable),
    ):
        everything(client)


# Where it goes


def test_a_url_goes_out_as_it_came() -> None:
    path = "/batch-llm/azure-batch%2Fbatch_a34c_6ab0.jsonl?sig=a%2Bb%3D&x=~'(!)&y=[1]|{}"
    with client_and_server(saying(answer(200, b""))) as (client, server):
        with client.fetch(server.url + path + "#part") as download:
            assert list(download.blocks) == []

        assert target(server.requests[0]) == path.encode()


def test_the_key_goes_to_the_configured_origin_alone() -> None:
    """The same machine on another port is somebody else."""
    with (
        serving(saying(answer(200, b""))) as other,
        client_and_server(saying(answer(200, b""))) as (client, server),
    ):
        for url in (f"{server.url}/a", f"{other.url}/a", f"http://localhost:{other.port}/a"):
            with client.fetch(url) as download:
                assert download.status == 200

        assert header(server.requests[0], b"authorization") == b"Bearer " + KEY.encode()
        assert [header(request, b"authorization") for request in other.requests] == [None, None]


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/results",  # the key's way is https, and so is the results'
        "https://127.0.0.1/results",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/results",
        "https://[::1]/results",
        "https://[::ffff:10.0.0.1]/results",
        "https://0.0.0.0/results",
        "https://2130706433/results",  # 127.0.0.1 as one number
        "file:///etc/passwd",
        "https://api.example:443@10.0.0.1/",
        "https://user@93.184.216.34/",
        "//169.254.169.254/results",
        "",
    ],
)
def test_a_result_url_that_leads_astray_is_refused(url: str) -> None:
    transport = Answers((200, b""))
    with client_of("https://api.example", transport=transport) as client:
        with pytest.raises(BadRequest), client.fetch(url):
            pass

        assert transport.requests == []


def test_a_public_result_host_is_asked_without_the_key() -> None:
    transport = Answers((200, b"{}\n"))
    with client_of("https://api.example", transport=transport) as client:
        with client.fetch("https://93.184.216.34/results") as download:
            assert (b"".join(download.blocks), download.has_key) == (b"{}\n", False)

        assert "authorization" not in transport.requests[0].headers


def test_a_checked_host_is_dialled_by_the_address_that_was_checked() -> None:
    """A name server that changes its mind between check and connect leads nowhere new."""
    with client_and_server(saying(answer(200, b""))) as (client, server):
        url = f"http://nowhere.invalid:{server.port}/v1"
        stranger = HttpClient(url, Secret(KEY))
        request = stranger._request("GET", stranger._at("/"))
        pinned = Pinned(host="nowhere.invalid", addresses=("127.0.0.1",))
        with stranger._exchange(stranger._pooled(), request, float("inf"), pinned) as response:
            assert response.status_code == 200
        stranger.close()

        other = Pinned(host="another.invalid", addresses=("127.0.0.1",))
        request = client._request("GET", client._at("/"))
        with pytest.raises(NotConnected), client._exchange(client._fresh(), request, float("inf"), other):
            pass


@pytest.mark.parametrize(
    "base_url",
    ["", "api.example/v1", "ftp://api.example", "https://user:password@api.example", "https://a.example/?x=1"],
)
def test_a_base_url_that_cannot_be_one_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        HttpClient(base_url, Secret(KEY))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for 127.0.0.1, with its key, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_a_certificate_nobody_vouches_for_refuses_the_create(certificate: Path) -> None:
    with serving(saying(answer(200)), context=served_with(certificate)) as server:
        with client_of(server.url) as client, pytest.raises(CreateRefused, match="CERTIFICATE_VERIFY_FAILED"):
            create(client)

        assert server.requests == []


def test_a_certificate_for_another_name_refuses_the_create(certificate: Path) -> None:
    with (
        serving(saying(answer(200)), context=served_with(certificate)) as server,
        client_of(
            f"https://localhost:{server.port}", connection=connection.Connection(ca_file=str(certificate))
        ) as client,
        pytest.raises(CreateRefused, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        create(client)


def test_a_certificate_one_was_told_to_trust_is_trusted(certificate: Path) -> None:
    with (
        serving(saying(answer(200, b"{}")), context=served_with(certificate)) as server,
        client_of(server.url, connection=connection.Connection(ca_file=str(certificate))) as client,
    ):
        assert create(client).body == b"{}"


def test_a_server_that_speaks_no_tls_refuses_the_create() -> None:
    with (
        serving(saying_last(b"HTTP/1.1 400 Bad Request\r\n\r\n"), reads_body=False) as server,
        client_of(f"https://127.0.0.1:{server.port}", timeouts=HURRIED) as client,
        pytest.raises(CreateRefused),
    ):
        create(client)


def test_a_ca_file_that_is_not_there_is_an_error_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        HttpClient(
            "https://api.example", Secret(KEY), connection=connection.Connection(ca_file=str(tmp_path / "ca.pem"))
        )

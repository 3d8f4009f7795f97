"""The way to a provider: proxies of the environment, own certificates, further headers, query parameters, keys.

The truth about proxies is curl's manual ("Environment", CURLOPT_NOPROXY); servers and proxies here are real ones.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator import log
from orchestrator.domain.batch import Submission
from orchestrator.domain.errors import BadRequest, ConfigError, CreateAmbiguous, CreateRefused
from orchestrator.domain.model import BatchId, FileId
from orchestrator.domain.results_at import Files, ResultRef
from orchestrator.ports import Provider
from orchestrator.providers.http.client import HttpClient
from orchestrator.providers.http.connection import Connection
from orchestrator.providers.http.exchange import Timeouts
from orchestrator.providers.http.proxies import Proxies
from orchestrator.providers.http.secret import Secret
from orchestrator.providers.http.url_policy import parse
from orchestrator.providers.registry import connect, provider_settings
from tests.adapters.wire import answer, header, saying, serving, target
from tests.servers.certificates import self_signed, served_with
from tests.servers.http_proxy import running_http_proxy

KEY: Final = "sk-canary-51c0ffee"
NAME: Final = "api.provider.test"  # resolved by nobody but the proxy
PATIENT: Final = Timeouts(connect_s=15.0, read_s=15.0, write_s=15.0, call_s=20.0, create_s=20.0, download_s=20.0)


def between(url: str, environment: Mapping[str, str], setting: str = "") -> str:
    proxy = Proxies.of(setting, environment).between(parse(url).origin)
    return "direct" if proxy is None else proxy.place


def provider_of(base_url: str, environment: Mapping[str, str] | None = None, **options: Any) -> Provider:
    given = {"base_url": base_url, "api_key_env": "THE_KEY"} | options
    return connect(provider_settings("openai", given), {"THE_KEY": KEY} | dict(environment or {}))


def client_of(
    base_url: str, environment: Mapping[str, str], *, timeouts: Timeouts = PATIENT, ca: str = ""
) -> HttpClient:
    proxies = Proxies.of("", environment)
    return HttpClient(base_url, Secret(KEY), timeouts=timeouts, connection=Connection(proxies=proxies, ca_file=ca))


def a_submission(file_id: FileId | None = None) -> Submission:
    return Submission(
        token="t" * 32, label="l", request_count=1, size_bytes=3, blocks=lambda: iter([b"{}\n"]), file_id=file_id
    )


def create(client: HttpClient) -> bytes:
    try:
        return client.create("/batches", iter([b"{}"]), size_bytes=2).body
    finally:
        client.close()


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://a.example/v1", {}, "direct"),
        ("https://a.example/v1", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:2"}, "http://low:1"),
        ("https://a.example/v1", {"HTTP_PROXY": "http://p:3128"}, "direct"),
        ("http://a.example/v1", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("http://a.example/v1", {"HTTP_PROXY": "http://p:3128", "REQUEST_METHOD": "GET"}, "direct"),
        ("https://a.example/v1", {"ALL_PROXY": "https://p"}, "https://p:443"),
        ("https://a.example/v1", {"ALL_PROXY": "socks5://p:1080", "HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://a.example/v1", {"HTTPS_PROXY": ""}, "direct"),
        ("https://a.example/v1", {"https_proxy": "", "HTTPS_PROXY": "http://p:3128"}, "direct"),
        ("https://127.0.0.1:8443/v1", {"HTTPS_PROXY": "http://p:3128"}, "direct"),
        ("http://localhost:8899/v1", {"HTTP_PROXY": "http://p:3128"}, "direct"),
        ("http://[::1]:8899/v1", {"HTTP_PROXY": "http://p:3128"}, "direct"),
    ],
)
def test_the_environment_names_the_proxy_as_it_does_for_curl(
    url: str, environment: dict[str, str], expected: str
) -> None:
    """By the scheme of the URL; lower case first; this machine never goes through a proxy."""
    assert between(url, environment) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("example.com", "https://example.com", True),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://api.example.com", True),
        ("example.com", "https://notexample.com", False),
        ("EXAMPLE.com", "https://api.Example.COM", True),
        ("other.test, example.com", "https://example.com", True),
        ("other.test example.com", "https://example.com", True),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("[2001:db8::1]", "https://[2001:db8::1]", True),
        ("*", "https://example.com", True),
        (",", "https://example.com", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(no_proxy: str, url: str, is_direct: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = between(url, {"HTTPS_PROXY": "http://p:3128", name: no_proxy})
        assert found == ("direct" if is_direct else "http://p:3128")


def test_a_providers_table_may_name_its_own_proxy_or_none() -> None:
    """`proxy` stands above the environment; NO_PROXY and this machine hold for it, too."""
    environment = {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "inside.test"}

    assert between("https://a.example", environment, "http://mine:8080") == "http://mine:8080"
    assert between("https://inside.test", environment, "http://mine:8080") == "direct"
    assert between("https://a.example", environment, "direct") == "direct"


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ({"proxy": "http://u:canary-pw@p:1"}, {}, "proxy holds a user name or a password.*HTTPS_PROXY"),
        ({}, {"HTTPS_PROXY": "http://"}, "HTTPS_PROXY is not the URL of a proxy"),
        ({}, {"HTTPS_PROXY": "http://u:canary-pw@p:port"}, "HTTPS_PROXY is not the URL of a proxy"),
        ({"auth": "basic"}, {}, r'auth must be "bearer" or "header:NAME"'),
        ({"auth": "header:Content-Length"}, {}, "auth cannot be the header Content-Length"),
        ({"headers": {"Host": "x"}}, {}, "the header Host cannot be set"),
        ({"headers": {"a b": "x"}}, {}, "'a b' cannot be the name of a header"),
        ({"headers": {"X-Team": "a\nb"}}, {}, "the value of the header X-Team must be printable"),
        ({"headers": {"X-Team": 7}}, {}, "headers.X-Team must be text, not int"),
        ({"headers": "X-Team"}, {}, "headers must be a table"),
        ({"headers": {"api-key": "canary-pw"}}, {}, r'headers_env = \{ "api-key" = "VARIABLE" \}'),
        ({"headers": {"Ocp-Apim-Subscription-Key": "canary-pw"}}, {}, "Ocp-Apim-Subscription-Key holds a secret"),
        ({"headers": {"X-Auth-Token": "canary-pw"}}, {}, "X-Auth-Token holds a secret"),
        ({"query": {"key": "canary-pw"}}, {}, "query parameter key holds a secret"),
        ({"query": {"access_token": "canary-pw"}}, {}, "query parameter access_token holds a secret"),
        ({"headers": {"X-A": "1"}, "headers_env": {"x-a": "V"}}, {}, "is in headers and in headers_env"),
        ({"headers_env": {"api-key": "AZURE_KEY"}}, {}, "AZURE_KEY is not set.*header api-key"),
        ({"headers_env": {"api-key": "AZURE_KEY"}}, {"AZURE_KEY": "canary-pw\n"}, "AZURE_KEY.*a line end"),
        ({"query": {"api-version": 1}}, {}, "query.api-version must be text"),
        ({"ca_file": "/nowhere/ca.pem"}, {}, "ca_file.*/nowhere/ca.pem.*No such file"),
        ({}, {"SSL_CERT_FILE": "/dev/null"}, "SSL_CERT_FILE.*/dev/null.*it holds none"),
        (
            {},
            {"SSL_CERT_FILE": "/"},
            "SSL_CERT_FILE: .* in / cannot be used: (Is a directory|it holds none)",
        ),
        ({}, {"SSL_CERT_DIR": "/nowhere"}, "SSL_CERT_DIR: /nowhere is not a folder"),
        ({}, {"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE.*/nowhere/ca.pem.*No such file"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_its_name(
    options: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    """Before anything is connected; and no message shows a secret."""
    with pytest.raises(ConfigError, match=message) as caught:
        provider_of("https://api.example/v1", environment, **options)

    assert "canary-pw" not in str(caught.value)


def test_a_socks_proxy_is_refused_where_it_would_be_used() -> None:
    with pytest.raises(ConfigError, match="ALL_PROXY names a socks5 proxy"):
        between("https://a.example", {"ALL_PROXY": "socks5://u:canary-pw@p:1080"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "THE_KEY is empty"),
        (" \n", "THE_KEY is empty"),
        (f"{KEY}\n", "THE_KEY: the API key has a line end"),
        (f"{KEY}\r\n", "THE_KEY: the API key has a line end"),
        (f"{KEY}\r", "THE_KEY: the API key has a line end"),
        (f" {KEY}", "THE_KEY: the API key has a space"),
        (f'"{KEY}"', "THE_KEY: the API key has quotes"),
        (f"'{KEY}'", "THE_KEY: the API key has quotes"),
        (f"\u201c{KEY}\u201d", "THE_KEY: the API key has quotes"),
        (f"Bearer {KEY}", 'THE_KEY: leave out "Bearer"'),
        (KEY.replace("-", "\u2013", 1), r"THE_KEY: .*U\+2013, the 3\. of 18"),
    ],
)
def test_a_key_that_was_copied_with_something_else_names_its_variable_and_the_way_out(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        provider_of("https://api.example/v1", {"THE_KEY": value})

    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [f"{KEY}\n", f" '{KEY}' ", f'"{KEY}"\r\n'])
def test_the_command_that_such_a_message_gives_cleans_the_key(value: str) -> None:
    """It works when it is pasted."""
    with pytest.raises(ConfigError) as caught:
        provider_of("https://api.example/v1", {"THE_KEY": value})
    command = str(caught.value).split("`")[1]

    done = subprocess.run(
        ["/bin/sh", "-c", f'{command}; printf %s "$THE_KEY"'], env={"THE_KEY": value}, capture_output=True, check=True
    )

    assert done.stdout.decode() == KEY


def test_every_call_at_the_provider_has_the_headers_the_query_and_the_key_in_its_own_header() -> None:
    """Uploads, creates, polls, downloads: as Azure wants them."""
    said = answer(200, b'{"id":"x-1","object":"batch","status":"in_progress"}')
    with serving(saying(said)) as server:
        provider = provider_of(
            f"{server.url}/openai/v1",
            {"PROJECT": "p-1"},
            auth="header:api-key",
            headers={"OpenAI-Organization": "org-1"},
            headers_env={"OpenAI-Project": "PROJECT"},
            query={"api-version": "2026-01-01 preview"},
        )
        submission = a_submission()
        assert provider.files is not None
        file_id = provider.files.upload(submission)
        provider.create(a_submission(file_id))
        provider.status(BatchId("x-1"))
        provider.cancel(BatchId("x-1"))
        for file in provider.results(BatchId("x-1"), Files(refs=(ResultRef(name="output", at="f-2"),))):
            list(file.blocks)

        assert [target(request) for request in server.requests] == [
            b"/openai/v1/files?api-version=2026-01-01%20preview",
            b"/openai/v1/batches?api-version=2026-01-01%20preview",
            b"/openai/v1/batches/x-1?api-version=2026-01-01%20preview",
            b"/openai/v1/batches/x-1/cancel?api-version=2026-01-01%20preview",
            b"/openai/v1/files/f-2/content?api-version=2026-01-01%20preview",
        ]
        for request in server.requests:
            assert header(request, b"api-key") == KEY.encode()
            assert header(request, b"authorization") is None
            assert header(request, b"openai-organization") == b"org-1"
            assert header(request, b"openai-project") == b"p-1"


def test_a_query_follows_the_parameters_that_a_call_has_already() -> None:
    with serving(saying(answer(200, b"{}"))) as server:
        client = HttpClient(f"{server.url}/v1", Secret(KEY), connection=Connection(query="api-version=7"))
        client.call("GET", "/batches?limit=20")
        client.close()

        assert target(server.requests[0]) == b"/v1/batches?limit=20&api-version=7"


def test_another_origin_gets_neither_headers_nor_query_nor_key() -> None:
    """A result URL on another host is somebody else's."""
    with serving(saying(answer(200, b"rows\n"))) as server, serving(saying(answer(200, b"rows\n"))) as other:
        connection = Connection(headers={"X-Team": "t-1"}, query="api-version=7")
        client = HttpClient(f"{server.url}/v1", Secret(KEY), connection=connection)
        with client.fetch(f"{other.url}/results?sig=1") as download:
            list(download.blocks)
        client.close()

        (request,) = other.requests
        assert target(request) == b"/results?sig=1"
        assert header(request, b"x-team") is None
        assert header(request, b"authorization") is None


def test_a_plain_request_is_forwarded_by_the_proxy_with_its_password() -> None:
    """The request line has the whole URL; the proxy's password goes to the proxy, the key to the provider."""
    with (
        serving(saying(answer(200, b"{}"))) as server,
        running_http_proxy(server.port, credentials="me:canary-p@ss") as proxy,
    ):
        written = proxy.url.replace("canary-p@ss", "canary-p%40ss")
        assert create(client_of(f"http://{NAME}/v1", {"HTTP_PROXY": written})) == b"{}"

        assert proxy.requests[0].startswith(f"POST http://{NAME}/v1/batches HTTP/1.1\r\n".encode())
        assert header(server.requests[0], b"authorization") == f"Bearer {KEY}".encode()


def test_a_proxy_that_wants_a_password_is_named_without_the_one_it_was_given() -> None:
    """407: nothing was sent on, whichever of the two ways was taken."""
    with (
        serving(saying(answer(200, b"{}"))) as server,
        running_http_proxy(server.port, credentials="me:right") as proxy,
    ):
        wrong = proxy.url.replace("right", "canary-wrong")
        for scheme, variable in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")):
            with pytest.raises(CreateRefused) as caught:
                create(client_of(f"{scheme}://{NAME}/v1", {variable: wrong}))
            text = str(caught.value.error)
            assert f"407 of the proxy http://127.0.0.1:{proxy.port}" in text
            assert variable in text
            assert "canary-wrong" not in text + repr(caught.value.error)

        assert server.requests == []
        assert log.without_secrets("canary-wrong") == "***"


@pytest.mark.parametrize(
    "instead",
    ["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 403 Forbidden\r\n\r\n", "", "no HTTP\r\n"],
)
def test_a_create_whose_tunnel_was_never_made_is_refused(instead: str) -> None:
    """The proxy answers CONNECT with an error, or not at all: no byte of the create was sent."""
    with serving(saying(answer(200, b"{}"))) as server, running_http_proxy(server.port, instead=instead) as proxy:
        with pytest.raises(CreateRefused, match=f"proxy http://127.0.0.1:{proxy.port}"):
            create(client_of(f"https://{NAME}/v1", {"HTTPS_PROXY": proxy.url}))

        assert server.requests == []


def test_a_create_that_the_proxy_may_have_passed_on_is_ambiguous() -> None:
    """A proxy that forwards answers 502 and 504 for the provider as well: whether it got there is not known."""
    for status in (502, 504):
        with running_http_proxy(9, instead=f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n") as proxy:
            provider = provider_of(f"http://{NAME}/v1", {"HTTP_PROXY": proxy.url})
            with pytest.raises(CreateAmbiguous):
                provider.create(a_submission(FileId("f-1")))


def test_no_proxy_at_the_named_port_refuses_the_create() -> None:
    with pytest.raises(CreateRefused, match=r"by way of the proxy http://127\.0\.0\.1:9 "):
        create(client_of(f"https://{NAME}/v1", {"HTTPS_PROXY": "http://127.0.0.1:9"}))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the provider's name, with its key, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls"), f"DNS:{NAME},IP:127.0.0.1")


@pytest.mark.parametrize("way", ["SSL_CERT_FILE", "SSL_CERT_DIR", "ca_file"])
def test_a_provider_with_a_ca_of_its_own_is_reached_through_a_tunnel(
    way: str, certificate: Path, tmp_path: Path
) -> None:
    """The proxy sees the host's name and nothing else; the certificate is checked end to end."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    shutil.copy(f"{certificate}.crt", folder / "ca.pem")
    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)
    named = {"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(folder)}
    options = {"ca_file": str(certificate)} if way == "ca_file" else {}
    said = saying(answer(200, b'{"id":"x-1","object":"batch","status":"in_progress"}'))
    with (
        serving(said, context=served_with(certificate)) as server,
        running_http_proxy(server.port, credentials="me:canary-pw") as proxy,
    ):
        environment = {"HTTPS_PROXY": proxy.url} | {name: file for name, file in named.items() if name == way}
        status = provider_of(f"https://{NAME}/v1", environment, **options).status(BatchId("x-1"))

        assert status.is_running
        assert proxy.requests[0].startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n".encode())
        assert KEY.encode() not in proxy.requests[0]
        assert b"canary-pw" not in server.requests[0]
        assert header(server.requests[0], b"proxy-authorization") is None


def test_a_stranger_behind_the_proxy_is_told_nothing_and_the_way_out_is_named(certificate: Path) -> None:
    """A proxy that opens TLS has a CA of its own: the message says where to name it."""
    with serving(saying(answer(200)), context=served_with(certificate)) as server:
        with running_http_proxy(server.port) as proxy, pytest.raises(CreateRefused, match=r"ca_file.*SSL_CERT_FILE"):
            create(client_of(f"https://{NAME}/v1", {"HTTPS_PROXY": proxy.url}))

        assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_way_to_the_proxy_may_be_tls_as_well(scheme: str, certificate: Path) -> None:
    """Then its password is not seen on the way; a tunnel is TLS within TLS."""
    context = served_with(certificate)
    with (
        serving(saying(answer(200, b"{}")), context=context if scheme == "https" else None) as server,
        running_http_proxy(server.port, credentials="me:canary-pw", context=context) as proxy,
    ):
        environment = {f"{scheme}_proxy": proxy.url}
        assert create(client_of(f"{scheme}://{NAME}/v1", environment, ca=str(certificate))) == b"{}"

        assert len(proxy.requests) == len(server.requests) == 1


def test_a_create_that_is_cut_after_the_tunnel_is_ambiguous(certificate: Path) -> None:
    with (
        serving(lambda connection: connection.socket.close(), context=served_with(certificate)) as server,
        running_http_proxy(server.port) as proxy,
        pytest.raises(CreateAmbiguous),
    ):
        create(client_of(f"https://{NAME}/v1", {"HTTPS_PROXY": proxy.url}, ca=str(certificate)))


@pytest.mark.parametrize(
    "url",
    [
        "https://metadata.google.internal/computeMetadata/v1",
        "https://vault/secret",
        "https://db.localhost/x",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/results",
        "http://files.example/results",
    ],
)
def test_a_proxy_is_not_asked_for_a_result_in_a_private_network(url: str) -> None:
    """Behind a proxy this machine cannot check where a name leads; what it can see is refused as without one."""
    with running_http_proxy(9) as proxy:
        client = client_of(f"https://{NAME}/v1", {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url})
        with pytest.raises(BadRequest), client.fetch(url):
            pass
        client.close()

        assert proxy.requests == []


def test_results_on_another_host_come_through_the_proxy_without_the_key(certificate: Path) -> None:
    with (
        serving(saying(answer(200, b"rows\n")), context=served_with(certificate)) as server,
        running_http_proxy(server.port) as proxy,
    ):
        client = client_of("https://api.example.test/v1", {"HTTPS_PROXY": proxy.url}, ca=str(certificate))
        with client.fetch(f"https://{NAME}/results?sig=%2F") as download:
            assert b"".join(download.blocks) == b"rows\n"
        client.close()

        assert target(server.requests[0]) == b"/results?sig=%2F"
        assert header(server.requests[0], b"authorization") is None

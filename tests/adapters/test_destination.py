"""Which addresses a provider's URL may lead to, and how a URL is taken apart."""

from __future__ import annotations

import ipaddress

import pytest

from orchestrator.domain.errors import BadRequest
from orchestrator.providers.http.url_policy import Origin, Reach, check_addresses, check_scheme, parse, reach


def an_origin(url: str) -> Origin:
    return parse(url).origin


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:2800:220:1::1", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("240.0.0.1", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.8.8.8", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("169.254.169.254", Reach.LINK_LOCAL),
        ("fe80::1", Reach.LINK_LOCAL),
        ("0.0.0.0", Reach.UNUSABLE),
        ("::", Reach.UNUSABLE),
        ("224.0.0.1", Reach.UNUSABLE),
        ("ff02::1", Reach.UNUSABLE),
        ("::ffff:169.254.169.254", Reach.LINK_LOCAL),
        ("64:ff9b::a00:1", Reach.PRIVATE),
        ("64:ff9b::5db8:d822", Reach.PUBLIC),
        ("2002:7f00:1::", Reach.LOOPBACK),
    ],
)
def test_an_address_is_known_for_what_it_is_however_it_is_wrapped(address: str, expected: Reach) -> None:
    assert reach(ipaddress.ip_address(address)) is expected


@pytest.mark.parametrize(
    ("address", "base_reach", "is_allowed"),
    [
        ("93.184.216.34", Reach.PUBLIC, True),
        ("10.0.0.1", Reach.PUBLIC, False),
        ("10.0.0.1", Reach.PRIVATE, True),
        ("169.254.169.254", Reach.PRIVATE, False),
        ("127.0.0.1", Reach.PRIVATE, False),
        ("127.0.0.1", Reach.LOOPBACK, True),
        ("fe80::1%eth0", Reach.PUBLIC, False),
        ("0.0.0.0", Reach.LOOPBACK, False),
    ],
)
def test_a_private_address_needs_a_base_of_the_same_kind(address: str, base_reach: Reach, is_allowed: bool) -> None:
    """One public address among several does not vouch for the others."""
    if is_allowed:
        check_addresses("results.example", ["93.184.216.34", address], {base_reach})
    else:
        with pytest.raises(BadRequest, match=r"results\.example"):
            check_addresses("results.example", ["93.184.216.34", address], {base_reach})


@pytest.mark.parametrize(
    ("url", "base", "is_allowed"),
    [
        ("https://results.example/", "https://api.example/v1", True),
        ("http://results.example/", "https://api.example/v1", False),
        ("http://api.example/", "https://api.example/v1", False),
        ("http://gateway:8000/", "http://gateway:8000/v1", True),
        ("http://other:8000/", "http://gateway:8000/v1", False),
        ("http://127.0.0.1:9000/", "http://localhost:8000/v1", True),
        ("https://results.example/", "http://127.0.0.1:8000/v1", True),
    ],
)
def test_results_come_by_https_unless_the_operator_himself_uses_http(url: str, base: str, is_allowed: bool) -> None:
    if is_allowed:
        check_scheme(an_origin(url), an_origin(base))
    else:
        with pytest.raises(BadRequest):
            check_scheme(an_origin(url), an_origin(base))


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://API.example/x", True),
        ("HTTPS://api.example:443", True),
        ("https://api.example:8443/", False),
        ("http://api.example/", False),
        ("https://api.example.evil.example/", False),
        ("https://api.example./", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, same: bool) -> None:
    assert (an_origin(url) == an_origin("https://api.example")) is same


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example", "/"),
        ("https://a.example?x=1", "/?x=1"),
        ("https://a.example/b%2Fc%20d?e=%3D#f", "/b%2Fc%20d?e=%3D"),
        ("https://a.example/b/../c//d", "/b/../c//d"),
        ("https://a.example//b", "//b"),
        ("https://[2606:2800::1]:444/b", "/b"),
    ],
)
def test_path_and_query_stay_as_they_were(url: str, target: str) -> None:
    assert parse(url).target == target


@pytest.mark.parametrize(
    "url", ["https://a b/", "https://a.example/\n", "https://a\\b/", "https://é/", "https://a:99999/", "https://a:0/"]
)
def test_a_url_that_two_readers_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(url)

    assert url not in str(caught.value)

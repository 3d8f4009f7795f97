"""What a server, or the way to it, can do to an exchange: one entry for each fault, as bytes on a real socket.

Rule: a fault is done to a *good* answer wherever that can be, because that is where it hurts: the batch was made, the
results were there, and what arrives does not say so.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

import orjson

from tests.matrix.server import Play, Wire, framed

CLOSE: Final = b"Connection: close"
PAGE: Final = b"<!doctype html><html><head><title>Just a moment</title></head><body>Checking</body></html>"
FORGED: Final = "broken\r\nINFO forged line\u001b[2J\u202e\u0000"
GIANT_BYTES: Final = 4 << 20
ROW: Final = "the text of row 7"
# Who refuses the key or asks for money has not looked at a row: these words are kept.
PLAIN_SPOKEN: Final = frozenset({"401", "402", "error_in_200_401"})


class Way(StrEnum):
    """Where the client is led."""

    SERVER = "server"
    NOBODY = "nobody"  # a port at which nobody listens
    TLS = "tls"  # the server's port, by https


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `words` say it in the document."""

    name: str
    words: str
    play: Play | None = None
    way: Way = Way.SERVER
    before_reading: bool = False  # the server reads no request
    certificate: bool = False  # the server has one, of an unknown authority
    hurried: bool = False  # only the deadline ends it
    closes: bool = False  # the connection ends with the answer

    @property
    def is_read(self) -> bool:
        """Whether the server reads the request."""
        return self.way is Way.SERVER and not self.before_reading


def said(message: str, code: int | str | None = None, kind: str = "error") -> bytes:
    """Return an error envelope that quotes a row, as a provider's words may."""
    return orjson.dumps({"error": {"code": code, "message": f"{message}, in '{ROW}'", "type": kind, "param": ROW}})


def _status(status: int, body: bytes | None = None, *headers: bytes) -> Play:
    content = said(f"status {status}") if body is None else body
    return lambda wire, _good: wire.send(framed(status, content, *headers))


def _all_but_the_end(wire: Wire, good: bytes) -> None:
    wire.send(framed(200, good)[: -(len(good) // 2 or 1)])


def _cut_chunk(wire: Wire, good: bytes) -> None:
    half = good[: len(good) // 2]
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(half), half))


def _unframed(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content


def _lost_lines(wire: Wire, good: bytes) -> None:
    lines = good.splitlines(keepends=True)
    wire.send(_unframed(b"".join(lines[: len(lines) // 2])))


def _length_too_short(wire: Wire, good: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (len(good) // 2)
    wire.send(head + good)


def _length_too_long(wire: Wire, good: bytes) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(good) + 1), good)
    wire.hold()


def _drip_body(wire: Wire, good: bytes) -> None:
    half = len(good) // 2
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(good) + (1 << 20)), good[:half])
    wire.drip(b" ")


def _drip_headers(wire: Wire, _good: bytes) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    wire.drip(b"z")


def _interim_forever(wire: Wire, _good: bytes) -> None:
    wire.drip(b"HTTP/1.1 102 Processing\r\n\r\n")


def _plain_on_tls(wire: Wire, _good: bytes) -> None:
    wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _reset_at_first_byte(wire: Wire, _good: bytes) -> None:
    wire.socket.recv(1)  # not before: a reset of what is only being made is a connection that never was
    wire.reset()


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (64 << 20), compresslevel=9)


def _redirect(status: int) -> Play:
    def play(wire: Wire, _good: bytes) -> None:
        wire.send(framed(status, b"", b"Location: " + wire.url.encode() + b"/v1/elsewhere"))

    return play


def _connection_faults() -> Iterator[Fault]:
    yield Fault(name="connection_refused", words="nobody listens at the address", way=Way.NOBODY)
    yield Fault(
        name="tls_not_spoken",
        words="https is asked for, and the server does not speak TLS",
        way=Way.TLS,
        before_reading=True,
        play=_plain_on_tls,
    )
    yield Fault(
        name="tls_untrusted",
        words="a certificate of an unknown authority",
        way=Way.TLS,
        certificate=True,
        play=lambda wire, good: wire.send(framed(200, good)),
    )
    yield Fault(
        name="reset_while_read",
        words="reset at the first byte of the request",
        before_reading=True,
        play=_reset_at_first_byte,
    )
    yield Fault(
        name="reset_after_read",
        words="reset after the request was read",
        play=lambda wire, _good: wire.reset(),
        closes=True,
    )
    yield Fault(name="closed_after_read", words="closed without an answer", play=lambda _wire, _good: None, closes=True)
    yield Fault(
        name="not_http",
        words="another protocol answers",
        closes=True,
        play=lambda wire, _good: wire.send(b"SSH-2.0-OpenSSH_9.6\r\n"),
    )


def _slow_faults() -> Iterator[Fault]:
    for name, words, play in (
        ("silence", "no answer, until the deadline", lambda wire, _good: wire.hold()),
        ("slow_headers", "headers a byte at a time, until the deadline", _drip_headers),
        ("endless_interim", "102 Processing again and again, until the deadline", _interim_forever),
        ("slow_body", "half a good body, then a byte at a time, until the deadline", _drip_body),
        ("length_too_long", "a good body with too large a Content-Length, until the deadline", _length_too_long),
    ):
        yield Fault(name=name, words=words, play=play, hurried=True)


def _body_faults() -> Iterator[Fault]:
    plays: dict[str, tuple[str, Play]] = {
        "cut_body": ("half a good body of a known length", _all_but_the_end),
        "cut_chunked": ("half a good body in chunks, without the last one", _cut_chunk),
        "cut_unframed": (
            "half a good body of no known length",
            lambda w, good: w.send(_unframed(good[: len(good) // 2])),
        ),
        "lost_lines": ("half the lines of a good body of no known length", _lost_lines),
        "length_too_short": ("a good body with half its Content-Length", _length_too_short),
        "html_200": ("a web page", _status(200, PAGE, b"Content-Type: text/html")),
        "empty_200": ("nothing", _status(200, b"")),
        "null_200": ("null", _status(200, b"null")),
        "list_200": ("a list instead of an object", _status(200, b"[1, 2]")),
        "text_200": ("a text instead of an object", _status(200, b'"done"')),
        "other_object_200": ("an object of another kind", _status(200, b'{"hello": "world"}')),
        "deep_200": ("brackets nested 100,000 deep", _status(200, b"[" * 100_000 + b"]" * 100_000)),
        "not_utf8_200": ("bytes that are not UTF-8", _status(200, b"\xff\xfe\x00{")),
        "bom": ("a good body behind a byte order mark", lambda w, good: w.send(framed(200, b"\xef\xbb\xbf" + good))),
        "interim": (
            "a good answer behind 100 Continue",
            lambda w, good: w.send(b"HTTP/1.1 100 Continue\r\n\r\n", framed(200, good)),
        ),
        "gzip": (
            "a good body, compressed without being asked to",
            lambda w, good: w.send(framed(200, gzip.compress(good), b"Content-Encoding: gzip")),
        ),
        "gzip_broken": (
            "a good body, labelled as compressed, which it is not",
            lambda w, good: w.send(framed(200, good, b"Content-Encoding: gzip")),
        ),
        "gzip_cut": (
            "half a compressed body",
            lambda w, good: w.send(framed(200, gzip.compress(good)[:-12], b"Content-Encoding: gzip")),
        ),
        "gzip_bomb": (
            "64 MiB in 64 KiB",
            lambda w, _good: w.send(framed(200, _bomb(), b"Content-Encoding: gzip")),
        ),
        "unknown_encoding": (
            "a good body in an encoding that was not asked for",
            lambda w, good: w.send(framed(200, zlib.compress(good), b"Content-Encoding: br")),
        ),
        "giant_body": ("4 MiB of one value", _status(200, b'["' + b"0" * GIANT_BYTES + b'"]')),
        "giant_header": (
            "a good answer with a header of 1 MiB",
            lambda w, good: w.send(framed(200, good, b"X-Fill: " + b"z" * (1 << 20))),
        ),
        "header_injection": (
            "a good answer with control characters in a header",
            lambda w, good: w.send(framed(200, good, b"X-Request-Id: a\x00b\x1b[31m\rX-Other: c")),
        ),
        "error_in_200_429": ("an error 429 in a 200", _status(200, said("slow down", 429))),
        "error_in_200_401": ("an error 401 in a 200", _status(200, said("no such key", 401))),
        "error_in_200_500": ("an error 500 in a 200", _status(200, said("it broke", 500))),
    }
    for name, (words, play) in plays.items():
        is_cut = name.startswith(("cut_", "lost_", "length_"))
        yield Fault(name=name, words=f"200: {words}" if "200" in name else words, play=play, closes=is_cut)


def _refusals() -> Iterator[Fault]:
    plays: dict[str, tuple[str, Play]] = {
        "204": ("no content", _status(204, b"")),
        "304": ("not modified", _status(304, b"")),
        **{f"{status}": ("a redirect", _redirect(status)) for status in (301, 302, 303, 307, 308)},
        "400": ("bad request", _status(400)),
        "400_too_large": (
            "too many requests in a batch",
            _status(400, said("too many requests in this batch", 400)),
        ),
        "400_ended": (
            "the batch has ended already",
            _status(400, said("the batch is already completed", 400)),
        ),
        "400_behind": ("a 400 whose envelope says 504", _status(400, said("upstream timed out", 504))),
        **{f"{status}": ("", _status(status)) for status in (401, 402, 403, 404, 405, 408, 409, 410, 413, 418, 422)},
        "404_html": ("a web page", _status(404, PAGE)),
        "413_html": ("a proxy's page", _status(413, PAGE)),
        "429": ("no Retry-After", _status(429)),
        "429_seconds": ("Retry-After: 30", _status(429, None, b"Retry-After: 30")),
        "429_date": (
            "Retry-After: a date, 90 s after Date",
            _status(429, None, b"Date: Sun, 22 Nov 2026 12:00:00 GMT", b"Retry-After: Sun, 22 Nov 2026 12:01:30 GMT"),
        ),
        "429_nonsense": ("Retry-After: soon", _status(429, None, b"Retry-After: soon")),
        "429_negative": ("Retry-After: -5", _status(429, None, b"Retry-After: -5")),
        "429_huge": ("Retry-After: 99999999", _status(429, None, b"Retry-After: 99999999")),
        "429_quota": (
            "the account is out of credit",
            _status(429, said("you exceeded your quota", "insufficient_quota", "insufficient_quota")),
        ),
        "429_queue": (
            "the account's queue is full",
            _status(429, said("Enqueued token limit reached", "token_limit_exceeded")),
        ),
        **{f"{status}": ("", _status(status)) for status in (500, 501, 502, 503, 504, 529, 599)},
        "500_forged": ("words that would forge a log line", _status(500, said(FORGED, 500))),
        "502_html": ("a proxy's page", _status(502, PAGE)),
        "503_seconds": ("Retry-After: 30", _status(503, None, b"Retry-After: 30")),
        "503_no_provider": (
            "no upstream provider meets the routing requirement",
            _status(503, said("No available provider meets your routing requirement", 503)),
        ),
    }
    for name, (words, play) in plays.items():
        yield Fault(name=name, words=f"{name[:3]}: {words}" if words else f"status {name[:3]}", play=play)


FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault for part in (_connection_faults, _slow_faults, _body_faults, _refusals) for fault in part()
}

"""One POST of a notice: its form, its signature, and what is said where it does not arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.look import Look
from orchestrator.domain.notice_messages import message, sample
from orchestrator.domain.notices import Format, Kind, Notice, Notify, read_notify
from orchestrator.providers.webhook import NotReceived, Receiver, receiver_of_job, send, signature
from tests.builders import JOB, NOW
from tests.cli.looks import a_look
from tests.servers.receiver import Receiver as Server
from tests.servers.receiver import running_receiver

SECRET: Final = "whsec_plJ3nmyCDGBKInavdOK15jsl"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with running_receiver() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """The receiver, with nothing in it."""
    running.received.clear()
    running.statuses.clear()
    return running


def a_receiver(server: Server, form: Format = Format.JSON, **fields: Any) -> Receiver:
    values = {"url": server.url, "format": form, "on": tuple(Kind), "named_by": "HOOK", "secret_named_by": "KEY"}
    return Receiver(**values | fields)


def a_notice(kind: Kind = Kind.NEEDS_PERSON, reason: str = "2 < 3 & more") -> Notice:
    return Notice(id=7, job_id=JOB, kind=kind, reason=reason, at=NOW, tries=1, is_own=False)


def look() -> Look:
    return replace(a_look(), job_id=JOB, name="sotu")


def test_the_signature_is_that_of_another_implementation() -> None:
    """The example of Svix's documentation, "Verifying webhooks manually"; read 2026-12-01."""
    body = b'{"event_type":"ping","data":{"success":true}}'

    signed = signature(SECRET, "msg_loFOjxBNrRLzqYUf", 1731705121, body)

    assert signed == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_a_json_notice_is_signed_over_its_id_its_time_and_its_very_bytes(server: Server) -> None:
    written = message(Format.JSON, a_notice(), look())

    assert send(a_receiver(server, secret=SECRET), written, id="msg-7", now=NOW, environment={}) == 204

    (got,) = server.received
    assert (got.path, got.headers["content-type"]) == ("/hook-s3cret", "application/json")
    assert (got.headers["webhook-id"], got.headers["webhook-timestamp"]) == ("msg-7", str(int(NOW.timestamp())))
    assert got.headers["webhook-signature"] == signature(SECRET, "msg-7", int(NOW.timestamp()), got.body)
    said = json.loads(got.body)
    assert (said["type"], said["timestamp"]) == ("job.needs_person", "2026-11-22T12:00:00.000Z")
    data, rows = said["data"], look().rows
    assert (data["job_id"], data["name"], data["reason"]) == (JOB, "sotu", "2 < 3 & more")
    assert sum(data["rows"].values()) == 2 * rows.total == 2 * data["rows"]["total"]
    assert Decimal(data["reserved_usd"]) == look().money.reserved


def test_a_notice_without_a_secret_has_an_id_and_no_signature(server: Server) -> None:
    send(a_receiver(server), sample(Format.JSON, NOW), id="msg-7", now=NOW, environment={})

    (got,) = server.received
    assert got.headers["webhook-id"] == "msg-7"
    assert "webhook-signature" not in got.headers
    assert "authorization" not in got.headers


def test_slack_gets_a_text_in_its_markup(server: Server) -> None:
    send(a_receiver(server, Format.SLACK), message(Format.SLACK, a_notice(), look()), id="7", now=NOW, environment={})

    (got,) = server.received
    title, counts, reason, command = json.loads(got.body)["text"].split("\n")
    assert title == "*! sotu needs you*"
    assert counts.startswith(f"{look().rows.answered:,} of {look().rows.total:,} rows answered")
    assert (reason, command) == ("2 &lt; 3 &amp; more", f"`orchestrator status {JOB}`")


def test_ntfy_gets_a_text_with_a_title_and_the_access_token(server: Server) -> None:
    receiver = a_receiver(server, Format.NTFY, secret="tk_s3cret-token")

    send(receiver, message(Format.NTFY, a_notice(Kind.FINISHED, ""), look()), id="7", now=NOW, environment={})

    (got,) = server.received
    assert got.headers["title"].startswith("sotu is ")
    assert (got.headers["tags"], got.headers["priority"]) == ("white_check_mark", "3")
    assert got.headers["authorization"] == "Bearer tk_s3cret-token"
    assert got.body.decode().splitlines()[-1] == f"orchestrator status {JOB}"


@pytest.mark.parametrize(("status", "is_final"), [(500, False), (404, False), (307, False), (410, True)])
def test_anything_but_2xx_is_a_failure_and_no_redirect_is_followed(server: Server, status: int, is_final: bool) -> None:
    """A receiver that is gone for good (410) is not asked again. The message has no secret of the address in it."""
    server.statuses[:] = [status]

    with pytest.raises(NotReceived) as failed:
        send(a_receiver(server), sample(Format.JSON, NOW), id="7", now=NOW, environment={})

    assert str(failed.value) == f"{server.url.removesuffix('/hook-s3cret')} answered {status}"
    assert failed.value.is_final is is_final
    assert len(server.received) == 1


def test_a_receiver_that_is_not_there_is_named_without_the_secret_of_its_address() -> None:
    absent = Receiver(url="http://127.0.0.1:9/hook-s3cret", format=Format.JSON, on=tuple(Kind), named_by="HOOK")

    with pytest.raises(NotReceived, match=r"^http://127\.0\.0\.1:9: ") as failed:
        send(absent, sample(Format.JSON, NOW), id="7", now=NOW, environment={})

    assert "s3cret" not in str(failed.value) + repr(absent)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"url_env": "https://hooks.example/x"}, "must be the name of an environment variable"),
        ({"format": "slack"}, r'needs url_env = "VARIABLE"'),
        ({"url_env": "HOOK", "format": "teams"}, "format must be one of json, slack, ntfy, not 'teams'"),
        ({"url_env": "HOOK", "on": ["ended"]}, "there is no notice 'ended'; choose from finished, paused"),
        ({"url_env": "HOOK", "on": "finished"}, "must be a list of finished, paused, needs_person, budget"),
        ({"url_env": "HOOK", "format": "slack", "secret_env": "KEY"}, "secret_env is not for slack"),
        ({"url_env": "HOOK", "uri": "x"}, "unknown key 'uri'"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_notify(table)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "the environment variable HOOK is not set"),
        ({"HOOK": "hooks.example/x", "KEY": SECRET}, "HOOK: unusable URL: neither http nor https"),
        ({"HOOK": "https://hooks.example/x"}, "the environment variable KEY is not set"),
        ({"HOOK": "https://hooks.example/x", "KEY": "short"}, "KEY: a signing secret is 16 bytes or more in Base64"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named_by_its_variable(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        receiver_of_job(Notify(url_env="HOOK", secret_env="KEY"), environment)

    assert "hooks.example" not in str(refused.value)

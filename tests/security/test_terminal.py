"""What strangers write is shown and not obeyed: on a terminal, in a log, in `results` (S2, S11)."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import log
from orchestrator.log import EventLog, printable, without_secrets
from orchestrator.providers.http.secret import Secret
from tests.acceptance.command_line import command_line
from tests.acceptance.datasets import write_job
from tests.gateway_process import ROOT, running_gateway

KEY: Final = "sk-canary-5b1d7e88"
# A cleared screen, a title, a rung bell, a hidden line, the eight-bit way to say escape, letters in reverse.
EVIL: Final = "\x1b[2J\x1b]0;title\x07\rover\x08\x9b31m\x7f \u202egnol\u2066 \u2028line\ufeff\U000e0041"
TURNS: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
LOG: Final = EventLog("orchestrator.test")
WRITERS: Final = {"json": False, "terminal": True}


def moves(text: str) -> list[str]:
    """Return what of a text a terminal would act on; told by Unicode's own tables, not by the code under test."""
    kept = {"\n", "\t"}
    return [
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in kept)
        or unicodedata.bidirectional(character) in TURNS
    ]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Log something by a writer's way; return what stands on standard error."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook,)

    def said(writer: str, act: Callable[[], object]) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        log.configure("debug", stream_is_terminal=WRITERS[writer])
        act()
        return stream.getvalue()

    yield said
    root.handlers[:], root.level = handlers, level
    (sys.excepthook,) = hooks


@given(st.text())
def test_what_is_printed_moves_no_cursor(text: str) -> None:
    """Any text at all; line ends and tabs stay, everything else that is printed stays as it was."""
    shown = printable(text + EVIL)

    assert moves(shown) == []
    assert printable(shown) == shown
    plain = "".join(character for character in text if character.isascii() and character.isprintable())
    assert printable(plain) == plain


@given(st.text())
def test_a_json_line_stays_the_same_json(text: str) -> None:
    line = json.dumps({"text": text + EVIL}, ensure_ascii=False)

    assert json.loads(printable(line)) == {"text": text + EVIL}


def test_letters_of_all_scripts_and_joined_emoji_stay() -> None:
    text = "无可用渠道 مرحبا नमस्ते 👩‍👩‍👧 می‌خواهم"

    assert printable(text) == text


@pytest.mark.parametrize("writer", WRITERS)
def test_an_event_is_one_line_whatever_it_quotes(writer: str, written: Callable[..., str]) -> None:
    text = f"first\nstep.failed error=forged{EVIL}"

    said = written(
        writer,
        lambda: LOG.warning("noun.verbed", error=text, several=[text], other=text.encode()),
    )

    assert said.count("\n") == 1
    assert moves(said) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_a_line_of_a_library_is_treated_the_same(writer: str, written: Callable[..., str]) -> None:
    """Celery quotes what it was sent; a traceback quotes what was read."""

    def act() -> None:
        try:
            raise ValueError(f"row{EVIL}\nforged {KEY}")
        except ValueError:
            logging.getLogger("celery").exception("got %s", EVIL)

    Secret(KEY)
    said = written(writer, act)

    assert said.count("\n") == 1
    assert moves(said) == []
    assert "ValueError" in said
    assert KEY not in said


def test_a_log_on_a_machine_is_json_line_by_line(written: Callable[..., str]) -> None:
    said = written("json", lambda: LOG.error("noun.verbed", error=f"a\nb{EVIL}", count=3, names=["a"]))

    event = json.loads(said)
    assert (event["event"], event["error"], event["count"], event["names"]) == ("noun.verbed", f"a\nb{EVIL}", 3, ["a"])
    assert event["level"] == "error"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_key_that_was_read_is_blacked_out_of_every_line(writer: str, written: Callable[..., str]) -> None:
    """And so is what looks like one, though nobody has read it."""
    Secret(KEY)
    strange = f"redis://:pass-{KEY[::-1]}@host/0 and Bearer abc123def456"

    said = written(
        writer,
        lambda: LOG.error("noun.verbed", error=f"as sent: {KEY}", also=(KEY, {"k": KEY}), url=strange),
    )

    assert KEY not in said
    assert KEY[::-1] not in said
    assert "abc123def456" not in said
    assert said.count("***") >= 5


def test_what_is_no_secret_stays() -> None:
    text = "https://host:8080/path?a=b@c Bearer authentication is required, redis://localhost:6379/0"

    assert without_secrets(text) == text


def test_a_crash_shows_neither_the_key_nor_variables(tmp_path: Path) -> None:
    """An exception that nobody caught, of the main thread and of another: the traceback, without the key."""
    program = tmp_path / "crash.py"
    program.write_text(
        "import sys, threading\n"
        "from orchestrator import log\n"
        "from orchestrator.providers.http.secret import Secret\n"
        "log.configure('warning', stream_is_terminal=True)\n"
        "key = Secret(sys.stdin.read())\n"
        "def fail():\n"
        "    row = 'a value of a row'[::-1]\n"
        "    raise ValueError('sent ' + key.reveal() + chr(27) + '[2J')\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start()\n"
        "thread.join()\n"
        "fail()\n"
    )
    ended = subprocess.run(
        [sys.executable, program], input=KEY, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.count("ValueError: sent ***") == 2, ended.stderr
    assert KEY not in ended.stderr
    assert moves(ended.stderr) == []
    assert "a value of a row"[::-1] not in ended.stderr


def test_commands_show_a_stranger_s_words_and_do_not_obey_them(tmp_path: Path) -> None:
    """A row, an answer that repeats it, a column's name and a provider's error: none reaches the terminal as it is."""
    dataset = tmp_path / "rows.parquet"
    column = "te\x1b[8mxt"
    pq.write_table(pa.table({"text": [f"{EVIL} {number}" for number in range(4)], column: ["x"] * 4}), dataset)
    cli = command_line(tmp_path / "user")
    with running_gateway(tmp_path / "gateway", "--duration-s", "0") as gateway:
        gateway.set_faults({"rows": {"fail": {"500": 0.3}}})
        job = write_job(tmp_path / "evil.toml", dataset, gateway.url)
        wrong = write_job(tmp_path / "wrong.toml", dataset, gateway.url, request={"prompt": "{texd}"})

        ran = [
            cli.run(*words)
            for words in (("plan", job), ("run", job), ("results", job), ("status", job), ("plan", wrong))
        ]

    assert [one.code for one in ran] == [0, 0, 0, 0, 2], ran
    for one in ran:
        assert moves(one.out + one.err) == [], one
    assert "\\u001b[2J" in ran[2].out
    answered = json.loads(ran[2].out.splitlines()[1])
    assert answered["text"].startswith(EVIL)
    assert column in answered

"""What a program shows of a job by itself: the view on a terminal, and elsewhere nothing."""

from __future__ import annotations

import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.api.displays import is_notebook, shown
from orchestrator.api.look_html import look_html
from orchestrator.testing import FakeProvider, fake_provider
from tests.cli.looks import FINISHED, LOOK, a_look

ROWS = [{"text": f"row {number}"} for number in range(30)]
TIP = "Ctrl-C leaves it safely"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with fake_provider() as running:
        yield running


class Terminal:
    """What is written to a terminal of 80 columns that stands for standard error."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._main, other = pty.openpty()
        termios.tcsetwinsize(other, (30, 80))
        self.file = os.fdopen(other, "w")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self._main, 4096):
                self._parts.append(part)
        except OSError:  # Linux's way to say that the other side is closed
            pass

    def close(self) -> str:
        """Close it, and return what was written, without colours."""
        self.file.close()
        self._reader.join()
        os.close(self._main)
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", b"".join(self._parts).decode())


@contextmanager
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Have a terminal for a block; yields what closes it and tells what was written."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.file)
        yield terminal.close


def run(fake: FakeProvider, work: Path, **how: Any) -> orchestrator.Result:
    return orchestrator.run(ROWS, prompt="{text}", model="m", name="mood", work=work, **how, **fake.options)


def test_on_a_terminal_a_run_is_shown_on_standard_error(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with at_terminal(monkeypatch) as close:
        result = run(fake, tmp_path)
        told = close()

    assert f"{result.job_id}  finished" in told
    assert re.search(r"answered +30 +of 30 rows", told)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("how", ["off", "function"])
def test_progress_is_switched_off_or_given_to_a_function(
    how: str, fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[orchestrator.Look] = []
    with at_terminal(monkeypatch) as close:
        run(fake, tmp_path, progress=False if how == "off" else looks.append)
        told = close()

    assert told == ""
    assert [look.rows.answered for look in looks[-1:]] == ([30] if how == "function" else [])


def test_in_a_pipe_nothing_is_printed(fake: FakeProvider, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(fake, tmp_path)

    assert capfd.readouterr() == ("", "")


def test_the_tip_to_leave_goes_when_the_run_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job still runs at the provider; there is nothing to leave here."""
    with at_terminal(monkeypatch) as close:
        with shown(True) as look:
            assert look is not None
            look(LOOK)
        told = close()

    assert TIP in told
    assert TIP not in told[told.rindex("running") :]


def test_in_another_thread_no_interrupt_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python gives signals to the main thread alone."""
    with at_terminal(monkeypatch) as close:
        with shown(True) as look:
            assert look is not None
            other = threading.Thread(target=look, args=(LOOK,))
            other.start()
            other.join()
        told = close()

    assert "797,571" in told
    assert TIP not in told


def test_one_job_at_a_time_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as close:
        with shown(True) as first, shown(True) as second:
            assert first is not None
            assert second is None
        with shown(True) as again:
            assert again is not None
        close()


def test_a_terminal_that_is_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with at_terminal(monkeypatch) as close, shown(True) as look:
        assert look is not None
        look(LOOK)
        close()

        look(FINISHED)


def test_the_view_of_a_notebook_says_what_the_terminal_says() -> None:
    """Each place with its number, the marks that no place is told by colour alone, what is tried again."""
    html = look_html(LOOK, tip="an interrupt leaves it safely", more=[("output", "<w>")])

    for told in ("797,571", "189,982", "1,920", "204,301", "544", "10,000", "at the provider", "needs you", "15.05"):
        assert told in html
    assert "title='failed 544'" in html
    assert "onerouter answers 429" in html
    assert "an interrupt leaves it safely" in html
    assert "&lt;w&gt;" in html


def test_the_view_of_a_notebook_escapes_what_others_wrote_and_has_no_tip_once_it_is_over() -> None:
    assert "<b>x" not in look_html(a_look(job_id="<b>x", reason="<b>x"))
    assert "an interrupt" not in look_html(FINISHED, tip="an interrupt leaves it safely")


def test_a_program_is_no_notebook() -> None:
    assert not is_notebook()


def test_a_job_is_shown_with_what_waits_before_the_first_create(tmp_path: Path, fake: FakeProvider) -> None:
    """However quick it is: the guarantee, and what else is to be known first, is told by this look."""
    asked_before, looks = len(fake.requests), list[tuple[int, int]]()

    orchestrator.run(
        ROWS[:1],
        prompt="{text}",
        model="any",
        work=tmp_path,
        progress=lambda look: looks.append((look.rows.waiting, len(fake.requests) - asked_before)),
        **fake.options,
    )

    assert (1, 0) in looks

"""The command line, a thin wrapper of the API: `orchestrator plan|run|submit|…` and `worker|beat|fleet|gateway`.

The exit codes are in `exit_codes`, and in the help.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from orchestrator import log
from orchestrator.api.exit_codes import CLOSED_PIPE, DONE, FAILED, INTERRUPTED, exit_code_of
from orchestrator.cli import (
    answers,
    completion,
    deciding,
    demo,
    doctor,
    fleet,
    init,
    looking,
    mcp,
    notifying,
    rehearse,
    running,
    schema,
    terminals,
    timeline,
    ui,
    upkeep,
)
from orchestrator.cli.readers import print_to_nobody, though_unread, unread
from orchestrator.cli.terminal import say, show, show_document
from orchestrator.domain.errors import JobNotFinished, OrchestratorError
from orchestrator.engine import process_memory

CHECKS: Final = "orchestrator.api.preflight"
SHOW_CURSOR: Final = "\x1b[?25h"


def main() -> None:
    """Run the command line and exit."""
    process_memory.give_back()
    signal.signal(signal.SIGINT, _quit)
    try:
        code = ended(sys.argv[1:], before=_begin_log)
        sys.stdout.flush()
    except BrokenPipeError:  # while an error was told
        print_to_nobody()
        code = CLOSED_PIPE
    sys.exit(code)


def _begin_log() -> None:
    log.configure(os.environ.get("ORCHESTRATOR_LOG", "warning"), stream_is_terminal=sys.stderr.isatty())
    _say_warnings_of_checks()


def ended(arguments: Sequence[str], *, before: Callable[[], None] = lambda: None) -> int:
    """Run one command, print its error, and return its exit code. Raises what nobody expected, and SystemExit.

    Args:
        before: what is done first, and may fail as the command may.
    """
    is_for_program = not {"--json", "--events"}.isdisjoint(arguments)
    try:
        before()
        # Not in click's own mode: it would print its errors itself, as text alone.
        return app.main(list(arguments), prog_name="orchestrator", standalone_mode=False) or DONE
    except ReaderGone:
        print_to_nobody()
        return CLOSED_PIPE
    except OrchestratorError as error:
        if is_for_program:
            from orchestrator.api.documents import errors

            show_document(errors.of_error(error))
        say(f"{error}" if isinstance(error, JobNotFinished) else f"error: {error}")
        return exit_code_of(error)
    except click.ClickException as error:
        if is_for_program:
            from orchestrator.api.documents import errors

            show_document(errors.usage(error.format_message(), error.exit_code))
        error.show()
        return error.exit_code
    except click.Abort:
        say("nothing was done")
        return FAILED
    except Exception as error:
        if is_for_program:
            from orchestrator.api.documents import errors

            show_document(errors.unexpected(error))
        raise


class _Warning(logging.Handler):
    """Says what a check before a job's first create has found, as a sentence and not as a line of a log."""

    def emit(self, record: logging.LogRecord) -> None:
        found = getattr(record, "fields", {})
        with though_unread():
            say(f"warning: {found.get('found', record.getMessage())}. {found.get('todo', '')}".rstrip())


def _say_warnings_of_checks() -> None:
    logger = logging.getLogger(CHECKS)
    logger.handlers[:] = [_Warning()]
    logger.propagate = False


def _quit(_number: int, _frame: object) -> None:
    """Leave at once, on Ctrl-C while no step is running whose work must be recorded, or on the second one.

    Without unwinding: an exception here would strike code of any library, which logs it with a traceback.
    """
    with suppress(Exception):
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)  # a bar of progress hides it
        say("interrupted; run the same command again to resume")
        sys.stdout.flush()
    os._exit(INTERRUPTED)


def _print_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        from importlib import metadata

        show(f"orchestrator {metadata.version('batch-orchestrator')}")
        context.exit()


class ReaderGone(Exception):
    """Nobody reads what a command prints."""


class InOrder(click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments, and print what `--help` and `--version` ask for."""
        with _reader_looked_for():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        with _reader_looked_for():
            return super().invoke(ctx)


@contextmanager
def _reader_looked_for() -> Iterator[None]:
    """Raise ReaderGone where nobody reads what is printed any more: click would end the command as any failure."""
    try:
        yield
    except BrokenPipeError as error:
        if not unread():  # it was a pipe of the command's own
            raise
        raise ReaderGone from error


@click.group(cls=InOrder)
@click.option(
    "--version",
    is_flag=True,
    callback=_print_version,
    expose_value=False,
    is_eager=True,
    help="Print the version and exit.",
)
def app() -> None:
    """Get a language model's answer beside every row of a dataset, through Batch APIs.

    JOB is a job file (TOML), or the id of a job in the work folder.

    \b
    Exit codes:
      0    done; all rows have succeeded (--allow-failed: or failed)
      1    an unexpected error; audit: something differs
      2    a setting, a job file, the dataset or an argument is wrong
      3    a person must act, or there is no result yet
      4    the job has ended, and some rows have failed
      130  interrupted; the same command resumes
      141  nobody reads its output any more, as after | head
    """


_GROUPS: Final = (
    demo,
    init,
    running,
    terminals,
    looking,
    answers,
    timeline,
    deciding,
    upkeep,
    rehearse,
    doctor,
    notifying,
    schema,
    mcp,
    ui,
    fleet,
    completion,
)
for _group in _GROUPS:
    for _command in _group.COMMANDS:
        app.add_command(_command)

"""`orchestrator completion`: the script that completes commands, options, jobs and job files in a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.terminal import show
from orchestrator.domain.errors import OrchestratorError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS: Final = ("bash", "zsh", "fish")
PROGRAM: Final = "orchestrator"
VARIABLE: Final = "_ORCHESTRATOR_COMPLETE"  # what the script sets when it asks: click's own name for it


@click.command
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell.

    \b
    bash: eval "$(orchestrator completion bash)" in ~/.bashrc
    zsh:  eval "$(orchestrator completion zsh)" in ~/.zshrc
    fish: orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has these three
    show(made(context.find_root().command, {}, PROGRAM, VARIABLE).source())


def complete_job(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the job files, and the jobs of the work folder, that begin so; any files where there is none."""
    from click.shell_completion import CompletionItem

    folder, _, name = begun.rpartition("/")
    try:
        there = sorted(path.name for path in Path(folder or ("/" if begun.startswith("/") else ".")).glob("*.toml"))
    except OSError:
        there = []
    found = [f"{begun[: len(begun) - len(name)]}{one}" for one in there if one.startswith(name)]
    found += [] if "/" in begun else _jobs(context.params.get("work"), begun)
    return [CompletionItem(one) for one in found] or [CompletionItem(begun, type="file")]


def _jobs(work: str | None, begun: str) -> list[str]:
    from orchestrator.api import commands

    try:
        return [handle.job_id for handle in commands.jobs(work=work) if handle.job_id.startswith(begun)]
    except OrchestratorError:  # there is no work folder yet
        return []


COMMANDS = (completion,)

"""`orchestrator mcp`: jobs for an agent, over the Model Context Protocol."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from orchestrator.cli.arguments import work_option
from orchestrator.domain.errors import ConfigError


@click.command
@work_option
@click.option(
    "--allow",
    "folders",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="Job files and tables may be here; repeatable. Default: the current folder.",
)
@click.option(
    "--budget-max",
    default="5.00",
    show_default=True,
    metavar="USD",
    help="What all jobs that are started here may cost together.",
)
@click.option(
    "--allow-url",
    "urls",
    multiple=True,
    metavar="URL",
    help="A job file may send to this base_url, too, not to those of the configuration alone; repeatable.",
)
@click.option(
    "--allow-variable",
    "variables",
    multiple=True,
    metavar="NAME",
    help="A job file may name this variable of the environment, too, such as another key; repeatable.",
)
@click.option("--allow-approve", is_flag=True, help="Offer a tool that approves jobs which wait for a person.")
def mcp(
    work: str | None,
    folders: tuple[Path, ...],
    budget_max: str,
    urls: tuple[str, ...],
    variables: tuple[str, ...],
    allow_approve: bool,
) -> None:
    """Serve plan, run, status and results to an agent (MCP).

    On standard input and output, until that ends. The agent drives jobs inside a budget.
    """
    if find_spec("mcp") is None:
        raise ConfigError("the Model Context Protocol's SDK is not installed: pip install 'batch-orchestrator[mcp]'")
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--allow {folder}: there is no such folder")
    from orchestrator.api import commands
    from orchestrator.mcp.limits import Limits, amount
    from orchestrator.mcp.providers import AllowedProviders
    from orchestrator.mcp.server import serve
    from orchestrator.mcp.tools import Tools

    limits = Limits(
        folders=[folder.resolve() for folder in folders or (Path.cwd(),)],
        budget_usd_max=amount(budget_max, "--budget-max"),
        providers=AllowedProviders(urls=urls, variables=variables),
    )
    serve(Tools(commands.work_folder(work), limits, allow_approve))


COMMANDS = (mcp,)

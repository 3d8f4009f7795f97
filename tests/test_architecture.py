"""The shape of the tree, read from its sources: who may import whom, and how large a thing may grow.

Rule 1: a checker is a function of parsed modules that returns complaints, so that it can be shown to fail.
Rule 2: nothing is imported to be checked; a module that does not exist yet breaks no rule.

    workers  cli  api  web          edges
    wiring                          the only importer of adapters
    planner  batches  collector     steps: domain, ports, log
    providers  ledger  storage      adapters: domain, ports, log
    domain                          itself and pure standard library
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("orchestrator", "workers", "gateway")

DOMAIN: Final = "orchestrator.domain"
# What several steps share: how files of the work folder are laid out, rows cut into slices, where pyarrow reads.
SHARED: Final = (
    *("orchestrator.spooled", "orchestrator.parts", "orchestrator.slices", "orchestrator.records"),
    *("orchestrator.leases", "orchestrator.filesystems"),
)
BELOW_STEPS: Final = (
    DOMAIN,
    *("orchestrator.ports", "orchestrator.log", "orchestrator.buckets", "orchestrator.location"),
    "orchestrator.digests",
    "orchestrator.permissions",
)
STEPS: Final = ("orchestrator.planner", "orchestrator.batches", "orchestrator.collector")
ADAPTERS: Final = ("orchestrator.providers", "orchestrator.ledger", "orchestrator.storage")
WIRING: Final = "orchestrator.wiring"
LEAVES: Final = (*BELOW_STEPS, "orchestrator.settings", "orchestrator.metrics")

# A job as its user writes it, what makes it this job, and what it gave.
DESCRIPTIONS: Final = ("orchestrator.job", "orchestrator.spec", "orchestrator.result")

# What a floor may import of our own tree, beside itself; a module on no floor is an edge: any but adapters and the CLI.
FLOORS: Final = {
    "orchestrator.ports": (DOMAIN,),
    "orchestrator.log": (DOMAIN,),
    "orchestrator.buckets": (DOMAIN,),
    "orchestrator.permissions": (),
    "orchestrator.location": (DOMAIN, "orchestrator.buckets"),
    "orchestrator.settings": (DOMAIN, "orchestrator.location"),
    "orchestrator.metrics": (DOMAIN, "orchestrator.ports"),
    "orchestrator.job": (*LEAVES, *STEPS),
    "orchestrator.spec": (*LEAVES, *STEPS),
    "orchestrator.result": (*LEAVES, *STEPS, "orchestrator.filesystems"),
    "orchestrator.report": (*LEAVES, *STEPS),
    **dict.fromkeys(SHARED, BELOW_STEPS),
    **dict.fromkeys(STEPS, (*BELOW_STEPS, *SHARED)),
    **dict.fromkeys(ADAPTERS, BELOW_STEPS),
    WIRING: (*LEAVES, *SHARED, *STEPS, *ADAPTERS, "orchestrator.spec"),
    "orchestrator.standstill": (*LEAVES, WIRING),
    "orchestrator.local": (*LEAVES, "orchestrator.standstill", WIRING),
    "orchestrator.prepare": (*LEAVES, *STEPS, *DESCRIPTIONS, WIRING),
    "orchestrator.handle": (
        *(*LEAVES, *STEPS, *DESCRIPTIONS, WIRING),
        *("orchestrator.local", "orchestrator.standstill"),
    ),
    "orchestrator.api": (
        *(*LEAVES, *STEPS, *DESCRIPTIONS, WIRING),
        *("orchestrator.prepare", "orchestrator.handle", "orchestrator.local"),
        *("orchestrator.auditing", "orchestrator.rebuilding"),
    ),
}
HTTP_HOME: Final = "orchestrator.providers.http"
EDGES_THAT_PRINT: Final = (
    "workers",
    "orchestrator.cli",
    "orchestrator.watch",
    "orchestrator.api",
    "orchestrator.web",
    "gateway.__main__",
)
# The edges, and the one place that calls code of the user's.
CATCHALL_HOMES: Final = ("orchestrator.cli", "orchestrator.local", "orchestrator.planner.render", "workers.tasks")

IMPURE: Final = frozenset(
    {"asyncio", "concurrent", "glob", "http.client", "io", "logging", "multiprocessing", "os", "random", "secrets"}
    | {"select", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"}
    | {"urllib.request", "uuid"}
)
# A step takes time, chance and the network through ports, or the simulator could not run it.
FOREIGN_TO_STEPS: Final = frozenset(
    {"asyncio", "celery", "concurrent", "httpx", "multiprocessing", "random", "redis", "secrets", "select", "socket"}
    | {"sqlalchemy", "sqlite3", "subprocess", "threading", "time", "uuid"}
)
HTTP_CLIENTS: Final = frozenset({"aiohttp", "httpcore", "httpx", "httpx2", "requests", "urllib3"})
EMPTY_NAMES: Final = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A parsed source file; `name` is dotted, a package's own file bears the package's name."""

    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.name)


def modules_of_the_tree() -> list[Module]:
    found = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name=name, source=path.read_text(encoding="utf-8"), is_package=is_package))
    return found


def is_in(name: str, places: Iterable[str]) -> bool:
    """Whether the dotted `name` is one of the places or inside one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def imported(module: Module, *, for_types: bool = True) -> set[str]:
    """Return what a module imports anywhere in it, dotted; `from a import b` is `a.b`."""
    names: set[str] = set()
    for node in nodes(module.tree, for_types=for_types):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = origin_of(module, node)
            names.update(origin if alias.name == "*" else f"{origin}.{alias.name}" for alias in node.names)
    return names


def origin_of(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parents = module.name.split(".")
    kept = parents[: len(parents) - node.level + (1 if module.is_package else 0)]
    return ".".join([*kept, node.module] if node.module else kept)


def nodes(tree: ast.AST, *, for_types: bool) -> Iterator[ast.AST]:
    """Walk the tree; without `for_types`, leave out what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and not for_types and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for statement in child.orelse:
                yield statement
                yield from nodes(statement, for_types=for_types)
            continue
        yield child
        yield from nodes(child, for_types=for_types)


def is_call(node: ast.AST, *, names: frozenset[str] = frozenset(), methods: frozenset[str] = frozenset()) -> bool:
    if not isinstance(node, ast.Call):
        return False
    match node.func:
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(attr=name):
            return name in methods
    return False


def impure_domain(modules: list[Module]) -> list[str]:
    complaints = []
    for module in (module for module in modules if is_in(module.name, (DOMAIN,))):
        for name in sorted(imported(module)):
            top = name.split(".")[0]
            if is_in(name, IMPURE) or not (is_in(name, (DOMAIN,)) or top in sys.stdlib_module_names):
                complaints.append(f"{module.name} imports {name}")
        clock, doors = frozenset({"now", "utcnow", "today"}), frozenset({"open", "print", "input"})
        calls = [node for node in ast.walk(module.tree) if is_call(node, names=doors, methods=clock)]
        complaints += [f"{module.name} calls {ast.unparse(call)}" for call in calls]
    return complaints


def broken_floors(modules: list[Module]) -> list[str]:
    complaints = []
    for module in modules:
        own = next((floor for floor in FLOORS if is_in(module.name, (floor,))), None)
        if own is None:
            continue
        ours = [name for name in sorted(imported(module)) if is_in(name, PACKAGES)]
        complaints += [f"{module.name} imports {name}" for name in ours if not is_in(name, (own, *FLOORS[own]))]
    return complaints


def strangers_to_adapters(modules: list[Module]) -> list[str]:
    complaints = []
    for module in (module for module in modules if not is_in(module.name, (WIRING,))):
        own = [adapter for adapter in ADAPTERS if is_in(module.name, (adapter,))]
        foreign = [name for name in sorted(imported(module)) if is_in(name, ADAPTERS) and not is_in(name, own)]
        complaints += [f"{module.name} imports {name}" for name in foreign]
    return complaints


def steps_that_reach_outside(modules: list[Module]) -> list[str]:
    steps = (module for module in modules if is_in(module.name, STEPS))
    return [f"{step.name} imports {name}" for step in steps for name in imported(step) if is_in(name, FOREIGN_TO_STEPS)]


def importers_of_the_cli(modules: list[Module]) -> list[str]:
    allowed = ("orchestrator.cli", "orchestrator.__main__")
    others = (module for module in modules if not is_in(module.name, allowed))
    return [module.name for module in others if any(is_in(name, ("orchestrator.cli",)) for name in imported(module))]


def second_http_clients(modules: list[Module]) -> list[str]:
    """The gateway is a program of its own: it may have one such module too."""
    users = [module.name for module in modules if any(is_in(name, HTTP_CLIENTS) for name in imported(module))]
    ours = [name for name in users if not is_in(name, ("gateway",)) and name != HTTP_HOME]
    return ours + [name for name in users if is_in(name, ("gateway",))][1:]


def gateway_ties(modules: list[Module]) -> list[str]:
    complaints = []
    for module in modules:
        other_side = ("orchestrator", "workers") if is_in(module.name, ("gateway",)) else ("gateway",)
        complaints += [f"{module.name} imports {name}" for name in imported(module) if is_in(name, other_side)]
    return complaints


def import_circles(modules: list[Module]) -> list[str]:
    """Return the first circle found, as a chain of names; imports inside functions count, imports for types do not."""
    known = {module.name for module in modules}
    graph = {
        module.name: {home_of(name, known) for name in imported(module, for_types=False)} - {None, module.name}
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        return [" -> ".join(reversed(circle.args[1]))]
    return []


def home_of(name: str, known: set[str]) -> str | None:
    """Return the longest known module that the dotted name starts with."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def oversized(modules: list[Module]) -> list[str]:
    complaints = []
    for module in modules:
        if (line_count := len(module.source.splitlines())) > MODULE_LINES_MAX:
            complaints.append(f"{module.name}: {line_count} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                line_count = lines(node) - (lines(node.body[0]) if ast.get_docstring(node) is not None else 0)
                if line_count > FUNCTION_LINES_MAX:
                    complaints.append(f"{module.name}.{node.name}: {line_count} lines")
    return complaints


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def catchalls(modules: list[Module]) -> list[str]:
    """A handler that ends in a bare `raise` only cleans up; it catches nothing."""
    places: Counter[str] = Counter()
    for module in modules:
        places[module.name] += sum(swallows_everything(node) for node in ast.walk(module.tree))
    return [f"{name}: {n} catch-alls" for name, n in places.items() if n > (1 if name in CATCHALL_HOMES else 0)]


def swallows_everything(node: ast.AST) -> bool:
    broad = frozenset({"Exception", "BaseException"})
    if is_call(node, names=frozenset({"suppress"}), methods=frozenset({"suppress"})):
        return any(isinstance(inner, ast.Name) and inner.id in broad for inner in ast.walk(node))
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = [inner.id for inner in ast.walk(node.type) if isinstance(inner, ast.Name)] if node.type else ["Exception"]
    last = node.body[-1]
    return not broad.isdisjoint(caught) and not (isinstance(last, ast.Raise) and last.exc is None)


def names_that_say_nothing(modules: list[Module]) -> list[str]:
    return [module.name for module in modules if not EMPTY_NAMES.isdisjoint(module.name.split("."))]


def prints_outside_edges(modules: list[Module]) -> list[str]:
    inner = [module for module in modules if not is_in(module.name, EDGES_THAT_PRINT)]
    prints = frozenset({"print"})
    return [module.name for module in inner for node in ast.walk(module.tree) if is_call(node, names=prints)]


TREE: Final = modules_of_the_tree()


def test_the_domain_imports_only_itself_and_pure_standard_library() -> None:
    assert impure_domain(TREE) == []


def test_every_floor_imports_downwards_only() -> None:
    assert broken_floors(TREE) == []


def test_only_wiring_names_adapters() -> None:
    assert strangers_to_adapters(TREE) == []


def test_steps_take_time_chance_and_network_through_ports() -> None:
    assert steps_that_reach_outside(TREE) == []


def test_nothing_imports_the_command_line() -> None:
    assert importers_of_the_cli(TREE) == []


def test_one_module_imports_the_http_client() -> None:
    assert second_http_clients(TREE) == []


def test_gateway_and_orchestrator_do_not_know_each_other() -> None:
    assert gateway_ties(TREE) == []


def test_there_is_no_import_circle() -> None:
    assert import_circles(TREE) == []


def test_modules_and_functions_stay_small() -> None:
    assert oversized(TREE) == []


def test_a_catchall_stands_only_where_a_process_or_a_step_ends() -> None:
    assert catchalls(TREE) == []


def test_every_module_name_says_what_is_inside() -> None:
    assert names_that_say_nothing(TREE) == []


def test_only_edges_print() -> None:
    assert prints_outside_edges(TREE) == []


def test_the_tree_is_read_at_all() -> None:
    """Or every rule above would hold of nothing."""
    assert {DOMAIN, *STEPS, *ADAPTERS, "workers"} <= {module.name for module in TREE}


CATCH = "try:\n    f()\nexcept {}:\n    {}\n"
LONG = "def f():\n{}" + "    x = 1\n" * FUNCTION_LINES_MAX
LONG_DOCSTRING = '    """Says.\n' + "\n" * 60 + '    """\n'
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from orchestrator.domain import b\n"

BROKEN: Final[list[tuple[Callable[[list[Module]], list[str]], dict[str, str]]]] = [
    (impure_domain, {"orchestrator.domain.a": "import time"}),
    (impure_domain, {"orchestrator.domain.a": "def f():\n    from urllib import request"}),
    (impure_domain, {"orchestrator.domain.a": "import pyarrow"}),
    (impure_domain, {"orchestrator.domain.a": "from orchestrator import ports"}),
    (impure_domain, {"orchestrator.domain.a": "from .. import ports"}),
    (impure_domain, {"orchestrator.domain.a": "import datetime\nx = datetime.datetime.now(datetime.UTC)"}),
    (impure_domain, {"orchestrator.domain.a": "x = open('f')"}),
    (broken_floors, {"orchestrator.planner.plan": "from orchestrator.ledger.sql import SqlLedger"}),
    (broken_floors, {"orchestrator.planner.plan": "from orchestrator.batches.submit import submit"}),
    (broken_floors, {"orchestrator.providers.openai": "import orchestrator.storage.local"}),
    (broken_floors, {"orchestrator.ports": "from orchestrator import wiring"}),
    (broken_floors, {"orchestrator.api": "from orchestrator.ledger.sql import SqlLedger"}),
    (strangers_to_adapters, {"orchestrator.cli": "from orchestrator.providers import openai"}),
    (strangers_to_adapters, {"orchestrator.ledger.sql": "from orchestrator.storage import local"}),
    (steps_that_reach_outside, {"orchestrator.batches.submit": "from secrets import token_hex"}),
    (importers_of_the_cli, {"workers.app": "from orchestrator.cli import main"}),
    (second_http_clients, {"orchestrator.providers.openai": "import httpx"}),
    (second_http_clients, {"gateway.upstream": "import httpx", "gateway.app": "from httpx import Client"}),
    (gateway_ties, {"gateway.app": "from orchestrator.domain import money"}),
    (gateway_ties, {"orchestrator.cli": "import gateway"}),
    (import_circles, {"orchestrator.a": "import orchestrator.b", "orchestrator.b": "def f():\n    from . import a"}),
    (import_circles, {"workers": "from workers import a", "workers.a": "from workers import app"}),
    (oversized, {"orchestrator.a": "x = 1\n" * (MODULE_LINES_MAX + 1)}),
    (oversized, {"orchestrator.a": LONG.format("")}),
    (catchalls, {"orchestrator.api": CATCH.format("Exception", "pass")}),
    (catchalls, {"orchestrator.api": CATCH.format("(OSError, BaseException) as e", "raise X from e")}),
    (catchalls, {"orchestrator.api": "try:\n    f()\nexcept:\n    pass"}),
    (catchalls, {"orchestrator.api": "with contextlib.suppress(Exception):\n    f()"}),
    (catchalls, {"orchestrator.cli": CATCH.format("Exception", "pass") * 2}),
    (names_that_say_nothing, {"orchestrator.planner.utils": ""}),
    (names_that_say_nothing, {"orchestrator.common.rows": ""}),
    (prints_outside_edges, {"orchestrator.planner.plan": "print('planned')"}),
]
LAWFUL: Final[list[tuple[Callable[[list[Module]], list[str]], dict[str, str]]]] = [
    (impure_domain, {"orchestrator.domain.a": "import datetime\nfrom orchestrator.domain import errors"}),
    (broken_floors, {"orchestrator.planner.plan": "import pyarrow\nfrom orchestrator.planner import read"}),
    (broken_floors, {"orchestrator.wiring": "from orchestrator.ledger.sql import SqlLedger"}),
    (strangers_to_adapters, {"orchestrator.providers.openai": "from orchestrator.providers import http"}),
    (steps_that_reach_outside, {"orchestrator.providers.http": "import httpx, time"}),
    (importers_of_the_cli, {"orchestrator.__main__": "from orchestrator.cli import main"}),
    (second_http_clients, {HTTP_HOME: "import httpx", "gateway.upstream": "import httpx"}),
    (import_circles, {"orchestrator.domain.a": FOR_TYPES, "orchestrator.domain.b": "import orchestrator.domain.a"}),
    (oversized, {"orchestrator.a": LONG.format(LONG_DOCSTRING).removesuffix("    x = 1\n")}),
    (catchalls, {"orchestrator.api": CATCH.format("Exception", "undo()\n    raise")}),
    (catchalls, {"workers.tasks": CATCH.format("Exception", "log()")}),
    (prints_outside_edges, {"orchestrator.cli": "print('done')"}),
]


def written(sources: dict[str, str]) -> list[Module]:
    return [Module(name=name, source=source, is_package=name == "workers") for name, source in sources.items()]


@pytest.mark.parametrize(("rule", "sources"), BROKEN)
def test_each_rule_sees_its_breach(rule: Callable[[list[Module]], list[str]], sources: dict[str, str]) -> None:
    assert len(rule(written(sources))) == 1


@pytest.mark.parametrize(("rule", "sources"), LAWFUL)
def test_no_rule_refuses_what_is_lawful(rule: Callable[[list[Module]], list[str]], sources: dict[str, str]) -> None:
    assert rule(written(sources)) == []

"""What the sources do not contain: doors that nobody can leave open, because there is none.

Rule: a checker is a function of parsed modules that returns complaints, so that it can be shown to fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.test_architecture import Module, imported, is_in, modules_of_the_tree

# Reading one of these runs what is in it.
PROGRAMS_AS_DATA: Final = (
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
)
SERVERS: Final = (
    *(
        "http.server",
        "socketserver",
        "wsgiref",
        "xmlrpc",
        "asyncio",
        "flask",
        "starlette",
        "fastapi",
        "uvicorn",
        "aiohttp",
    ),
    *("django", "tornado", "bottle", "werkzeug", "gateway"),
)
TABLES_FOR_PEOPLE: Final = ("openpyxl", "xlsxwriter", "xlwt", "pyarrow.csv.write_csv")
CALLS: Final = frozenset({"eval", "exec", "__import__", "breakpoint"})
METHODS: Final = frozenset(
    {"read_pickle", "to_pickle", "unsafe_load", "full_load", "_create_unverified_context", "mktemp", "popen", "system"}
    | {"set_debuglevel"}
)
WRITES_TABLES: Final = frozenset(
    {"to_csv", "write_csv", "to_excel", "to_html", "to_markdown", "to_clipboard", "DictWriter", "writerow", "writerows"}
)
# Named with a value: whoever writes it has switched a safeguard off.
SWITCHED_OFF: Final = {
    "verify": False,
    "verify_ssl": False,
    "check_hostname": False,
    "ssl_check_hostname": False,
    "shell": True,
    "follow_redirects": True,
    "allow_redirects": True,
    "allow_pickle": True,
    "show_locals": True,
    "capture_locals": True,
}
RUNS_SQL: Final = frozenset({"execute", "exec_driver_sql", "executescript", "text"})
# Put together from constants of ours and from statements that SQLAlchemy has compiled: no value of a stranger's.
SQL_OF_OUR_OWN: Final = (
    "f'SET LOCAL lock_timeout = {MIGRATION_LOCK_MS}'",
    "f'PRAGMA busy_timeout={BUSY_S * 1000}'",
)


def calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the last part of the name that is called."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name, node


def programs_as_data(modules: list[Module]) -> list[str]:
    found = []
    for module in modules:
        found += [f"{module.name} imports {name}" for name in imported(module) if is_in(name, PROGRAMS_AS_DATA)]
        for name, call in calls(module):
            is_plain = isinstance(call.func, ast.Name)
            if (is_plain and name in CALLS) or (not is_plain and name in METHODS):
                found.append(f"{module.name} calls {ast.unparse(call.func)}")
            owner = call.func.value if isinstance(call.func, ast.Attribute) else None
            if name == "load" and isinstance(owner, ast.Name) and owner.id in ("yaml", "torch", "numpy", "np"):
                found.append(f"{module.name} calls {ast.unparse(call.func)}")
    return found


def safeguards_off(modules: list[Module]) -> list[str]:
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            match node:
                case ast.keyword(arg=str(name), value=ast.Constant(value=bool(value))):
                    pass
                case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=bool(value))):
                    pass
                case ast.Attribute(attr=("CERT_NONE" | "CERT_OPTIONAL") as name):
                    found.append(f"{module.name}: {name}")
                    continue
                case ast.Constant(value=("CERT_NONE" | "CERT_OPTIONAL" | "none") as name) if name != "none":
                    found.append(f"{module.name}: {name}")
                    continue
                case _:
                    continue
            if SWITCHED_OFF.get(name) is value:
                found.append(f"{module.name}: {name}={value}")
    return found


def servers(modules: list[Module]) -> list[str]:
    ours = [module for module in modules if not is_in(module.name, ("gateway",))]
    found = [f"{module.name} imports {name}" for module in ours for name in imported(module) if is_in(name, SERVERS)]
    opens = {"create_server", "start_server", "serve_forever", "make_server"}
    return found + [f"{module.name} calls {name}" for module in ours for name, _ in calls(module) if name in opens]


def tables_for_people(modules: list[Module]) -> list[str]:
    found = []
    for module in (module for module in modules if not is_in(module.name, ("gateway",))):
        found += [f"{module.name} imports {name}" for name in imported(module) if is_in(name, TABLES_FOR_PEOPLE)]
        found += [f"{module.name} calls {name}" for name, _ in calls(module) if name in WRITES_TABLES]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "<html" in node.value.lower():
                found.append(f"{module.name} holds HTML")
    return found


def sql_of_values(modules: list[Module]) -> list[str]:
    found = []
    for module in (module for module in modules if not is_in(module.name, ("gateway",))):
        for name, call in calls(module):
            if name not in RUNS_SQL or not call.args:
                continue
            said = call.args[0]
            is_put_together = isinstance(said, ast.JoinedStr | ast.BinOp) or (
                isinstance(said, ast.Call) and isinstance(said.func, ast.Attribute) and said.func.attr == "format"
            )
            if is_put_together and ast.unparse(said) not in SQL_OF_OUR_OWN:
                found.append(f"{module.name}: {ast.unparse(said)}")
    return found


RULES: Final = (programs_as_data, safeguards_off, servers, tables_for_people, sql_of_values)


def test_nothing_that_is_read_is_run() -> None:
    """S3: no pickle and its kin, no eval, no shell, no loader that makes objects."""
    assert programs_as_data(modules_of_the_tree()) == []


def test_no_safeguard_is_switched_off() -> None:
    """S15: certificates and names are always checked, redirects never followed, no shell."""
    assert safeguards_off(modules_of_the_tree()) == []


def test_the_orchestrator_and_its_workers_serve_nothing() -> None:
    """S5 to S7: there is no dashboard and no port to reach; the gateway is a program of its own, for tests."""
    assert servers(modules_of_the_tree()) == []


def test_nothing_is_exported_as_csv_a_spreadsheet_or_html() -> None:
    """S6, S8: answers leave as Parquet and as JSON; whoever adds an export adds the escaping, and this test falls."""
    assert tables_for_people(modules_of_the_tree()) == []


def test_no_statement_is_put_together_from_values() -> None:
    """S18: a value goes to the database as a parameter."""
    assert sql_of_values(modules_of_the_tree()) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (programs_as_data, "import pickle"),
        (programs_as_data, "from cloudpickle import loads"),
        (programs_as_data, "eval(text)"),
        (programs_as_data, "import yaml\nyaml.load(text)"),
        (programs_as_data, "import pandas as pd\npd.read_pickle(path)"),
        (programs_as_data, "import os\nos.system(command)"),
        (safeguards_off, "httpx.Client(verify=False)"),
        (safeguards_off, "context.check_hostname = False"),
        (safeguards_off, "context.verify_mode = ssl.CERT_NONE"),
        (safeguards_off, "options = {'ssl_cert_reqs': 'CERT_NONE'}"),
        (safeguards_off, "client.get(url, follow_redirects=True)"),
        (safeguards_off, "subprocess.run(command, shell=True)"),
        (servers, "from http.server import HTTPServer"),
        (servers, "import starlette.applications"),
        (servers, "socket.create_server(address)"),
        (tables_for_people, "csv.writer(file).writerow(row)"),
        (tables_for_people, "frame.to_csv(path)"),
        (tables_for_people, "page = '<html><body>'"),
        (sql_of_values, "connection.execute(f'SELECT * FROM jobs WHERE name = {name}')"),
        (sql_of_values, "sa.text('SELECT ' + column)"),
        (sql_of_values, "connection.exec_driver_sql('SELECT {}'.format(name))"),
    ],
)
def test_each_rule_sees_its_breach(rule: Callable[[list[Module]], list[str]], source: str) -> None:
    assert rule([Module(name="orchestrator.planted", source=source)]) != []


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_refuses_what_is_lawful(rule: Callable[[list[Module]], list[str]]) -> None:
    lawful = "import json\nre.compile('x')\njson.load(file)\nclient.get(url, verify=True, follow_redirects=False)"

    assert rule([Module(name="orchestrator.lawful", source=lawful)]) == []

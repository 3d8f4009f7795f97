"""What is broken in a line of code, and what is left alone; and that the table of equivalent mutants is in date."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from tests.mutation import equivalents
from tests.mutation.operators import mutants
from tests.mutation.plan import ROOT, modules, stages


def broken(source: str) -> set[str]:
    """Return by what each piece is replaced."""
    return {f"{mutant.was} -> {mutant.now}" for mutant in mutants("m.py", source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"a < b -> (a <= b)", "a < b -> (a >= b)"}),
        ("a == b", {"a == b -> (a != b)"}),
        ("a is not b", {"a is not b -> (a is b)"}),
        ("a in b", {"a in b -> (a not in b)"}),
        ("x = a + b", {"a + b -> (a - b)"}),
        ("x = a // b", {"a // b -> (a * b)"}),
        ("x = a and b", {"a and b -> (a or b)"}),
        ("x = not a", {"not a -> (a)"}),
        ("x = a if b else c", {"a if b else c -> (c if b else a)"}),
        ("x = 7", {"7 -> 8"}),
        ("x = 0.5", {"0.5 -> 2.0"}),
        ("x = True", {"True -> False"}),
        ("x = 'code'", {"'code' -> 'code*'"}),
        ("x = b'code'", {"b'code' -> b'code*'"}),
        ("x = {a: b, c: d}", {"entry a -> left out", "entry c -> left out"}),
        ("x = replace(a, b=c)", {"b=c -> left out"}),
        ("if a:\n    b = c", {"a -> (not a)"}),
        ("def f():\n    return a", {"return a -> return None"}),
        ("def f():\n    g()", {"g() -> pass"}),
        ("def f():\n    a += b", {"a += b -> pass"}),
        ("def f():\n    a.b = c", {"a.b = c -> pass"}),
        ("def f():\n    raise a", {"raise a -> pass"}),
        ("for a in b:\n    break", {"break -> continue"}),
        ("match a:\n    case b():\n        c = d", {"case b() -> left out"}),
    ],
)
def test_a_line_is_broken_so(source: str, expected: set[str]) -> None:
    assert broken(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Words."""',
        "def f(a: 'int | None') -> 'str': ...",
        "@dataclass(frozen=True)\nclass A: ...",
        "assert a < 7",
        "JobId = NewType('JobId', str)",
        "x = 'words for people'",
        "x = f'{a} 7'",
        "Event = A | B",
        "if TYPE_CHECKING:\n    x = 7",
    ],
)
def test_what_says_nothing_of_behaviour_is_left_alone(source: str) -> None:
    assert broken(source) == set()


@pytest.mark.parametrize("path", modules())
def test_every_mutant_can_be_read_differs_and_has_a_name_of_its_own(path: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    found = mutants(path, source)

    assert len({mutant.name for mutant in found}) == len(found)
    assert all(ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source)) for mutant in found)


def test_an_equivalent_mutant_is_in_the_code_and_has_a_reason() -> None:
    """An entry that outlives its line would excuse the next one that looks like it."""
    named = {mutant.name for path in modules() for mutant in mutants(path, (ROOT / path).read_text(encoding="utf-8"))}

    assert set(equivalents.read()) <= named
    assert all(len(reason) > 20 for reason in equivalents.read().values())


def test_every_modules_tests_are_there() -> None:
    assert all((ROOT / test).exists() for path in modules() for stage in stages(path) for test in stage)


def test_some_mutants_of_a_small_module_are_caught() -> None:
    """The whole machinery once: a fork for each, the broken source instead of the module's, pytest's own verdict."""
    module = "orchestrator/domain/lanes.py"
    command = ["run", "--module", module, "--sample", "2", "--own", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    figures = json.loads(done.stdout.strip().splitlines()[-1])
    assert (figures["mutants"], figures["caught"], done.returncode) == (2, 2, 0)

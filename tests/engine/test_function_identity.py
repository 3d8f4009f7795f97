"""What makes two row functions one: code and values that they reach; and what does not count."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.engine.function_identity import FunctionIdentity, changes_of, function_identity

BODY: Final = "def render(row): return {'prompt': %s}\n"
CLASS: Final = """
class Asker:
    tail = 'a'
    def __init__(self, q): self.q = q
    def render(self, row): return {'p': self.q + self.end()}
    def end(self): return self.tail
"""
DECORATED: Final = """
import functools
def asks(q):
    def made(f):
        @functools.wraps(f)
        def inner(row): return {'q': q, **f(row)}
        return inner
    return made
@asks('a')
def render(row): return {'prompt': row['a']}
"""
TYPED: Final = """
from pydantic import BaseModel, Field
class Answer(BaseModel):
    mood: str = Field(description='how')
def render(row): return {'s': Answer.model_json_schema()}
"""
DISPATCH: Final = """
import functools
@functools.singledispatch
def told(a): return 'n'
@told.register
def _(a: str): return 'a'
"""
DATA: Final = """
import dataclasses
@dataclasses.dataclass
class D:
    a: str = 'x'
    b: list = dataclasses.field(default_factory=lambda: ['y'])
def render(row): return {'p': D()}
"""
ENUM: Final = """
import enum
class M(enum.Enum):
    GOOD = 'good'
    def told(self): return self.value + '!'
def render(row): return {'p': [m.told() for m in M]}
"""
JINJA: Final = """
import jinja2
T = jinja2.Environment(trim_blocks=True).from_string('Say {{ a }}')
def render(row): return {'p': T.render(row)}
"""
NUMBERS: Final = "import numpy as np\nW = np.arange(9) * 2\ndef render(row): return {'p': float(W.sum())}\n"
LOCAL: Final = "def render(row):\n    from words import ASK, told as say\n    return {'p': say(ASK)}\n"
WORDS: Final = "ASK = 'a'\nOTHER = 'o'\ndef told(x): return x + TAIL\nTAIL = '.'\n"
# text, what is replaced in it, by what
CHANGED: Final = [
    ("Q = 'a'\n" + BODY % "Q + row['a']", "Q = 'a'", "Q = 'b'"),
    (BODY % "row['a']", "row['a']", "row['b']"),
    ("def told(r): return 'a'\n" + BODY % "told(row)", "'a'", "'b'"),
    ("def one(r): return two(r)\ndef two(r): return 'a'\n" + BODY % "one(row)", "'a'", "'b'"),
    ("render = lambda row, q='a': {'p': q}\n", "'a'", "'b'"),
    ("render, _ = lambda row: {'p': 'a'}, lambda row: {'p': 'b'}\n", "'a'}, lambda", "'b'}, lambda"),
    ("def render(row, *, q='a'): return {'p': q}\n", "'a'", "'b'"),
    ("def made(q):\n    def f(row): return {'p': q}\n    return f\nrender = made('a')\n", "('a')", "('b')"),
    ("from functools import partial\ndef f(q, row): return {'p': q}\nrender = partial(f, 'a')\n", "'a')", "'b')"),
    (CLASS + "render = Asker('a').render\n", "('a')", "('b')"),
    (CLASS + "render = Asker('a').render\n", "tail = 'a'", "tail = 'b'"),
    (CLASS + "render = Asker('a').render\n", "return self.tail", "return self.tail * 2"),
    (CLASS + "class Sub(Asker):\n    pass\nrender = Sub('a').render\n", "return self.tail", "return ''"),
    (CLASS.replace("render", "__call__") + "render = Asker('a')\n", "('a')", "('b')"),
    ("render_q = 1\ndef render(row): return {'p': render.q}\nrender.q = 'a'\n", "q = 'a'", "q = 'b'"),
    (DECORATED, "asks('a')", "asks('b')"),
    (DECORATED, "row['a']", "row['b']"),
    ("import functools\n@functools.cache\ndef told(a): return a + 'a'\n" + BODY % "told(row['a'])", "+ 'a'", "+ 'b'"),
    (DISPATCH + BODY % "told(row['a'])", "return 'a'", "return 'b'"),
    ("def count(n): return 'a' if n else count(n - 1)\n" + BODY % "count(1)", "'a'", "'b'"),
    ("import re\nP = re.compile('a')\n" + BODY % "P.sub('', row['a'])", "('a')", "('b')"),
    ("import re\nP = re.compile('a')\n" + BODY % "P.sub('', row['a'])", "('a')", "('a', re.I)"),
    ("RULES = {'a': 1, 'b': 2}\n" + BODY % "list(RULES)", "'a': 1, 'b': 2", "'b': 2, 'a': 1"),
    ("S = {'a', ('b', frozenset({'c'}))}\n" + BODY % "sorted(S)", "'c'", "'d'"),
    ("N = 1\n" + BODY % "N", "N = 1", "N = True"),
    ("def render(row):\n    def q(): return 'a'\n    return {'p': q()}\n", "'a'", "'b'"),
    ("def render(row): return {'p': [x for x in 'ab']}\n", "'ab'", "'ba'"),
    ("def render(row):\n    try: return {'p': row['a']}\n    except KeyError: return {}\n", "KeyError", "TypeError"),
    ("import config\n" + BODY % "config.ASK", "config", "config2"),
    ("Q = 'a'\n" + BODY % "globals()['Q']", "Q = 'a'", "Q = 'b'"),
    (TYPED, "'how'", "'why'"),
    (TYPED, "mood: str", "mood: int"),
    (DATA, "'x'", "'z'"),
    (DATA, "['y']", "['z']"),
    (ENUM, "'good'", "'fine'"),
    (ENUM, "+ '!'", "+ '?'"),
    (JINJA, "Say", "Tell"),
    (JINJA, "trim_blocks=True", "trim_blocks=False"),
    (NUMBERS, "* 2", "* 3"),
]  # fmt: skip
SAME: Final = [
    ("Q = 'a'\n" + BODY % "Q", "Q = 'a'\n", "# a note\n\n\nQ = 'a'  # more\nUNUSED = object\n"),
    ("S = {'a', 'b'}\n" + BODY % "sorted(S)", "'a', 'b'", "'b', 'a'"),
    ("from threading import Lock\nL = Lock()\n" + BODY % "L.locked()", "L = Lock()", "L = Lock(); M = 1"),
    (CLASS + "render = Asker('a').render\n", "self.q = q", "self.q = q  # note"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "config.py").write_text("ASK = 'a'\n")
    (tmp_path / "config2.py").write_text("ASK = 'b'\n")
    return tmp_path


def identity(folder: Path, text: str, **others: str) -> FunctionIdentity:
    """Import a module of this text anew, and return the identity of its function `render`."""
    for name, content in {"prompts": text, **others}.items():
        (folder / f"{name}.py").write_text(content)
    for name in ("prompts", "config", "config2", "words"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return function_identity(importlib.import_module("prompts").render)


@pytest.mark.parametrize(("text", "old", "new"), CHANGED)
def test_changed_code_and_changed_values_make_another_function(folder: Path, text: str, old: str, new: str) -> None:
    """Or it would be given the answers to the requests of the first."""
    before, after = identity(folder, text), identity(folder, text.replace(old, new))

    assert old in text
    assert before.digest != after.digest
    assert identity(folder, text) == before


@pytest.mark.parametrize(("text", "old", "new"), SAME)
def test_what_changes_no_request_makes_no_other_function(folder: Path, text: str, old: str, new: str) -> None:
    """Or all rows would be paid for again."""
    assert identity(folder, text).digest == identity(folder, text.replace(old, new)).digest


@pytest.mark.parametrize(("old", "new"), [("'a'", "'b'"), ("'.'", "'!'"), ("x + TAIL", "TAIL")])
def test_a_module_imported_inside_the_function_counts(folder: Path, old: str, new: str) -> None:
    before, after = identity(folder, LOCAL, words=WORDS), identity(folder, LOCAL, words=WORDS.replace(old, new))

    assert before.digest != after.digest


def test_of_a_module_of_ones_own_only_what_is_used_counts(folder: Path) -> None:
    """A name that the function does not use may change, or hold what has no identity."""
    text = "import words\n" + BODY % "words.told(words.ASK)"
    before = identity(folder, text, words=WORDS)

    assert identity(folder, text, words=WORDS.replace("'o'", "open(__file__)")).digest == before.digest
    assert identity(folder, text, words=WORDS.replace("'.'", "'!'")).digest != before.digest


@pytest.mark.parametrize(
    ("value", "kind"),
    [("open(__file__)", "TextIOWrapper"), ("(x for x in 'a')", "generator"), ("threading.local()", "_local")],
)
def test_what_cannot_be_told_from_another_is_refused_with_the_way_out(folder: Path, value: str, kind: str) -> None:
    text = f"import threading\nHELD = {{'deep': [{value}]}}\n" + BODY % "HELD"

    with pytest.raises(ConfigError, match=rf'render uses a {kind} \(HELD\).* give render_version="1"'):
        identity(folder, text)


TELL: Final = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from orchestrator.engine.function_identity import function_identity\n"
    "import prompts; print(function_identity(prompts.render).digest)"
)


def test_an_identity_is_the_same_in_every_process(folder: Path) -> None:
    """Whatever the seed of Python's hashes; also in the process that runs the module as a script."""
    text = "\n".join((CLASS, DATA, ENUM, "S = {'a', ('b', 'c'), frozenset({'d', 'e'})}", "T = Asker('a')"))
    (folder / "prompts.py").write_text(text + "\ndef render(row): return {'p': (S, T, D, M, {'x', 'y', 'z'})}\n")
    (folder / "script.py").write_text(
        (folder / "prompts.py").read_text()
        + "from orchestrator.engine.function_identity import function_identity\nprint(function_identity(render).digest)"
    )
    told = {
        subprocess.run(
            [sys.executable, *arguments, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed, arguments in (("1", ["-c", TELL]), ("2", ["-c", TELL]), ("3", [str(folder / "script.py")]))
    }

    assert len(told) == 1


def test_a_change_is_named_without_its_value(folder: Path) -> None:
    text = (
        "SECRET = 'sk-very-secret'\nimport pydantic\ndef render(row): return {'p': SECRET, 'q': pydantic.BaseModel}\n"
    )
    before, after = identity(folder, text), identity(folder, text.replace("secret'", "other'"))
    told = changes_of(before.parts, after.parts)

    assert told.startswith("prompts.SECRET ")
    assert "sk-very" not in json.dumps(dict(before.parts))
    assert before.parts["pydantic"] == sys.modules["pydantic"].VERSION
    assert changes_of({**before.parts, "python": "3.10"}, before.parts).startswith("Python 3.10 -> ")


def test_a_package_that_is_named_as_ones_own_is_followed_where_it_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has it as an installed package, the submitting machine as a folder."""
    installed = folder / "site-packages"
    installed.mkdir()
    monkeypatch.syspath_prepend(str(installed))
    (installed / "words.py").write_text(WORDS)
    text = "import words\n" + BODY % "words.told(words.ASK)"
    identity(folder, text)
    render: Any = sys.modules["prompts"].render

    assert "words.ASK" in function_identity(render, own="words").parts
    assert function_identity(partial(render)).digest != function_identity(render).digest

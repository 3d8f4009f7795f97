"""The identity of a row function: its code, and the values of everything that it reaches.

Rule 1: what is running counts, not its source text: a file may have been edited since it was imported. So comments and
        names of files do not count, and the same source has another identity under another minor version of Python.
Rule 2: code of the user's own is followed, as far as its bytecode names globals, imports, closures and classes;
        libraries count by name and version.
Rule 3: an object counts by what pickle would keep of it. What pickle cannot keep has no identity, and is refused.
Rule 4: the order of a dict counts, as a function may depend on it; the order of a set and of attributes does not.
Rule 5: names of values and digests of them are all that leaves this module, never a value.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import importlib
import importlib.util
import json
import marshal
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import EnumMeta
from typing import Any, Final

from orchestrator.domain.errors import ConfigError
from orchestrator.engine.libraries import is_library, version_of

PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented)})
LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_CLASSDEREF"})
ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
ALL_GLOBALS: Final = frozenset({"globals", "eval", "exec"})  # what calls them may reach any global
# Of a class's own names, those that say what it does beside its functions and values.
KEPT_DUNDERS: Final = frozenset(
    {"__annotations__", "__dataclass_fields__", "__pydantic_fields__", "__private_attributes__"}
)
LOCKS: Final = (type(threading.Lock()), type(threading.RLock()))  # they hold nothing
_CACHED: Final = type(functools.lru_cache(len))
PYTHON: Final = "python"
NAMED_MAX: Final = 4  # parts in a message
WAY_OUT: Final = (
    'give render_version="1" and change it whenever the function is to give other requests, or use text, numbers, '
    "lists or dicts instead"
)


@dataclass(frozen=True, slots=True)
class FunctionIdentity:
    """The identity of a function, and what it is made of, for a message that says what has changed."""

    digest: str
    parts: Mapping[str, str]  # name of a function, value or library: its digest or version


def function_identity(function: Callable[..., Any], *, own: str = "") -> FunctionIdentity:
    """Return the identity of a row function.

    Args:
        own: a top-level package that is the user's own, even where it is installed like a library.

    Raises ConfigError for a function that reaches a value without an identity: two jobs must not look like one.
    """
    reader = _Reader(own)
    try:
        digest = reader.of(function)
    except RecursionError:
        raise ConfigError(f"render reaches values that are nested too deeply: {WAY_OUT}") from None
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return FunctionIdentity(digest.hex()[:16], {PYTHON: python, **dict(sorted(reader.parts.items()))})


def changes_of(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return which parts of a function have changed: values by name, libraries and Python by version."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None or new is None:
            told.append(f"{name} is {'new' if old is None else 'gone'}")
        elif name == PYTHON:
            told.append(f"Python {old} -> {new} (the code of another minor version cannot be compared)")
        else:
            told.append(f"{name} {old} -> {new}")
    if len(told) > NAMED_MAX:
        told = [*told[:NAMED_MAX], "…"]
    return "; ".join(told) or "its code, or a value that it uses, has changed"


def _hash(tag: str, *children: bytes) -> bytes:
    found = hashlib.sha256(tag.encode("utf-8", "backslashreplace"))
    for child in children:
        found.update(len(child).to_bytes(8, "big") + child)
    return found.digest()


def _plain_bytes(value: Any) -> bytes | None:
    """Return one form of a value that holds nothing but Python's own plain types, fast; None of any other.

    Marshal takes these types alone, and in this version writes no references; JSON refuses sets, whose order varies.
    """
    try:
        json.dumps(value)
        return marshal.dumps(value, 2)
    except (TypeError, ValueError, RecursionError):
        return None


def _text(value: object) -> bytes:
    return repr(value).encode("utf-8", "backslashreplace")


@dataclass(slots=True)
class _Reader:
    """Digests values, children first; a value that is being read already is named by its depth."""

    own: str
    parts: dict[str, str] = field(default_factory=dict)
    _path: list[str] = field(default_factory=list)  # names on the way to the present value, for messages
    _depths: dict[int, int] = field(default_factory=dict)  # values being read, by id
    _known: dict[int, tuple[object, bytes]] = field(default_factory=dict)  # kept, so that no id is used twice

    def of(self, value: Any, name: str = "") -> bytes:
        """Return the digest of a value. Raises ConfigError where it has none."""
        if type(value) in PLAIN:
            return _hash("plain", _text(value))
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._depths:
            return _hash(f"above {self._depths[id(value)]}")
        self._depths[id(value)] = len(self._depths)
        if name:
            self._path.append(name)
        digest = self._compound(value)
        if name:
            self._path.pop()
        del self._depths[id(value)]
        self._known[id(value)] = value, digest
        return digest

    def _compound(self, value: Any) -> bytes:
        if type(value) in (list, tuple, dict) and (plain := _plain_bytes(value)) is not None:
            return _hash("plain", plain)
        match value:
            case list() | tuple() if type(value) in (list, tuple):
                return _hash(type(value).__name__, *map(self.of, value))
            case dict() if type(value) is dict:
                return self._pairs(value.items())
            case set() | frozenset() if type(value) in (set, frozenset):
                return _hash(type(value).__name__, *sorted(_Reader(self.own).of(item) for item in value))
            case types.ModuleType():
                return self._module(value)
            case type():
                return self._class(value)
            case types.MappingProxyType():
                return self._pairs(value.items())
            case weakref.ReferenceType() | weakref.WeakKeyDictionary() | weakref.WeakValueDictionary():
                return _hash("weak")
        if value is os.environ:  # what is read from it shows in the sample
            return _hash("the environment")
        if isinstance(value, LOCKS):
            return _hash("lock")
        found = self._callable(value)
        return self._reduced(value) if found is None else found

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> bytes:
        return _hash("dict", *(self.of(one) for pair in pairs for one in pair))

    def _named(self, pairs: Mapping[str, Any]) -> bytes:
        """Return the digest of attributes, whose order does not count."""
        return _hash("names", *(_hash(name, self.of(pairs[name], str(name))) for name in sorted(pairs, key=str)))

    def _callable(self, value: Any) -> bytes | None:
        match value:
            case types.FunctionType():
                return self._function(value)
            case types.MethodType():
                return _hash("method", self.of(value.__func__), self.of(value.__self__))
            case staticmethod() | classmethod():
                return _hash(type(value).__name__, self.of(value.__func__))
            case functools.cached_property():
                return _hash("cached property", self.of(value.func))
            case property():
                return _hash("property", *map(self.of, (value.fget, value.fset, value.fdel)))
            case types.BuiltinFunctionType():
                owner = value.__self__
                bound = b"" if isinstance(owner, types.ModuleType | None) else self.of(owner)
                return _hash(f"{value.__module__}.{value.__qualname__}", bound)
            case types.MemberDescriptorType() | types.GetSetDescriptorType() | types.WrapperDescriptorType():
                return _hash(f"descriptor {value.__qualname__}")
            case types.MethodDescriptorType() | types.ClassMethodDescriptorType():
                return _hash(f"descriptor {value.__qualname__}")
            case types.CodeType():
                return self._code(value)
        if isinstance(value, _CACHED):  # what it has cached follows from the function
            return _hash("cached", self.of(value.__wrapped__))
        return None

    def _function(self, function: types.FunctionType) -> bytes:
        names, module = function.__globals__, function.__globals__.get("__name__", "")
        cells = [
            _hash("empty") if _is_empty(cell) else self.of(cell.cell_contents) for cell in function.__closure__ or ()
        ]
        if self._is_library(module):
            # A wrapper of a library holds values of the user's in its closure.
            return _hash(f"{self._library(module)}.{function.__qualname__}", *cells)
        code = self._code(function.__code__)
        self.parts[f"{_shown(module)}{function.__qualname__}"] = code.hex()[:8]
        given = {"defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
        attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        reached = [
            _hash(label, self._global(value, label, module)) for label, value in self._reached(function.__code__, names)
        ]
        return _hash("function", code, self._named(given), self._named(attributes), *cells, *reached)

    def _global(self, value: Any, label: str, module: str) -> bytes:
        digest = self.of(value, label)
        if not isinstance(value, types.FunctionType | types.ModuleType | type):
            self.parts[label if "." in label else f"{_shown(module)}{label}"] = digest.hex()[:8]
        return digest

    def _code(self, code: types.CodeType) -> bytes:
        constants = [self._code(one) if isinstance(one, types.CodeType) else self.of(one) for one in code.co_consts]
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        return _hash("code", code.co_code, code.co_exceptiontable, _text(counts), _text(names), *constants)

    def _reached(self, code: types.CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the globals and imports that a function's bytecode names, by name, each once."""
        found: dict[str, Any] = {}
        for instructions in map(list, map(dis.get_instructions, _nested(code))):
            for place, instruction in enumerate(instructions):
                if instruction.opname in LOADS:
                    chain = [str(instruction.argval), *_attributes(instructions[place + 1 :])]
                    found |= self._resolved(chain, names)
                elif instruction.opname == "IMPORT_NAME":
                    level, wanted = instructions[place - 2].argval, instructions[place - 1].argval
                    found |= self._imported(str(instruction.argval), level, wanted or (), names)
        yield from sorted(found.items())

    def _resolved(self, chain: list[str], names: dict[str, Any]) -> dict[str, Any]:
        name = chain[0]
        if name.startswith("__"):
            return {}
        if name not in names:
            if name in ALL_GLOBALS:
                return {one: value for one, value in names.items() if not one.startswith("__")}
            return {}  # a builtin, or missing: its name is in the code
        value, label = names[name], name
        for attribute in chain[1:]:
            if not isinstance(value, types.ModuleType) or self._is_library(value.__name__):
                break
            if not hasattr(value, attribute):
                return {f"{label}.{attribute}": None}
            value, label = getattr(value, attribute), f"{label}.{attribute}"
        return {label: value}

    def _imported(self, name: str, level: Any, wanted: Iterable[str], names: dict[str, Any]) -> dict[str, Any]:
        """Return what an import inside a function brings: a module, or the names that it takes from one."""
        try:
            if level:
                name = importlib.util.resolve_name("." * int(level) + name, names.get("__package__") or "")
            module = importlib.import_module(name)
        except Exception:  # noqa: BLE001 - the user's module may raise anything; the function may not come so far
            return {f"import {name}": None}
        if self._is_library(name) or not wanted:
            return {f"import {name}": module}
        found: dict[str, Any] = {}
        for one in wanted:
            if not hasattr(module, one):
                found |= self._imported(f"{name}.{one}", 0, (), names)
            else:
                found[f"{name}.{one}"] = getattr(module, one)
        return found

    def _module(self, module: types.ModuleType) -> bytes:
        if self._is_library(module.__name__):
            return _hash(f"module {self._library(module.__name__)}", module.__name__.encode())
        held = {name: value for name, value in vars(module).items() if not name.startswith("__")}
        return _hash("module", *(_hash(name, self._global(held[name], name, module.__name__)) for name in sorted(held)))

    def _class(self, cls: type) -> bytes:
        if self._is_library(cls.__module__):
            return _hash(f"class {self._library(cls.__module__)}.{cls.__qualname__}")
        members = {}
        for name, value in vars(cls).items():
            is_special = name.startswith("__") or name == "_abc_impl"
            if name in KEPT_DUNDERS or not is_special or isinstance(value, types.FunctionType | classmethod):
                members[name] = value
        if isinstance(cls, EnumMeta):
            members_of: Mapping[str, Any] = cls.__members__
            values = {name: member.value for name, member in members_of.items()}
            functions = {
                name: value for name, value in members.items() if isinstance(value, types.FunctionType | property)
            }
            content = _hash("enum", self.of(values), self._named(functions))
        else:
            content = self._named(members)
        digest = _hash("class", content, *map(self.of, cls.__bases__), self.of(type(cls)))
        self.parts[f"{_shown(cls.__module__)}{cls.__qualname__}"] = digest.hex()[:8]
        return digest

    def _reduced(self, value: Any) -> bytes:
        """Return the digest of what pickle would keep of an object."""
        if isinstance(type(value), EnumMeta):
            return _hash("member", self.of(value.name), self.of(value.value), self.of(type(value)))
        reduce = copyreg.dispatch_table.get(type(value))
        try:
            kept = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as pickle does: an object's own method may raise anything
            raise ConfigError(self._refusal(value)) from None
        if isinstance(kept, str):
            return _hash(f"object {type(value).__module__} {kept}")
        make, arguments, state, items, pairs = (*kept, None, None, None)[:5]
        return _hash(
            "object",
            self.of(make),
            _hash("arguments", *map(self.of, arguments)),
            self._state(value, state),
            _hash("items", *map(self.of, items or ())),
            self._pairs(pairs or ()),
        )

    def _state(self, value: Any, state: Any) -> bytes:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # attributes, and slots
            return _hash("both", self._state(value, state[0]), self._state(value, state[1]))
        if type(state) is not dict:
            return self.of(state)
        lazy = {name for name in state if isinstance(getattr(type(value), str(name), None), functools.cached_property)}
        return self._named({name: held for name, held in state.items() if name not in lazy})

    def _refusal(self, value: object) -> str:
        where = f" ({'.'.join(self._path)})" if self._path else ""
        return (
            f"render uses a {type(value).__name__}{where}, which a later run cannot tell from another one, so that "
            f"changed code could get old answers: {WAY_OUT}"
        )

    def _is_library(self, module: str) -> bool:
        top = module.partition(".")[0]
        return top != self.own and is_library(top)

    def _library(self, module: str) -> str:
        top = module.partition(".")[0]
        version = version_of(top)
        if version:
            self.parts[top] = version
        return f"{module} {version}"


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it raises where it is empty
    except ValueError:
        return True
    return False


def _shown(module: str) -> str:
    return "" if module in ("", "__main__") else f"{module}."


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _attributes(instructions: list[dis.Instruction]) -> Iterator[str]:
    for instruction in instructions:
        if instruction.opname not in ATTRIBUTES:
            return
        yield str(instruction.argval)

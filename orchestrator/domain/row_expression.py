"""Conditions on the columns of a row, as in the WHERE of an SQL query: parsed here, evaluated elsewhere.

    llm_response = 'maybe' AND llm_score < 0.3
    "the text" LIKE '%refund%' OR NOT id IN (1, 2, 3)

Rule 1: nothing is executed: there are columns, values, and the operators and functions listed here, and nothing else.
Rule 2: as in SQL a comparison with a value that is not there is neither true nor false: such a row is not chosen.
Rule 3: an error says where in the text it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from orchestrator.domain.errors import ConfigError

FUNCTIONS: Final = ("length", "lower", "upper", "trim", "abs", "number")
COMPARISONS: Final = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
LENGTH_MAX: Final = 100_000
DEPTH_MAX: Final = 60
SIGNS_MAX: Final = 100
_WORDS: Final = frozenset(["and", "or", "not", "in", "like", "ilike", "is", "null", "true", "false", "between"])
_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<text>'(?:[^']|'')*')
             | (?P<quoted>"(?:[^"]|"")+"|`(?:[^`]|``)+`)
             | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
             | (?P<word>[^\W\d]\w*)
             | (?P<sign><=|>=|<>|!=|==|[-=<>(),+*/.]) )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; more names than one: a field of a struct, or a name with dots."""

    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The column as it was written."""
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Value:
    """A value that was written."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function, with what it works on.

    `and`, `or`, `not`, the signs of COMPARISONS, `+ - * /`, `in` (the first among the others), `like`, `ilike`, `null`,
    and FUNCTIONS.
    """

    name: str
    of: tuple[Node, ...]


Node = Column | Value | Call


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


def parsed(text: str) -> Node:
    """Return the condition that `text` is. Raises ConfigError, which says where it is none."""
    if len(text) > LENGTH_MAX:
        raise ConfigError(f"a condition has at most {LENGTH_MAX:,} characters: list keys in a file instead (--keys)")
    parser = _Parser(text, _tokens(text))
    node = parser.either()
    if parser.present.kind != "end":
        raise parser.refused("expected AND, OR or the end")
    return node


def columns_of(node: Node) -> list[Column]:
    """Return the columns that a condition names, each once, in order."""
    if isinstance(node, Column):
        return [node]
    found = [] if isinstance(node, Value) else [column for one in node.of for column in columns_of(one)]
    return list(dict.fromkeys(found))


def _tokens(text: str) -> list[_Token]:
    found, at = list[_Token](), 0
    end = len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            rest = text[at:].lstrip()
            what = "a text has no end: it is written 'so', a quote in it twice" if rest[0] in "'\"`" else "unexpected"
            raise _refused(text, len(text) - len(rest), what)
        found.append(_Token(token.lastgroup, token[token.lastgroup], token.start(token.lastgroup)))
        at = token.end()
    return [*found, _Token("end", "", end)]


def _refused(text: str, at: int, what: str) -> ConfigError:
    before, after = text[max(0, at - 30) : at], text[at : at + 30]
    return ConfigError(f"--rows: {what} at character {at + 1}: {before}»{after}")


class _Parser:
    """Reads tokens from left to right; each method reads what binds tighter than the one before."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text, self._tokens, self._at, self._depth, self._signs = text, tokens, 0, 0, 0

    @property
    def present(self) -> _Token:
        """The token that is read next."""
        return self._tokens[self._at]

    def refused(self, what: str) -> ConfigError:
        """Return the error that the present token is."""
        return _refused(self._text, self.present.start, what)

    def either(self) -> Node:
        """Read alternatives."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self.refused(f"more than {DEPTH_MAX} levels of brackets")
        found = [self._both()]
        while self._takes("or"):
            found.append(self._both())
        self._depth -= 1
        return found[0] if len(found) == 1 else Call("or", tuple(found))

    def _both(self) -> Node:
        found = [self._denied()]
        while self._takes("and"):
            found.append(self._denied())
        return found[0] if len(found) == 1 else Call("and", tuple(found))

    def _denied(self) -> Node:
        times = 0
        while self._takes("not"):
            times += 1
        found = self._compared()
        return Call("not", (found,)) if times % 2 else found

    def _compared(self) -> Node:
        left = self._sum()
        if self.present.kind == "sign" and self.present.text in COMPARISONS:
            return Call(COMPARISONS[self._next().text], (left, self._sum()))
        if self._takes("is"):
            is_denied = self._takes("not")
            self._needs("null")
            return _perhaps_not(is_denied, Call("null", (left,)))
        is_denied = self._takes("not")
        if self._takes("in"):
            return _perhaps_not(is_denied, Call("in", (left, *self._list())))
        if self._takes("between"):
            low = self._sum()
            self._needs("and")
            within = Call("and", (Call(">=", (left, low)), Call("<=", (left, self._sum()))))
            return _perhaps_not(is_denied, within)
        for name in ("like", "ilike"):
            if self._takes(name):
                if self.present.kind != "text":
                    raise self.refused("expected a pattern such as '%word%' (% any characters, _ one)")
                return _perhaps_not(is_denied, Call(name, (left, Value(_unquoted(self._next().text)))))
        if is_denied:
            raise self.refused("expected IN, LIKE, ILIKE or BETWEEN after NOT")
        return left

    def _list(self) -> list[Node]:
        self._needs("(")
        found = [self._value()]
        while self._takes(","):
            found.append(self._value())
        self._needs(")")
        return found

    def _value(self) -> Node:
        found = self._part()
        if not isinstance(found, Value):
            raise self.refused("expected values, such as IN ('a', 'b'), before this")
        return found

    def _sum(self) -> Node:
        found = self._product()
        while self.present.kind == "sign" and self.present.text in "+-":
            found = Call(self._sign(), (found, self._product()))
        return found

    def _product(self) -> Node:
        found = self._part()
        while self.present.kind == "sign" and self.present.text in "*/":
            found = Call(self._sign(), (found, self._part()))
        return found

    def _sign(self) -> str:
        """Read a sign of a sum or a product. Each makes the condition deeper, as a bracket does."""
        self._signs += 1
        if self._signs > SIGNS_MAX:
            raise self.refused(f"more than {SIGNS_MAX} signs of + - * /")
        return self._next().text

    def _part(self) -> Node:
        token = self.present
        if token.kind == "text":
            return Value(_unquoted(self._next().text))
        if token.kind == "number":
            text = self._next().text
            return Value(int(text) if text.isdecimal() else float(text))
        if token.kind == "quoted" or (token.kind == "word" and token.text.lower() not in _WORDS):
            return self._named()
        if self._takes("("):
            found = self.either()
            self._needs(")")
            return found
        if token.kind == "sign" and token.text == "-":
            self._sign()
            found = self._part()
            if isinstance(found, Value) and isinstance(found.value, int | float):
                return Value(-found.value)
            return Call("-", (Value(0), found))
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self._takes(word):
                return Value(value)
        raise self.refused("expected a column or a value")

    def _named(self) -> Node:
        token = self._next()
        if token.kind == "word" and self.present.text == "(":
            name = token.text.lower()
            if name not in FUNCTIONS:
                self._at -= 1
                raise self.refused(f"there is no function {token.text}; there are: {', '.join(FUNCTIONS)}")
            self._needs("(")
            found = self._sum()
            self._needs(")")
            return Call(name, (found,))
        names = [_name(token)]
        while self._takes("."):
            if self.present.kind not in ("word", "quoted"):
                raise self.refused("expected the name of a field")
            names.append(_name(self._next()))
        return Column(tuple(names))

    def _next(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _takes(self, text: str) -> bool:
        is_it = self.present.kind in ("word", "sign") and self.present.text.lower() == text
        self._at += is_it
        return is_it

    def _needs(self, text: str) -> None:
        if not self._takes(text):
            raise self.refused(f"expected {text.upper()}")


def _perhaps_not(is_denied: bool, node: Node) -> Node:
    return Call("not", (node,)) if is_denied else node


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _name(token: _Token) -> str:
    return _unquoted(token.text) if token.kind == "quoted" else token.text

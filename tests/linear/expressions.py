"""All regular expressions of the libraries and services, and texts that make a careless expression slow.

Each text consists of the expression's own characters, in ones and twos, repeated many times. Such a text makes an
expression try every place of a long run, or every way to divide it.
"""

import ast
import importlib
import re
import time
from collections.abc import Iterable, Iterator
from itertools import accumulate, product
from pathlib import Path
from typing import AnyStr

from measuring import MOST_TIMES

ROOT = Path(__file__).resolve().parents[2]
_FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
_MOST_ATOMS = 12
_SCREEN = 3000
_SUSPECT_SECONDS = 0.0005
_SLOW_SECONDS = 0.005


def sources() -> list[Path]:
    """Every module of the libraries and services."""
    return sorted(path for part in ("libs", "services") for path in (ROOT / part).glob("*/src/**/*.py"))


def places(source: str) -> list[str]:
    """The places where a module makes a regular expression: its name, or ``function()``."""
    tree = ast.parse(source)
    found: list[str] = []
    _visit(tree, "", found)
    return found


def _visit(node: ast.AST, where: str, found: list[str]) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        where = f"{node.name}()"
    elif isinstance(node, ast.Assign | ast.AnnAssign) and not where.endswith("()"):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        where = ast.unparse(target)
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        where = node.targets[0].attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FUNCTIONS:
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "re":
            found.append(where)
    for child in ast.iter_child_nodes(node):
        _visit(child, where, found)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return ".".join(parts[3:]).removesuffix(".py").removesuffix(".__init__")


def everywhere() -> list[tuple[str, str]]:
    """(module, name) of all expressions."""
    return sorted({(module_of(path), name) for path in sources() for name in places(path.read_text("utf-8"))})


def of_module(module: str, name: str) -> list[re.Pattern[str] | re.Pattern[bytes]]:
    """The compiled expressions under a module's name; none when they belong to an object or a function."""
    value = getattr(importlib.import_module(module), name, None)
    found = value if isinstance(value, tuple) else (value,)
    return [one for one in found if isinstance(one, re.Pattern)]


def uses(module: str, name: str) -> set[str]:
    """How the module applies the expression: ``fullmatch``, ``match``; ``search`` stands for all other ways."""
    tree = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text("utf-8"))
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == name
    }
    return {one if one in ("fullmatch", "match") else "search" for one in found} or {"search"}


def slow_texts(pattern: "re.Pattern[AnyStr]", how: Iterable[str] = ("search",)) -> Iterator[str]:
    """The texts on which the expression's cost grows faster than their length, described."""
    is_text = isinstance(pattern.pattern, str)
    source = pattern.pattern if is_text else pattern.pattern.decode("latin-1")
    atoms = _atoms(source, pattern.flags)
    pumps = [*atoms, *(a + b for a, b in product(atoms, atoms) if a != b)]
    for prefix, pump, suffix in product(["", *atoms], pumps, ["", "\n", "!"]):
        if pump == prefix:
            continue

        def text(n: int, prefix: str = prefix, pump: str = pump, suffix: str = suffix) -> AnyStr:
            made = prefix + pump * (n // len(pump)) + suffix
            return made if is_text else made.encode("latin-1", "replace")  # type: ignore[return-value]

        for way in (getattr(pattern, one) for one in how):
            if _seconds(way, text(_SCREEN), 1) < _SUSPECT_SECONDS or _seconds(way, text(_SCREEN)) < _SUSPECT_SECONDS:
                continue
            if _is_slow(way, text):
                yield f"{way.__name__} of {prefix!r} + {pump!r} × n + {suffix!r}"


def _is_slow(way: object, text: object) -> bool:
    size = _SCREEN
    while _seconds(way, text(size)) < _SLOW_SECONDS and size < 2**20:  # type: ignore[operator]
        size *= 2
    return all(
        _seconds(way, text(4 * size)) > MOST_TIMES * max(_seconds(way, text(size)), _SLOW_SECONDS)  # type: ignore[operator]
        for _ in range(3)
    )


def _seconds(way: object, text: object, runs: int = 3) -> float:
    least = float("inf")
    for _ in range(runs):
        begun = time.thread_time()
        way(text)  # type: ignore[operator]
        least = min(least, time.thread_time() - begun)
    return least


def _atoms(source: str, flags: int) -> list[str]:
    """Characters of the expression: one of each of its classes, and its literal strings."""
    single: dict[str, None] = {}
    literals: list[str] = []
    _walk(re._parser.parse(source, flags & re.VERBOSE), single, literals)  # type: ignore[attr-defined]
    kept = [one for one in dict.fromkeys([*literals, *accumulate(filter(None, literals))]) if len(one) > 1]
    kept = kept[:6]
    return [*kept, *list(single)[: _MOST_ATOMS - len(kept)]]


_OF_CATEGORY = {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}


def _walk(parsed: object, single: dict[str, None], literals: list[str]) -> None:
    run = ""
    for operator, argument in parsed:  # type: ignore[attr-defined]
        name = str(operator)
        if name == "LITERAL":
            run += chr(argument)
            single.setdefault(chr(argument))
            continue
        literals.append(run)
        run = ""
        if name in ("NOT_LITERAL", "ANY"):
            single.setdefault("a" if argument != ord("a") else "b")
        elif name == "RANGE":
            single.setdefault(chr(argument[0]))
        elif name == "CATEGORY":
            single.setdefault(_OF_CATEGORY.get(str(argument), "a"))
        elif name == "NEGATE":
            single.setdefault("a")
        elif name == "IN":
            _walk(argument, single, literals)
        else:
            for part in argument if isinstance(argument, tuple) else (argument,):
                _descend(part, single, literals)
    literals.append(run)


def _descend(part: object, single: dict[str, None], literals: list[str]) -> None:
    if isinstance(part, re._parser.SubPattern):  # type: ignore[attr-defined]
        _walk(part, single, literals)
    elif isinstance(part, list):
        for one in part:
            _descend(one, single, literals)

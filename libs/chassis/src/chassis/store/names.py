"""Names of tables and columns for SQL statements, read from the models' source at import.

An unknown name raises ``UnknownNameError`` when the module of the statement is imported. The source is parsed, not
imported: SQLAlchemy is loaded only when a person asks for something (docs/adr/0027).
"""

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class UnknownNameError(AttributeError):
    """A statement names a table or column that no model has."""


class TableNames:
    """The names of one model: ``str()`` gives the table's name, an attribute the name of the column."""

    def __init__(self, model: str, table: str, columns: frozenset[str]) -> None:
        self._model = model
        self._table = table
        self._columns = columns

    def __str__(self) -> str:
        return self._table

    def __getattr__(self, column: str) -> str:
        if column not in self._columns:
            raise UnknownNameError(f"the model {self._model} has no column {column}")
        return column


class ModelNames:
    """The models of one module, each as an attribute."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._tables = _tables_in(module)

    def __getattr__(self, model: str) -> TableNames:
        if model not in self._tables:
            raise UnknownNameError(f"there is no model {model} in {self._module}")
        table, columns = self._tables[model]
        return TableNames(f"{self._module}.{model}", table, columns)


def names_in(module: str) -> ModelNames:
    """The names of the models in ``module``, such as ``notifier.store.tables``."""
    return ModelNames(module)


@cache
def _tables_in(module: str) -> Mapping[str, tuple[str, frozenset[str]]]:
    """The table's name and its columns, by model class."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}", name=module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for model in tree.body:
        if isinstance(model, ast.ClassDef):
            table = next((name for line in model.body if (name := _table_name(line)) is not None), None)
            if table is not None:
                found[model.name] = table, frozenset(filter(None, map(_column_name, model.body)))
    return found


def _table_name(line: ast.stmt) -> str | None:
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    is_it = any(isinstance(target, ast.Name) and target.id == "__tablename__" for target in targets)
    value = line.value if is_it and isinstance(line, ast.Assign | ast.AnnAssign) else None
    return str(value.value) if isinstance(value, ast.Constant) else None


def _column_name(line: ast.stmt) -> str | None:
    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and not line.target.id.startswith("_"):
        return line.target.id
    return None


CHASSIS = names_in("chassis.store.tables")

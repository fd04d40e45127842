"""The models define the store: no other place writes a table's or a column's name in SQL."""

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from chassis.store import names
from chassis.store import tables as chassis_tables
from notifier.store import tables as notifier_tables
from scheduler_sync.store import tables as sync_tables

ROOT = Path(__file__).parents[2]
MODELS = (chassis_tables, notifier_tables, sync_tables)
TABLES = sorted({name for module in MODELS for name in module.Base.metadata.tables})
# SQL without tables of ours asks the server itself: time, locks, settings, large objects.
OF_A_TABLE = re.compile(
    rf"\b(?:FROM|INTO|UPDATE|JOIN|TABLE)\s+(?:ONLY\s+)?(?:{'|'.join(TABLES)})\b|\b(?:{'|'.join(TABLES)})\s+SET\b"
)
PLACES = ("statements.py", "migrations", "schema")
"""Places with SQL: the rooms' statements, built from the models' names, and the migrations."""
STATEMENTS = sorted(path for member in ("libs", "services") for path in (ROOT / member).glob("*/src/**/statements.py"))


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Each string of a module with its line; f-strings have ``?`` for inserted values. Docstrings are left out."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inside:
            yield node.lineno, node.value


def found_in(source: str) -> list[int]:
    return [line for line, text in texts(source) if OF_A_TABLE.search(text)]


def test_no_sql_of_a_table_stands_outside_of_the_rooms_statements() -> None:
    sources = [path for member in ("libs", "services") for path in (ROOT / member).glob("*/src/**/*.py")]
    assert len(sources) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources
        if path.name not in PLACES and not set(PLACES) & set(path.parts)
        for line in found_in(path.read_text())
    ]
    assert found == []


def test_the_rooms_statements_spell_no_table_themselves() -> None:
    assert len(STATEMENTS) > 6
    assert [f"{path.relative_to(ROOT)}:{line}" for path in STATEMENTS for line in found_in(path.read_text())] == []


@pytest.mark.parametrize(
    "text",
    ['"SELECT 1 FROM outbox"', 'f"DELETE FROM {1} JOIN inbox ON true"', '"UPDATE deliveries SET state = 1"',
     '"INSERT INTO\\n  hl7_journal (id)"'],
)  # fmt: skip
def test_sql_of_a_table_is_seen(text: str) -> None:
    assert found_in(f'"""SELECT 1 FROM outbox."""\nasked = {text}\n') == [2]


@pytest.mark.parametrize("module", MODELS, ids=lambda module: module.__name__)
def test_the_names_that_are_read_from_the_source_are_the_models(module) -> None:
    mapped = {
        mapper.class_.__name__: (mapper.local_table.name, frozenset(mapper.local_table.columns.keys()))
        for mapper in module.Base._sa_registry.mappers
    }
    assert names.names_in(module.__name__)._tables == mapped


RENAMED = {
    "chassis/store/tables.py": [
        ("    sent_at:", "chassis.messaging.statements", "Outbox has no column sent_at"),
        ("    lease_token:", "chassis.deliveries.statements", "Deliveries has no column lease_token"),
        ("    control_id:", "chassis.hl7.statements", "Hl7Journal has no column control_id"),
        ("    detail:", "chassis.store.statements", "OperatorAudit has no column detail"),
        ("    due_at:", "chassis.store.statements", "Timers has no column due_at"),
    ],
    "scheduler_sync/store/tables.py": [
        ("    heard_at:", "scheduler_sync.store.statements", "Patients has no column heard_at"),
        ("    who_acts_next:", "scheduler_sync.store.statements", "AppointmentLinks has no column who_acts_next"),
    ],
    "notifier/store/tables.py": [
        (
            "    unanswered_handovers:",
            "notifier.store.statements",
            "NotificationRow has no column unanswered_handovers",
        ),
        ("    given_name:", "notifier.store.statements", "RecipientRow has no column given_name"),
    ],
}


@pytest.mark.parametrize(
    ("file", "column", "module", "words"), [(file, *case) for file, cases in RENAMED.items() for case in cases]
)
def test_a_renamed_column_breaks_the_import_of_what_names_it(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, column: str, module: str, words: str
) -> None:
    renamed = tmp_path / "tables.py"
    source = source_of(file)
    assert column in source.read_text()
    renamed.write_text(source.read_text().replace(column, f"{column[:-1]}_of_old:"))
    statements = source_of(f"{module.replace('.', '/')}.py")
    runpy.run_path(str(statements))

    monkeypatch.setattr(names, "find_spec", lambda asked: spec_of(asked, file, renamed))
    names._tables_in.cache_clear()
    monkeypatch.setattr(names, "CHASSIS", names.names_in(chassis_tables.__name__))
    with pytest.raises(names.UnknownNameError, match=words):
        runpy.run_path(str(statements))
    names._tables_in.cache_clear()


def source_of(file: str) -> Path:
    (found,) = [path for member in ("libs", "services") for path in (ROOT / member).glob(f"*/src/{file}")]
    return found


def spec_of(module: str, file: str, renamed: Path) -> object:
    is_renamed = module == file.removesuffix(".py").replace("/", ".")
    return SimpleNamespace(origin=str(renamed)) if is_renamed else find_spec(module)


def test_a_service_that_nobody_asks_loads_no_sqlalchemy() -> None:
    """SQLAlchemy would add 21 MiB and a third of a second to every start."""
    for service in ("notifier", "scheduler_sync"):
        program = f"import sys, {service}.bootstrap, {service}.__main__; print('sqlalchemy' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "False", service

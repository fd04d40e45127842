"""The way to this folder's helpers, and the checker for its tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from structures import Checker, NoCheckerError, make_checker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    """HAPI's structures; the tests are skipped, with the reason, where Java or its jars cannot be had."""
    try:
        return make_checker(tmp_path_factory.mktemp("classes"))
    except NoCheckerError as error:
        pytest.skip(f"the written messages are NOT checked against HL7's structures: {error}")

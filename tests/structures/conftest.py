"""Puts this folder's helpers on the path, and gives its tests the checker."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from structures import Checker, NoCheckerError, make_checker


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    """HAPI's structures; without Java or its jars the tests are skipped with the reason."""
    try:
        return make_checker(tmp_path_factory.mktemp("classes"))
    except NoCheckerError as error:
        if os.environ.get("REQUIRE_STRUCTURES"):
            pytest.fail(f"REQUIRE_STRUCTURES is set and HL7's structures cannot be had: {error}")
        pytest.skip(f"the written messages are NOT checked against HL7's structures: {error}")

"""HTTP requests to partners go through one module, which holds their limits and the list of allowed hosts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THE_PLACE = ROOT / "libs/chassis/src/chassis/http.py"
SOURCES = sorted(
    path for pattern in ("libs/*/src/**/*.py", "services/*/src/**/*.py") for path in ROOT.glob(pattern)
)  # fmt: skip
OTHER_WAYS = {
    "a session of its own": r"ClientSession\(",
    "a request of its own": r"session\.(request|get|post|put|patch|delete|head|options|ws_connect)\(",
    "another client": r"^\s*(import|from) (httpx|requests|urllib\.request|urllib3|http\.client|websockets)\b",
    "redirects": r"allow_redirects=True|follow_redirects=True",
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_nothing_but_the_one_place_asks_over_http(way: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        if path != THE_PLACE
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(OTHER_WAYS[way], line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    own = THE_PLACE.read_text()
    assert re.search(OTHER_WAYS["a session of its own"], own)
    assert re.search(OTHER_WAYS["a request of its own"], own)
    assert re.search(OTHER_WAYS["another client"], "import httpx")
    assert re.search(OTHER_WAYS["redirects"], "get(url, allow_redirects=True)")

"""Outside its folder, a service is named only in generated files, contracts, documents, tests and benches."""

import re
import subprocess
from pathlib import Path

import pytest

from local_stack.settings import ROOT
from roster import generated, roster

ANYBODY = re.compile(
    r"docs/|changelog\.d/|libs/|bench/|tests/|.*/tests/|[^/]*\.md|.*/README\.md"  # a library's own wall: .importlinter
    r"|requirements\.lock"  # the package that asked for another
)
NAMED_BY_HAND = {
    # file: the reason why it names the service
    "notifier": {"deploy/local/src/local_stack/running.py": "the fixture of the whole suite shortens its patience"},
}


def named_in(name: str) -> set[str]:
    """The files that name the service as a package, a folder or a prefix of settings."""
    words = [name, name.replace("-", "_"), name.replace("-", "_").upper()]
    found = subprocess.run(
        ["git", "grep", "-lI", *(part for word in words for part in ("-e", word)), "--", ".", f":!services/{name}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return set(found.stdout.splitlines())


@pytest.mark.parametrize("name", NAMED_BY_HAND)
def test_nobody_else_names_a_service_by_hand(name) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout to look through")
    made = {str(path.relative_to(ROOT)) for path in generated.files(roster(), ROOT)}
    found = named_in(name)
    by_hand = {place for place in found - made if not ANYBODY.match(place)}
    with_parts = {place for place in found & set(generated.FILES_WITH_PARTS) if _outside_parts(ROOT / place, name)}
    assert by_hand | with_parts == set(NAMED_BY_HAND[name])


def _outside_parts(path: Path, name: str) -> bool:
    text = re.sub(r"[#;] roster: (?!end).*?[#;] roster: end", "", path.read_text(), flags=re.DOTALL)
    return re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE) is not None

"""``make new-service`` refuses an unusable name in one line, and leaves no unfinished files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roster import generated, new_service
from roster.members import ROOT, is_name, read, roster

REFUSED = {
    "Form": "'Form' cannot name a service: small letters, digits and single hyphens, a letter first, at most 24",
    "form_router": "'form_router' cannot name a service",
    "form--router": "'form--router' cannot name a service",
    "-form": "cannot name a service",
    "1form": "'1form' cannot name a service",
    "förm": "'förm' cannot name a service",
    "../form": "'../form' cannot name a service",
    "a b": "'a b' cannot name a service",
    "": "'' cannot name a service",
    "x" * 25: "cannot name a service",
    "notifier": "services/notifier is there already: choose another name, or remove the folder",
    "omegaai": "'omegaai' is taken by the stack or one of its members",
    "kafka": "'kafka' is taken by the stack or one of its members",
    "public": "'public' is taken by the stack or one of its members",
    "pg-forms": "'pg-forms' cannot name a service: Postgres keeps names with pg_ for itself",
    "notifier-2": "'notifier-2' is taken by the stack or one of its members",
    "class": "'class' is the name of another Python package",
    "json": "'json' is the name of another Python package",
    "powerserver-sim": "'powerserver_sim' is the name of another Python package",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_name_is_one_line_and_makes_nothing(name) -> None:
    problem = new_service.why_not(ROOT, roster(), name)
    assert problem is not None
    assert REFUSED[name] in problem
    assert "\n" not in problem


def test_the_command_says_it_in_one_line_and_ends_with_1() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "roster", "new", "Not A Name"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("roster: 'Not A Name' cannot name a service: ")


@pytest.mark.parametrize(
    "name", ["-form", "--help", "it's", '"; touch made-by-a-name; "', "$(touch made-by-a-name)", "a`touch x`b"]
)
def test_make_hands_a_name_on_as_it_is(name, tmp_path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = subprocess.run(
        ["make", "-s", "new-service", f"NAME={name.replace('$', '$$')}", "SETUP=@true", f"PY={sys.executable}"],
        cwd=tmp_path, env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "cannot name a service" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_every_word_of_the_template_is_filled() -> None:
    given = new_service.words(roster(), "form-router")
    assert (given["package"], given["PREFIX"], given["Name"]) == ("form_router", "FORM_ROUTER", "FormRouter")
    made = new_service.rendered(given)
    for place, text in made.items():
        assert "@form" not in place + text
        assert not [word for word in ("name", "package", "PREFIX", "http", "revision") if f"@{word}@" in place + text]
    migrations = [place for place in made if "/versions/" in place]
    assert [Path(place).stem.split("_", 1)[0] for place in migrations] == [
        f"s{n + 1:03d}" for n in range(len(migrations))
    ]


def test_what_fails_on_the_way_leaves_nothing(tmp_path, monkeypatch) -> None:
    for member in roster().members:
        (tmp_path / member.place / "src" / member.package).mkdir(parents=True)
        for name in ("pyproject.toml", f"{member.kind}.toml"):
            shutil.copy(member.folder / name, tmp_path / member.place)

    def fails(*_: object) -> None:
        raise new_service.NewServiceError("ruff could not tidy the new files")

    monkeypatch.setattr(new_service, "_tidy", fails)
    before = sorted(path.name for path in (tmp_path / "services").iterdir())
    with pytest.raises(new_service.NewServiceError):
        new_service.make(tmp_path, "form-router")
    assert sorted(path.name for path in (tmp_path / "services").iterdir()) == before


def test_the_longest_name_is_a_name_of_the_roster() -> None:
    assert is_name("x" * new_service.LONGEST_NAME)
    assert generated.COMMAND in generated.HEAD
    assert read(ROOT) == roster()

"""Every mistake in a member's file gives one line with the file, the key and the remedy."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from contracts.topics import Topic
from roster.members import RosterError, Target, read, roster

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("form.sent", producer="forms"),
        Topic("form.filled", producer="forms"),
        Topic("image.taken", producer="nobody-here"),
    )
}
FORMS = {"name": '"forms"', "package": '"forms"', "http": "8101", "memory_mb": "128"}
OTHER = {"name": '"other"', "package": '"other"', "http": "8102", "memory_mb": "128", "hears": '["form.*"]'}
PARTNER = {"name": '"partner"', "package": '"partner_sim"', "http": "8201", "memory_mb": "128"}


def member(root: Path, kind: str, values: Mapping[str, str], *, folder: str = "", more: str = "") -> Path:
    """A member's folder; ``values`` are written literally."""
    name = folder or values["name"].strip('"')
    place = root / f"{kind}s" / name
    (place / "src" / values.get("package", "none").strip('"')).mkdir(parents=True)
    (place / "pyproject.toml").touch()
    text = "".join(f"{key} = {value}\n" for key, value in values.items())
    (place / f"{kind}.toml").write_text(text + more)
    return place


def refused(root: Path) -> list[str]:
    with pytest.raises(RosterError) as error:
        read(root, TOPICS)
    assert all("\n" not in line for line in error.value.problems)
    return list(error.value.problems)


@pytest.fixture
def root(tmp_path) -> Path:
    member(tmp_path, "service", FORMS)
    member(tmp_path, "simulator", PARTNER, more="[listens]\nmllp = 8301\n")
    return tmp_path


MISTAKES = {
    # what: (lines that replace or extend the file's, expected text)
    "an unknown key": ({"htpp": "1"}, "", "htpp: unknown key: did you mean http?"),
    "a key that means nothing": ({"zzz": "1"}, "", "zzz: unknown key; the keys are name, package, http"),
    "a text for a port": ({"http": '"8102"'}, "", "http: '8102' is not a whole number"),
    "a truth for a port": ({"http": "true"}, "", "http: True is not a whole number"),
    "a fraction for memory": ({"memory_mb": "1.5"}, "", "memory_mb: 1.5 is not a whole number"),
    "a text for a list": ({"hears": '"form.*"'}, "", "hears: 'form.*' is not a list of texts"),
    "a number in a list": ({"talks_to": "[1]"}, "", "talks_to: 1 is not a text"),
    "a list for a table": ({"listens": '["mllp"]'}, "", "listens: ['mllp'] is not a table of port names and numbers"),
    "a number for a setting": ({}, "[local]\nOTHER_X = 1\n", "local.OTHER_X: 1 is not a text (in quotes)"),
    "a text for a further port": ({}, '[listens]\nmllp = "1"\n', "listens.mllp: '1' is not a whole number"),
    "no port": ({"http": "80"}, "", "http: 80 is no port from 1024 to 65535"),
    "a port with a bad name": ({}, "[listens]\nhost = 8400\n", "listens.host: a port's name is small letters"),
    "no memory": ({"memory_mb": "0"}, "", "memory_mb: 0 is less than 64"),
    "another's port": ({"http": "8201"}, "", "is taken by"),
    "another's further port": ({}, "[listens]\nmllp = 8101\n", "is taken by"),
    "a port of the servers": ({"http": "29092"}, "", "http: the port 29092 is taken by kafka: choose another"),
    "another's package": ({"package": '"forms"'}, "", "the package forms is taken by"),
    "a topic that is none": ({"hears": '["form.sent", "form.lost"]'}, "", "hears: 'form.lost' is no topic of the"),
    "a pattern without topics": ({"hears": '["forms.*"]'}, "", "hears: 'forms.*' is no topic of the contracts"),
    "a topic of nobody": (
        {"hears": '["image.*"]'},
        "",
        "hears: 'image.taken' is produced by 'nobody-here', which is no",
    ),
    "an unknown partner": ({"talks_to": '["partnr"]'}, "", "talks_to: 'partnr' is no partner: one of forms, partner"),
    "an unknown port of it": ({"talks_to": '["partner.smtp"]'}, "", "talks_to: 'partner.smtp' is no partner"),
    "itself": ({"talks_to": '["other"]'}, "", "talks_to: 'other' is no partner"),
    "an unknown address": ({}, '[local]\nOTHER_X = "{partnr}"\n', "local.OTHER_X: {partnr} is no address"),
    "an address of no partner": ({}, '[local]\nOTHER_X = "{partner}"\n', "local.OTHER_X: {partner}: add 'partner' to"),
    "another's setting": ({}, '[local]\nFORMS_X = "1"\n', "local.FORMS_X: a setting of other begins with OTHER_"),
    "no TOML": ({"http": "= 1"}, "", "is not TOML: "),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_and_what_to_do(root, what) -> None:
    changed, more, said = MISTAKES[what]
    member(root, "service", {**OTHER, **changed}, folder="other", more=more)
    (line,) = refused(root)
    assert line.startswith(("services/other/service.toml: ", "services/forms/service.toml: ", "simulators/partner/"))
    assert said in line


def test_a_good_roster_is_read(root) -> None:
    local = '[listens]\nweb = 8400\n[local]\nOTHER_A = "http://{partner}/x?{partner.mllp.host}:{partner.mllp.port}"\n'
    member(root, "service", {**OTHER, "talks_to": '["partner", "partner.mllp"]'}, more=local)
    found = read(root, TOPICS)
    other = found.by_name["other"]
    assert [one.name for one in found.members] == ["forms", "other", "partner"]
    assert other.hears == ("form.sent", "form.filled")
    assert other.ports == {"http": 8102, "web": 8400}
    assert found.partners_of(Target("partner", "mllp")) == (other,)


@pytest.mark.parametrize("missing", ["name", "package", "http", "memory_mb"])
def test_a_missing_key_is_named(root, missing) -> None:
    member(root, "service", {key: value for key, value in OTHER.items() if key != missing}, folder="other")
    assert refused(root) == [f"services/other/service.toml: {missing}: is missing"]


def test_a_service_without_its_file_is_named(root) -> None:
    (member(root, "service", OTHER) / "service.toml").unlink()
    assert refused(root) == [
        "services/other/service.toml: is missing: every service has one (CONTRIBUTING.md, Add a service)"
    ]


@pytest.mark.parametrize("name", ["Other", "other_one", "other--one", "1other", "öther", "a" * 41])
def test_a_bad_name_is_refused(root, name) -> None:
    member(root, "service", {**OTHER, "name": f'"{name}"'}, folder=name)
    assert any("is not small letters, digits and single hyphens" in line for line in refused(root))


def test_a_name_of_the_stack_itself_and_a_twin_are_refused(root) -> None:
    member(root, "service", {**OTHER, "name": '"kafka"'}, folder="kafka")
    member(root, "service", {**PARTNER, "http": "8103", "package": '"partner"'})
    lines = refused(root)
    assert any("kafka/service.toml: name: the name kafka is taken by the stack itself" in line for line in lines)
    assert any("the name partner is taken by service partner" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forms-2", "the name of a container or secret forms-2 is taken by service forms"),
        ("forms-migrate", "the name of a container or secret forms-migrate is taken by service forms"),
        ("forms-store", "the name of a container or secret forms-store is taken by service forms"),
        ("partner-mllp", "the variable SUITE_PARTNER_MLLP_PORT is taken by"),
        ("public", "the name public is taken by the stack itself"),
        ("template1", "the name template1 is taken by the stack itself"),
        ("pg-forms", "name: 'pg-forms' begins with pg-, which Postgres keeps for itself"),
    ],
)
def test_a_name_that_something_made_of_another_has_is_refused(root, name, said) -> None:
    package = name.replace("-", "_")
    member(root, "service", {**OTHER, "name": f'"{name}"', "package": f'"{package}"'})
    assert any(said in line for line in refused(root)), refused(root)


def test_several_mistakes_are_all_named_at_once(root) -> None:
    member(root, "service", {**OTHER, "http": '"x"', "colour": '"red"', "memory_mb": "[]"}, folder="other")
    assert len(refused(root)) == 3


def test_the_workspaces_own_roster_is_good() -> None:
    assert {one.name for one in roster().services} >= {"scheduler-sync", "notifier"}
    assert roster().by_name["notifier"].prefix == "NOTIFIER"

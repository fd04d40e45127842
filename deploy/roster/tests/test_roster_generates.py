"""Generated files are current and follow from the members' files; the check names every difference."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from roster import compose, generated, kafka, kubernetes, subscriptions
from roster.members import ROOT, Roster, Target, read, roster


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the workspace files that the roster reads."""
    root = tmp_path_factory.mktemp("workspace")
    wanted = [path.relative_to(ROOT) for path in generated.files(roster(), ROOT)]
    for member in roster().members:
        wanted += [path.relative_to(ROOT) for path in member.folder.glob("*.toml")]
        (root / member.place / "src" / member.package).mkdir(parents=True)
    wanted += [path.relative_to(ROOT) for path in ROOT.glob("*/*/pyproject.toml")]
    wanted += [path.relative_to(ROOT) for path in ROOT.glob("services/*/alarms.yaml")]
    for name in wanted:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


FILES = [str(path.relative_to(ROOT)) for path in generated.files(roster(), ROOT)]


@pytest.mark.parametrize("name", FILES)
def test_a_drift_is_named_and_written_again(copied, name) -> None:
    path = copied / name
    before = path.read_text()
    damaged = re.sub(r"(\n *[#;] roster: end)", r"\nmore\1", before, count=1)  # in a part; a whole file at its end
    path.write_text(damaged if damaged != before else before + "more")
    assert list(generated.drifted(read(copied), copied)) == [path]
    assert generated.write(read(copied), copied) == [path]
    assert path.read_text() == before
    path.unlink()
    if name not in generated.FILES_WITH_PARTS:
        assert generated.write(read(copied), copied) == [path]
    path.write_text(before)


@pytest.mark.parametrize(
    ("name", "damaged", "by", "said"),
    [
        (".importlinter", "; roster: packages libs", "; roster: packages lib", "`roster: packages lib` is no part"),
        (".importlinter", "; roster: packages services", "; gone", "`roster: end` is no part"),
        (".importlinter", "; roster: end", "; gone", "`roster: packages` has no line `roster: end`"),
        ("pyproject.toml", "# roster: uv-sources\n", "#", "`roster: end` is no part"),
        ("deploy/k8s/local/jobs.yaml", "roster:", "rooster:", "no file has the part `roster: store-passwords`"),
    ],
)
def test_a_part_that_is_gone_and_one_that_nobody_makes_are_named(copied, name, damaged, by, said) -> None:
    path = copied / name
    before = path.read_text()
    path.write_text(before.replace(damaged, by, 1))
    try:
        with pytest.raises(generated.PartError, match=re.escape(said)):
            generated.write(read(copied), copied)
    finally:
        path.write_text(before)


def test_what_stands_outside_a_part_is_left_alone(copied) -> None:
    path = copied / "docker-compose.yml"
    before = path.read_text()
    path.write_text(before + "# a person's own words\n")
    assert list(generated.drifted(read(copied), copied)) == []
    path.write_text(before)


def changed(name: str, **values: object) -> Roster:
    """The workspace's roster with one member changed."""
    own = roster()
    services = tuple(replace(one, **values) if one.name == name else one for one in own.services)
    return Roster(services, own.simulators)


def test_a_users_rights_follow_what_its_service_hears() -> None:
    (user,) = (one for one in kafka.users(changed("notifier", hears=("patient.updated",))) if
               one["metadata"]["name"] == "notifier")  # fmt: skip
    rules = user["spec"]["authorization"]["acls"]
    assert [rule["resource"]["name"] for rule in rules] == ["patient.updated", "notifier"]
    assert all("Write" not in rule["operations"] for rule in rules)


def test_a_partner_opens_both_sides_of_the_wall() -> None:
    text = kubernetes.partners(changed("notifier", talks_to=(Target("omegaai"),)))
    policies = {block.split("name: ")[1].split("\n")[0]: block for block in text.split("---\n")}
    assert "mailsink-partners" not in policies
    assert "app.kubernetes.io/name: notifier" in policies["omegaai-partners"]
    assert "app.kubernetes.io/name: omegaai" in policies["notifier-partners"]


def test_compose_finds_partners_by_their_names_and_the_browser_by_this_machines_ports() -> None:
    text = compose.member_file(roster().by_name["notifier"], roster())
    assert 'NOTIFIER_SMTP__HOST: "mailsink"' in text
    assert 'NOTIFIER_PORTAL_URL: "http://127.0.0.1:${SUITE_OMEGAAI_PORT:-8202}/blume"' in text


def test_kubernetes_finds_a_further_port_of_a_service_at_a_service_of_its_own() -> None:
    place = kubernetes.place(roster())
    target = Target("scheduler-sync", "mllp")
    assert (place.host(target), place.port(target)) == ("scheduler-sync-mllp", "12575")
    assert (place.host(Target("notifier")), place.port(Target("notifier"))) == ("notifier", "80")


@pytest.mark.parametrize(
    ("hears", "said"),
    [
        ((), "'appointment.cancelled' is missing: notifier.bootstrap.CONSUMES reads it"),
        (("patient.new",), "'patient.new' is not in notifier.bootstrap.CONSUMES: nothing reads it"),
    ],
)
def test_a_service_that_hears_other_than_it_says_is_named(hears, said) -> None:
    assert any(said in line for line in subscriptions.problems(changed("notifier", hears=hears)))

"""The site file: read again when it changes; an edit that does not hold changes nothing and names its line and key."""

import os
from pathlib import Path

import pytest
from sync_samples import NOTHING_FOR_PATIENTS, SITE_FILE

from scheduler_sync.domain.appointment import WorkflowStep
from scheduler_sync.site import Site, SiteFileError, load


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE_FILE.read_text("utf-8"), "utf-8")
    mapping = SITE_FILE.with_name("northside.hl7.yaml")
    (tmp_path / mapping.name).write_text(mapping.read_text("utf-8"), "utf-8")
    return path


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


def test_the_development_sites_file_holds():
    file = load(SITE_FILE)
    assert file.facilities["FAC02"].organization == "3"
    assert file.statuses[50] is WorkflowStep.CONFIRMED
    assert file.status_of_step[WorkflowStep.CONFIRMED] == (50, "CONFIRMED")


def test_an_edit_is_taken_over_without_a_restart(copy: Path):
    site = Site(copy)
    assert site.refresh() is False
    edit(copy, "  50: confirmed\n", "  50: confirmed\n  55: confirmed\n")
    assert site.refresh() is True
    assert site.file.statuses[55] is WorkflowStep.CONFIRMED


@pytest.mark.parametrize(
    ("before", "after", "line_of", "key"),
    [
        ("    time_zone: America/Toronto", "    time_zone: Ontario Time", "Ontario Time", "FAC01.time_zone"),
        ("  50: confirmed", "  50: approved", "approved", "statuses.50"),
        ("  send: siu", "  sned: siu", "sned", "hl7.sned"),
        ('    organization: "2"', "    organization: []", "[]", "FAC01.organization"),
    ],
)
def test_an_edit_that_does_not_hold_keeps_the_old_content_and_says_where(copy: Path, before, after, line_of, key):
    site = Site(copy)
    kept = site.file
    edit(copy, before, after)
    assert site.refresh() is False
    assert site.file is kept
    number = next(n for n, line in enumerate(copy.read_text().splitlines(), 1) if line_of in line)
    assert site.problem is not None
    assert f"site.yaml:{number}: " in site.problem
    assert key in site.problem
    edit(copy, after, before)
    assert site.refresh() is True
    assert site.problem is None


def test_a_file_that_is_not_yaml_names_the_line(copy: Path):
    copy.write_text("site: northside\nfacilities: {a: [\n")
    with pytest.raises(SiteFileError, match=r"site\.yaml:3: "):
        load(copy)


def test_a_status_name_needs_a_status(copy: Path):
    edit(copy, "  COMPLETED: 120", "  COMPLETED: 121")
    with pytest.raises(SiteFileError, match=r"status_names\.COMPLETED"):
        load(copy)


def test_a_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(SiteFileError, match="cannot be read"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("self_scheduling:\n  FAC09: {public_booking: true}\n", "self_scheduling.FAC09: is not among facilities"),
        ("self_scheduling:\n  FAC01:\n    grid_minutes: 7\n", "self_scheduling.FAC01.grid_minutes"),
        ("self_scheduling:\n  FAC01: {radius_km: 5}\n", "radius_km needs latitude and longitude"),
        ("self_scheduling:\n  FAC01: {public_bookings: true}\n", "self_scheduling.FAC01.public_bookings: no service"),
        ("self_scheduling:\n  FAC01: {auto_confirm: [always]}\n", "self_scheduling.FAC01.auto_confirm"),
        ("self_scheduling_capacity: 0\n", "self_scheduling_capacity"),
    ],
)
def test_a_wrong_rule_of_self_scheduling_is_said_with_its_line(tmp_path: Path, lines: str, said: str):
    for one in SITE_FILE.parent.glob("*.yaml"):
        (tmp_path / one.name).write_text(one.read_text("utf-8"), "utf-8")
    file = tmp_path / SITE_FILE.name
    file.write_text(NOTHING_FOR_PATIENTS + lines, "utf-8")
    with pytest.raises(SiteFileError, match=r"\.yaml:\d+: ") as refused:
        load(file)
    assert said in str(refused.value)


def test_without_a_line_patients_may_do_nothing():
    rules = load(SITE_FILE).scheduling_of("FAC02")
    allowed = [rules.public_booking, rules.reschedule, rules.cancel, rules.modalities, rules.auto_confirm]
    assert not any(allowed)

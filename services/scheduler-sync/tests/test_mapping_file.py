# ruff: noqa: E501 - a table of texts
"""The mapping file: its defaults, its errors with their lines, and its reload beside the site file."""

import os
from pathlib import Path

import pytest
from sync_samples import SITE_FILE

from scheduler_sync.mapping import Hl7Mapping
from scheduler_sync.site import Site, SiteFileError, load, read_mapping

DEVELOPMENT = SITE_FILE.with_name("northside.hl7.yaml")


@pytest.fixture
def site_path(tmp_path: Path) -> Path:
    for path in (SITE_FILE, DEVELOPMENT):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    return tmp_path / SITE_FILE.name


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))


def test_the_development_file_writes_every_default_out():
    written = read_mapping(DEVELOPMENT)
    assert written.model_dump() == Hl7Mapping().model_dump()
    for family in ("siu", "orm"):
        for name, _ in getattr(written, family).each():
            assert written.source(family, name).startswith("northside.hl7.yaml:"), name


def test_a_part_that_is_left_out_keeps_its_default(tmp_path: Path):
    path = tmp_path / "m.yaml"
    path.write_text("siu:\n  resource: AIL-3\n  priority: {write: [NTE-3]}\norm:\n  resource: [OBR-18, OBR-19]\n")
    mapping = read_mapping(path)
    assert (mapping.siu.resource.read, mapping.siu.resource.write) == (("AIL-3",), ("AIL-3",))
    assert (mapping.siu.priority.read, mapping.siu.priority.write) == (("SCH-11.6", "TQ1-9"), ("NTE-3",))
    assert (mapping.orm.resource.read, mapping.orm.resource.write) == (("OBR-18", "OBR-19"), ("OBR-18",))
    assert mapping.siu.status == Hl7Mapping().siu.status
    assert (mapping.source("siu", "resource"), mapping.source("siu", "status")) == ("m.yaml:2", "default")


def test_an_empty_file_is_all_defaults(tmp_path: Path):
    (tmp_path / "m.yaml").write_text("# nothing\n")
    assert read_mapping(tmp_path / "m.yaml").model_dump() == Hl7Mapping().model_dump()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("siu:\n  resource: AIG3\n", 2, "siu.resource.read.0: 'AIG3' is not a place; write a segment, a dash and a field"),
        ("siu:\n  resource:\n    read:\n      - AIG-3\n      - AIG-0\n", 5, "siu.resource.read.1: 'AIG-0' is not a place"),
        ("siu:\n  resource:\n    read: [aig-3]\n", 3, "siu.resource.read.0: 'aig-3' is not a place"),
        ("orm:\n\n  priority: {read: [TQ1-9 from 2.5]}\n", 3, "write it without from and until"),
        ("orm:\n  priority: {write: [TQ1-9 from 3.0]}\n", 2, "3.0 is not a version; write one of 2.3, 2.3.1"),
        ("siu:\n  resourec: AIG-3\n", 2, "siu.resourec: no service knows this key; is resource meant?"),
        ("sui:\n  resource: AIG-3\n", 1, "sui: no service knows this key; is siu meant?"),
        ("siu:\n  priority:\n    write:\n      - SCH-1.3\n", 4, "siu.priority.write.0: SCH-1 names the message"),
        ("siu:\n  priority: {write: [MSH-9]}\n", 2, "MSH-9 names the message, the appointment or the patient"),
        ("siu:\n  priority: {write: [OBR-5]}\n", 2, "OBR is not written in SIU; write a place of"),
        ("siu:\n  priority:\n    write: [AIG-3]\n", 3, "siu.priority.write.0: AIG-3 holds resource already"),
        ("siu:\n  resource: 3\n", 2, "siu.resource: "),
        ("siu:\n  resource: {reed: [AIG-3]}\n", 2, "siu.resource.reed: no service knows this key; is read meant?"),
        ("siu: [\n", 2, "is not YAML"),
        ("- a\n", 1, "the file: "),
        ("stations:\n  RAMSOFT:\n    may_send: [SIU^S12, SIU99]\n", 3, "stations.RAMSOFT.may_send.1: "),
        ("stations:\n  RAMSOFT:\n    refusal: AA\n", 3, "stations.RAMSOFT.refusal: "),
        ("request_priority: ''\n", 1, "request_priority: "),
        ("powerserver:\n  expect_ack: maybe\n", 2, "powerserver.expect_ack: "),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_key_and_what_to_write(tmp_path: Path, text: str, line: int, words: str):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(SiteFileError) as refused:
        read_mapping(path)
    said = str(refused.value)
    assert f"m.yaml:{line}: " in said
    assert words in said
    assert "\n" not in said


def test_a_former_key_names_the_new_place(site_path: Path):
    write(site_path, site_path.read_text().replace("  send: siu", "  send: siu\n  orm_resource_field: OBR-18"))
    line = next(n for n, text in enumerate(site_path.read_text().splitlines(), 1) if "orm_resource_field" in text)
    with pytest.raises(SiteFileError, match=rf"northside\.yaml:{line}: hl7\.orm_resource_field: stands in the mapping"):
        load(site_path)


def test_a_mapping_in_the_site_file_itself_is_refused(site_path: Path):
    write(site_path, site_path.read_text() + "\nmapping:\n  siu: {resource: AIL-3}\n")
    with pytest.raises(SiteFileError, match=r"mapping: stands in a file of its own; write its name as hl7\.mapping"):
        load(site_path)


def test_a_missing_mapping_is_refused_at_start(site_path: Path):
    (site_path.parent / DEVELOPMENT.name).unlink()
    with pytest.raises(SiteFileError, match=r"northside\.hl7\.yaml: cannot be read"):
        Site(site_path)


def test_a_changed_mapping_is_in_force_without_a_restart_and_a_wrong_one_changes_nothing(site_path: Path):
    site, mapping = Site(site_path), site_path.parent / DEVELOPMENT.name
    assert site.refresh() is False
    write(mapping, "siu: {resource: AIL-3}\n")
    assert site.refresh() is True
    assert site.file.mapping.siu.resource.read == ("AIL-3",)
    write(mapping, "siu: {resource: AIL}\n")
    assert site.refresh() is False
    assert site.file.mapping.siu.resource.read == ("AIL-3",)
    assert "northside.hl7.yaml:1: siu.resource.read.0" in (site.problem or "")
    write(mapping, "siu: {resource: AIS-9}\n")
    assert site.refresh() is True
    assert (site.file.mapping.siu.resource.read, site.problem) == (("AIS-9",), None)


def test_another_mapping_that_is_wrong_is_looked_at_until_it_is_mended(site_path: Path):
    site, other = Site(site_path), site_path.parent / "other.yaml"
    write(other, "siu: {resource: AIL}\n")
    write(site_path, site_path.read_text().replace("mapping: northside.hl7.yaml", "mapping: other.yaml"))
    assert site.refresh() is False
    assert site.file.mapping.siu.resource.read == ("AIG-3",)
    write(other, "siu: {resource: AIL-3}\n")
    assert site.refresh() is True
    assert site.file.mapping.siu.resource.read == ("AIL-3",)

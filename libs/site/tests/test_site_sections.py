"""One site file for all services: each reads the shared keys and its own, and refuses misspelt ones of these."""

import os
from pathlib import Path

import pytest
from pydantic import Field

from site_file import SharedSite, Site, SiteFileError, SiteSection, load

SHARED = """\
site: northside
organization: {master: "1"}
facilities:
  FAC01: {organization: "2", name: Northside Imaging, time_zone: America/Toronto}
issuers:
  NORTHSIDE: http://northside.example/patient-id
hl7:
  send: siu
"""
FORMS = """\
form-router:
  document_types:
    registration: 55188-7
"""
STATUSES = """\
statuses:
  30: scheduled
"""


class FormSection(SiteSection):
    document_types: dict[str, str]


class FormSite(SharedSite):
    forms: FormSection = Field(alias="form-router")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.yaml"


def test_a_service_reads_the_shared_keys_and_its_own_section_beside_the_others(path: Path):
    path.write_text(SHARED + STATUSES + FORMS)
    assert load(path, SharedSite).facilities["FAC01"].zone.key == "America/Toronto"
    assert load(path, FormSite).forms.document_types == {"registration": "55188-7"}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("    registration: 55188-7", "    registration: [55188-7]", "form-router.document_types.registration: "),
        ("  document_types:", "  documents: {}\n  document_types:", "form-router.documents: no service knows this key"),
        (
            "form-router:",
            "form-ruoter: {}\nform-router:",
            "form-ruoter: no service knows this key; is form-router mean",
        ),
        ("issuers:", "isuers: {}\nissuers:", "isuers: no service knows this key; is issuers meant?"),
        ("  send: siu", "  sned: siu", "hl7.sned: no service knows this key"),
        ("statuses:", "version: 2\nstatuses:", "version: no service knows this key"),
    ],
)
def test_a_wrong_key_of_what_a_service_reads_is_refused_with_its_line(path: Path, before: str, after: str, words: str):
    text = SHARED + STATUSES + FORMS
    assert text.count(before) == 1
    line = text[: text.index(before)].count("\n") + 1
    path.write_text(text.replace(before, after))
    with pytest.raises(SiteFileError) as refused:
        load(path, FormSite)
    said = str(refused.value)
    assert f"site.yaml:{line}: {words}" in said
    assert "\n" not in said


def test_a_missing_key_is_refused(path: Path):
    path.write_text(SHARED.replace("issuers:", "providers:"))
    with pytest.raises(SiteFileError, match=r"site\.yaml:1: issuers: "):
        load(path, SharedSite)


def test_a_mistake_in_another_services_section_is_not_ours(path: Path):
    path.write_text(SHARED + FORMS.replace("document_types", "document_type"))
    assert load(path, SharedSite).site == "northside"


def test_an_edit_that_does_not_hold_keeps_the_content_before_it(path: Path):
    path.write_text(SHARED)
    site = Site(path, SharedSite)
    path.write_text(SHARED.replace("send: siu", "send: fax"))
    os.utime(path, ns=(1, 1))
    assert site.refresh() is False
    assert site.file.hl7.send == "siu"
    assert site.problem is not None
    assert "site.yaml:8: hl7.send" in site.problem
    path.write_text(SHARED.replace("send: siu", "send: orm"))
    assert site.refresh() is True
    assert (site.file.hl7.send, site.problem) == ("orm", None)

"""Version 2 of a patient, read from what producers of version 1 wrote."""

import json

import pytest

import contracts
from contracts.examples import EXAMPLES

ADDED = ("time_zone", "guardian", "sms_consent", "organization")


@pytest.mark.parametrize("old", [contracts.PatientRegisteredV1, contracts.PatientUpdatedV1])
def test_a_patient_of_version_1_keeps_every_fact_and_the_new_ones_are_unknown(old):
    written = EXAMPLES[old]
    read = contracts.parse(written.to_bytes())
    assert isinstance(read, contracts.PatientRegistered | contracts.PatientUpdated)
    kept = {name: getattr(read.data, name) for name in contracts.PatientDataV1.model_fields}
    assert kept == {name: getattr(written.data, name) for name in contracts.PatientDataV1.model_fields}
    assert [getattr(read.data, name) for name in ADDED] == [None] * len(ADDED)


def test_version_1_said_english_when_it_did_not_know_the_language():
    body = json.loads(EXAMPLES[contracts.PatientRegisteredV1].to_bytes())
    del body["data"]["language"]
    assert contracts.parse(json.dumps(body).encode()).data.language == "en"


def test_version_2_does_not_guess_a_language():
    body = json.loads(EXAMPLES[contracts.PatientRegistered].to_bytes())
    del body["data"]["language"]
    assert contracts.parse(json.dumps(body).encode()).data.language is None

"""OmegaAI has our number with another birth date or sex: a person decides before anything is written over it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI, client_of
from merge_samples import pid
from sync_harness import Harness
from sync_samples import siu
from test_patients_without_appointment import adt

from chassis.errors import Withheld
from omegaai.client import Found
from scheduler_sync.adapters.omegaai import doubts
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.review_commands import compared
from scheduler_sync.snapshots import PatientSnapshot
from scheduler_sync.store.queries import StoredIds
from scheduler_sync.store.reviews import ALL, Reviews

SYSTEM = "http://northside.example/patient-id"


def there(number: str = "4711", **more: Any) -> dict[str, Any]:
    """OmegaAI's Patient; PowerServer says of the same number 1980-02-29 and female."""
    body = {
        "resourceType": "Patient", "id": "p1", "identifier": [{"system": SYSTEM, "value": number}],
        "name": [{"family": "Poe", "given": ["Ann"]}], "birthDate": "1980-02-29", "gender": "female",
        "telecom": [{"system": "email", "value": "ann@example.org"}],
    }  # fmt: skip
    return {**body, **more}


@dataclass
class Line:
    """The line of OmegaAI's deliveries, a turn at a time."""

    harness: Harness
    server: FakeOmegaAI
    sender: OmegaAISender

    async def turn(self) -> list[str]:
        """Sends what waits, each line up to its first delivery that stays; what became of each."""
        became = []
        for one in await self.harness.deliveries():
            if one.destination != "omegaai":
                continue
            try:
                receipt = await self.sender.send(one)
            except Withheld as held:
                became.append(held.reason)
                break
            await self.harness.settle(one, receipt)
            became.append(one.kind)
        return became

    @property
    def patients(self) -> list[tuple[str, str]]:
        return [(one["birthDate"], one["gender"]) for one in self.server.all("Patient")]


@pytest.fixture
async def line(harness: Harness) -> AsyncIterator[Line]:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        yield Line(harness, server, OmegaAISender(client_of(server.base_url, session), StoredIds(harness.store.pool)))


BORN_OTHERWISE = there(birthDate="1999-12-31")


@pytest.mark.stack
@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        (BORN_OTHERWISE, ["birth date"]),
        (there(gender="male"), ["sex"]),
        (there(birthDate="1999-12-31", gender="male"), ["birth date", "sex"]),
    ],
)
async def test_nothing_is_written_and_the_appointment_waits_until_a_person_has_decided(
    line: Line, other: dict[str, Any], reasons: list[str]
) -> None:
    line.server.put_directly(other)
    assert await line.harness.hear(siu()) == [None]
    for _ in range(2):
        (held,) = await line.turn()
        assert "review 1 on the review list waits for a person" in held
        assert "1999" not in held
    assert line.patients == [(other["birthDate"], other["gender"])]
    assert line.server.all("Appointment") == []
    reviews = Reviews(line.harness.store)
    await reviews.look()
    (found,) = await reviews.list()
    assert (found.reasons, found.second_id, found.omegaai_id) == (reasons, None, "p1")
    pair = await reviews.pair(found.id, actor="ann")
    assert pair is not None
    facts = {name: rest for name, *rest in compared(*pair[1:])}
    assert facts["birth date"][:2] == ["1980-02-29", other["birthDate"]]
    assert facts["family name"] == ["Roe", "Poe", "differs"]
    assert facts["e-mail"][1] == "ann@example.org"

    await line.harness.store.pool.execute("UPDATE deliveries SET next_attempt_at = now() + interval '1 hour'")
    assert await reviews.decide(found.id, "same", actor="ann")
    waiting = "SELECT count(*) AS number FROM deliveries WHERE state = 'pending' AND next_attempt_at > now()"
    assert (await line.harness.row(waiting))["number"] == 0, "the decision sends the line now"
    assert await line.turn() == ["patient.upsert", "appointment.upsert"]
    assert line.patients == [("1980-02-29", "female")]
    assert len(line.server.all("Appointment")) == 1
    await reviews.look()
    assert [one.state for one in await reviews.list(ALL)] == ["settled"]
    acts = await line.harness.rows("SELECT action FROM operator_audit ORDER BY id")
    assert [row["action"] for row in acts] == ["review.seen", "review.same"]


@pytest.mark.stack
async def test_two_people_are_not_joined_and_the_corrected_number_lets_the_line_go_on(line: Line) -> None:
    line.server.put_directly(BORN_OTHERWISE)
    assert await line.harness.hear(siu()) == [None]
    await line.turn()
    reviews = Reviews(line.harness.store)
    assert await reviews.decide(1, "different", actor="ann")
    (held,) = await line.turn()
    assert "by review 1 it is another person" in held
    assert line.patients == [("1999-12-31", "female")]
    line.server.put_directly({**BORN_OTHERWISE, "identifier": [{"system": SYSTEM, "value": "4799"}]})
    assert await line.turn() == ["patient.upsert", "appointment.upsert"]
    assert sorted(line.patients) == [("1980-02-29", "female"), ("1999-12-31", "female")]
    await reviews.look()
    assert [one.state for one in await reviews.list(ALL)] == ["settled"]


@pytest.mark.stack
async def test_a_decision_holds_for_the_values_that_the_person_saw(line: Line) -> None:
    line.server.put_directly(BORN_OTHERWISE)
    assert await line.harness.hear(siu()) == [None]
    await line.turn()
    reviews = Reviews(line.harness.store)
    assert await reviews.decide(1, "same", actor="ann")
    line.server.put_directly(there(birthDate="2001-01-01"))
    (held,) = await line.turn()
    assert "waits for a person" in held
    assert [one.state for one in await reviews.list()] == ["open"]


@pytest.mark.stack
@pytest.mark.parametrize("touched_there", [{}, {"active": True}])
async def test_what_powerserver_corrects_is_written_over_what_the_suite_wrote(
    line: Line, touched_there: dict[str, Any]
) -> None:
    assert await line.harness.hear(adt(pid=pid("4711"))) == [None]
    assert await line.turn() == ["patient.upsert"]
    if touched_there:
        (known,) = line.server.all("Patient")
        line.server.put_directly({**known, **touched_there})
    corrected = adt("A08", made="20261125093100-0500", control_id="B", pid=pid("4711").replace("19800229", "19810228"))
    assert await line.harness.hear(corrected) == [None]
    assert await line.turn() == ["patient.upsert"]
    assert line.patients == [("1981-02-28", "female")]
    assert await Reviews(line.harness.store).list(ALL) == []


@pytest.mark.stack
async def test_a_birth_date_that_somebody_changed_in_omegaai_is_not_overwritten(line: Line) -> None:
    assert await line.harness.hear(adt(pid=pid("4711"))) == [None]
    await line.turn()
    (known,) = line.server.all("Patient")
    line.server.put_directly({**known, "birthDate": "1999-12-31"})
    moved = adt("A08", made="20261125093100-0500", control_id="B", pid=pid("4711", email="new@example.org"))
    assert await line.harness.hear(moved) == [None]
    (held,) = await line.turn()
    assert "another birth date" in held
    assert line.patients == [("1999-12-31", "female")]


def snapshot(**more: Any) -> PatientSnapshot:
    values = {
        "patient_id": None, "identifiers": ((SYSTEM, "4711"),), "family": "Roe", "given": "Jane", "middle": None,
        "birth_date": date(1980, 2, 29), "sex": "F", "email": None, "phone": None, "language": "en", "address": None,
        "organization": "1",
    }  # fmt: skip
    return PatientSnapshot(**{**values, **more})


@pytest.mark.parametrize(
    ("ours", "theirs", "facts"),
    [
        ({}, {}, ()),
        ({}, {"birthDate": "1980"}, ()),
        ({}, {"birthDate": "1980-02"}, ()),
        ({}, {"birthDate": "1981"}, ("birth date",)),
        ({}, {"birthDate": "1980-02-29T00:00:00Z"}, ()),
        ({}, {"birthDate": None}, ()),
        ({}, {"birthDate": 1980}, ()),
        ({}, {"birthDate": ["1981"]}, ()),
        ({"birth_date": None}, {"birthDate": "1981"}, ()),
        ({"birth_date": ""}, {"birthDate": "1981"}, ()),
        ({}, {"gender": "Male"}, ("sex",)),
        ({}, {"gender": "other"}, ("sex",)),
        ({}, {"gender": "unknown"}, ()),
        ({}, {"gender": None}, ()),
        ({}, {"gender": {"x": 1}}, ()),
        ({"sex": "U"}, {"gender": "male"}, ()),
        ({"sex": ""}, {"gender": "male"}, ()),
        ({"sex": "M"}, {"birthDate": "1999-12-31"}, ("birth date", "sex")),
    ],
)
def test_what_both_say_otherwise(ours: dict[str, Any], theirs: dict[str, Any], facts: tuple[str, ...]) -> None:
    assert doubts.differing(snapshot(**ours), doubts.there(Found(there(**theirs), "1"))) == facts


@pytest.mark.parametrize(
    "spoiled",
    [
        {"name": "Poe"}, {"name": [{"family": ["x"], "given": "Ann"}]}, {"name": [{"given": [None, {"a": 1}, "Ann"]}]},
        {"identifier": {"value": 4711}}, {"telecom": [{"system": "email"}, 7]}, {"birthDate": "1999\x00"},
        {"name": [{"family": "\ud800"}]}, {"name": [{"family": "x" * 10**6}]}, {"identifier": [{}] * 1000},
    ],
)  # fmt: skip
@pytest.mark.stack
async def test_a_spoiled_patient_is_kept_for_the_review_all_the_same(harness: Harness, spoiled: dict[str, Any]) -> None:
    seen = doubts.there(Found({**BORN_OTHERWISE, **spoiled}, "1"))
    assert await harness.hear(adt()) == [None]
    patient = await harness.row("SELECT id FROM patients")
    number, decision = await StoredIds(harness.store.pool).other_in_omegaai(patient["id"], seen, ("birth date",))
    assert decision == "open"
    pair = await Reviews(harness.store).pair(number, actor="ann")
    assert pair is not None
    assert compared(*pair[1:])

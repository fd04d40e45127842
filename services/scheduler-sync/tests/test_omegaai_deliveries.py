"""Deliveries to OmegaAI over a real socket: created once, updated on what is there, never over the patient's act."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI
from partner_samples import NoDoubts

from chassis.deliveries import Delivery, Receipt
from chassis.errors import Permanent, Transient
from omegaai.client import FhirClient
from omegaai.token import TokenSource
from scheduler_sync.adapters.omegaai.sender import APPOINTMENT_UPSERT, PATIENT_UPSERT, KnownIds, OmegaAISender
from scheduler_sync.snapshots import AppointmentSnapshot, PatientSnapshot

LINK, PATIENT = UUID(int=1), UUID(int=2)
ZONE = ZoneInfo("America/Toronto")


class Ids(NoDoubts):
    """What the store would know."""

    def __init__(self) -> None:
        self.patient: str | None = None
        self.appointment: str | None = None
        self.written: str | None = None
        self.overtaken_by: Literal["done", "under way"] | None = None

    async def of_patient(self, _: UUID) -> KnownIds:
        return KnownIds(self.patient)

    async def of_link(self, _: UUID, __: UUID) -> KnownIds:
        return KnownIds(self.patient, self.appointment, self.written)

    async def later(self, _: Delivery) -> Literal["done", "under way"] | None:
        return self.overtaken_by

    def settle(self, receipt: Receipt) -> None:
        if receipt.detail["resource"] == "Patient":
            self.patient = receipt.detail["id"]
        else:
            self.appointment, self.written = receipt.detail["id"], receipt.detail["version_id"]


class Sending:
    def __init__(self, server: FakeOmegaAI, session: aiohttp.ClientSession) -> None:
        self.server, self.ids, self.is_ours = server, Ids(), True
        tokens = TokenSource(
            session, f"{server.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="api",
        )  # fmt: skip
        self._sender = OmegaAISender(FhirClient(session, server.base_url, tokens), self.ids)

    async def send(self, kind: str, payload: bytes, *, settle: bool = True) -> Receipt:
        async def still_ours() -> bool:
            return self.is_ours

        receipt = await self._sender.send(
            Delivery(
                id=UUID(int=9), destination="omegaai", key=PATIENT, kind=kind, payload=payload, idempotency_key="k",
                headers={}, attempt=1, created_at=datetime.now(ZONE), traceparent=None, still_ours=still_ours,
            )
        )  # fmt: skip
        if settle:
            self.ids.settle(receipt)
        return receipt

    async def patient(self, **more) -> Receipt:
        return await self.send(PATIENT_UPSERT, patient(**more).to_bytes())

    async def appointment(self, *, settle: bool = True, **more) -> Receipt:
        return await self.send(APPOINTMENT_UPSERT, appointment(**more).to_bytes(), settle=settle)


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        yield Sending(server, session)


def patient(**more) -> PatientSnapshot:
    values = {
        "patient_id": PATIENT, "identifiers": (("http://northside.example/patient-id", "4711"),), "family": "Roe",
        "given": "Jane", "middle": None, "birth_date": None, "sex": "F", "email": "jane.roe@example.org", "phone": None,
        "language": "en", "address": None, "organization": "1",
    }  # fmt: skip
    return PatientSnapshot(**{**values, **more})


def appointment(**more) -> AppointmentSnapshot:
    values = {
        "link_id": LINK, "patient_id": PATIENT, "placer_number": "P100045", "status": "pending",
        "start": datetime(2026, 12, 1, 14, 30, tzinfo=ZONE), "end": datetime(2026, 12, 1, 15, 0, tzinfo=ZONE),
        "minutes": 30, "studies": (("CT-HEAD", "CT Head"),), "resource": "BLUME CT", "healthcare_service_id": "hs-1",
        "reason": None, "base_version": None, "written_version": None,
    }  # fmt: skip
    return AppointmentSnapshot(**{**values, **more})


NEXT_DAY = {"start": datetime(2026, 12, 2, 14, 30, tzinfo=ZONE), "end": datetime(2026, 12, 2, 15, 0, tzinfo=ZONE)}


async def test_patient_then_appointment_are_created(sending: Sending):
    await sending.patient()
    receipt = await sending.appointment()
    (stored,) = sending.server.all("Appointment")
    assert receipt.detail == {
        "resource": "Appointment", "id": stored["id"], "version_id": "1", "status": "pending",
    }  # fmt: skip
    (person,) = sending.server.all("Patient")
    assert stored["participant"][0]["actor"]["reference"] == f"Patient/{person['id']}"
    assert stored["participant"][1]["actor"]["reference"] == "HealthcareService/hs-1"
    assert person["managingOrganization"]["reference"] == "Organization/1"


async def test_a_repeat_after_a_lost_answer_finds_its_own_work_done(sending: Sending):
    await sending.patient()
    first = await sending.appointment(settle=False)
    again = await sending.appointment(settle=False)
    assert again.detail == first.detail
    (stored,) = sending.server.all("Appointment")
    assert stored["meta"]["versionId"] == "1"


async def test_a_link_made_anew_by_a_restored_store_finds_the_appointment_that_is_there(sending: Sending):
    await sending.patient()
    first = await sending.appointment()
    sending.ids.appointment = sending.ids.written = None
    again = await sending.appointment(link_id=UUID(int=77))
    (stored,) = sending.server.all("Appointment")
    assert again.detail["id"] == first.detail["id"] == stored["id"]
    assert stored["identifier"][0]["value"] == f"urn:uuid:{UUID(int=77)}", "from now on it is found by the new link"


async def test_another_patients_appointment_of_the_same_placer_number_is_left_alone(sending: Sending):
    """Two PowerServers that write into one OmegaAI may count their orders alike."""
    await sending.patient(identifiers=(("http://lakeshore.example/patient-id", "1"),))
    first = await sending.appointment()
    sending.ids.patient = sending.ids.appointment = sending.ids.written = None
    await sending.patient()
    second = await sending.appointment(link_id=UUID(int=77))
    assert second.detail["id"] != first.detail["id"]


async def test_a_repeat_after_the_patient_cancelled_leaves_their_answer_and_their_reason(sending: Sending):
    """A kill between send and mark, and a patient who was quicker than the repeat: seed 2002 of the chaos harness."""
    await sending.patient()
    first = await sending.appointment(settle=False)
    (stored,) = sending.server.all("Appointment")
    declined = [{**stored["participant"][0], "status": "declined"}, *stored["participant"][1:]]
    reason = {"text": "cannot come"}
    sending.server.patient_sets(stored["id"], "cancelled", participant=declined, cancelationReason=reason)
    again = await sending.appointment()
    (now,) = sending.server.all("Appointment")
    assert (now["cancelationReason"], now["participant"][0]["status"]) == ({"text": "cannot come"}, "declined")
    assert now["meta"]["versionId"] == "2", "written once by us, once by the patient, and not again"
    assert (first.detail["status"], again.detail["status"]) == ("pending", "cancelled")


async def test_a_move_of_what_the_patient_cancelled_meanwhile_keeps_their_reason(sending: Sending):
    await sending.patient()
    await sending.appointment()
    sending.server.patient_sets(sending.ids.appointment, "cancelled", cancelationReason={"text": "cannot come"})
    await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)
    (now,) = sending.server.all("Appointment")
    assert (now["status"], now["cancelationReason"]) == ("cancelled", {"text": "cannot come"})
    assert now["start"] == "2026-12-02T14:30:00-05:00"


async def test_a_change_updates_the_version_that_was_read(sending: Sending):
    await sending.patient()
    await sending.appointment()
    receipt = await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)
    (stored,) = sending.server.all("Appointment")
    assert (stored["meta"]["versionId"], stored["start"]) == ("2", "2026-12-02T14:30:00-05:00")
    assert receipt.detail["version_id"] == "2"


async def test_a_write_that_comes_late_undoes_nothing(sending: Sending):
    await sending.patient()
    await sending.appointment()
    await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)
    sending.is_ours = False  # it stood still, and another worker delivered what came after
    with pytest.raises(Transient, match="taken the delivery over"):
        await sending.appointment(base_version="1", written_version="1")
    (stored,) = sending.server.all("Appointment")
    assert (stored["meta"]["versionId"], stored["start"]) == ("2", "2026-12-02T14:30:00-05:00")


async def test_a_pending_leaves_a_confirmation_that_has_not_reached_us(sending: Sending):
    await sending.patient()
    await sending.appointment()
    sending.server.patient_sets(sending.ids.appointment, "booked")
    receipt = await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)
    (stored,) = sending.server.all("Appointment")
    assert (stored["status"], stored["start"]) == ("booked", "2026-12-02T14:30:00-05:00")
    assert receipt.detail["status"] == "booked"


@pytest.mark.parametrize("act", ["proposed", "cancelled"])
async def test_a_move_of_a_confirmed_one_leaves_what_the_patient_did_meanwhile(sending: Sending, act: str):
    """The move waited in line while the patient cancelled; PowerServer showed CANCELLED, OmegaAI booked."""
    await sending.patient()
    await sending.appointment(status="booked")
    sending.server.patient_sets(sending.ids.appointment, act)
    receipt = await sending.appointment(status="booked", base_version="1", written_version="1", **NEXT_DAY)
    (stored,) = sending.server.all("Appointment")
    assert (stored["status"], stored["start"]) == (act, "2026-12-02T14:30:00-05:00")
    assert receipt.detail["status"] == act


async def test_a_confirmation_between_reading_and_writing_is_read_again(sending: Sending):
    await sending.patient()
    await sending.appointment()
    server, appointment_id = sending.server, sending.ids.appointment

    def confirm_first(_: web.Request) -> web.Response:
        server.patient_sets(appointment_id, "booked")
        return web.Response(status=412)

    server.answer_once(lambda request: request.method == "PUT", confirm_first)
    await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)
    (stored,) = server.all("Appointment")
    assert (stored["status"], stored["start"]) == ("booked", "2026-12-02T14:30:00-05:00")


async def test_staff_who_take_a_confirmation_back_that_is_known_are_obeyed(sending: Sending):
    await sending.patient()
    await sending.appointment()
    sending.server.patient_sets(sending.ids.appointment, "booked")
    await sending.appointment(base_version="2", written_version="1")
    (stored,) = sending.server.all("Appointment")
    assert stored["status"] == "pending"


async def test_a_second_snapshot_taken_before_the_first_was_written_follows_it(sending: Sending):
    await sending.patient()
    await sending.appointment()
    receipt = await sending.appointment(base_version=None, written_version=None, status="cancelled", reason="ill")
    (stored,) = sending.server.all("Appointment")
    assert (stored["status"], stored["cancelationReason"]) == ("cancelled", {"text": "ill"})
    assert receipt.detail["version_id"] == "2"


async def test_a_pending_of_staff_follows_their_own_confirmation_that_was_written_meanwhile(sending: Sending):
    await sending.patient()
    await sending.appointment()
    await sending.appointment(status="booked", base_version="1", written_version="1")
    await sending.appointment(status="pending", base_version="1", written_version="1")
    (stored,) = sending.server.all("Appointment")
    assert stored["status"] == "pending"


async def test_a_known_patient_is_brought_up_to_date_and_keeps_what_blume_added(sending: Sending):
    await sending.patient()
    person = sending.server.all("Patient")[0]
    sending.server.put_directly({**person, "extension": [{"url": "inviteStatus", "valueString": "sent"}]})
    await sending.patient(email="jane@example.org")
    (person,) = sending.server.all("Patient")
    assert person["telecom"][0]["value"] == "jane@example.org"
    assert person["extension"] == [{"url": "inviteStatus", "valueString": "sent"}]


async def test_without_the_patient_the_appointment_is_refused_for_a_person_to_see(sending: Sending):
    with pytest.raises(Permanent, match="patient"):
        await sending.appointment()


async def test_an_appointment_that_keeps_changing_comes_later(sending: Sending):
    await sending.patient()
    await sending.appointment()
    for _ in range(4):
        sending.server.answer_once(lambda request: request.method == "PUT", lambda _: web.Response(status=412))
    with pytest.raises(Transient):
        await sending.appointment(base_version="1", written_version="1", **NEXT_DAY)

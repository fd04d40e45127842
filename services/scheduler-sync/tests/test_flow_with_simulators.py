"""The flow over the real wires: PowerServer's HL7, OmegaAI's FHIR, Kafka, Postgres; counted at both ends."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from flow_processes import Flow, flow, next_week_at

from chassis.testing import eventually

pytestmark = pytest.mark.stack
ROE = {
    "id": "MRN90001", "family": "Roe", "given": "Jane", "birth_date": "1980-02-29", "sex": "F",
    "email": "jane.flow@example.org", "phone": "(416)555-0100",
    "address": {"line": "12 Elm St", "city": "Toronto", "state": "ON", "postal_code": "M5V1A1", "country": "CA"},
}  # fmt: skip
EMAIL = ROE["email"]


async def label(running: Flow, placer: str, wanted: str) -> dict:
    async def shown() -> dict | None:
        card = (await running.cards(EMAIL)).get(placer)
        return card if card is not None and card["label"] == wanted else None

    return await eventually(shown, what=f"{wanted} in Blume")


Start = Callable[..., AbstractAsyncContextManager[Flow]]


@pytest.fixture
def start(tmp_path: Path, migrated_url: str, kafka_bootstrap: str, topic_prefix: str) -> Start:
    return partial(flow, tmp_path, migrated_url, kafka_bootstrap, topic_prefix)


@pytest.mark.parametrize(
    ("profile", "dialect", "send"), [("both", "strict", "siu"), ("siu", "vendor", "siu"), ("orm", "vendor", "orm")]
)
async def test_staff_book_the_patient_confirms_and_both_sides_show_it(
    start: Start, migrated_url: str, profile: str, dialect: str, send: str
):
    async with start(profile=profile, dialect=dialect, send=send) as running:
        placer = await running.book(ROE, start=next_week_at(10))
        card = await label(running, placer, "Pending")
        assert await running.status_in_powerserver(placer) == "SCHEDULED"
        await running.press(EMAIL, card, "confirm")

        async def confirmed() -> bool:
            return await running.status_in_powerserver(placer) == "CONFIRMED"

        await eventually(confirmed)
        await label(running, placer, "Scheduled")
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert [row["detail"]["placer_number"] for row in created] == [placer]
        assert len(await running.ledger(running.omegaai, "Patient.created")) == 1
        changes = await running.ledger(running.powerserver, "appointment.status")
        assert [(row["detail"]["to"], row["detail"]["by"]) for row in changes] == [("CONFIRMED", "hl7")]
        heard = await running.ledger(running.powerserver, "hl7.received")
        assert [row["detail"]["type"] for row in heard] == [{"siu": "SIU^S14", "orm": "ORM^O01"}[send]]
        connection = await asyncpg.connect(migrated_url)
        events = [row["topic"] for row in await connection.fetch("SELECT topic FROM outbox ORDER BY id")]
        assert events == ["patient.registered", "appointment.scheduled", "appointment.confirmed"]

        async def sent() -> bool:
            return await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0

        await eventually(sent)
        link_id = await connection.fetchval("SELECT id FROM appointment_links")
        await connection.close()
        assert placer in await running.page("/links")
        page = await running.page(f"/links/{link_id}")
        assert "Scheduled" in page
        assert "status.confirmed" in page
        for secret in ("MRN90001", "Roe", "Jane", EMAIL, "1980-02-29"):
            assert secret not in running.log()
            assert secret not in page


async def test_a_site_that_speaks_orders_moves_and_cancels_and_mends_its_set_up(start: Start):
    async with start(profile="orm") as running:
        await running.book(ROE, start=next_week_at(10), resource="GHOST CT")

        async def kept() -> bool:
            return "GHOST CT" in await running.page("/needs-setup")

        await eventually(kept)
        code, output = await running.command("needs-setup", "replay", "--all")
        assert code == 1
        assert "failed" in output
        with running.site_file.open("a") as file:
            file.write("\nresource_aliases:\n  FAC01:\n    GHOST CT: BLUME CT\n")
        code, output = await running.command("needs-setup", "replay", "--all")
        assert code == 0, output
        assert output.rstrip().endswith("0 still wait")
        placer = (await running.ledger(running.powerserver, "appointment.booked"))[0]["subject"]
        before = await label(running, placer, "Pending")

        await running.powerserver_api(f"appointments/{placer}/time", {"start": next_week_at(14)})

        async def moved() -> bool:
            return (await running.cards(EMAIL))[placer]["start"] != before["start"]

        await eventually(moved)
        assert (await running.cards(EMAIL))[placer]["label"] == "Pending"
        await running.powerserver_api(f"appointments/{placer}/status", {"action": "cancelled-with-notice"})
        await label(running, placer, "Cancelled")
        assert len(await running.ledger(running.omegaai, "Appointment.created")) == 1


async def test_partners_that_misbehave_lose_and_double_nothing(start: Start):
    async with start() as running:
        await running.misbehave(running.powerserver, target="mllp-out", mode="duplicate", count=4)
        await running.misbehave(running.omegaai, target="fhir", mode="status", status=503, count=2)
        await running.misbehave(running.omegaai, target="fhir", mode="accept-then-timeout", count=2, seconds=4)
        placers = [await running.book({**ROE, "id": f"MRN9100{n}"}, start=next_week_at(8 + n)) for n in range(1, 4)]
        for placer in placers:
            card = await label(running, placer, "Pending")
            await running.misbehave(running.powerserver, target="mllp-in", mode="status", status="AE", count=1)
            await running.press(EMAIL, card, "confirm")
        for placer in placers:

            async def confirmed(number: str = placer) -> bool:
                return await running.status_in_powerserver(number) == "CONFIRMED"

            await eventually(confirmed)
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert Counter(row["detail"]["placer_number"] for row in created) == Counter(placers)
        changes = await running.ledger(running.powerserver, "appointment.status")
        assert Counter(row["subject"] for row in changes) == Counter(placers)

"""The flow over the real wires: PowerServer's HL7, OmegaAI's FHIR, Kafka, Postgres; counted at both ends."""

from collections import Counter
from pathlib import Path

import asyncpg
import pytest
from flow_processes import Flow, flow, next_week_at, wait

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

    return await wait(shown)


@pytest.mark.parametrize(("profile", "dialect"), [("both", "strict"), ("siu", "vendor"), ("orm", "strict")])
async def test_staff_book_the_patient_confirms_and_both_sides_show_it(
    tmp_path: Path, database_url: str, kafka_bootstrap: str, topic_prefix: str, profile: str, dialect: str
):
    async with flow(tmp_path, database_url, kafka_bootstrap, topic_prefix, profile=profile, dialect=dialect) as running:
        placer = await running.book(ROE, start=next_week_at(10))
        card = await label(running, placer, "Pending")
        assert await running.status_in_powerserver(placer) == "SCHEDULED"
        await running.press(EMAIL, card, "confirm")

        async def confirmed() -> bool:
            return await running.status_in_powerserver(placer) == "CONFIRMED"

        await wait(confirmed)
        await label(running, placer, "Scheduled")
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert [row["detail"]["placer_number"] for row in created] == [placer]
        assert len(await running.ledger(running.omegaai, "Patient.created")) == 1
        changes = await running.ledger(running.powerserver, "appointment.status")
        assert [(row["detail"]["to"], row["detail"]["by"]) for row in changes] == [("CONFIRMED", "hl7")]
        connection = await asyncpg.connect(database_url)
        events = [row["topic"] for row in await connection.fetch("SELECT topic FROM outbox ORDER BY id")]
        assert events == ["patient.registered", "appointment.scheduled", "appointment.confirmed"]

        async def sent() -> bool:
            return await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL") == 0

        await wait(sent)
        link_id = await connection.fetchval("SELECT id FROM appointment_links")
        await connection.close()
        assert placer in await running.page("/links")
        page = await running.page(f"/links/{link_id}")
        assert "Scheduled" in page
        assert "status.confirmed" in page
        for secret in ("MRN90001", "Roe", "Jane", EMAIL, "1980-02-29"):
            assert secret not in running.log()
            assert secret not in page


async def test_staff_move_then_cancel_and_the_card_follows(
    tmp_path: Path, database_url: str, kafka_bootstrap: str, topic_prefix: str
):
    async with flow(tmp_path, database_url, kafka_bootstrap, topic_prefix) as running:
        placer = await running.book(ROE, start=next_week_at(10))
        before = await label(running, placer, "Pending")
        await running.powerserver_api(f"appointments/{placer}/time", {"start": next_week_at(14)})

        async def moved() -> bool:
            return (await running.cards(EMAIL))[placer]["start"] != before["start"]

        await wait(moved)
        assert (await running.cards(EMAIL))[placer]["label"] == "Pending"
        await running.powerserver_api(f"appointments/{placer}/status", {"action": "cancelled-with-notice"})
        await label(running, placer, "Cancelled")
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert len(created) == 1


async def test_bad_set_up_is_kept_shown_and_replayed_after_the_fix(
    tmp_path: Path, database_url: str, kafka_bootstrap: str, topic_prefix: str
):
    async with flow(tmp_path, database_url, kafka_bootstrap, topic_prefix, profile="siu") as running:
        await running.book(ROE, start=next_week_at(10), resource="GHOST CT")

        async def kept() -> bool:
            return "GHOST CT" in await running.page("/needs-setup")

        await wait(kept)
        code, output = await running.command("needs-setup", "replay", "--all")
        assert code == 1
        assert "failed" in output
        text = running.site_file.read_text()
        running.site_file.write_text(text + "\nresource_aliases:\n  FAC01:\n    GHOST CT: BLUME CT\n")

        async def replayed() -> bool:
            return (await running.command("needs-setup", "replay", "--all"))[1].rstrip().endswith("0 still wait")

        await wait(replayed)
        placer = (await running.ledger(running.powerserver, "appointment.booked"))[0]["subject"]
        await label(running, placer, "Pending")


async def test_partners_that_misbehave_lose_and_double_nothing(
    tmp_path: Path, database_url: str, kafka_bootstrap: str, topic_prefix: str
):
    async with flow(tmp_path, database_url, kafka_bootstrap, topic_prefix) as running:
        await running.misbehave(running.powerserver, target="mllp-out", mode="duplicate", count=4)
        await running.misbehave(running.omegaai, target="fhir", mode="status", status=503, count=2)
        await running.misbehave(running.omegaai, target="fhir", mode="accept-then-timeout", count=2, seconds=12)
        placers = [await running.book({**ROE, "id": f"MRN9100{n}"}, start=next_week_at(8 + n)) for n in range(1, 4)]
        for placer in placers:
            card = await label(running, placer, "Pending")
            await running.misbehave(running.powerserver, target="mllp-in", mode="nack", status="AE", count=1)
            await running.press(EMAIL, card, "confirm")
        for placer in placers:

            async def confirmed(number: str = placer) -> bool:
                return await running.status_in_powerserver(number) == "CONFIRMED"

            await wait(confirmed)
        created = await running.ledger(running.omegaai, "Appointment.created")
        assert Counter(row["detail"]["placer_number"] for row in created) == Counter(placers)
        changes = await running.ledger(running.powerserver, "appointment.status")
        assert Counter(row["subject"] for row in changes) == Counter(placers)

"""Resources leave PowerServer in two ways: the grid's CSV export, and MFN when one is saved."""

import csv
import io
from contextlib import asynccontextmanager

FORM = {
    "name": "BLUME PT", "modality": "PT", "department": "RADIOLOGY", "room": "CT1", "opens": "09:00",
    "closes": "22:59", "default_minutes": "60", "class": "SCANNER", "overbooking": "on",
}  # fmt: skip
NEW = "/settings/facilities/FAC01/resources/new"


@asynccontextmanager
async def _logged_in(bench, name: str):
    async with bench.browser() as client:
        await client.post("/login", data={"name": name, "password": "development"})
        yield client


async def test_the_grid_is_exported_with_every_column(bench):
    async with _logged_in(bench, "admin") as client:
        answer = await client.get("/settings/resources.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 8
    assert rows[0] == {
        "Facility": "FAC01", "Id": "R1", "Resource": "BLUME CT", "Modality": "CT", "Type": "MODALITY",
        "Department": "RADIOLOGY", "Room": "CT1", "Class": "SCANNER", "Start Time": "08:00", "End Time": "23:00",
        "Default duration": "30", "Overbooking": "No",
    }  # fmt: skip


async def test_only_who_is_logged_in_exports(bench):
    async with bench.browser() as nobody:
        assert (await nobody.get("/settings/resources.csv")).status_code != 200


async def test_a_saved_resource_is_told_with_its_key(bench):
    async with _logged_in(bench, "admin") as client:
        assert (await client.post(NEW, data=FORM)).status_code == 303
        await bench.partner.has(1)
        changed = {**FORM, "name": "BLUME PT 2", "overbooking": ""}
        assert (await client.post("/settings/facilities/FAC01/resources/9", data=changed)).status_code == 303
        await bench.partner.has(2)
    first, second = bench.partner.received
    assert (first.type, first.trigger) == ("MFN", "M05")
    lines = [segment.to_bytes().decode().strip() for segment in first.segments()]
    assert lines[1:] == [
        "MFI|LOC^Location master file^HL70175||UPD|||AL",
        "MFE|MAD|||R9^CT1^^FAC01",
        "LOC|R9^CT1^^FAC01|BLUME PT|MODALITY|||||PT",
        "LDP|R9^CT1^^FAC01|RADIOLOGY|||A||||^^0900^2259",
        "LCH|R9^CT1^^FAC01|U||DURATION^Default duration^99PS|60",
        "LCH|R9^CT1^^FAC01|U||OVERBOOKING^Overbooking^99PS|Y",
        "LCH|R9^CT1^^FAC01|U||CLASS^Class^99PS|SCANNER",
    ]
    again = [segment.to_bytes().decode().strip() for segment in second.segments()]
    assert again[2] == "MFE|MUP|||R9^CT1^^FAC01"
    assert again[3].split("|")[2] == "BLUME PT 2"
    assert again[6].endswith("|N")


async def test_an_administrator_may_switch_it_off(bench):
    async with _logged_in(bench, "admin") as client:
        assert (await client.post("/settings/hl7", data={"profile": "siu"})).status_code == 303
        assert (await client.post(NEW, data=FORM)).status_code == 303
    await bench.book()
    await bench.partner.has(1)
    assert [message.type for message in bench.partner.received] == ["SIU"]

"""The development site: the same on every machine, written once into an empty store."""

import hashlib
import secrets
from typing import Final

from powerserver_sim import rules
from powerserver_sim.accounts import hash_password
from powerserver_sim.orders import insert_order
from powerserver_sim.settings import Settings
from powerserver_sim.store import Work

_FACILITIES: Final = """
FAC01|Northside Imaging|America/Toronto|(416)555-0110|desk@northside.example|400 Bay St, Toronto ON|1003000126
FAC02|Lakeshore Imaging|America/Vancouver|(604)555-0120|desk@lakeshore.example|12 Shore Dr, Vancouver BC|1003000134
FAC09|Annex Imaging|America/Toronto|(416)555-0190|desk@annex.example|9 Annex Rd, Toronto ON|1003000142
"""
_LOCATIONS: Final = [
    ("FAC01", "RADIOLOGY", "1", "CT1"),
    ("FAC01", "RADIOLOGY", "1", "MR1"),
    ("FAC01", "RADIOLOGY", "2", "XR1"),
    ("FAC01", "RADIOLOGY", "2", "US1"),
    ("FAC01", "RADIOLOGY", "B", "CT9"),
    ("FAC02", "RADIOLOGY", "1", "CT1"),
    ("FAC02", "RADIOLOGY", "1", "MR1"),
    ("FAC09", "RADIOLOGY", "1", "CT1"),
]
UNMAPPED: Final = "UNMAPPED"
"""Class of the resources that the suite and OmegaAI do not know, there for trying bad set-up out."""

_RESOURCES: Final = [
    ("FAC01", "BLUME CT", "CT", "CT1", "SCANNER", "08:00", "23:00", 30),
    ("FAC01", "BLUME MR", "MR", "MR1", "SCANNER", "08:00", "23:00", 45),
    ("FAC01", "BLUME XR", "DX", "XR1", "SCANNER", "08:00", "23:00", 15),
    ("FAC01", "BLUME US", "US", "US1", "SCANNER", "08:00", "23:00", 30),
    ("FAC01", "GHOST CT", "CT", "CT9", UNMAPPED, "08:00", "23:00", 30),
    ("FAC02", "LAKE CT", "CT", "CT1", "SCANNER", "07:00", "22:00", 30),
    ("FAC02", "LAKE MR", "MR", "MR1", "SCANNER", "07:00", "22:00", 45),
    ("FAC09", "ANNEX CT", "CT", "CT1", UNMAPPED, "08:00", "18:00", 30),
]
_STUDY_TYPES: Final = [
    ("CT-HEAD", "CT Head", "CT", 30),
    ("CT-CHEST", "CT Chest", "CT", 30),
    ("MR-KNEE", "MR Knee", "MR", 45),
    ("MR-BRAIN", "MR Brain", "MR", 45),
    ("XR-CHEST", "X-ray Chest", "DX", 10),
    ("US-ABDOMEN", "Ultrasound Abdomen", "US", 30),
    ("GENERAL", "General study", None, None),
]
_STATUSES: Final = [
    (15, "REQUESTED"),
    (rules.ORDERED, "ORDERED"),
    (rules.SCHEDULED, "SCHEDULED"),
    (rules.CONFIRMED, "CONFIRMED"),
    (rules.ARRIVED, "ARRIVED"),
    (rules.CANCELLED, "CANCELLED"),
    (rules.NO_SHOW, "NO SHOW"),
    (rules.READY_FOR_SCAN, "READY FOR SCAN"),
    (100, "STARTED"),
    (115, "IN PROGRESS"),
    (rules.COMPLETED, "COMPLETED"),
    (150, "VERIFIED"),
    (160, "PRELIMINARY"),
    (180, "READ"),
    (190, "REPORTED"),
    (200, "APPROVED"),
]
_ACTIONS: Final = [
    ("confirmed", rules.CONFIRMED),
    ("arrived", rules.ARRIVED),
    ("ready-for-scan", rules.READY_FOR_SCAN),
    ("need-to-reschedule", rules.SCHEDULED),
    ("cancelled-with-notice", rules.CANCELLED),
    ("no-show", rules.NO_SHOW),
]
_PRIORITIES: Final = [
    (5, "STAT"),
    (10, "URGENT"),
    (20, "ROUTINE"),
    (30, "LOW"),
    (90, "SCHEDULED STATUS"),
]
_PHYSICIANS: Final = [
    ("1001", "Miller", "Ann"),
    ("1002", "Okafor", "Chidi"),
    ("1003", "Lindqvist", "Sara"),
    ("1004", "Tremblay", "Luc"),
]
_PATIENTS: Final = """
4711|Roe|Jane|A|1980-02-29|F|jane.roe@example.org|(416)555-0100|12 Elm St|Toronto|ON|M5V1A1
4712|Sample|Peter||1957-11-03|M|peter.sample@example.org|(416)555-0101|8 Oak Ave|Toronto|ON|M4C1B5
4713|Nguyễn|Thảo||1992-07-18|F|thao.nguyen@example.org|(416)555-0102|77 King St|Toronto|ON|M5H1J9
4714|O'Brien-Smith|Máire|K|1969-01-25|F||(416)555-0103|3 Birch Ct|Mississauga|ON|L5B2C9
4715|Garcia|Luis||2001-05-09|M|luis.garcia@example.org|(604)555-0104|19 Pine Rd|Vancouver|BC|V6B1A1
4716|Haddad|Noor||1988-12-30|O|noor.haddad@example.org|(604)555-0105|5 Cedar Ln|Burnaby|BC|V5H2A9
"""
# Patient, facility, study types, priority: the ORDERED group that the worklist opens with.
_ORDERED: Final = [
    ("4711", "FAC01", ["CT-HEAD"], 20),
    ("4712", "FAC01", ["XR-CHEST"], 20),
    ("4713", "FAC01", ["MR-KNEE"], 10),
    ("4714", "FAC01", ["GENERAL"], 20),
    ("4712", "FAC01", ["CT-HEAD", "CT-CHEST"], 10),
    ("4715", "FAC02", ["CT-CHEST"], 20),
    ("4716", "FAC02", ["MR-BRAIN"], 20),
]
_COUNTERS: Final = [("order", 100000), ("control", 0), ("patient", 5000), ("answer", 0)]


def prepare(work: Work, settings: Settings) -> str:
    """Fill an empty store, and let a changed profile or ADT setting win over what the HL7 page chose before.
    Returns the key that signs login sessions.
    """
    if work.one("SELECT 1 FROM counter") is None:
        _fill(work)
    _set_users(work)
    for key, value in (("profile", settings.profile), ("adt_out", "on" if settings.adt_out else "off")):
        seen = work.one("SELECT value FROM setting WHERE key = ?", f"{key}_given")
        if seen is None or seen["value"] != value:
            work.run("INSERT OR REPLACE INTO setting VALUES (?, ?), (?, ?)", key, value, f"{key}_given", value)
    session_key = work.one("SELECT value FROM setting WHERE key = 'session_key'")
    assert session_key is not None  # noqa: S101 - written with the other data
    return str(session_key["value"])


def _fill(work: Work) -> None:
    put = work.connection.executemany
    put("INSERT INTO counter VALUES (?, ?)", _COUNTERS)
    put("INSERT INTO facility (code, name, time_zone, issuer, phone, email, address, npi) "
        "VALUES (?, ?, ?, 'NORTHSIDE', ?, ?, ?, ?)", _rows(_FACILITIES))  # fmt: skip
    put("INSERT INTO location (facility, department, floor, room) VALUES (?, ?, ?, ?)", _LOCATIONS)
    put("INSERT INTO resource (facility, name, modality, department, room, class, opens, closes, default_minutes) "
        "VALUES (?, ?, ?, 'RADIOLOGY', ?, ?, ?, ?, ?)", _RESOURCES)  # fmt: skip
    put("INSERT INTO study_type VALUES (?, ?, ?, ?)", _STUDY_TYPES)
    put("INSERT INTO status VALUES (?, ?)", _STATUSES)
    put("INSERT INTO action_status VALUES (?, ?)", _ACTIONS)
    put("INSERT INTO priority VALUES (?, ?)", _PRIORITIES)
    put("INSERT INTO physician VALUES (?, ?, ?)", _PHYSICIANS)
    put("INSERT INTO patient (patient_id, issuer, family, given, middle, birth_date, sex, email, phone, street, city, "
        "state, postal_code, country, created_at) VALUES (?, 'NORTHSIDE', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'CA', 0)",
        _rows(_PATIENTS))  # fmt: skip
    for patient_id, facility, study_types, priority in _ORDERED:
        patient = work.one("SELECT key FROM patient WHERE patient_id = ?", patient_id)
        if patient is not None:
            insert_order(
                work, patient=patient["key"], facility=facility, study_types=study_types, priority=priority,
                physician="1001",
            )  # fmt: skip
    work.run("INSERT INTO setting VALUES ('session_key', ?)", secrets.token_hex(32))


def _set_users(work: Work) -> None:
    """At every start: a store from before a change of the hash lets its users in."""
    for name, full_name, is_admin, facility in (
        ("frontdesk", "Front Desk", 0, "FAC01"),
        ("admin", "System Administrator", 1, None),
    ):
        salt = hashlib.sha256(name.encode()).digest()[:16]
        secret = hash_password("development", salt)
        work.run(
            "INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?, ?, ?)", name, full_name, salt, secret, is_admin, facility
        )


def _rows(table: str) -> list[list[str]]:
    return [line.split("|") for line in table.strip().splitlines()]

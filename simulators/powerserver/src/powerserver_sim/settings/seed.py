"""The catalogue of the development site: the same on every machine, written once into an empty store."""

from typing import Final

from powerserver_sim import rules
from powerserver_sim.settings.catalogue import UNMAPPED
from simulator_kit.store import Work

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
    ("not-yet-confirmed", rules.SCHEDULED),
    ("completed", rules.COMPLETED),
]
_WORKFLOWS: Final = ["CROSS-SECTIONAL", "GENERAL RADIOLOGY", "WALK-IN"]
_DEFAULT_PRIORITY: Final = 20
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


def prepare(work: Work) -> None:
    work.add_column("resource", "time_multiplier", "REAL NOT NULL DEFAULT 1")
    # The length of a study whose type gives none.
    work.add_column(
        "resource",
        "slot_minutes",
        "INTEGER GENERATED ALWAYS AS (CAST(round(default_minutes * time_multiplier) AS INTEGER))",
    )
    work.add_column("location", "fax", "TEXT NOT NULL DEFAULT ''")
    work.add_column("location", "auto_fax", "INTEGER NOT NULL DEFAULT 0")
    put_defaults(work)
    if work.one("SELECT 1 FROM facility") is not None:
        put_actions(work)
        return
    put = work.connection.executemany
    facilities = [line.split("|") for line in _FACILITIES.strip().splitlines()]
    put("INSERT INTO facility (code, name, time_zone, issuer, phone, email, address, npi) "
        "VALUES (?, ?, ?, 'NORTHSIDE', ?, ?, ?, ?)", facilities)  # fmt: skip
    put("INSERT INTO location (facility, department, floor, room) VALUES (?, ?, ?, ?)", _LOCATIONS)
    put("INSERT INTO resource (facility, name, modality, department, room, class, opens, closes, default_minutes) "
        "VALUES (?, ?, ?, 'RADIOLOGY', ?, ?, ?, ?, ?)", _RESOURCES)  # fmt: skip
    put("INSERT INTO study_type VALUES (?, ?, ?, ?)", _STUDY_TYPES)
    put("INSERT INTO status VALUES (?, ?)", _STATUSES)
    put_actions(work)
    put("INSERT INTO priority VALUES (?, ?)", _PRIORITIES)
    put("INSERT INTO physician VALUES (?, ?, ?)", _PHYSICIANS)


def put_defaults(work: Work) -> None:
    """Settings that older stores lack; those of an administrator stay."""
    put = work.connection.executemany
    put("INSERT OR IGNORE INTO site_default VALUES (?, ?)", [("priority", _DEFAULT_PRIORITY)])
    if work.one("SELECT 1 FROM workflow") is None:
        put("INSERT INTO workflow VALUES (?)", [(name,) for name in _WORKFLOWS])


def put_actions(work: Work) -> None:
    """The status of each action, where an administrator has not chosen one."""
    work.connection.executemany("INSERT OR IGNORE INTO action_status VALUES (?, ?)", _ACTIONS)

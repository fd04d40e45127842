"""The orders on the worklist of a new development site, written once into an empty store."""

from typing import Final

from powerserver_sim.worklist.orders import insert_order
from simulator_kit.store import Work

# Patient, facility, study types, priority of the ORDERED group of a new store.
_ORDERED: Final = [
    ("4711", "FAC01", ["CT-HEAD"], 20),
    ("4712", "FAC01", ["XR-CHEST"], 20),
    ("4713", "FAC01", ["MR-KNEE"], 10),
    ("4714", "FAC01", ["GENERAL"], 20),
    ("4712", "FAC01", ["CT-HEAD", "CT-CHEST"], 10),
    ("4715", "FAC02", ["CT-CHEST"], 20),
    ("4716", "FAC02", ["MR-BRAIN"], 20),
]
_FIRST_NUMBER: Final = 100_000


def prepare(work: Work) -> None:
    if work.one("SELECT 1 FROM counter WHERE name = 'order'") is not None:
        return
    work.run("INSERT INTO counter VALUES ('order', ?)", _FIRST_NUMBER)
    for patient_id, facility, study_types, priority in _ORDERED:
        patient = work.one("SELECT key FROM patient WHERE patient_id = ?", patient_id)
        if patient is not None:
            insert_order(
                work, patient=patient["key"], facility=facility, study_types=study_types, priority=priority,
                physician="1001",
            )  # fmt: skip

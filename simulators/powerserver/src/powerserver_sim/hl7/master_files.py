"""MFN^M05: a resource that was saved, as HL7's master file of locations (chapter 8). Pure, returns wire bytes."""

import sqlite3
from datetime import datetime
from zoneinfo import ZoneInfo

from powerserver_sim.hl7 import messages


def mfn(resource: sqlite3.Row, zone: ZoneInfo, control_id: str, at: datetime, *, is_new: bool) -> bytes:
    """`resource` is a row of the grid; its id is the key, which a new name leaves as it is."""
    message = messages.begun("MFN^M05", resource["facility"], zone, control_id, at)
    place = [f"R{resource['id']}", resource["room"], "", resource["facility"]]
    message.add("MFI", {1: ["LOC", "Location master file", "HL70175"], 3: "UPD", 6: "AL"})
    message.add("MFE", {1: "MAD" if is_new else "MUP", 4: place})
    message.add("LOC", {1: place, 2: resource["name"], 3: "MODALITY", 8: resource["modality"]})
    hours = ["", "", resource["opens"].replace(":", ""), resource["closes"].replace(":", "")]
    message.add("LDP", {1: place, 2: resource["department"], 5: "A", 9: hours})
    facts = {
        "DURATION": ("Default duration", str(resource["default_minutes"])),
        "OVERBOOKING": ("Overbooking", "Y" if resource["overbooking"] else "N"),
        "CLASS": ("Class", resource["class"]),
    }
    for code, (words, value) in facts.items():
        if value:
            message.add("LCH", {1: place, 2: "U", 4: [code, words, "99PS"], 5: value})
    return message.to_bytes()

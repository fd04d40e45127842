"""The resources grid as a CSV export, as the grid's own menu writes it: the columns that are on the screen."""

import csv
import io
from typing import Final

from powerserver_sim.accounts import User
from simulator_kit.store import Work

COLUMNS: Final = (
    "Facility", "Id", "Resource", "Modality", "Type", "Department", "Room", "Class", "Start Time", "End Time",
    "Default duration", "Overbooking",
)  # fmt: skip


def grid(work: Work, user: User) -> bytes:
    """Every resource of the facilities that the user sees; UTF-8 with BOM, as Excel wants it."""
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for row in work.all("SELECT * FROM resource ORDER BY facility, id"):
        if user.sees(row["facility"]):
            writer.writerow(
                [
                    row["facility"], f"R{row['id']}", row["name"], row["modality"], "MODALITY", row["department"],
                    row["room"], row["class"], row["opens"], row["closes"], row["default_minutes"],
                    "Yes" if row["overbooking"] else "No",
                ]
            )  # fmt: skip
    return b"\xef\xbb\xbf" + written.getvalue().encode()

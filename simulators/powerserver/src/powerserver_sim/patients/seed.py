"""The patients of the development site, written once into an empty store."""

from typing import Final

from simulator_kit.store import Work

_PATIENTS: Final = """
4711|Roe|Jane|A|1980-02-29|F|jane.roe@example.org|(416)555-0100|12 Elm St|Toronto|ON|M5V1A1
4712|Sample|Peter||1957-11-03|M|peter.sample@example.org|(416)555-0101|8 Oak Ave|Toronto|ON|M4C1B5
4713|Nguyễn|Thảo||1992-07-18|F|thao.nguyen@example.org|(416)555-0102|77 King St|Toronto|ON|M5H1J9
4714|O'Brien-Smith|Máire|K|1969-01-25|F||(416)555-0103|3 Birch Ct|Mississauga|ON|L5B2C9
4715|Garcia|Luis||2001-05-09|M|luis.garcia@example.org|(604)555-0104|19 Pine Rd|Vancouver|BC|V6B1A1
4716|Haddad|Noor||1988-12-30|O|noor.haddad@example.org|(604)555-0105|5 Cedar Ln|Burnaby|BC|V5H2A9
"""
_FIRST_NUMBER: Final = 5000


def prepare(work: Work) -> None:
    if work.one("SELECT 1 FROM counter WHERE name = 'patient'") is not None:
        return
    work.run("INSERT INTO counter VALUES ('patient', ?)", _FIRST_NUMBER)
    work.connection.executemany(
        "INSERT INTO patient (patient_id, issuer, family, given, middle, birth_date, sex, email, phone, street, city, "
        "state, postal_code, country, created_at) VALUES (?, 'NORTHSIDE', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'CA', 0)",
        [line.split("|") for line in _PATIENTS.strip().splitlines()],
    )

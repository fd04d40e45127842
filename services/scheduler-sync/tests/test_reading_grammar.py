"""Messages drawn from the grammar of what senders write, against a small oracle that knows what was meant.

The oracle works on what is drawn, never on the message: it does not know HL7.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds_line import Line, order, orders, site_with
from sync_samples import NOW, directory

from chassis.errors import Malformed, NeedsSetup
from chassis.testing.depth import DEPTH
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.domain.appointment import WorkflowStep
from scheduler_sync.domain.patient import UNSAID

OID = "2.16.840.1.113883.3.999"
SITE = site_with(issuers={"NORTHSIDE": "http://n", "SOUTH": "http://s", OID: "http://n"})
DIRECTORY = directory(SITE)
DAY = datetime(2027, 3, 9, 14, 0, tzinfo=UTC)
AUTHORITIES = {
    "NORTHSIDE": "NORTHSIDE", f"&{OID}&ISO": "NORTHSIDE", f"NORTHSIDE&{OID}&ISO": "NORTHSIDE",
    f"LOCAL&{OID}&ISO": "NORTHSIDE", "SOUTH": "SOUTH", "SOUTH&9.9&ISO": "SOUTH", "WEST": None,
    "&1.2.3&ISO": None, "": None,
}  # fmt: skip
"""As written, and whose it is; None for one that the site does not know."""
TYPES = {"": True, "MR": True, "PI": True, "mr": True, "AN": False, "VN": False, "DL": False, "SS": False, "MB": False}
"""As written, and whether it identifies."""
UNITS = {
    "": 60,
    "min^minutes^ISO+": 60,
    "M": 60,
    "hr^hour^ISO+": 3600,
    "H": 3600,
    "^hours": 3600,
    "s^second^UCUM": 1,
    "SEC": 1,
}
EVENTS = {
    "S12": WorkflowStep.SCHEDULED, "S13": None, "S14": None, "S15": WorkflowStep.CANCELLED, "S26": WorkflowStep.NO_SHOW,
}  # fmt: skip
WORDS = {
    "": None,
    "30^SCHEDULED": WorkflowStep.SCHEDULED,
    "^Confirmed": WorkflowStep.CONFIRMED,
    "^WHATEVER": None,
    "77": None,
}
QUOTES = {"8859/1": b"\x92", "8859/15": b"\x92", "UNICODE UTF-8": "’".encode(), "": b"\x92"}
STATES = ["absent", "empty", "null", "value"]


@dataclass(frozen=True)
class Length:
    """A length as it is written, and what it is."""

    number: int
    unit: str

    @property
    def is_(self) -> timedelta:
        return timedelta(seconds=self.number * UNITS[self.unit])


NUMBERS = {60: [15, 30, 45], 3600: [1], 1: [900, 2700]}
lengths = st.sampled_from(sorted(UNITS)).flatmap(
    lambda unit: st.builds(Length, st.sampled_from(NUMBERS[UNITS[unit]]), st.just(unit))
)
numbers = st.tuples(
    st.sampled_from(["11", "12", "13"]), st.sampled_from(sorted(TYPES)), st.sampled_from(sorted(AUTHORITIES))
)


@dataclass(frozen=True)
class Service:
    code: str
    after: int
    length: Length
    by_distance: bool


services = st.lists(
    st.builds(Service, st.sampled_from(["CT-A", "CT-B", "CT-C"]), st.sampled_from([0, 30, 75]), lengths, st.booleans()),
    min_size=1, max_size=3, unique_by=lambda one: one.code,
)  # fmt: skip


def stamp(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S+0000")


@settings(max_examples=DEPTH.examples(400), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    who=st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=4), booked=services,
    event=st.sampled_from(sorted(EVENTS)),
    word=st.sampled_from(sorted(WORDS)), overall=st.sampled_from(["end", "length", "start", "none"]), length=lengths,
    phone=st.sampled_from(STATES), charset=st.sampled_from(sorted(QUOTES)), turn=st.integers(0, 5), data=st.data(),
)  # fmt: skip
def test_a_message_of_the_grammar_says_what_was_meant(
    *,
    who: Any,
    booked: list[Service],
    event: str,
    word: str,
    overall: str,
    length: Length,
    phone: str,
    charset: str,
    turn: int,
    data: Any,
) -> None:
    repetitions = "~".join("" if one is None else f"{one[0]}^^^{one[2]}^{one[1]}".rstrip("^") for one in who)
    telephone = {"absent": "", "empty": "8 Elm St||", "null": '8 Elm St||""', "value": "8 Elm St||555-1^PRN^PH"}[phone]
    timing = {"end": f"^^^{stamp(DAY)}^{stamp(DAY + length.is_)}", "none": ""}.get(overall, f"^^^{stamp(DAY)}")
    sch_length = f"{length.number}|{length.unit}" if overall == "length" else "|"
    rows = []
    for number, one in enumerate(booked, 1):
        is_far = one.by_distance and overall != "none"
        start = f"|{one.after}|min" if is_far else f"{stamp(DAY + timedelta(minutes=one.after))}||"
        rows.append(f"AIS|{number}|A|{one.code}^{one.code} text|{start}|{one.length.number}|{one.length.unit}")
    rest = data.draw(st.permutations([*rows, "AIG|1|A|BLUME CT", "AIL|1|A|R^1^^FAC01", "PV1|1|O"]))
    lines = [
        f"MSH|^~\\&|RAMSOFT|FAC01|S|N|20261125093000-0500||SIU^{event}|{turn}|P|2.5.1||||||{charset}",
        f"SCH|P1||||||||{sch_length}|{timing}||||||||||||||{word}",
        f"PID|1||{repetitions}||OQUOTEQuill^Tamsin||||||{telephone}".rstrip("|"),
        "RGS|1",
        *rest,
    ]
    raw = "\r".join(lines).encode().replace(b"QUOTE", QUOTES[charset]) + b"\r"

    given_numbers = [one for one in who if one is not None]
    identifying = [one for one in given_numbers if TYPES[one[1]]]
    known = list(dict.fromkeys((AUTHORITIES[one[2]], one[0]) for one in identifying if AUTHORITIES[one[2]]))
    if not known:
        with pytest.raises(NeedsSetup if given_numbers else Malformed):
            reader.read(Message.parse(raw), SITE, DIRECTORY, received_at=NOW)
        return
    command = reader.read(Message.parse(raw), SITE, DIRECTORY, received_at=NOW)
    facts = command.appointment
    assert [(one.issuer, one.value) for one in command.patient.identifiers] == known
    assert command.patient.family == "O’Quill"
    assert command.patient.phone == {"absent": UNSAID, "empty": UNSAID, "null": None, "value": "555-1"}[phone]
    is_end = event in {"S15", "S26"}
    assert facts.step is (EVENTS[event] if is_end else WORDS[word] or EVENTS[event])
    assert (command.waits_for is not None) == (word in {"^WHATEVER", "77"})
    if is_end:
        return
    assert facts.slot is not None
    assert (facts.slot.start, facts.slot.end) == meant(booked, overall, length)
    order_written = [row.split("|")[3].split("^")[0] for row in rest if row.startswith("AIS")]
    assert [one.code for one in facts.studies] == order_written


def meant(booked: list[Service], overall: str, length: Length) -> tuple[datetime, datetime]:
    """From the earliest start to the latest end, whoever of the appointment and its services says them."""
    starts = [DAY + timedelta(minutes=one.after) for one in booked]
    ends = [start + one.length.is_ for start, one in zip(starts, booked, strict=True)]
    start = min(starts) if overall == "none" else DAY
    end = DAY + length.is_ if overall in {"end", "length"} else max(ends)
    if len(booked) > 1:
        return min(start, *starts), max(end, *ends)
    return start, end


@settings(max_examples=DEPTH.examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["NW", "XO", "CA", "OC"]), st.sampled_from([1, 2, 3]), st.sampled_from("XYZ")),
            min_size=1, max_size=3, unique_by=lambda one: one[1],
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_orders_of_one_appointment_change_each_its_own_study(story: list[list[tuple[str, int, str]]]) -> None:
    line = Line()
    meant_now = {1: "CT-X", 2: "CT-Y"}
    ever = {1, 2}
    line.say(orders(*(order("NW", f"A{number}", code, 30 * number) for number, code in meant_now.items())))
    is_off = False
    for turn, message in enumerate(story, 1):
        changes = [one for one in message if one[0] in {"NW", "XO"} or one[1] in ever]
        if not changes or is_off:
            continue
        ever |= {number for _, number, _ in changes}
        after = dict(meant_now)
        for control, number, letter in changes:
            if control in {"CA", "OC"}:
                after.pop(number, None)
            else:
                after[number] = f"CT-{letter}"
        is_off = not after
        meant_now = after or meant_now
        rows = [
            order(
                control,
                f"A{number}",
                f"CT-{letter}" if control in {"NW", "XO"} else meant_now.get(number, "CT-Q"),
                30 * number,
            )
            for control, number, letter in changes
        ]
        made = f"2026112509{30 + turn:02}00-0500"
        assert line.say(orders(*rows, made=made, control_id=f"T{turn}")) is None
        assert line.card["status"] == ("cancelled" if is_off else "pending")
        if not is_off:
            assert line.codes == list(meant_now.values())
            first, last = min(meant_now), max(meant_now)
            begin = datetime(2026, 12, 1, 19, 0, tzinfo=UTC)
            assert line.times == (begin + timedelta(minutes=30 * first), begin + timedelta(minutes=30 * last + 30))

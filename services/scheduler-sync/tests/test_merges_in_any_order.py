"""Bookings, changes and merges in any order of arrival, whatever dies, end in the state of the true order."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kinds_line import Line
from merge_samples import living, merge, numbers, pid
from sync_samples import NOW, siu
from test_patients_without_appointment import adt

from chassis.testing.depth import DEPTH

NUMBERS = ("4711", "4712", "4713")
FATES = st.sampled_from(["done"] * 4 + ["killed", "never arrived", "no answer", "not now"])


@dataclass(frozen=True)
class Word:
    """What PowerServer says: ``kind`` about the record ``number``; ``other`` ends in it."""

    kind: str
    number: str
    other: str
    has_email: bool
    has_phone: bool

    def at(self, second: int) -> bytes:
        made = f"{NOW + timedelta(seconds=second):%Y%m%d%H%M%S}+0000"
        email = f"e{second}@example.org" if self.has_email else None
        person = pid(self.number, email=email, phone=f"555010{second}" if self.has_phone else None)
        if self.kind == "booking":
            day = f"202612{10 + second:02}"
            return siu(
                placer=f"P{second}", made=made, control_id=str(second), pid=person,
                start=f"{day}143000-0500", end=f"{day}150000-0500",
            )  # fmt: skip
        if self.kind == "change":
            return adt("A08", made=made, control_id=str(second), pid=person)
        return merge(self.number, f"{self.other}^^^NORTHSIDE", made=made, control_id=str(second), survivor_pid=person)


some = st.sampled_from(NUMBERS)
words = st.builds(
    Word, kind=st.sampled_from(["booking", "change", "merge"]), number=some, other=some,
    has_email=st.booleans(), has_phone=st.booleans(),
).filter(lambda word: word.number != word.other)  # fmt: skip


def shown(line: Line) -> tuple[Any, ...]:
    """The state at both ends, without the ids that are drawn."""
    memory = line.suite.memory
    assert memory.dead == []
    by_id = {one.id: one for one in memory.patients.values() if one.merged_into is None}
    here = sorted(
        (
            sorted(one.value for one in patient.identifiers),
            sorted(one.value for one, role in patient.roles.items() if role.is_former),
            patient.email, patient.phone, patient.family,
        )
        for patient in by_id.values()
    )  # fmt: skip
    links = sorted(
        (link.placer_number, sorted(one.value for one in by_id[link.patient_id].identifiers))
        for link in memory.links.values()
    )
    people = {one["id"]: one for one in living(line)}
    there = sorted(
        (sorted(numbers(one)), sorted(contact["value"] for contact in one.get("telecom", [])))
        for one in people.values()
    )
    cards = sorted(
        (card["identifier"][1]["value"], sorted(numbers(people[_patient(card)])))
        for card in line.omegaai.all("Appointment")
    )
    assert [one[0] for one in there] == [one[0] for one in here]
    assert cards == links
    return here, links, there


def _patient(card: dict[str, Any]) -> str:
    return str(card["participant"][0]["actor"]["reference"].removeprefix("Patient/"))


def drain(line: Line) -> None:
    while line.suite.heads():
        line.suite.send(line.suite.heads()[0])


@settings(max_examples=DEPTH.examples(120), deadline=None)
@given(
    said=st.lists(words, min_size=2, max_size=7),
    order=st.randoms(use_true_random=False),
    fates=st.lists(FATES, max_size=30),
)
def test_any_order_of_arrival_ends_in_the_same_state(said: list[Word], order: Any, fates: list[str]) -> None:
    raws = [word.at(second) for second, word in enumerate(said)]
    true_order = Line()
    for raw in raws:
        assert true_order.say(raw) is None
    order.shuffle(raws)
    line = Line()
    for raw in raws:
        assert line.suite.hear(raw) == [None]
        for head in line.suite.heads():
            if fates:
                line.suite.send(head, fate=fates.pop())
    drain(line)
    assert shown(line) == shown(true_order)


@settings(max_examples=DEPTH.examples(120), deadline=None)
@given(said=st.lists(words, min_size=2, max_size=7), repeats=st.lists(st.integers(0, 6), max_size=4))
def test_one_batch_and_repeats_end_in_the_same_state(said: list[Word], repeats: list[int]) -> None:
    raws = [word.at(second) for second, word in enumerate(said)]
    one_by_one, together = Line(), Line()
    for raw in raws:
        assert one_by_one.say(raw) is None
    assert together.suite.hear(*raws) == [None] * len(raws)
    for place in repeats:
        assert together.suite.hear(raws[place % len(raws)]) == [None]
    drain(together)
    assert shown(together) == shown(one_by_one)

"""Pairs of resources: what joins them, what differs, what is nearly the same. The vendor's own pictures are cases."""

import time
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_sync.domain.resource import (
    FIELDS,
    Description,
    Hours,
    NearNames,
    Nearness,
    PairState,
    Side,
    available_time_of,
    drift_of,
    hours_of_available_time,
    pair,
)

H = 3600
EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def week(start: str = "08:00:00", end: str = "23:00:00", days: list[str] | None = None) -> Hours:
    found = hours_of_available_time(
        [{"daysOfWeek": days or EVERY_DAY, "availableStartTime": start, "availableEndTime": end}]
    )
    assert found is not None
    return found


GRID = Description("BLUME CT", "CT", Hours.window(8 * H, 23 * H), 30, overbooking=True, active=True, organization="2")
SERVICE = Description("BLUME CT", "CT", week(), 30, overbooking=True, active=True, organization="2")


def drifted(grid: Description, service: Description) -> dict[str, tuple[str, str]]:
    return {one.field: (one.powerserver, one.omegaai) for one in drift_of(grid, service)}


def sides(*descriptions: Description) -> list[Side]:
    return [Side(uuid4(), one) for one in descriptions]


def states(ours: list[Side], theirs: list[Side], **more: dict[str, str]) -> dict[str, PairState]:
    return {one.name: one.state for one in pair("FAC01", ours, theirs, site_aliases=more.pop("aliases", {}), **more)}


def test_the_vendors_pictures_drift_where_they_differ():
    """PS "BLUME CT" has 30 minutes and overbooking, OmegaAI's 01:00 and none; PS "BLUME XR" ends at 22:59."""
    service = replace(SERVICE, duration_minutes=60, overbooking=False)
    assert drifted(GRID, service) == {"duration": ("30 min", "60 min"), "overbooking": ("on", "off")}
    until_2259 = replace(GRID, hours=Hours.window(8 * H, 22 * H + 59 * 60))
    assert drifted(until_2259, SERVICE) == {"hours": ("08:00–22:59", "mon–sun 08:00–23:00")}


def test_every_field_is_compared_and_alone():
    changes: dict[str, tuple[str, object]] = {
        "modality": ("modality", "MR"),
        "hours": ("hours", week(end="22:00:00")),
        "duration": ("duration_minutes", 45),
        "overbooking": ("overbooking", False),
        "active": ("active", False),
        "organization": ("organization", "3"),
    }
    assert tuple(changes) == FIELDS
    assert drifted(GRID, SERVICE) == {}
    for field, (attribute, value) in changes.items():
        assert list(drifted(GRID, replace(SERVICE, **{attribute: value}))) == [field]


def test_what_powerserver_does_not_say_is_not_compared():
    assert drifted(Description("BLUME CT"), SERVICE) == {}


def test_what_omegaai_does_not_say_differs():
    bare = Description("BLUME CT", active=True)
    assert set(drifted(replace(GRID, organization=None), bare)) == {"modality", "hours", "duration", "overbooking"}


def test_a_window_is_compared_on_the_days_on_which_omegaai_is_open():
    weekdays = week(days=EVERY_DAY[:5])
    assert drifted(GRID, replace(SERVICE, hours=weekdays)) == {}
    early = Hours(tuple(((7 * H, 12 * H),) if day < 5 else () for day in range(7)))
    (drift,) = drift_of(GRID, replace(SERVICE, hours=early))
    assert (drift.powerserver, drift.omegaai, drift.can_apply) == ("08:00–23:00", "mon–fri 07:00–12:00", True)
    assert Hours.window(8 * H, 23 * H).applied_to(early) == weekdays


def test_days_that_powerserver_says_are_compared_too():
    weekdays = week(days=EVERY_DAY[:5])
    (drift,) = drift_of(replace(GRID, hours=weekdays), SERVICE)
    assert (drift.powerserver, drift.omegaai) == ("mon–fri 08:00–23:00", "mon–sun 08:00–23:00")


def test_a_fix_is_not_guessed_where_omegaai_has_no_open_day():
    (drift,) = drift_of(GRID, replace(SERVICE, hours=None))
    assert not drift.can_apply
    (moved,) = drift_of(GRID, replace(SERVICE, organization="3"))
    assert not moved.can_apply


@pytest.mark.parametrize(
    ("available_time", "words"),
    [
        ([{"daysOfWeek": EVERY_DAY, "allDay": True}], "mon–sun 00:00–24:00"),
        (
            [{"daysOfWeek": ["sun"], "availableStartTime": "22:00:00", "availableEndTime": "06:00:00"}],
            "sun 22:00–06:00",
        ),
        (
            [{"daysOfWeek": ["mon"], "availableStartTime": "08:00:00", "availableEndTime": "00:00:00"}],
            "mon 08:00–24:00",
        ),
        (
            [
                {"daysOfWeek": ["FRI"], "availableStartTime": "13:00:00", "availableEndTime": "17:00:00"},
                {"daysOfWeek": ["fri", "mon"], "availableStartTime": "08:00:00", "availableEndTime": "12:00:00"},
            ],
            "mon 08:00–12:00; fri 08:00–12:00, 13:00–17:00",
        ),
        ([{"daysOfWeek": ["moonday"], "allDay": True}], None),
        ([{"daysOfWeek": ["mon"], "availableStartTime": "25:00:00", "availableEndTime": "26:00:00"}], None),
        ([{"availableStartTime": "08:00:00", "availableEndTime": "26:00:00"}], None),
        ([], None),
    ],
)
def test_hours_of_omegaai_in_words(available_time: list[dict], words: str | None):
    found = hours_of_available_time(available_time)
    assert (None if found is None else found.words()) == words


@given(
    st.lists(
        st.tuples(st.sampled_from(EVERY_DAY), st.integers(0, 86399), st.integers(1, 86400)), min_size=1, max_size=9
    )
)
def test_hours_survive_the_way_to_omegaai_and_back(spans: list[tuple[str, int, int]]):
    by_day: dict[str, list[tuple[int, int]]] = {}
    for day, start, end in spans:
        if (start, end) not in by_day.setdefault(day, []):
            by_day[day].append((start, end))
    hours = Hours.of_week(by_day)
    assert hours_of_available_time(available_time_of(hours)) == hours


# Names.


@pytest.mark.parametrize(
    ("name", "other", "by"),
    [
        ("BLUME CT", "Blume CT", Nearness.CASE),
        ("BLUME CT", "BLUME CT ", Nearness.BLANKS),
        ("BLUME CT", "BLUME  CT", Nearness.BLANKS),
        ("BLUME CT", "Blume CT ", Nearness.CASE_AND_BLANKS),
        ("BLUME CT", "BLUMME CT", Nearness.LETTER),
        ("BLUME CT", "BLUE CT", Nearness.LETTER),
        ("BLUME CT", "BLUNE CT", Nearness.LETTER),
        ("BLUME CT", "BLUEM CT", Nearness.LETTER),
        ("STRASSE", "Straße", Nearness.CASE),
    ],
)
def test_near_misses_are_found_both_ways(name: str, other: str, by: Nearness):
    for one, near in ((name, other), (other, name)):
        (found,) = NearNames([near, "SOMETHING ELSE"]).of(one)
        assert (found.name, found.by) == (near, by)


@pytest.mark.parametrize(("name", "other"), [("CT 1", "CT 2"), ("CT 1", "CT"), ("BLUME CT", "BLUME MR"), ("A", "BC")])
def test_other_machines_are_no_near_miss(name: str, other: str):
    assert list(NearNames([other]).of(name)) == []


@given(st.text(min_size=1, max_size=12), st.data())
def test_one_changed_letter_is_found_whatever_the_name(name: str, data: st.DataObject):
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.characters(categories=["Lu", "Ll"]))
    other = name[:place] + letter + name[place + 1 :]
    if other == name or name[place].isdigit():
        return
    found = NearNames([other]).of(name)
    folded = len({" ".join(one.casefold().split()) for one in (name, other)})
    is_plain = len(name.split()) == len(other.split()) == 1 and name.isascii() and other.isascii()
    if folded == 1 or is_plain:
        assert [one.name for one in found] == [other]


@pytest.mark.parametrize(
    "names",
    [
        lambda n: [f"MACHINE NUMBER {number}" for number in range(n)],
        lambda n: [f"ROOM {chr(0x4E00 + number)}" for number in range(n)],
        lambda n: [f"{number:x} BLUME CT".replace("1", "l") for number in range(n)],
    ],
    ids=["numbered", "one letter each", "mixed"],
)
def test_two_thousand_names_cost_about_twenty_times_a_hundred(names):
    def seconds(count: int) -> float:
        listed = names(count)
        began = time.process_time()
        near = NearNames(listed)
        for name in listed:
            near.of(name)
        return time.process_time() - began

    seconds(100)
    few = min(seconds(200) for _ in range(3))
    many = min(seconds(2000) for _ in range(2))
    assert many < 40 * few + 0.05, (few, many)


# Pairs.


def test_the_five_states():
    ours = sides(
        GRID, replace(GRID, name="ONLY HERE"), replace(GRID, name="OFF", active=False), replace(GRID, name="DRIFT")
    )
    theirs = sides(
        SERVICE, replace(SERVICE, name="ONLY THERE"), replace(SERVICE, name="OFF", active=False),
        replace(SERVICE, name="DRIFT", duration_minutes=60),
    )  # fmt: skip
    assert states(ours, theirs) == {
        "BLUME CT": PairState.LINKED,
        "ONLY HERE": PairState.ONLY_PS,
        "ONLY THERE": PairState.ONLY_OAI,
        "OFF": PairState.INACTIVE,
        "DRIFT": PairState.DRIFTED,
    }


@pytest.mark.parametrize("other", ["Blume CT", "BLUME CT ", "BLUME  CT"])
def test_a_name_that_is_nearly_the_same_joins_nothing_and_is_proposed(other: str):
    found = pair("FAC01", sides(GRID), sides(replace(SERVICE, name=other)), site_aliases={})
    assert {one.state for one in found} == {PairState.ONLY_PS, PairState.ONLY_OAI}
    assert {near.name for one in found for near in one.near} == {"BLUME CT", other}


def test_an_alias_of_a_person_joins_and_the_site_files_too():
    theirs = [Side(uuid4(), replace(SERVICE, name="Blume CT"), ("BLUME CT",))]
    assert states(sides(GRID), theirs) == {"Blume CT": PairState.LINKED}
    there = sides(replace(SERVICE, name="Blume CT"))
    assert states(sides(GRID), there, aliases={"BLUME CT": "Blume CT"}) == {"Blume CT": PairState.LINKED}


def test_the_exact_name_is_stronger_than_an_alias():
    theirs = [Side(uuid4(), replace(SERVICE, name="OTHER"), ("BLUME CT",)), *sides(SERVICE)]
    assert states(sides(GRID), theirs) == {"OTHER": PairState.ONLY_OAI, "BLUME CT": PairState.LINKED}


def test_a_service_is_joined_by_one_resource_alone():
    ours = sides(GRID, replace(GRID, name="B CT"))
    theirs = [Side(uuid4(), SERVICE, ("B CT",))]
    assert states(ours, theirs) == {"BLUME CT": PairState.LINKED, "B CT": PairState.ONLY_PS}


def test_the_same_name_at_another_facility_is_proposed():
    (alone,) = pair("FAC01", sides(GRID), [], site_aliases={}, elsewhere={"BLUME CT": "FAC02"})
    assert [(near.name, near.by) for near in alone.near] == [("FAC02", Nearness.FACILITY)]


def test_a_switch_on_one_side_is_a_drift():
    (found,) = pair("FAC01", sides(GRID), sides(replace(SERVICE, active=False)), site_aliases={})
    assert (found.state, [one.field for one in found.drift]) == (PairState.DRIFTED, ["active"])


_DESCRIPTIONS = st.builds(
    Description,
    name=st.sampled_from(["A", "a", "A ", "B", "C1", "C2"]),
    modality=st.sampled_from([None, "CT", "MR"]),
    hours=st.sampled_from([None, Hours.window(8 * H, 23 * H), week(), week(end="22:59:00")]),
    duration_minutes=st.sampled_from([None, 30, 60]),
    overbooking=st.sampled_from([None, False, True]),
    active=st.sampled_from([False, True]),
)
_SIDES = st.lists(_DESCRIPTIONS, max_size=6, unique_by=lambda one: one.name).map(
    lambda found: [Side(UUID(int=number), one) for number, one in enumerate(found, 1)]
)


@given(_SIDES, _SIDES, st.dictionaries(st.sampled_from(["a", "B"]), st.sampled_from(["A", "C1"]), max_size=2))
def test_every_resource_is_in_exactly_one_pair_and_its_state_follows(
    ours: list[Side], theirs: list[Side], aliases: dict[str, str]
):
    theirs = [Side(UUID(int=one.id.int + 100), one.description) for one in theirs]
    found = pair("FAC01", ours, theirs, site_aliases=aliases)
    assert sorted(one.powerserver.id for one in found if one.powerserver) == sorted(one.id for one in ours)
    assert sorted(one.omegaai.id for one in found if one.omegaai) == sorted(one.id for one in theirs)
    for one in found:
        if one.powerserver is None or one.omegaai is None:
            alone = one.powerserver or one.omegaai
            assert alone is not None
            expected = PairState.ONLY_PS if one.powerserver else PairState.ONLY_OAI
            assert one.state is (expected if alone.description.active else PairState.INACTIVE)
            assert one.drift == ()
        else:
            both_off = not one.powerserver.description.active and not one.omegaai.description.active
            drift = drift_of(one.powerserver.description, one.omegaai.description)
            expected = PairState.DRIFTED if drift else PairState.LINKED
            assert one.state is (PairState.INACTIVE if both_off else expected)
            assert one.drift == (() if both_off else drift)

"""The kinds of field messages that add, change and take off services and orders."""

from datetime import timedelta

import pytest
from kinds_line import LATER, START, Line, changed, order, orders, read
from sync_samples import siu

from chassis.errors import Malformed, NeedsSetup


def services(*rows: str) -> str:
    return "\r".join(
        f"AIS|{n}|{row}^{row[2:]}^99STUDYTYPE|20261201143000-0500|||30|min" for n, row in enumerate(rows, 1)
    )


@pytest.mark.parametrize(
    ("rows", "codes"),
    [
        (["D|CT-HEAD", "A|CT-CHEST"], ["CT-NECK", "CT-CHEST"]),
        (["A|CT-CHEST", "D|CT-HEAD"], ["CT-NECK", "CT-CHEST"]),
        (["D|CT-HEAD"], ["CT-NECK"]),
        (["X|CT-HEAD", "A|CT-CHEST"], ["CT-HEAD", "CT-NECK", "CT-CHEST"]),
        (["U|CT-HEAD"], ["CT-HEAD", "CT-NECK"]),
        (["A|CT-CHEST"], ["CT-CHEST"]),
        (["D|CT-HEAD", "D|CT-NECK"], []),
    ],
)
def test_action_codes_add_take_off_and_leave_services(rows, codes):
    line = Line()
    line.say(changed(siu(), r"AIS\|1[^\r]*", services("A|CT-HEAD", "A|CT-NECK")))
    line.say(changed(siu("S14", made=LATER, control_id="B"), r"AIS\|1[^\r]*", services(*rows)))
    assert (line.codes, line.card["status"]) == (codes, "pending")
    assert ("description" in line.card) == bool(codes)


def test_a_group_that_is_off_takes_its_parts_with_it():
    line = Line()
    line.say(siu())
    groups = f"RGS|1|D\r{services('A|CT-HEAD')}\rAIG|1|A|GHOST CT\rRGS|2|A\r{services('A|CT-CHEST')}"
    line.say(changed(siu("S14", made=LATER, control_id="B"), r"RGS\|1\|A\rAIS[^\r]*", groups))
    assert line.codes == ["CT-CHEST"]
    assert line.link.resource == "BLUME CT"


def test_an_action_code_that_hl7_does_not_have_is_refused_by_its_field():
    with pytest.raises(Malformed, match="AIS-2"):
        read(siu().replace(b"AIS|1|A|", b"AIS|1|Q|"))


def two_orders() -> Line:
    line = Line()
    line.say(orders(order("NW", "A1", "CT-HEAD", 30), order("NW", "A2", "CT-CHEST", 60)))
    assert (line.codes, line.times) == (["CT-HEAD", "CT-CHEST"], (START, START + timedelta(minutes=60)))
    return line


def test_an_order_is_cancelled_by_itself_and_the_last_one_is_the_whole():
    line = two_orders()
    line.say(orders(order("CA", "A2", "CT-CHEST", 60), made=LATER, control_id="B"))
    assert (line.codes, line.card["status"], line.times[1]) == (["CT-HEAD"], "pending", START + timedelta(minutes=30))
    line.say(orders(order("CA", "A1", "CT-HEAD", 30), made="20261125093200-0500", control_id="C"))
    assert (line.codes, line.card["status"]) == (["CT-HEAD"], "cancelled")


@pytest.mark.parametrize("message", [["CA", "CA"], ["OC", "DC"]])
def test_all_orders_off_in_one_message_are_the_whole(message):
    line = two_orders()
    line.say(
        orders(
            order(message[0], "A1", "CT-HEAD", 30), order(message[1], "A2", "CT-CHEST", 60), made=LATER, control_id="B"
        )
    )
    assert line.card["status"] == "cancelled"


def test_an_order_changes_and_is_added_by_itself():
    line = two_orders()
    line.say(orders(order("XO", "A2", "CT-NECK", 90), order("NW", "A3", "CT-LEG", 120), made=LATER, control_id="B"))
    assert line.codes == ["CT-HEAD", "CT-NECK", "CT-LEG"]
    assert line.times == (START, START + timedelta(minutes=120))


def test_the_appointment_is_completed_when_its_last_order_is():
    line = two_orders()
    line.say(orders(order("SC", "A1", "CT-HEAD", 30, "120^COMPLETED"), made=LATER, control_id="B"))
    assert line.card["status"] == "pending"
    line.say(orders(order("SC", "A2", "CT-CHEST", 60, "120^COMPLETED"), made="20261125093200-0500", control_id="C"))
    assert line.card["status"] == "fulfilled"


def test_an_order_that_is_cancelled_and_not_known_is_left_for_a_person():
    line = two_orders()
    error = line.say(orders(order("CA", "A9", "CT-LEG"), made=LATER, control_id="B"))
    assert isinstance(error, NeedsSetup)
    assert line.card["status"] == "pending"


def test_two_studies_under_one_number_are_told_apart_by_their_codes():
    line = Line()
    line.say(orders(order("NW", "A1", "CT-HEAD", 30), order("NW", "A1", "CT-CHEST", 60)))
    assert line.codes == ["CT-HEAD", "CT-CHEST"]
    both = order("SC", "A1", "CT-HEAD", 30), order("CA", "A1", "CT-CHEST", 60)
    line.say(orders(*both, made=LATER, control_id="B"))
    assert line.codes == ["CT-HEAD"]


@pytest.mark.parametrize(
    ("control", "codes", "status"), [("XO", ["CT-NECK"], "pending"), ("CA", ["CT-HEAD"], "cancelled")]
)
def test_an_order_without_a_number_is_the_only_one(control, codes, status):
    line = Line()
    line.say(orders(order("NW", "", "CT-HEAD", 30)))
    line.say(orders(order(control, "", "CT-NECK", 30), made=LATER, control_id="B"))
    assert (line.codes, line.card["status"]) == (codes, status)


def test_an_order_that_names_its_number_alone_changes_that_study():
    line = two_orders()
    bare = [f"ORC|SC|P100045|{number}|||||||||||||120^COMPLETED" for number in ("A1", "A2")]
    line.say(orders(bare[0], made=LATER, control_id="B"))
    assert (line.codes, line.card["status"]) == (["CT-HEAD", "CT-CHEST"], "pending")
    line.say(orders(bare[1], made="20261125093200-0500", control_id="C"))
    assert (line.codes, line.card["status"]) == (["CT-HEAD", "CT-CHEST"], "fulfilled")

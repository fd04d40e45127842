"""The kinds of messages that the field cases are examples of, through the suite in memory to what OmegaAI shows."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from kinds_line import LATER, SITE, START, Line, changed, pid, read, site_with, with_hl7
from sync_samples import NOW, PID, directory, orm, siu

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.domain.appointment import State, WorkflowStep
from scheduler_sync.domain.patient import UNSAID

# ---- whose message it is


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ("4711^^^NORTHSIDE^MR", ["4711"]),
        ("4711^^^NORTHSIDE^pi~99^^^NORTHSIDE^AN", ["4711"]),
        ("99^^^NORTHSIDE^VN~4711^^^NORTHSIDE", ["4711"]),
        ("~~4711^^^NORTHSIDE^MR", ["4711"]),
        ("4711^^^NORTHSIDE&1.2.3&ISO^MR", ["4711"]),
        ("4711^^^&1.2.3&ISO^MR~4712^^^OTHER^MR", ["4711"]),
        ("4711^^^&urn:oid:1.2.3&ISO^MR", ["4711"]),
        ("4711^^^UNHEARD&1.2.3&ISO^MR", ["4711"]),
        ("4711^^^NORTHSIDE^MR~4711^^^&1.2.3&ISO^PI", ["4711"]),
        ("1^^^NORTHSIDE^DL~2^^^NORTHSIDE^SS~3^^^NORTHSIDE^MA~4711^^^NORTHSIDE^MR", ["4711"]),
    ],
)
def test_a_number_of_record_identifies_by_its_type_and_its_authority(numbers, found):
    site = site_with(issuers={**SITE.issuers, "1.2.3": SITE.issuers["NORTHSIDE"]})
    known = read(siu(pid=pid(numbers)), site).patient.identifiers
    assert [(one.issuer, one.value) for one in known] == [("NORTHSIDE", value) for value in found]


@pytest.mark.parametrize(
    ("numbers", "named", "setting"),
    [
        ("4711^^^&1.2.3&ISO^MR", "&1.2.3&ISO", "issuers.1.2.3"),
        ("4711^^^EAST&1.2.3&ISO^MR", "EAST&1.2.3&ISO", "issuers.1.2.3"),
        ("4711^^^EAST^MR", "EAST", "issuers.EAST"),
        ("4711^^^^MR^NORTHSIDE", "(none)", "issuers.(none)"),
        ("4711", "(none)", "issuers.(none)"),
        ("4711^^^NORTHSIDE^AN~4712^^^NORTHSIDE^VN", "AN, VN", "hl7.identifier_types"),
    ],
)
def test_what_cannot_be_told_whose_it_is_is_named_as_it_stood(numbers, named, setting):
    with pytest.raises(NeedsSetup) as caught:
        read(siu(pid=pid(numbers)))
    assert named in caught.value.reason
    assert (caught.value.setting, "4711" in caught.value.reason) == (setting, False)


def test_a_site_says_what_identifies():
    assert (
        read(siu(pid=pid("7^^^NORTHSIDE^PT")), with_hl7(identifier_types=("PT",))).patient.identifiers[0].value == "7"
    )
    with pytest.raises(NeedsSetup):
        read(siu(pid=pid("7^^^NORTHSIDE")), with_hl7(untyped_identifiers=False))


def test_the_older_places_count_where_pid_3_has_no_number_of_record():
    for at in ("PID|1|4711^^^NORTHSIDE|", "PID|1||9^^^NORTHSIDE^AN|4711^^^NORTHSIDE"):
        assert read(siu(pid=f"{at}|Roe^Jane")).patient.identifiers[0].value == "4711"


def test_an_account_number_joins_no_two_people():
    line = Line()
    line.say(siu(pid=pid("1^^^NORTHSIDE^MR"), control_id="A"))
    line.say(siu(pid=pid("2^^^NORTHSIDE^MR~1^^^NORTHSIDE^AN", **{"5": "Doe^Joe"}), placer="P2", control_id="B"))
    people = {one["identifier"][0]["value"]: one["name"][0]["family"] for one in line.omegaai.all("Patient")}
    assert people == {"1": "Roe", "2": "Doe"}


def test_numbers_of_two_known_people_are_left_for_a_person_and_nothing_of_them_changes():
    line = Line()
    for number in ("1", "2"):
        line.say(siu(pid=pid(f"{number}^^^NORTHSIDE"), placer=f"P{number}", control_id=number))
    before = dict(line.suite.memory.patients)
    error = line.say(siu("S14", pid=pid("1^^^NORTHSIDE~2^^^NORTHSIDE", **{"5": "X^Y"}), placer="P1", made=LATER))
    assert isinstance(error, NeedsSetup)
    assert line.suite.memory.patients == before


def test_a_known_appointment_of_another_number_is_left_for_a_person_until_both_come_together():
    line = Line()
    line.say(siu())
    moved = {"start": "20261202143000-0500", "end": "20261202150000-0500", "made": LATER}
    assert isinstance(line.say(siu("S13", pid=pid("9^^^NORTHSIDE"), **moved)), NeedsSetup)
    assert len(line.suite.memory.patients) == 1
    assert line.times[0] == START
    assert line.say(siu("S13", control_id="B", pid=pid("9^^^NORTHSIDE~4711^^^NORTHSIDE"), **moved)) is None
    assert line.times[0] == START + timedelta(days=1)


def test_two_patient_groups_are_refused_by_name():
    with pytest.raises(NeedsSetup, match=r"PID\[2\]"):
        read(siu(pid=PID + "\r" + pid("4712^^^NORTHSIDE")))


# ---- from when to when


@pytest.mark.parametrize(
    ("number", "unit", "minutes"),
    [
        ("1", "hr^hour^ISO+", 60), ("1.5", "H", 90), ("90", "min", 90), ("90", "", 90), ("5400", "s^second^UCUM", 90),
        ("30", "^minutes", 30), ("2", "HOURS", 120), ("1800", "sec", 30), ("0.5", "h", 30),
    ],
)  # fmt: skip
def test_lengths_are_in_their_units_wherever_they_stand(number, unit, minutes):
    bare = siu(end="")
    sch = changed(bare, r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", f"|{number}|{unit}|^^^")
    ais = changed(
        changed(bare, r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|||^^^"), r"\|30\|min\r", f"|{number}|{unit}\r"
    )
    nothing = changed(changed(bare, r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|||^^^"), r"\|30\|min\r", "\r")
    aig = changed(nothing, r"\|CT\r", f"|CT|||||||{number}|{unit}\r")
    ail = changed(nothing, r"CT1\^\^FAC01\r$", f"CT1^^FAC01||||||{number}|{unit}\r")
    tq1 = changed(nothing, r"RGS\|1", f"TQ1|1|||||{number}^{unit.replace('^', '&')}\rRGS|1")
    for raw in (sch, ais, aig, ail, tq1):
        slot = read(raw).appointment.slot
        assert slot is not None
        assert (slot.start, slot.minutes) == (START, minutes)


@pytest.mark.parametrize(("timing", "minutes"), [("M45", 45), ("45", 45), ("H1", 60), ("S2700", 45), ("45min", 45)])
def test_tq_3_carries_its_own_unit(timing, minutes):
    for raw in (siu(end=""), orm(end="")):
        slot = read(
            raw.replace(b"^^30^", f"^^{timing}^".encode()).replace(b"||30|min^minutes^ISO+|", b"||||")
        ).appointment.slot
        assert slot is not None
        assert slot.minutes == minutes


@pytest.mark.parametrize(
    ("pattern", "by", "named"),
    [
        (r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|2|fortnight|^^^", "SCH-10"),
        (r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|long|min|^^^", "SCH-9"),
        (r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|||^^W2^", "SCH-11.3"),
        (r"\|30\|min\r", "|30|slots\r", "AIS-8"),
        (r"\|30\|min\r", "|-30|min\r", "AIS-7"),
        (r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|3|d|^^^", "SCH-9"),
    ],
)
def test_a_length_that_is_not_understood_is_refused_by_its_field(pattern, by, named):
    with pytest.raises((NeedsSetup, Malformed)) as caught:
        read(changed(siu(end=""), pattern, by))
    assert named in caught.value.reason


def test_a_site_names_a_unit_of_its_own():
    raw = changed(siu(end=""), r"\|30\|min\^minutes\^ISO\+\|\^\^30\^", "|1800|TU|^^^")
    slot = read(raw, with_hl7(duration_units={"TU": "seconds"})).appointment.slot
    assert slot is not None
    assert slot.minutes == 30


def test_the_slot_is_from_the_earliest_start_to_the_latest_end_whatever_the_order():
    first = "AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|20261201143000-0500|||30|min"
    second = "AIS|2|A|CT-CHEST^CT Chest^99STUDYTYPE|20261201150000-0500|||45|min"
    whole = changed(siu(), r"\|\|30\|min\^minutes\^ISO\+\|\^\^30\^[^|]*", "||||")
    for order in ([first, second], [second, first]):
        raw = changed(whole, r"AIS\|1\|A\|CT-HEAD[^\r]*", "\r".join(order))
        facts = read(raw).appointment
        assert facts.slot is not None
        assert (facts.slot.start, facts.slot.minutes) == (START, 75)
    by_distance = changed(siu(end=""), r"AIS\|1[^\r]*", f"{first}\rAIS|2|A|CT-CHEST||30|min|45|min")
    slot = read(by_distance).appointment.slot
    assert slot is not None
    assert slot.minutes == 75


@pytest.mark.parametrize("version", ["2.3.1", "2.5.1"])
def test_tq1_gives_the_times_where_the_older_fields_are_empty(version):
    times = "TQ1|1||||||20261201143000-0500|20261201150000-0500"
    order = changed(orm(start="", end="", status=""), r"OBR\|1", f"{times}\rOBR|1").replace(
        b"|2.3.1|", f"|{version}|".encode()
    )
    booking = changed(siu(start="", end=""), r"PID\|1", f"{times}\rPID|1")
    for raw in (order, booking):
        facts = read(raw).appointment
        assert facts.slot is not None
        assert (facts.slot.start, facts.slot.minutes, facts.step) == (START, 30, WorkflowStep.SCHEDULED)


def test_a_day_without_a_time_of_day_books_nothing():
    by_service = changed(siu(start="20261201", end=""), r"99STUDYTYPE\|20261201\|", "99STUDYTYPE|20261201143000-0500|")
    assert read(by_service).appointment.slot == read(siu()).appointment.slot
    for raw in (siu(start="20261201", end=""), orm(start="20261201", end="")):
        with pytest.raises(NeedsSetup, match="no time of day"):
            read(raw)
    assert read(orm(start="20261201", end="", status="20^ORDERED")).appointment.slot is None
    assert read(siu("S15", start="20261201", end="")).appointment.slot is None


def test_a_start_alone_has_the_length_of_the_resource_and_keeps_one_that_is_known():
    line = Line()
    line.say(siu(end="20261201151500-0500"))
    bare = changed(
        siu("S13", start="20261202143000-0500", end="", made=LATER), r"\|30\|min\^minutes\^ISO\+\|\^\^30", "|||^^"
    )
    line.say(changed(bare, r"\|30\|min\r", "\r"))
    assert line.times == (START + timedelta(days=1), START + timedelta(days=1, minutes=45))
    slot = read(orm(end="").replace(b"^^30^", b"^^^")).appointment.slot
    assert slot is not None
    assert slot.minutes == 30


@pytest.mark.parametrize(
    ("made", "setting", "start"),
    [
        ("20261125143000+0000", "message", datetime(2026, 12, 1, 14, 30, tzinfo=UTC)),
        ("20261125143000+0000", "facility", START),
        ("20261125093000-0500", "message", START),
        ("20261125093000", "message", START),
        ("20260725093000-0400", "message", START),
    ],
)
def test_times_without_an_offset_take_msh_7s_where_it_is_not_the_facilitys(made, setting, start):
    slot = read(
        siu(made=made, start="20261201143000", end="20261201150000"), with_hl7(default_zone=setting)
    ).appointment.slot
    assert slot is not None
    assert slot.start == start


# ---- events and words


@pytest.mark.parametrize(("trigger", "status"), [("S15", "cancelled"), ("S26", "noshow")])
@pytest.mark.parametrize("word", ["^OFF BY PATIENT", "30^SCHEDULED", "77", ""])
def test_an_event_that_ends_does_so_whatever_the_word(trigger, status, word):
    line = Line()
    line.say(siu())
    assert line.say(siu(trigger, status=word, made=LATER, control_id="B")) is None
    assert line.card["status"] == status


def test_a_move_is_made_and_its_unknown_word_waits():
    line = Line()
    line.say(siu())
    line.say(
        siu("S13", status="^MOVED", made=LATER, control_id="B", start="20261202143000-0500", end="20261202150000-0500")
    )
    assert line.times[0] == START + timedelta(days=1)
    assert line.card["status"] == "pending"
    assert "needs_setup" in [state for _, state in line.suite.memory.journal.values()]


@pytest.mark.parametrize(
    ("word", "step"), [("CM", "fulfilled"), ("CA", "cancelled"), ("IP", "pending"), ("SC", "pending")]
)
def test_orc_5_says_the_status_where_orc_16_is_empty(word, step):
    line = Line()
    line.say(orm())
    line.say(orm("XO", status="", made=LATER, control_id="B").replace(b"||SC||", f"||{word}||".encode()))
    assert line.card["status"] == step


def test_what_was_cancelled_is_booked_again_by_a_booking_and_by_no_other_event():
    line = Line()
    line.say(siu(), siu("S15", made=LATER, control_id="B"))
    again = {"start": "20261203143000-0500", "end": "20261203150000-0500"}
    line.say(siu("S14", made="20261125093200-0500", control_id="C", **again))
    assert line.card["status"] == "cancelled"
    line.say(siu("S12", made="20261125093300-0500", control_id="D", **again))
    assert (line.card["status"], line.times[0], line.link.state) == (
        "pending",
        START + timedelta(days=2),
        State.STAFF_BOOKED,
    )
    assert [topic for topic, _, _ in line.suite.memory.events][-1] == "appointment.scheduled"
    assert "cancelationReason" not in line.card


# ---- whose words


def test_notes_belong_to_what_they_follow():
    line = Line()
    line.say(orm())
    raw = orm("CA", made=LATER, control_id="B").decode().replace("\rPV1", "\rNTE|1||of the patient\rPV1")
    raw = raw.replace("\rOBR", "\rNTE|1||scanner\\.br\\is\rOBR").replace(
        "\rZDS", "\rNTE|1||out~of\rNTE|2||service\rOBX|1\rNTE|1||of the finding\rZDS"
    )
    line.say(raw.encode())
    assert line.card["cancelationReason"] == {"text": "scanner is out of service"}


@pytest.mark.parametrize(
    ("charset", "written", "family"),
    [
        ("8859/1", b"O\x92Quill", "O’Quill"), ("8859/1", "Müller".encode("latin-1"), "Müller"),
        ("8859/2", b"\x8aimek", "Šimek"), ("8859/5", "Ђорђе".encode("cp1251")[:1] + b"or", "Ђor"),
        ("UNICODE UTF-8", "O’Quill".encode(), "O’Quill"), ("UNICODE UTF-8", b"O\x92Quill", "O’Quill"),
        ("UNICODE UTF-8", "O\x92Quill".encode(), "O’Quill"), ("8859/1", b"Q\x07uill\x81", "Quill"),
        ("UNICODE UTF-8", "م‌ن".encode(), "م‌ن"), ("UNICODE UTF-8", b"A\\E\\H\\E\\B", "A\\H\\B"),
        ("UNICODE UTF-8", b"\\H\\Quill\\N\\", "Quill"), ("8859/15", "Œuf".encode("iso8859-15"), "Œuf"),
    ],
)  # fmt: skip
def test_letters_are_what_the_sender_meant(charset, written, family):
    head, _, rest = siu(pid=pid(**{"5": "NAME^Jane"})).partition(b"UNICODE UTF-8")
    raw = head + charset.encode() + rest.replace(b"NAME", written)
    assert read(raw).patient.family == family


# ---- contact points and names


@pytest.mark.parametrize(
    ("field", "phone", "email"),
    [
        ("^NET^Internet^a@b.org~(416)555-0100^PRN^PH", "(416)555-0100", "a@b.org"),
        ("a@b.org^NET^Internet", UNSAID, "a@b.org"),
        ("a@b.org^PRN^PH", UNSAID, "a@b.org"),
        ("555-1^PRN^FX~555-2^PRN^PH", "555-2", UNSAID),
        ("555-1^WPN^PH~555-2^PRN^CP", "555-2", UNSAID),
        ("555-1^WPN^PH", "555-1", UNSAID),
        ("555-1^EMR^PH~555-2^BPN^BP", UNSAID, UNSAID),
        ("^PRN^PH^^1^416^5550137^12", "+1 416 5550137 ext. 12", UNSAID),
        ("^PRN^CP^^^416^5550137", "416 5550137", UNSAID),
        ("^PRN^PH^^^^^^^^^4165550137", "4165550137", UNSAID),
        ("none^PRN^PH", UNSAID, UNSAID),
        ("555-1^NET", UNSAID, UNSAID),
        ('""^NET', UNSAID, None),
        ('""', None, None),
        ('555-1^PRN^PH^""', "555-1", None),
        ('""^PRN^PH~^NET^Internet^a@b.org', None, "a@b.org"),
        ('^NET^Internet^""', UNSAID, None),
        ("~555-1^PRN^PH", "555-1", UNSAID),
        ("555-1^PRN^PH^a@b.org~555-2^PRN^CP^c@d.org", "555-1", "a@b.org"),
        ("", UNSAID, UNSAID),
    ],
)
def test_contact_points_are_told_apart(field, phone, email):
    found = read(siu(pid=pid(**{"13": field}))).patient
    assert (found.phone, found.email) == (phone, email)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("Roe^Jane^^^^^L~Doe^J^^^^^A", ("Roe", "Jane")),
        ("Doe^J^^^^^A~Roe^Jane^^^^^L", ("Roe", "Jane")),
        ("Doe^Jane^^^^^M~Roe^Jane", ("Roe", "Jane")),
        ("Roe^Jay^^^^^D~Roe^Jane^^^^^L", ("Roe", "Jane")),
        ("~Roe^Jane", ("Roe", "Jane")),
        ("Doe^J^^^^^N", (UNSAID, UNSAID)),
        ("Roe&van^Jane", ("Roe", "Jane")),
        ("^Jane", (UNSAID, "Jane")),
        ('Roe^""', ("Roe", "")),
        ('""', ("", "")),
        ("", (UNSAID, UNSAID)),
    ],
)
def test_names_are_told_apart(field, name):
    found = read(siu(pid=pid(**{"5": field}))).patient
    assert (found.family, found.given) == name


# ---- old and new


def moved(made: str, day: int, control_id: str) -> bytes:
    return siu(
        "S13", made=made, control_id=control_id, start=f"202612{day:02}143000-0500", end=f"202612{day:02}150000-0500"
    )


@pytest.mark.parametrize(("connection", "seconds", "day"), [(1, 90, 3), (1, 150, 2), (2, 90, 2), (None, 90, 2)])
def test_on_one_connection_the_order_of_arrival_decides_within_the_limit_of_lead(connection, seconds, day):
    line = Line()
    line.say(siu(), moved("20261125093500-0500", 2, "B"), connection=1)
    made = datetime(2026, 11, 25, 9, 35) - timedelta(seconds=seconds)  # noqa: DTZ001 - written without its offset
    line.say(moved(f"{made:%Y%m%d%H%M%S}-0500", 3, "C"), connection=connection)
    assert line.times[0] == datetime(2026, 12, day, 19, 30, tzinfo=UTC)
    conflicts = [one.why for one in line.suite.memory.conflicts]
    assert (conflicts == []) == (day == 3)
    assert day == 3 or "slot" in conflicts[0]


def test_a_clock_that_was_far_ahead_and_is_set_right_hides_nothing():
    line = Line()
    line.say(siu(), moved("20261125120000-0500", 2, "B"), connection=1)
    line.clock.pass_by(1)
    line.say(moved("20261125103001-0500", 3, "C"), connection=1)
    assert line.times[0] == datetime(2026, 12, 3, 19, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second", "is_news"),
    [
        ("20261101013000", "20261101011000", True),
        ("20261101015500", "20261101010000", True),
        ("20261101013000", "20261101003000", False),
        ("20261101013000-0500", "20261101013000-0400", False),
        ("20260308023000", "20260308020500", True),
        ("20261101030000", "20261101013000", False),
        ("20261125093000-0500", "20261125", True),
    ],
)
def test_an_hour_that_comes_twice_proves_no_order(first, second, is_news):
    line = Line()
    line.say(siu(made=first), moved(second, 2, "B"))
    assert (line.times[0] == START + timedelta(days=1)) == is_news


# ---- what the line is for


@pytest.mark.parametrize("found", ["T", "D", "X"])
def test_another_processing_id_is_refused_unless_the_site_takes_it(found):
    raw = siu().replace(b"|P|2.3.1|", f"|{found}|2.3.1|".encode())
    with pytest.raises(Malformed) as caught:
        read(raw)
    assert (caught.value.location, caught.value.code) == ("MSH-11", "202")
    assert read(raw, with_hl7(processing_ids=("P", found))).placer_number == "P100045"
    assert read(siu().replace(b"|P|2.3.1|", b"||2.3.1|")).placer_number == "P100045"


@pytest.mark.parametrize("tail", ["DSC|X1|F", "ADD|more"])
def test_a_fragment_is_refused(tail):
    with pytest.raises(Malformed, match="fragments"):
        read(siu() + tail.encode() + b"\r")
    with pytest.raises(Malformed, match="MSH-14"):
        read(siu().replace(b"|P|2.3.1||||||", b"|P|2.3.1||X1||||"))
    assert read(siu() + b"DSC|\r").placer_number == "P100045"


def test_what_comes_more_often_than_it_is_read_is_counted_or_refused():
    passed_over = reader.PassedOver()
    more = (
        siu()
        .replace(b"AIL|1", b"AIG|2|A|BLUME MR\rAIG|3|D|GHOST\rPV1|2|O\rAIL|1")
        .replace(b"-0500|||||||", b"-0500~^^^2027|||||||")
    )
    reader.read(Message.parse(more), SITE, directory(), received_at=NOW, passed_over=passed_over)
    plain = reader.PassedOver()
    reader.read(Message.parse(siu()), SITE, directory(), received_at=NOW, passed_over=plain)
    found = Counter(passed_over.keys)
    found.subtract(plain.keys)
    assert +found == Counter({("AIG", "3"): 1, ("PV1", "3"): 1, ("PV1", "2"): 1, ("SCH", "11"): 1})
    with pytest.raises(Malformed, match=r"SCH\[2\]"):
        read(siu() + b"SCH|P2\r")


def test_a_detail_that_comes_after_on_one_connection_holds_though_its_time_is_a_minute_earlier():
    line = Line()
    line.say(siu(made="20261125093500-0500"), connection=1)
    other = PID.replace("jane.roe@example.org", "joan@example.org")
    line.say(siu("S14", made="20261125093400-0500", control_id="B", pid=other), connection=1)
    assert line.person["telecom"][0]["value"] == "joan@example.org"

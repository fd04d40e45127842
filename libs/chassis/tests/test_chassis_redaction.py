"""What is logged is cut before it is searched, and cutting shows nothing that searching would have hidden."""

import json

import pytest

from chassis.errors import LONGEST_REASON, Malformed, NeedsSetup, Permanent, Transient
from chassis.observe import redaction
from chassis.observe.redaction import REDACTED, redact, redact_text

LONGEST = 2000
NEEDLES = ("jane.roe@example.org", "Roe^Jane^Ann", "416 555-0100", "19800229", "PID|1||4711^^^NORTHSIDE")


@pytest.mark.parametrize("needle", NEEDLES)
def test_nothing_shows_wherever_the_cut_goes_through(needle: str) -> None:
    for before in range(LONGEST - len(needle) - 2, LONGEST + 3):
        shown_text = redact_text("x " * (before // 2) + " " * (before % 2) + needle + " and so on" * 400)
        assert needle[:4] not in shown_text
        assert len(shown_text) <= LONGEST + len(REDACTED) + 1


def test_a_word_that_is_too_long_to_be_recognised_is_left_out() -> None:
    text = "fine " * 350 + "jane.roe" * 1000 + "@example.org"
    assert redact_text(text) == "fine " * 350 + "…"


def test_a_text_that_fits_stays_as_it_is() -> None:
    for text in ("", "x", "x" * LONGEST, "word " * 400):
        assert redact_text(text) == text
    assert redact_text("word " * 401) == ("word " * 400) + "…"


def test_what_is_searched_is_cut_first(monkeypatch) -> None:
    class Measuring:
        def __init__(self) -> None:
            self.longest = 0

        def finditer(self, text: str) -> list:
            self.longest = max(self.longest, len(text))
            return []

    pattern = Measuring()
    monkeypatch.setattr(redaction, "_PATTERNS", (pattern,))
    redact({"a" * 10**6: ["b" * 10**6]})
    assert 0 < pattern.longest <= 2500


def test_nested_values_are_bounded_in_depth_and_number() -> None:
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    wide = {f"key{number}": [number] * 1000 for number in range(1000)}
    twice = {"list": [wide] * 1000, "deep": deep}
    for value in (deep, wide, twice, {"x" * 10**6: 1}, [[["x" * 3000] * 90] * 90] * 90, 10**5000):
        written = json.dumps(redact(value))
        assert len(written) < 3_000_000
    assert redact({"a": {"b": [1, "x"]}}) == {"a": {"b": [1, "x"]}}
    assert redact(list(range(101)))[-1] == "[101 items]"


def test_a_key_is_no_hiding_place() -> None:
    assert "jane" not in json.dumps(redact({"jane.roe@example.org": 1}))


@pytest.mark.parametrize("kind", [Permanent, Transient])
def test_an_error_holds_no_more_than_a_few_hundred_characters(kind: type[Exception]) -> None:
    error = kind("x" * 10**6)
    assert len(str(error)) == len(error.reason) == LONGEST_REASON  # type: ignore[attr-defined]


def test_what_an_error_points_at_is_short_too_and_can_be_stored() -> None:
    assert len(Malformed("x", location="PID-" + "3" * 10**6).location) <= 200
    assert len(NeedsSetup("x", setting="y" * 10**6).setting) <= 200
    assert "\x00" not in Permanent("a\x00b").reason

"""Zone names: IANA's and Windows', exactly; unknown ones are named."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from babel.core import get_global

from site_file import UnknownZoneError, are_alike, iana_name, zone_of

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_every_name_of_windows_is_a_zone_in_any_case_and_as_summer_time():
    table = get_global("windows_zone_mapping")
    assert len(table) > 130
    for name, zone in table.items():
        if name in available_timezones():
            continue  # UTC is a name of both
        spelt = {name, name.upper(), name.lower(), name.replace(" Standard ", " Daylight ")}
        assert {iana_name(one) for one in spelt} == {zone}
        assert zone in available_timezones()


@pytest.mark.parametrize("name", ["America/Toronto", "Asia/Kathmandu", "UTC"])
def test_a_name_of_iana_stays(name: str):
    assert iana_name(name) == name
    assert zone_of(name) == ZoneInfo(name)


@pytest.mark.parametrize(
    "name", ["", "EST5", "Eastern Time", "(UTC-05:00) Eastern Time (US & Canada)", "Toronto", "x" * 200]
)
def test_an_unknown_name_is_named(name: str):
    with pytest.raises(UnknownZoneError) as caught:
        iana_name(name)
    assert caught.value.name == name
    assert "write an IANA name" in str(caught.value)


def test_zones_with_one_wall_clock_are_alike():
    assert are_alike("Eastern Standard Time", "America/Toronto", at=NOW)
    assert are_alike("Asia/Calcutta", "Asia/Kolkata", at=NOW)
    assert not are_alike("Eastern Standard Time", "America/Jamaica", at=NOW)  # no summer time there
    assert not are_alike("America/Toronto", "America/Vancouver", at=NOW)

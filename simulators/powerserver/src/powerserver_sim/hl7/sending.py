"""The interface's settings: the profile of appointments, and whether patients and resources are announced."""

from powerserver_sim.options import PROFILES, Settings
from powerserver_sim.rules import Refused
from simulator_kit.store import Work


def prepare_sending(work: Work, settings: Settings) -> None:
    """A changed setting overrides an earlier choice on the HL7 page."""
    given = {"profile": settings.profile, "adt_out": settings.adt_out, "requests": settings.requests}
    for key, value in given.items():
        seen = work.one("SELECT value FROM setting WHERE key = ?", f"{key}_given")
        if seen is None or seen["value"] != value:
            work.run("INSERT OR REPLACE INTO setting VALUES (?, ?), (?, ?)", key, value, f"{key}_given", value)


def set_sending(work: Work, profile: str, *, adt_out: bool, mfn_out: bool = True) -> None:
    """Set all for future changes. Queued messages stay as they are."""
    if profile not in PROFILES:
        raise Refused("invalid", "Choose SIU, ORM or both.", field="profile")
    work.run("INSERT OR REPLACE INTO setting VALUES ('profile', ?)", profile)
    work.run("INSERT OR REPLACE INTO setting VALUES ('adt_out', ?)", "on" if adt_out else "off")
    work.run("INSERT OR REPLACE INTO setting VALUES ('mfn_out', ?)", "on" if mfn_out else "off")
    work.notice("catalogue")


def sending(work: Work) -> dict[str, str]:
    """The settings; resources are announced unless somebody has switched that off."""
    rows = work.all("SELECT * FROM setting WHERE key IN ('profile', 'adt_out', 'mfn_out')")
    return {"mfn_out": "on", **{row["key"]: row["value"] for row in rows}}

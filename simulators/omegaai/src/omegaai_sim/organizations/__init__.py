"""The site's organisations and its assigning authorities (issuers of patient ids). They come with the store."""

from pathlib import Path
from typing import Final

from omegaai_sim.context import Services
from omegaai_sim.fhir.records import Change
from omegaai_sim.organizations.seed import prepare
from simulator_kit.feature import Feature
from simulator_kit.store import Work


def authority_changed(work: Work, change: Change) -> None:
    """A patient's identifier is checked against the active authorities."""
    if change.before is not None:
        work.run("DELETE FROM assigning_authority WHERE system = ?", change.before["system"])
    if change.body.get("active", True):
        work.run("INSERT OR REPLACE INTO assigning_authority VALUES (?, ?)", change.body["system"], change.body["name"])


FEATURE: Final = Feature[Services](
    Path(__file__).parent, prepare=prepare, hooks={"AssigningAuthority": authority_changed}
)

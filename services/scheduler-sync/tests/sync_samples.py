"""Messages of the wires' page, as PowerServer sends them, and builders around them."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from scheduler_sync.domain.resource import Resource
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.site import SiteFile, load

SITE_FILE = Path(__file__).resolve().parents[3] / "deploy" / "site" / "northside.yaml"
NOTHING_FOR_PATIENTS = re.sub(r"(?ms)^self_scheduling:.*?\n(?=\S)", "", SITE_FILE.read_text("utf-8"))
"""The development site without its rules of self-scheduling; a test adds its own."""
NOW = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
PID = (
    r"PID|1|4711^^^NORTHSIDE|4711^^^NORTHSIDE||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA||"
    r"(416)555-0100^PRN^PH^jane.roe@example.org|||||ACC4711"
)
PV1 = "PV1|1|O|RADIOLOGY^CT1^^FAC01|||||1001^Miller^Ann|||||||||||V100045"


def siu(
    trigger: str = "S12",
    *,
    control_id: str = "PS0000000123",
    made: str = "20261125093000-0500",
    placer: str = "P100045",
    status: str = "30^SCHEDULED^99PS",
    start: str = "20261201143000-0500",
    end: str = "20261201150000-0500",
    resource: str = "BLUME CT",
    facility: str = "FAC01",
    pid: str = PID,
) -> bytes:
    lines = [
        f"MSH|^~\\&|RAMSOFT|{facility}|SUITE|NORTHSIDE|{made}||SIU^{trigger}|{control_id}|P|2.3.1||||||UNICODE UTF-8",
        (
            f"SCH|{placer}^RAMSOFT|A100045^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min^minutes^ISO+|"
            f"^^30^{start}^{end}||||||||||||||{status}"
        ),
        pid,
        PV1.replace("FAC01", facility),
        "RGS|1|A",
        f"AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|{start}|||30|min",
        f"AIG|1|A|{resource}^{resource}|CT",
        f"AIL|1|A|RADIOLOGY^CT1^^{facility}",
    ]
    return ("\r".join(lines) + "\r").encode()


def orm(
    control: str = "NW",
    *,
    control_id: str = "PS0000000124",
    made: str = "20261125093000-0500",
    placer: str = "P100045",
    status: str = "30^SCHEDULED^99PS",
    start: str = "20261201143000-0500",
    end: str = "20261201150000-0500",
    resource: str = "BLUME CT",
    facility: str = "FAC01",
    pid: str = PID,
) -> bytes:
    timing = f"^^30^{start}^{end}^ROUTINE"
    lines = [
        f"MSH|^~\\&|RAMSOFT|{facility}|SUITE|NORTHSIDE|{made}||ORM^O01|{control_id}|P|2.3.1||||||UNICODE UTF-8",
        pid,
        PV1.replace("FAC01", facility),
        (
            f"ORC|{control}|{placer}^RAMSOFT|ACC100045^RAMSOFT||SC||{timing}||20261125093000-0500|||1001^Miller^Ann|"
            f"RADIOLOGY^CT1^^{facility}|||{status}"
        ),
        (
            f"OBR|1|{placer}^RAMSOFT|ACC100045^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE|||||||||||||||{resource}"
            f"|||||CT|||{timing}"
        ),
        "ZDS|1.2.826.0.1.3680043.10.1.100045^RAMSOFT^Application^DICOM",
    ]
    return ("\r".join(lines) + "\r").encode()


def site_file() -> SiteFile:
    """The development site's file, read anew: a copy of a used one would keep what it has worked out."""
    return load(SITE_FILE)


def directory(site: SiteFile | None = None) -> ResourceDirectory:
    """The development site's resources, with the services' ids of a fresh OmegaAI."""
    file = site or site_file()
    found = ResourceDirectory(lambda: file)
    names = [("FAC01", "BLUME CT", "CT"), ("FAC01", "BLUME MR", "MR"), ("FAC02", "LAKE CT", "CT")]
    found.fill(
        Resource(UUID(int=number), facility, name, modality, f"hs-{number}", 30, self_scheduling=True)
        for number, (facility, name, modality) in enumerate(names, 1)
    )
    return found

"""One customer's mapping between PowerServer and OmegaAI, in one file that all services read."""

from site_file.file import Content, Site, SiteFileError, load, of_content, read
from site_file.model import SharedSite, SiteFacility, SiteHl7, SiteOrganization, SiteSection
from site_file.zones import UnknownZoneError, are_alike, iana_name, zone_of

__all__ = [
    "Content",
    "SharedSite",
    "Site",
    "SiteFacility",
    "SiteFileError",
    "SiteHl7",
    "SiteOrganization",
    "SiteSection",
    "UnknownZoneError",
    "are_alike",
    "iana_name",
    "load",
    "of_content",
    "read",
    "zone_of",
]

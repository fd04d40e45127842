"""One customer's mapping between PowerServer and OmegaAI, in one file that all services read."""

from site_file.file import Site, SiteFileError, load
from site_file.model import SharedSite, SiteFacility, SiteHl7, SiteOrganization, SiteSection

__all__ = [
    "SharedSite",
    "Site",
    "SiteFacility",
    "SiteFileError",
    "SiteHl7",
    "SiteOrganization",
    "SiteSection",
    "load",
]

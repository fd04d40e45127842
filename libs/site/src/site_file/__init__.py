"""One customer's mapping between PowerServer and OmegaAI, in one file that all services read."""

from site_file.file import Content, Site, SiteFileError, load, of_content, read
from site_file.model import SharedSite, SiteFacility, SiteHl7, SiteOrganization, SiteSection

__all__ = [
    "Content",
    "SharedSite",
    "Site",
    "SiteFacility",
    "SiteFileError",
    "SiteHl7",
    "SiteOrganization",
    "SiteSection",
    "load",
    "of_content",
    "read",
]

"""Bookable resources: imported from both sides, paired by name, compared field by field, mended in OmegaAI."""

from scheduler_sync.resources.directory import ResourceDirectory
from scheduler_sync.resources.importing import ResourceImport
from scheduler_sync.resources.stored import StoredResources

__all__ = ["ResourceDirectory", "ResourceImport", "StoredResources"]

"""The service's own tables and the only SQL that touches them."""

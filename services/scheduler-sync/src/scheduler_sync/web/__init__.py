"""The service's own pages, beside the console that the chassis serves."""

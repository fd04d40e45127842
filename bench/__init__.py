"""Speed marks, each measured beside its floor."""

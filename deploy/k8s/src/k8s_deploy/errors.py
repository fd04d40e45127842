"""Errors of work on a cluster."""


class ClusterError(RuntimeError):
    """The suite could not be put on the cluster; the text names the object and the reason."""

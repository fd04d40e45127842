"""What can go wrong on a cluster, in words."""


class ClusterError(RuntimeError):
    """The suite could not be put on the cluster; the text names the object and says what it waits for."""

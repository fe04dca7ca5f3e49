"""How an index lies on a cluster, and how it is spoken to."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Cluster:
    """Options of an index on a cluster. Those of how it lies count when it is made, and never change.

    Attributes:
        shards: parts that rows are spread over; None leaves it to the server (one a node).
        replicas: copies of each part, on as many nodes.
        consistency: copies that must have a write before it returns, up to `replicas`.
        timeout: seconds to wait for an answer.
        batch: rows sent at once, at most; fewer where rows are large.
        in_flight: batches under way at once.

    Raises:
        ValueError: if one is no whole number of at least 1, or `consistency` is more than `replicas`.

    Example:
        >>> Cluster(shards=6, replicas=2).consistency
        1
    """

    shards: int | None = None
    replicas: int = 1
    consistency: int = 1
    timeout: int = 60
    batch: int = 512
    in_flight: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            # bool is an int to Python, and True would pass.
            if not (type(value) is int and value >= 1) and not (field.name == "shards" and value is None):
                raise ValueError(f"{field.name} of a cluster is a whole number of at least 1; found {value!r}")
        if self.consistency > self.replicas:
            raise ValueError(
                f"consistency of a cluster is at most its replicas; found {self.consistency} of {self.replicas}"
            )

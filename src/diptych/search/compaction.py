"""Which sealed shards are made into one with the next, so that there are few, and few dead rows in them."""

from collections.abc import Mapping

MOST_SEALED = 8
MOST_DEAD = 1 / 3


def to_merge(sealed: Mapping[str, tuple[int, int]]) -> list[str]:
    """The sealed shards to be made anew.

    Those of whose rows over a third are dead; and where more than eight are left, the smallest: from the smallest up
    to the first that is larger than all smaller ones together. So a row is copied about as often as the number of
    rows can be doubled, not once for every sealing.

    Args:
        sealed: shard -> how many rows it has, and how many of them are dead.

    Example:
        >>> to_merge({"a": (100, 40), "b": (100, 10)})
        ['a']
        >>> to_merge({"large": (1000, 0)} | {str(i): (10, 0) for i in range(8)})
        ['0', '1', '2', '3', '4', '5', '6', '7']
    """
    chosen = [name for name, (rows, dead) in sealed.items() if dead > MOST_DEAD * rows]
    left = sorted((rows - dead, name) for name, (rows, dead) in sealed.items() if name not in chosen)
    if len(left) <= MOST_SEALED:
        return chosen
    total = 0
    for place, (rows, name) in enumerate(left):
        if place > 1 and rows > total:
            break
        chosen.append(name)
        total += rows
    return chosen

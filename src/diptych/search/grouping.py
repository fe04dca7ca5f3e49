"""The best hit of each value of a payload field: one photo a product, one page a document.

A search that finds ten pictures of one product shows one product. Here the ranking is walked from
the top, and every value is shown once, where its best hit stands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diptych.search.filters import field_path
from diptych.search.fusing import require_page
from diptych.search.index import Index
from diptych.search.points import Hit
from diptych.search.vectors import GivenVector

Value = str | int | float | bool


@dataclass(frozen=True)
class Group:
    """One value of the field.

    Attributes:
        value: of the field.
        best: the nearest hit that has it.
    """

    value: Value
    best: Hit


def search_groups(
    index: Index,
    vector: GivenVector,
    *,
    group_by: str,
    space: str = "dense",
    limit: int = 10,
    offset: int = 0,
    where: Mapping[str, object] | None = None,
    exact: bool = False,
) -> list[Group]:
    """The nearest values of a field, each with its best hit.

    Args:
        index: to search.
        vector, space, where, exact: as for `Index.search`.
        group_by: the payload field; dots and `[]` reach inside as in filters.
        limit, offset: of the page, counted in groups.

    Returns:
        The page. Rows without the field are in no group, a row with a list is in the group of each of its values.

    Raises:
        ValueError: if `group_by` is no payload field, or an argument does not fit `Index.search`.

    Example:
        `search_groups(index, vector, group_by="product", limit=5)`
    """
    require_page(limit, offset)
    field_path(group_by)
    number, rows = 4 * (offset + limit), len(index)
    while True:
        hits = index.search(vector, space=space, limit=number, where=where, exact=exact)
        groups = grouped(hits, group_by)
        # Twice the rows for each try, so that all tries together cost at most twice the last.
        if len(groups) >= offset + limit or number >= rows:
            return groups[offset : offset + limit]
        number *= 2


def grouped(hits: Sequence[Hit], field: str) -> list[Group]:
    """The values of a field in the order of their best hits.

    Example:
        >>> hits = [Hit("a", 3.0, {"of": "cat"}), Hit("b", 2.0, {"of": "cat"}), Hit("c", 1.0, {"of": "dog"})]
        >>> [(group.value, group.best.id) for group in grouped(hits, "of")]
        [('cat', 'a'), ('dog', 'c')]
    """
    names = [part.removesuffix("[]") for part in field.split(".")]
    groups: dict[tuple[type, Value], Group] = {}
    for hit in hits:
        for value in _values(hit.payload, names):
            # Python takes True for 1, and the payload does not.
            kind = bool if isinstance(value, bool) else str if isinstance(value, str) else float
            groups.setdefault((kind, value), Group(value, hit))
    return list(groups.values())


def _values(value: object, names: Sequence[str]) -> Iterator[Value]:
    """The plain values that a path leads to, through lists."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, names)
    elif names:
        if isinstance(value, dict) and names[0] in value:
            yield from _values(value[names[0]], names[1:])
    elif isinstance(value, (str, int, float)):
        yield value

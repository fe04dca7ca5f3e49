"""Rows left out of a ranking that an engine makes: it is asked for more, and they are dropped."""

from collections.abc import Callable, Sequence, Set

from diptych.search.points import Hit

Ask = Callable[[Sequence[int], int], list[list[Hit]]]


def masked(ask: Ask, dead: Set[str], rows: int) -> Ask:
    """`ask` as if the dead rows were not there.

    Args:
        ask: of which queries, and how many of the best each -> hits, best first; fewer only if there are no more.
        dead: ids of rows to leave out; may grow meanwhile.
        rows: about how many there are, dead ones among them.
    """

    def asked(some: Sequence[int], number: int) -> list[list[Hit]]:
        found: dict[int, list[Hit]] = {}
        # Twice as many dead among the best as lie among all, and a few; then ever more, up to certainty.
        wanted = min(number + len(dead), number + 8 + 2 * number * len(dead) // max(rows, 1))
        left = list(some)
        while left:
            short = []
            for query, hits in zip(left, ask(left, wanted), strict=True):
                alive = [hit for hit in hits if hit.id not in dead]
                if len(alive) >= number or len(hits) < wanted:
                    found[query] = alive[:number]
                else:
                    short.append(query)
            left, wanted = short, min(number + len(dead), 4 * wanted)
        return [found[query] for query in some]

    return asked

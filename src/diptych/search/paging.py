"""Pages of a ranking that join without a gap or a repeat, though many rows have the same score.

The engine orders rows of equal score anew at each question, so that a row may come on two pages
and another on none. Codes are where it shows (a thousand rows share a few dozen distances), and
pictures that are there twice. So a page's end is pushed past the rows of its last score, and
equals are ordered by id.
"""

from collections.abc import Callable, Sequence

from diptych.search.points import Hit

# Where more rows than this share the score at a page's end, they are left in the engine's order:
# a query of zeros has all rows at the same score.
MOST_EQUALS = 10_000


def settled(
    ask: Callable[[Sequence[int], int], list[list[Hit]]], queries: int, *, limit: int, offset: int, rows: int
) -> list[list[Hit]]:
    """The hits `offset` to `offset + limit` of each query, by score and then by id.

    Args:
        ask: of which queries, and how many of the best each -> hits, best first.
        queries: how many there are.
        limit, offset: of the page.
        rows: at most so many can be found.
    """
    wanted = min(offset + limit, max(rows, 1))
    number = wanted + 1
    found: list[list[Hit]] = [[] for _ in range(queries)]
    tied = list(range(queries))
    while tied:
        for query, hits in zip(tied, ask(tied, number), strict=True):
            found[query] = hits
        if number > wanted + MOST_EQUALS:
            break
        tied = [i for i in tied if len(found[i]) == number and found[i][-1].score == found[i][wanted - 1].score]
        number = min(4 * number, rows + 1)
    return [sorted(hits, key=lambda hit: (-hit.score, hit.id))[offset:wanted] for hits in found]

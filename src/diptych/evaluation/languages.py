"""Whether a picture is found as well in one language as in another: recall of each, and mean rank variance.

Recall may be the same in every language although each finds other pictures. With r_jk the rank of picture j asked for
in language k, of the K languages it is told in:

    MRV = mean over pictures j of 1/K * sum over k of (r_jk - mean over k of r_jk)^2

0 says that every language puts every picture in the same place; it is the square of a number of places, and one
picture at rank 1 in one language and 1,000 in another has a variance of a quarter of a million, so it is to be read
beside the mean deviation, whose root is taken picture by picture. Both grow with the gallery: compare equal galleries.

Use it for text-to-image retrieval in several languages, or with several phrasings in the place of languages; and for
image-to-text with a gallery for each language, where r_jk is the rank of picture j's best text.

The authors' definition is the variance; what their released code prints is the mean of the deviations. Both are here.

Source: Nie et al. 2024, arXiv 2406.18254, and its code.

System: 176 (CCRK (1-to-K))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diptych.evaluation import metrics


@dataclass(frozen=True)
class LanguageReport:
    """What asking in several languages measured.

    Attributes:
        recall: language -> k -> share of its queries with a right row among the first k, 0 to 1.
        spread: k -> the highest of these less the lowest, 0 to 1.
        mean_rank_variance: places squared, at least 0; NaN where no item was asked for in two languages.
        mean_rank_deviation: places, at least 0; likewise.
        queries: language -> how many queries have a right row.
        queries_without_positive: how many do not, of all languages; no mean counts them.
        items: how many items were asked for in two languages or more; the last two means are over these.
    """

    recall: dict[str, dict[int, float]]
    spread: dict[int, float]
    mean_rank_variance: float
    mean_rank_deviation: float
    queries: dict[str, int]
    queries_without_positive: int
    items: int

    def to_json(self) -> dict[str, Any]:
        """The numbers, as `json.dumps` takes them; None for a mean over no item."""
        shared = (self.mean_rank_variance, self.mean_rank_deviation) if self.items else (None, None)
        return {
            "recall": {name: {str(k): share for k, share in at.items()} for name, at in self.recall.items()},
            "spread": {str(k): share for k, share in self.spread.items()},
            "mean_rank_variance": shared[0],
            "mean_rank_deviation": shared[1],
            "queries": self.queries,
            "queries_without_positive": self.queries_without_positive,
            "items": self.items,
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"t2i_de_recall@1": 0.4, ...}` for the prefix `"t2i"`."""
        line = {f"{name}_recall@{k}": share for name, at in self.recall.items() for k, share in at.items()}
        line |= {f"recall_spread@{k}": share for k, share in self.spread.items()}
        if self.items:
            line |= {"mean_rank_variance": self.mean_rank_variance, "mean_rank_deviation": self.mean_rank_deviation}
        return {f"{prefix}_{name}": value for name, value in line.items()}


def mean_rank_variance(ranks: Tensor) -> float:
    """MRV: the mean over items of the variance of their rank over languages, in places squared.

    Args:
        ranks: `[N, K]`, of item j in language k; NaN or 0 where it was not asked for in that. The variance is that of
            the languages an item has (divided by their number, not one less); items with fewer than 2 are left out.

    Returns:
        At least 0.

    Raises:
        ValueError: if no item has two languages.

    Example:
        >>> mean_rank_variance(torch.tensor([[1, 3], [2, 2], [5, 0]]))
        0.5
    """
    return _variances(ranks).mean().item()


def mean_rank_deviation(ranks: Tensor) -> float:
    """The mean over items of the standard deviation of their rank over languages, in places; as `mean_rank_variance`.

    Example:
        >>> mean_rank_deviation(torch.tensor([[1, 5], [2, 2]]))
        1.0
    """
    return _variances(ranks).sqrt().mean().item()


def rank_table(best_rank: Tensor, items: Tensor, languages: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Lay out the ranks of queries as a line for each item and a column for each language.

    Where an item was asked for several times in one language its ranks are averaged: their best would favour the
    language with most texts.

    Args:
        best_rank: `[Q]`, as `RetrievalReport.best_rank` gives it; 0 where a query has no right row.
        items: `[Q]` integers, what each query asks for; equal in all languages.
        languages: Q names.

    Returns:
        `[N, K]` float64, NaN where an item was not asked for or has no right row; and the K names, sorted. Items are
        in ascending order.

    Raises:
        ValueError: if they differ in number or are empty.

    Example:
        >>> table, names = rank_table(torch.tensor([1, 4, 2]), torch.tensor([7, 7, 8]), ["en", "de", "en"])
        >>> names, table.tolist()
        (['de', 'en'], [[4.0, 1.0], [nan, 2.0]])
    """
    if not len(best_rank) == len(items) == len(languages) or not len(languages) or best_rank.dim() != 1:
        raise ValueError(
            f"expected a rank, an item and a language for each of 1 or more queries, not {tuple(best_rank.shape)}, "
            f"{tuple(items.shape)} and {len(languages)}"
        )
    names = sorted(set(languages))
    number = {name: place for place, name in enumerate(names)}
    column = torch.tensor([number[name] for name in languages], device=best_rank.device)
    distinct, row = items.to(best_rank.device).unique(return_inverse=True)
    cell, found = row * len(names) + column, (best_rank > 0).double()
    size = len(distinct) * len(names)
    total = torch.bincount(cell, best_rank.double() * found, minlength=size)
    return (total / torch.bincount(cell, found, minlength=size)).view(-1, len(names)), names


def by_language(
    best_rank: Tensor, items: Tensor, languages: Sequence[str], *, ks: Sequence[int] = (1, 5, 10)
) -> LanguageReport:
    """Measure retrieval in each language, and whether they agree.

    Args:
        best_rank: `[Q]`, as `RetrievalReport.best_rank` gives it for queries in all languages against one gallery.
        items: `[Q]` integers, the picture (or product, or place) each query asks for.
        languages: Q names, one or more of them.
        ks: the depths of recall, each at least 1.

    Returns:
        A report; see its attributes.

    Raises:
        ValueError: if they differ in number, `ks` make no sense, or no query of a language has a right row.

    Example:
        >>> best_rank, items = torch.tensor([1, 9, 1, 2]), torch.tensor([0, 1, 0, 1])
        >>> report = by_language(best_rank, items, ["en", "en", "de", "de"], ks=(1, 5))
        >>> report.recall["en"], report.spread, report.mean_rank_variance
        ({1: 0.5, 5: 0.5}, {1: 0.0, 5: 0.5}, 6.125)
    """
    if not ks:
        raise ValueError("ks are empty; give one depth of recall or more")
    table, names = rank_table(best_rank, items, languages)
    recall, queries = {}, {}
    for name in names:
        mine = best_rank[torch.tensor([each == name for each in languages], device=best_rank.device), None]
        if not (mine > 0).any():
            raise ValueError(f"none of the {len(mine)} queries in {name!r} has a right row in the gallery")
        recall[name] = {k: metrics.recall_at(mine, k) for k in sorted(set(ks))}
        queries[name] = int((mine > 0).sum())
    items_shared = int(((table > 0).sum(1) > 1).sum())
    return LanguageReport(
        recall=recall,
        spread={
            k: max(at[k] for at in recall.values()) - min(at[k] for at in recall.values()) for k in sorted(set(ks))
        },
        mean_rank_variance=mean_rank_variance(table) if items_shared else torch.nan,
        mean_rank_deviation=mean_rank_deviation(table) if items_shared else torch.nan,
        queries=queries,
        queries_without_positive=metrics.queries_without_positive(best_rank[:, None]),
        items=items_shared,
    )


def _variances(ranks: Tensor) -> Tensor:
    """The variance over languages of each item that has two or more: `[N']` float64."""
    there = ranks > 0  # neither NaN nor 0
    ranks, there = ranks[there.sum(1) > 1].double(), there[there.sum(1) > 1]
    if not len(ranks):
        raise ValueError("no item was asked for in two languages, so there is no variance over languages to measure")
    count = there.sum(1, keepdim=True)
    mean = ranks.where(there, 0).sum(1, keepdim=True) / count
    return ((ranks - mean).where(there, 0).square().sum(1, keepdim=True) / count)[:, 0]

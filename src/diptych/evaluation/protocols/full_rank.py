"""Find all pictures that a word is true of, in the whole table, and order the first hundred again with another scorer.

Queries are the values of columns (classes, attributes), each in a sentence; right are all rows that have the value,
many to a query. Measured are AP@k, nDCG@k (right or not) and MRR over all of the table, and the same of the first
`rerank` put in another order by `second` (`rerank_map@k`): rows below them stay where they were, so it cannot exceed
`rerank_bound`, what a perfect order of them would get.

    AP@k = 1 / min(right, k) * sum over right ranks r <= k of (right up to r) / r

Source: Vendrow et al. 2024 (INQUIRE, arXiv 2411.02537), whose queries are written by experts and whose second task
reranks only queries with a right row among the first hundred; here all queries count, so that both are of the same.

System: 242 (INQUIRE)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.evaluation.bench import Bench
from diptych.evaluation.fields import words_of
from diptych.evaluation.graded import graded_ranks, ndcg
from diptych.evaluation.measured import Found, Measured, Shown
from diptych.evaluation.metrics import average_precision, mean_reciprocal_rank, pad_columns, ranks_of

SHOWN = 6


def measure(
    bench: Bench,
    *,
    columns: Sequence[str] = ("label",),
    prompts: Mapping[str, str] | None = None,
    k: int = 50,
    rerank: int = 100,
    second: str | None = None,
    least: int = 2,
) -> Measured:
    """`map@k`, `ndcg@k`, `mrr`, of every column (`map@k_COLUMN`) and all, and with a second scorer the same reranked.

    Args:
        bench: a table with the columns.
        columns: whose values are asked for; "attributes.baseColour" is a field in a column.
        prompts: column -> a sentence with `{}`; "a photo of {}" where there is none.
        k: depth.
        rerank: rows that the second scorer orders again.
        second: the model's part that reranks; None for none.
        least: rows that must have a value for it to be asked for.

    Raises:
        ValueError: if there is no such column or part, no value with enough rows, or a prompt lacks `{}`.
    """
    asked = _asked(bench, columns, dict(prompts or {}), least)
    texts = bench.texts([text for _, text, _ in asked])
    wanted = pad_columns(
        torch.tensor([i for i, (_, _, rows) in enumerate(asked) for _ in rows]),
        torch.tensor([row for _, _, rows in asked for row in rows]),
        queries=len(asked),
    )
    items: dict[str, Tensor] = {}
    ranks = _ranked(bench, texts, wanted, None, rerank, items, k, "")
    numbers = {f"mrr_{name}" if name else "mrr": value for name, value in _mrr(ranks, asked, columns).items()}
    if second is not None:
        part = dict(bench.model.parts).get(second)
        if not isinstance(part, Scorer):
            raise ValueError(
                f"the model has no scorer {second!r} to rerank by; its parts are {sorted(bench.model.parts)}"
            )
        again = _ranked(bench, texts, wanted, part, rerank, items, k, "rerank_")
        numbers["rerank_mrr"] = _mrr(again, asked, columns)[""]
        within = (ranks > 0) & (ranks <= rerank)
        best = torch.arange(1, ranks.shape[1] + 1).expand_as(ranks)
        items[f"rerank_bound@{k}"] = average_precision(torch.where(best <= within.sum(1, keepdim=True), best, ranks), k)
    for name, values in list(items.items()):
        numbers[name] = float(values.mean())
        for column in columns if len(columns) > 1 else ():
            mine = torch.tensor([own == column for own, _, _ in asked])
            if mine.any():
                numbers[f"{name}_{column}"] = float(values[mine].mean())
    share = sum(len(rows) for _, _, rows in asked) / len(asked) / len(bench)
    notes = [
        f"{len(asked):,} queries of {len(columns)} columns among {len(bench):,} pictures, {share:.1%} of them right",
    ]
    return Measured(numbers, items=items, shown=_shown(bench, texts, asked, ranks), notes=notes)


_Asked = tuple[str, str, list[int]]
"""The column, the sentence, and the rows that are right."""


def _asked(bench: Bench, columns: Sequence[str], prompts: Mapping[str, str], least: int) -> list[_Asked]:
    out: list[_Asked] = []
    for column in columns:
        prompt = prompts.get(column, "a photo of {}")
        if "{}" not in prompt:
            raise ValueError(f"the prompt of column {column!r} is {prompt!r}; it needs {{}} where the value goes")
        rows: dict[str, list[int]] = defaultdict(list)
        for row, value in enumerate(words_of(bench, column)):
            if value is not None:
                rows[value].append(row)
        out += [(column, prompt.replace("{}", value), own) for value, own in sorted(rows.items()) if len(own) >= least]
    if not out:
        raise ValueError(f"no value of {', '.join(columns)} is had by {least} or more of {len(bench):,} rows")
    return out


@torch.inference_mode()
def _ranked(
    bench: Bench,
    texts: Embedding,
    wanted: Tensor,
    second: Scorer | None,
    rerank: int,
    items: dict[str, Tensor],
    k: int,
    prefix: str,
) -> Tensor:
    """Ranks `[Q, P]` of what is right; puts AP@k and nDCG@k of each query into `items`."""
    ranks, gains = [], []
    for start in range(0, len(texts), 256):
        own, columns = texts[start : start + 256], wanted[start : start + 256]
        scores = bench.scorer(own, bench.image).float()
        if second is not None:
            scores = reranked(scores, second(own, bench.image).float(), rerank)
        ranks.append(ranks_of(scores, columns, first_query=start))
        gains.append(graded_ranks(scores, columns, (columns >= 0).float(), first_query=start))
    items[f"{prefix}map@{k}"] = average_precision(torch.cat(ranks), k)
    items[f"{prefix}ndcg@{k}"] = torch.cat([ndcg(place, gain, k) for place, gain in gains])
    return torch.cat(ranks)


def reranked(first: Tensor, second: Tensor, top: int) -> Tensor:
    """Scores in the order of `first`, but for its `top` best rows: these are before all others, in that of `second`.

    All are `[Q, N]`; what comes out are places, N - 1 for the best.

    Example:
        >>> reranked(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 5.0, 9.0]]), 2)
        tensor([[1., 2., 0.]])
    """
    places = torch.empty_like(first)
    order = first.argsort(dim=1, descending=True, stable=True)
    count = first.shape[1]
    top = min(top, count)
    head = order[:, :top]
    rise = second.gather(1, head).argsort(dim=1, stable=True)
    ascending = torch.arange(count, dtype=first.dtype).expand_as(first)
    places.scatter_(1, head.gather(1, rise), ascending[:, count - top :])
    return places.scatter_(1, order[:, top:].flip(1), ascending[:, : count - top])


def _mrr(ranks: Tensor, asked: Sequence[_Asked], columns: Sequence[str]) -> dict[str, float]:
    out = {"": mean_reciprocal_rank(ranks)}
    for column in columns if len(columns) > 1 else ():
        mine = torch.tensor([own == column for own, _, _ in asked])
        if mine.any():
            out[column] = mean_reciprocal_rank(ranks[mine])
    return out


@torch.inference_mode()
def _shown(bench: Bench, texts: Embedding, asked: Sequence[_Asked], ranks: Tensor) -> list[Shown]:
    """The queries whose first right picture is furthest down."""
    out = []
    for query in ranks[:, 0].argsort(descending=True, stable=True)[:SHOWN].tolist():
        top = bench.scorer(texts[query : query + 1], bench.image)[0].topk(min(5, len(bench)))
        right = set(asked[query][2])
        found = [Found(s, row in right, row) for s, row in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
        out.append(Shown(found, asked[query][1], rank=int(ranks[query, 0])))
    return out

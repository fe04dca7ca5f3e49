"""Find images by texts of every language, and texts of every language by images: how much is lost beside the best one.

The texts lie in a column of the table, either by language (`{"de": "ein Hund", "zh": ["...", "..."]}`, aligned
captions) or as the language of each row's own texts (`"de"`). With texts by language, only images that have all of the
languages are measured, so that every language has the same gallery.

Every language is a retrieval of its own, among its own texts (`diptych.evaluation.retrieval`): equal texts are right
answers of each other within a language; ties are lost.

Source of the comparison: Thapliyal et al. 2022, Crossmodal-3600, arXiv 2205.12522.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from diptych.data.keys import make_keys
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Measured
from diptych.evaluation.retrieval import both_ways

WAYS = {"t2i": "text_to_image", "i2t": "image_to_text"}
Texts = dict[int, list[str]]
"""Row of the table -> its texts in one language."""


def measure(bench: Bench, *, column: str = "texts", languages: Sequence[str] | None = None, k: int = 1) -> Measured:
    """Recall at k both ways in each language (`t2i_recall@1_de`), their mean, and the worst.

    Args:
        bench: a table with texts by language, or with the language of its texts.
        column: which holds the texts by language, or the language.
        languages: which to measure; None for all that any row has.
        k: depth of recall.

    Raises:
        ValueError: if there is no such column or language, or no image has all of the languages.
    """
    found = _by_language(bench, column)
    wanted = list(languages or sorted(found))
    if strange := [one for one in wanted if one not in found]:
        raise ValueError(f"column {column!r} has no language {strange[0]!r}; it has {', '.join(sorted(found))}")
    notes: list[str] = []
    if not isinstance(_first(bench.column(column)), str):
        shared = set.intersection(*(set(found[one]) for one in wanted))
        if not shared:
            raise ValueError(
                f"no image has texts in all of {', '.join(wanted)}; name fewer by 'languages' in a card of your own"
            )
        notes.append(f"{len(shared):,} of {len(bench):,} images have texts in all {len(wanted)} languages")
        found = {one: {row: texts for row, texts in found[one].items() if row in shared} for one in wanted}
    numbers, chance, items = {}, {}, {}
    for language in wanted:
        for name, (value, guess, hits) in _retrieved(bench, found[language], k).items():
            numbers[f"{name}_{language}"], chance[f"{name}_{language}"] = value, guess
            items[f"{name}_{language}"] = hits
    for prefix in WAYS:
        name = f"{prefix}_recall@{k}"
        all_of_them = [numbers[f"{name}_{one}"] for one in wanted]
        numbers = {f"{name}_mean": sum(all_of_them) / len(wanted), f"{name}_worst": min(all_of_them), **numbers}
        chance[f"{name}_mean"] = sum(chance[f"{name}_{one}"] for one in wanted) / len(wanted)
    return Measured(numbers, chance, items, notes=notes)


def _retrieved(bench: Bench, texts: Texts, k: int) -> dict[str, tuple[float, float, torch.Tensor]]:
    """Name -> recall, chance, and each query's hit."""
    rows = sorted(texts)
    ids, lines = bench.table["id"], [texts[row] for row in rows]
    keys = make_keys([ids[row] for row in rows], lines)
    reports = both_ways(
        bench.image[torch.tensor(rows)],
        bench.texts([text for line in lines for text in line]),
        torch.from_numpy(keys.image),
        torch.from_numpy(keys.text),
        bench.scorer,
        ks=(k,),
    )
    return {
        f"{prefix}_recall@{k}": (
            reports[way].recall[k],
            reports[way].chance[k],
            (reports[way].best_rank <= k).double().masked_fill(reports[way].best_rank == 0, torch.nan),
        )
        for prefix, way in WAYS.items()
    }


def _by_language(bench: Bench, column: str) -> dict[str, Texts]:
    """Language -> its texts, of rows that have any."""
    values, found = bench.column(column), {}
    own = bench.table["text"][:] if isinstance(_first(values), str) else []
    for row, value in enumerate(values):
        said: Mapping[str, Any] = {value: own[row]} if isinstance(value, str) else (value or {})
        for language, texts in said.items():
            listed = [texts] if isinstance(texts, str) else texts
            if not isinstance(listed, Sequence | None):
                raise ValueError(f"column {column!r}, row {row}: {language!r} holds {type(texts).__name__}, not texts")
            if good := [one for one in listed or () if one and str(one).strip()]:
                found.setdefault(language, {})[row] = good
    if not found:
        raise ValueError(f"column {column!r} holds texts of no language in any of the {len(values):,} rows")
    return found


def _first(values: Sequence[Any]) -> Any:
    """The first value that is there."""
    return next((one for one in values if one is not None), None)

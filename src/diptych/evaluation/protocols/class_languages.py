"""Zero-shot classification in every language that has names for the classes, and whether it tells of retrieval there.

    accuracy_L  = share of pictures nearest to their own class's name in language L, among the classes named in L
    correlation = of accuracy_L and of text-to-image recall at k with other words of L, over languages

The names lie in a file beside the table, in one of two forms (either may be packed, `.gz`):

    names.jsonl         {"hexcode": "1F436", "names": {"en": "dog face", "de": "Hundegesicht"}}   a line a class
    names.json#babel    {"DE": [[0, 2], ["Schleie", "Weißer Hai"]]} or {"DE": {"0": "Schleie"}}    by language

A class that a language lacks is left out of that language, with its pictures, as in Babel-ImageNet: so languages are
measured on unlike sets of classes, and chance, which differs, stands beside each. Two classes of one name in a language
cannot be told apart: such ties are lost.

Source: Geigle, Timofte & Glavaš 2024 (Babel-ImageNet, arXiv 2306.08658). Their names come from BabelNet; whatever the
file has is taken here.

System: 198 (Babel-ImageNet)
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from diptych.evaluation.bench import Bench
from diptych.evaluation.classification import classify
from diptych.evaluation.fields import words_of
from diptych.evaluation.measured import Measured
from diptych.evaluation.rank_correlation import spearman
from diptych.evaluation.retrieval import retrieve

Names = dict[str, dict[str, str]]
"""Language -> class -> name."""


def measure(
    bench: Bench,
    *,
    names: str,
    key: str = "label",
    field: str = "names",
    templates: Sequence[str] = ("{}",),
    queries: str | None = None,
    queries_field: str = "names",
    languages: Sequence[str] | None = None,
    k: int = 1,
    least: int = 2,
) -> Measured:
    """Accuracy in each language, their mean and worst, and the correlation with retrieval where `queries` are given.

    Args:
        bench: a table with a column of classes; only classes with a picture here are told apart.
        names: file of names; after "#" a path into it.
        key: the column of classes, and in JSON lines the field that names the class.
        field: in JSON lines, the field of names by language.
        templates: sentences with `{}`, averaged.
        queries: file of other words of the classes, by language, to retrieve pictures by; lists are joined by commas.
        queries_field: as `field`, of `queries`.
        languages: which; None for all with enough classes.
        k: depth of recall.
        least: classes with a picture here that a language must name.

    Raises:
        ValueError: if there is no such file, field or language, or no language names enough classes.
    """
    owns = words_of(bench, key)
    here = {own for own in owns if own is not None}
    found = {
        lang: {c: n for c, n in own.items() if c in here} for lang, own in read_names(bench, names, key, field).items()
    }
    if strange := [one for one in languages or () if one not in found]:
        raise ValueError(f"{names} has no language {strange[0]!r}; it has {', '.join(sorted(found))}")
    wanted = [one for one in languages or sorted(found) if len(found[one]) >= least]
    if not wanted:
        raise ValueError(
            f"no language of {names} names {least} or more of the {len(here):,} classes of column {key!r}, such as "
            f"{next(iter(here), None)!r}"
        )
    numbers, chance, items = {}, {}, {}
    for language in wanted:
        classes = list(found[language])
        line = {name: i for i, name in enumerate(classes)}
        rows = torch.tensor([row for row, own in enumerate(owns) if own in line])
        vectors = _class_vectors(bench, [found[language][one] for one in classes], templates)
        report = classify(
            bench.image.dense[rows], vectors, torch.tensor([line[owns[row] or ""] for row in rows]), ks=[1]
        )
        name = f"accuracy_{language}"
        numbers[name], chance[name], items[name] = report.accuracy[1], report.chance[1], (report.rank == 1).double()
    own = {language: numbers[f"accuracy_{language}"] for language in wanted}
    numbers = {"accuracy_mean": sum(own.values()) / len(own), "accuracy_worst": min(own.values()), **numbers}
    chance["accuracy_mean"] = sum(chance.values()) / len(wanted)
    english = next((one for one in wanted if one.lower() == "en"), None)
    if english and len(wanted) > 1:
        others = [value for language, value in own.items() if language != english]
        numbers["english_gap"] = own[english] - sum(others) / len(others)
    notes = [
        f"{len(wanted)} languages, which name {min(len(found[one]) for one in wanted):,} to "
        f"{max(len(found[one]) for one in wanted):,} of {len(here):,} classes",
    ]
    if dropped := [one for one in languages or sorted(found) if one not in wanted]:
        notes.append(f"languages that name fewer than {least} classes are left out: {', '.join(dropped)}")
    if queries:
        words = read_names(bench, queries, key, queries_field)
        recall = {one: _recall(bench, owns, words[one], k) for one in wanted if one in words}
        recall = {one: value for one, value in recall.items() if not math.isnan(value)}
        numbers |= {f"t2i_recall@{k}_{one}": value for one, value in recall.items()}
        if len(recall) < 3:
            notes.append(f"{len(recall)} languages have both names and queries: too few for a correlation")
        else:
            both = [own[one] for one in recall], list(recall.values())
            numbers["pearson"] = float(np.corrcoef(*both)[0, 1]) if min(map(np.ptp, both)) else math.nan
            numbers["spearman"] = spearman(*both)
    return Measured(numbers, chance, items, notes=notes)


def read_names(bench: Bench, given: str, key: str, field: str) -> Names:
    """Names by language and class, of either form.

    Raises:
        ValueError: names the file, and the line or the language, that is not of the form.
    """
    name, _, inner = given.partition("#")
    path = bench.file(name)
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return _of_lines(path, text, key, field)
    try:
        found: Any = json.loads(text)
        for part in inner.split("/") if inner else ():
            found = found[part]
        return {language: _by_class(own) for language, own in found.items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}#{inner}: expected languages, and in each names by class ({error!r})") from error


def _of_lines(path: Path, text: str, key: str, field: str) -> Names:
    out: Names = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            own, names = str(said[key]), said[field].items()
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}, line {number}: expected {key!r} and {field!r} by language ({error!r})"
            ) from error
        for language, name in names:
            if words := (name if isinstance(name, str) else ", ".join(name or ())).strip():
                out.setdefault(language, {})[own] = words
    return out


def _by_class(own: Any) -> dict[str, str]:
    if isinstance(own, Mapping):
        return {str(c): str(name) for c, name in own.items()}
    numbers, names = own
    return {str(c): str(name) for c, name in zip(numbers, names, strict=True)}


def _class_vectors(bench: Bench, names: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """`[C, D]`, as `class_embeddings`, but of names that need not differ."""
    texts = [template.replace("{}", name) for name in names for template in templates]
    units = F.normalize(bench.texts(texts).dense, dim=-1).unflatten(0, (-1, len(templates)))
    return F.normalize(units.mean(1), dim=-1)


def _recall(bench: Bench, owns: Sequence[str | None], words: Mapping[str, str], k: int) -> float:
    """Of the words of each class that has a picture here, among the pictures of these classes; NaN if there is none."""
    line = {name: i for i, name in enumerate(one for one in words if one in set(owns))}
    if not line:
        return math.nan
    rows = torch.tensor([row for row, own in enumerate(owns) if own in line])
    image_keys = torch.tensor([[line[owns[row] or ""]] for row in rows.tolist()])
    texts = bench.texts([words[one] for one in line])
    keys = torch.arange(len(line))[:, None]
    return retrieve(texts, bench.image[rows], keys, image_keys, bench.scorer, ks=[k]).recall[k]

"""One space for words and objects from counts alone: what is seen with what, and said of what.

    object-object   pmi(o, o') = log n(o, o') N / (n(o) n(o')^a / Z)        images that have both objects
    word-object     pmi(w, o), likewise                                     images that have o, and w in a caption
    correlation     phi(w, o) = (p(w, o) - p(w) p(o)) / sqrt(p(w)(1 - p(w)) p(o)(1 - p(o)))

Values below 0 are cut off, each matrix is factored, M = U S V^T, and its rows and columns get the unit vectors of U
sqrt(S) and V sqrt(S). In the first a word is the object of its name, for text is the key that objects are held to;
other words have zeros there. The joint vector is the three side by side, so a product is the mean of three cosines. A
picture is the mean of its objects' vectors, a text that of its words'. There is nothing to train: a few hundred
pictures with boxes, found by people or a detector, are counted in a second. Use it as a baseline that can be read, or
for analogies; it sees no pixels, and tells two pictures of the same objects not apart.

Source: Varuna Krishna et al. 2023 (IMAGINATOR), arXiv 2305.10438, of which the abstract and parts of the authors' code
were at hand: three statistics of words and objects, smoothed counts and SVD are theirs. What exactly they call
correlation is not known to us, and the authors then pull pictures of objects to these vectors by a triplet loss, which
is not here. Smoothing: Levy et al. 2015 (a = 0.75).

System: 213 (IMAGINATOR)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.data.keyphrases import STOP_WORDS

Statistic = Literal["objects", "words", "correlation"]
STATISTICS: tuple[Statistic, ...] = ("objects", "words", "correlation")


class WordObjects(nn.Module):
    """Vectors of words and of objects in one space; made by `fit_word_objects`.

    Args:
        words: W of them, in lower case.
        objects: O labels.
        width: D of a vector.

    It begins with zeros; a checkpoint keeps what was fitted.
    """

    def __init__(self, words: Sequence[str], objects: Sequence[str], width: int) -> None:
        super().__init__()
        self.words, self.objects, self.width = tuple(words), tuple(objects), width
        self.register_buffer("word_vectors", torch.zeros(len(words), width))
        self.register_buffer("object_vectors", torch.zeros(len(objects), width))
        self.word_vectors: Tensor
        self.object_vectors: Tensor
        self._word = {word: i for i, word in enumerate(self.words)}
        self._object = {label: i for i, label in enumerate(self.objects)}

    def texts(self, texts: Sequence[str]) -> Tensor:
        """`[N, D]` of unit length; zeros for a text without a known word."""
        return _means([[self._word.get(word, -1) for word in words_of_text(text)] for text in texts], self.word_vectors)

    def pictures(self, objects: Sequence[Sequence[str]]) -> Tensor:
        """`[N, D]` of unit length, of the labels of each picture's objects; zeros for one without a known object."""
        return _means([[self._object.get(label, -1) for label in set(one)] for one in objects], self.object_vectors)

    def analogy(self, a: str, b: str, c: str, *, limit: int = 5) -> list[tuple[str, float]]:
        """The objects that are to `c` what `b` is to `a`, with their cosines, best first; none of the three.

        Raises:
            ValueError: if one of them is no known object.
        """
        unknown = [label for label in (a, b, c) if label not in self._object]
        if unknown:
            raise ValueError(f"no object {unknown[0]!r}; known are {len(self.objects)}, such as {self.objects[:5]}")
        unit = F.normalize(self.object_vectors, dim=1)
        start, end, other = (unit[self._object[label]] for label in (a, b, c))
        scores = unit @ F.normalize(end - start + other, dim=0)
        order = scores.argsort(descending=True, stable=True).tolist()
        found = [(self.objects[i], float(scores[i])) for i in order if self.objects[i] not in (a, b, c)]
        return found[:limit]


def fit_word_objects(
    captions: Sequence[Sequence[str]],
    objects: Sequence[Sequence[str]],
    *,
    width: int = 32,
    least: int = 3,
    smoothing: float = 0.75,
    statistics: Sequence[Statistic] = STATISTICS,
) -> WordObjects:
    """Count, factor and put together.

    Args:
        captions: of each picture, any number.
        objects: labels of each picture's objects; one named twice counts once.
        width: most dimensions of each statistic.
        least: pictures that a word must be said of.
        smoothing: power of the columns' counts, above 0 to 1: below 1, seldom ones get less.
        statistics: which of the three.

    Raises:
        ValueError: if there are not as many captions as pictures, none has an object, or an argument is out of range.
    """
    if len(captions) != len(objects) or not any(objects):
        raise ValueError(f"{len(captions)} pictures have captions, {len(objects)} objects; give both of each, not none")
    if width < 1 or least < 1 or not 0 < smoothing <= 1 or not statistics or set(statistics) - set(STATISTICS):
        raise ValueError(
            f"width {width} and least {least} must be at least 1, smoothing {smoothing} above 0 and at most 1, and "
            f"statistics some of {STATISTICS}, not {tuple(statistics)}"
        )
    said = [{word for text in texts for word in words_of_text(text)} for texts in captions]
    counts = Counter(word for words in said for word in words)
    labels = sorted({label for one in objects for label in one})
    words = sorted(word for word, count in counts.items() if count >= least)
    seen, told = _presence([set(one) for one in objects], labels), _presence(said, words)
    parts = [_vectors(name, seen, told, words, labels, width, smoothing) for name in statistics]
    share = len(parts) ** -0.5
    made = WordObjects(words, labels, sum(objects.shape[1] for _, objects in parts))
    made.word_vectors.copy_(torch.cat([share * one for one, _ in parts], 1))
    made.object_vectors.copy_(torch.cat([share * one for _, one in parts], 1))
    return made


def words_of_text(text: str) -> list[str]:
    """Its words in lower case, without stop words."""
    return [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in STOP_WORDS]


def ppmi(counts: Tensor, *, smoothing: float = 1.0) -> Tensor:
    """`[R, C]` counts to pointwise mutual information, cut off below 0; columns' shares to the power `smoothing`."""
    total = counts.sum()
    columns = counts.sum(0) ** smoothing
    expected = counts.sum(1, keepdim=True) * (columns / columns.sum().clamp(min=1e-12)) / total.clamp(min=1e-12)
    known = counts > 0
    return torch.where(known, (counts / total / expected.where(known, 1.0)).where(known, 1.0).log(), 0.0).clamp(min=0)


def phi(rows: Tensor, columns: Tensor) -> Tensor:
    """`[R, C]`: the correlation of each of `rows` `[N, R]` with each of `columns` `[N, C]`; 0 if one is constant."""
    a, b = rows - rows.mean(0), columns - columns.mean(0)
    return F.normalize(a, dim=0).T @ F.normalize(b, dim=0)


def _vectors(
    name: Statistic,
    seen: Tensor,
    told: Tensor,
    words: Sequence[str],
    labels: Sequence[str],
    width: int,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Unit vectors of words and of objects by one statistic."""
    if name == "objects":
        together = seen.T @ seen
        _, objects = _factored(ppmi(together, smoothing=smoothing), width)
        named = {label: i for i, label in enumerate(labels)}
        zeros = torch.zeros(objects.shape[1], dtype=objects.dtype)
        rows = [objects[named[word]] if word in named else zeros for word in words]
        return torch.stack(rows) if rows else zeros[None][:0], objects
    matrix = ppmi(told.T @ seen, smoothing=smoothing) if name == "words" else phi(told, seen).clamp(min=0)
    return _factored(matrix, width)


def _factored(matrix: Tensor, width: int) -> tuple[Tensor, Tensor]:
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = min(width, int((s > 1e-9 * s.max().clamp(min=1e-12)).sum()))
    root = s[:kept].sqrt()
    return F.normalize(u[:, :kept] * root, dim=1), F.normalize(v[:kept].T * root, dim=1)


def _presence(rows: Sequence[set[str]], names: Sequence[str]) -> Tensor:
    """`[N, names]` float64, 1 where the row has the name."""
    place = {name: i for i, name in enumerate(names)}
    out = torch.zeros(len(rows), len(names), dtype=torch.float64)
    for i, row in enumerate(rows):
        for name in row & place.keys():
            out[i, place[name]] = 1
    return out


def _means(numbers: Sequence[Sequence[int]], vectors: Tensor) -> Tensor:
    """The mean vector of each row's known numbers, of unit length."""
    out = torch.zeros(len(numbers), vectors.shape[1], dtype=vectors.dtype)
    for i, mine in enumerate(numbers):
        known = [number for number in mine if number >= 0]
        if known:
            out[i] = vectors[known].mean(0)
    return F.normalize(out, dim=1)

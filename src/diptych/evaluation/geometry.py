"""How two kinds of vectors lie in one space: the gap between them, how they spread, who is everybody's neighbour.

Of unit vectors x of images and y of texts:

    gap           = |mean of x - mean of y|, 0 to 2
    separability  = share of held-out rows whose kind a linear classifier names, 1/2 is chance
    alignment     = mean over pairs that share a key of |x - y|^2, 0 to 4; lower is closer
    uniformity    = log of the mean over pairs of rows of one kind of exp(-2 |x - x'|^2), -8 to 0; lower is more even
    effective rank = exp of the entropy of singular values made to sum to 1, 1 to D
    participation = (sum of variances)^2 / sum of squared variances, along the principal axes, 1 to D
    hubness       = skewness over a gallery of how many queries have a row among their k nearest
    pairs         = how cosines of pairs that share a key stand to those of other pairs: within images, within texts,
                    across. AUROC is the chance that one that shares a key is the more similar, a tie counting half

Both ranks are of rows less their mean, for the mean alone says where the cone of a kind points. Misaligned within is
a model whose pairs across have a higher AUROC than those within one kind: it compares an image with a text better than
with an image, as CLIP's loss asks of it alone. Pairs within images exist only where several images share a key, such
as that of a class; captions of one image are pairs within texts.

Use it to see what a loss does to the space, beside retrieval, which none of these numbers is a substitute for: gaps
can be closed without retrieval getting better.

Time is that of the pairs of rows, N^2 D; memory is `chunk` rows of them. No `[N, N]` matrix is held.

Sources: Liang et al. 2022, arXiv 2203.02053 (gap); Fahim et al. 2024, arXiv 2405.18570 (separability, and that the
loss makes the gap); Wang & Isola 2020, arXiv 2005.10242 (alignment, uniformity); Roy & Vetterli 2007 (EUSIPCO;
effective rank); Radovanović et al. 2010 (JMLR 11; hubness); Mistretta et al. 2025, arXiv 2502.04263 (misalignment
within a kind; the AUROC as its measure is ours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.evaluation.retrieval import KeyIndex

BINS = 2**16


@dataclass(frozen=True)
class PairSimilarity:
    """How cosines of pairs that share a key stand to those of others. Where there is no such pair, NaN.

    Attributes:
        same, other: mean cosine of pairs that share a key, and of pairs that do not, -1 to 1.
        auroc: the chance that a pair that shares a key is more similar than one that does not, 0 to 1.
        same_pairs, other_pairs: how many.
    """

    same: float
    other: float
    auroc: float
    same_pairs: int
    other_pairs: int


@dataclass(frozen=True)
class Geometry:
    """How images and texts lie in one space; the module says what each measures.

    Attributes:
        gap: 0 to 2.
        separability: balanced accuracy on the held-out half, 0 to 1.
        alignment: 0 to 4; NaN if no image and text share a key.
        image_uniformity, text_uniformity: -8 to 0.
        image_effective_rank, text_effective_rank, image_participation, text_participation: 1 to the width.
        image_hubness, text_hubness: skewness with images (texts) as the gallery and the others as queries.
        image_antihubs, text_antihubs: share of the gallery that is no query's neighbour, 0 to 1.
        within_images, within_texts, across: pairs of each kind.
    """

    gap: float
    separability: float
    alignment: float
    image_uniformity: float
    text_uniformity: float
    image_effective_rank: float
    text_effective_rank: float
    image_participation: float
    text_participation: float
    image_hubness: float
    text_hubness: float
    image_antihubs: float
    text_antihubs: float
    within_images: PairSimilarity
    within_texts: PairSimilarity
    across: PairSimilarity

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures that exist in one line for a log: `{"space_gap": 0.8, "space_across_auroc": 0.99, ...}`."""
        line = {name: value for name, value in vars(self).items() if isinstance(value, float)}
        for name in ("within_images", "within_texts", "across"):
            pairs: PairSimilarity = getattr(self, name)
            line |= {f"{name}_same": pairs.same, f"{name}_other": pairs.other, f"{name}_auroc": pairs.auroc}
        return {f"{prefix}_{name}": value for name, value in line.items() if not math.isnan(value)}

    def to_json(self) -> dict[str, Any]:
        """All numbers, as `json.dumps` takes them; None for what there was no pair to measure on."""
        line = {name: vars(value) if isinstance(value, PairSimilarity) else value for name, value in vars(self).items()}
        return {
            name: {each: _finite(number) for each, number in value.items()}
            if isinstance(value, dict)
            else _finite(value)
            for name, value in line.items()
        }


@torch.inference_mode()
def geometry(
    image: Tensor, text: Tensor, image_keys: Tensor, text_keys: Tensor, *, k: int = 10, chunk: int = 512
) -> Geometry:
    """Measure how images and texts lie in one space.

    Args:
        image: `[N, D]`, of any length: directions are measured.
        text: `[M, D]`.
        image_keys: `[N, K]` int64, -1 pads; two rows belong together if they share any.
        text_keys: `[M, L]` int64, -1 pads.
        k: neighbours that hubness counts; of a smaller gallery all are.
        chunk: rows compared with all others at a time: memory is some `chunk * max(N, M) * 20` bytes. Of the numbers it
            changes only the last digits.

    Returns:
        See its attributes.

    Raises:
        ValueError: if shapes do not fit, there are fewer than 4 rows of a kind, a row is zero or not finite, or `k` or
            `chunk` is below 1.

    Example:
        >>> rows = torch.eye(4)
        >>> found = geometry(rows, rows, torch.arange(4)[:, None], torch.arange(4)[:, None], k=1)
        >>> found.gap, found.alignment, found.across.auroc, found.text_hubness
        (0.0, 0.0, 1.0, 0.0)
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k is {k} and chunk is {chunk}; each must be at least 1")
    image, text = unit_rows(image, "image"), unit_rows(text, "text")
    to_image = occurrences(text, image, k=k, chunk=chunk)
    to_text = occurrences(image, text, k=k, chunk=chunk)
    return Geometry(
        gap=modality_gap(image, text),
        separability=linear_separability(image, text),
        alignment=alignment(image, text, image_keys, text_keys, chunk=chunk),
        image_uniformity=uniformity(image, chunk=chunk),
        text_uniformity=uniformity(text, chunk=chunk),
        image_effective_rank=effective_rank(image),
        text_effective_rank=effective_rank(text),
        image_participation=participation_ratio(image),
        text_participation=participation_ratio(text),
        image_hubness=skewness(to_image),
        text_hubness=skewness(to_text),
        image_antihubs=(to_image == 0).double().mean().item(),
        text_antihubs=(to_text == 0).double().mean().item(),
        within_images=similarity_within(image, image_keys, chunk=chunk),
        within_texts=similarity_within(text, text_keys, chunk=chunk),
        across=similarity_across(image, text, image_keys, text_keys, chunk=chunk),
    )


def unit_rows(rows: Tensor, name: str = "rows") -> Tensor:
    """`rows` `[N, D]` made of unit length, in float32 or the finer precision they have.

    Raises:
        ValueError: if the shape is not `[N, D]`, or a row is zero or not finite.
    """
    if rows.dim() != 2 or not rows.numel():
        raise ValueError(f"{name}: expected [N, D], not {tuple(rows.shape)}")
    rows = rows if rows.dtype == torch.float64 else rows.float()
    length = rows.norm(dim=1)
    wrong = ~((length > 0) & length.isfinite())
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{name}: {int(wrong.sum())} of {len(rows)} rows have no direction; the first is {row}, of length "
            f"{float(length[row])}: embed it again or leave it out"
        )
    return F.normalize(rows, dim=1)


def modality_gap(image: Tensor, text: Tensor) -> float:
    """The distance between the mean of `[N, D]` unit vectors and that of `[M, D]` others, 0 to 2.

    Example:
        >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        2.0
    """
    _check_width(image, text)
    return (image.double().mean(0) - text.double().mean(0)).norm().item()


def linear_separability(image: Tensor, text: Tensor, *, ridge: float = 1e-3, seed: int = 0) -> float:
    """How often a linear classifier tells images from texts that it has not seen: the mean of the share of either.

    It is ridge regression to +1 and -1, either kind weighing as much, fitted in closed form on a random half of each
    and measured on the other. A classifier trained for longer may find more, so this is a lower bound.

    Args:
        image: `[N, D]`.
        text: `[M, D]`.
        ridge: the penalty, as a share of the mean variance of a dimension, above 0.
        seed: of the halves.

    Returns:
        0 to 1; 1/2 where they lie alike. A row on the border is wrong.

    Raises:
        ValueError: if widths differ or there are fewer than 4 rows of a kind.
    """
    _check_width(image, text)
    if min(len(image), len(text)) < 4:
        raise ValueError(f"there are {len(image)} images and {len(text)} texts; 4 of each are needed to hold half out")
    generator = torch.Generator().manual_seed(seed)
    halves = []
    for rows in (image, text):
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        halves.append([part.double() for part in rows[order].tensor_split(2)])
    (image_seen, image_held), (text_seen, text_held) = halves
    centre = (image_seen.mean(0) + text_seen.mean(0)) / 2
    seen = [rows - centre for rows in (image_seen, text_seen)]
    covariance = sum(rows.T @ rows / (2 * len(rows)) for rows in seen)
    assert isinstance(covariance, Tensor)
    covariance.diagonal().add_(ridge * covariance.diagonal().mean() + torch.finfo(torch.float64).tiny)
    direction = torch.linalg.solve(covariance, (seen[0].mean(0) - seen[1].mean(0)) / 2)
    right = ((image_held - centre) @ direction > 0, (text_held - centre) @ direction < 0)
    return sum(side.double().mean().item() for side in right) / 2


def alignment(image: Tensor, text: Tensor, image_keys: Tensor, text_keys: Tensor, *, chunk: int = 512) -> float:
    """The mean squared distance of images and texts that share a key.

    Args:
        image, text: `[N, D]` and `[M, D]` unit vectors.
        image_keys, text_keys: `[N, K]` and `[M, L]` int64, -1 pads.
        chunk: images at a time.

    Returns:
        0 to 4; NaN if none share a key.
    """
    _check_keys(image, image_keys, "image")
    _check_keys(text, text_keys, "text")
    index = KeyIndex.of(text_keys)
    total, pairs = 0.0, 0
    for start in range(0, len(image), chunk):
        row, column = _pairs(index, image_keys[start : start + chunk], text.device)
        total += (image[start + row] - text[column]).double().square().sum().item()
        pairs += len(row)
    return total / pairs if pairs else math.nan


def uniformity(rows: Tensor, *, t: float = 2.0, chunk: int = 512) -> float:
    """How evenly `[N, D]` unit vectors cover the sphere: log mean exp(-t |x - x'|^2) over pairs of different rows.

    Returns:
        -4 t (two opposite points) to 0 (all in one place); lower is more even.

    Raises:
        ValueError: if there are fewer than 2 rows.

    Example:
        >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        -8.0
    """
    if len(rows) < 2:
        raise ValueError(f"there are {len(rows)} rows; uniformity is of pairs")
    total = 0.0
    for _, cosines in _above(rows, chunk):
        # |x - x'|^2 is 2 - 2 cos; what is not above the diagonal adds exp(-inf).
        total += cosines.mul_(2 * t).sub_(2 * t).exp_().sum(dtype=torch.float64).item()
    return math.log(total / (len(rows) * (len(rows) - 1) / 2))


def effective_rank(rows: Tensor) -> float:
    """exp of the entropy of the singular values, made to sum to 1, of `[N, D]` rows less their mean: 1 to min(N-1, D).

    Raises:
        ValueError: if all rows are equal.
    """
    share = _spectrum(rows)
    share = share / share.sum()
    return math.exp(torch.special.entr(share).sum().item())


def participation_ratio(rows: Tensor) -> float:
    """(sum of l)^2 / sum of l^2, l the variances of `[N, D]` rows along their principal axes: 1 to min(N-1, D).

    Raises:
        ValueError: if all rows are equal.
    """
    variance = _spectrum(rows).square()
    return (variance.sum().square() / variance.square().sum()).item()


def occurrences(queries: Tensor, gallery: Tensor, *, k: int = 10, chunk: int = 512) -> Tensor:
    """How many queries have each row of the gallery among their k nearest by dot product: `[N]` int64, of sum Q k.

    Of rows that tie for the last place any may be counted.

    Args:
        queries: `[Q, D]`.
        gallery: `[N, D]`.
        k: at least 1; at most N are counted.
        chunk: queries at a time.
    """
    _check_width(queries, gallery)
    counts = torch.zeros(len(gallery), dtype=torch.int64, device=gallery.device)
    for start in range(0, len(queries), chunk):
        nearest = (queries[start : start + chunk] @ gallery.T).topk(min(k, len(gallery)), dim=1).indices
        counts += torch.bincount(nearest.flatten(), minlength=len(gallery))
    return counts


def skewness(counts: Tensor) -> float:
    """The third central moment over the cube of the deviation, of a line of numbers; 0 where all are equal.

    Example:
        >>> round(skewness(torch.tensor([0, 0, 0, 4])), 4)
        1.1547
    """
    apart = counts.double() - counts.double().mean()
    deviation = apart.square().mean().sqrt()
    return ((apart**3).mean() / deviation**3).item() if deviation > 0 else 0.0


def similarity_within(rows: Tensor, keys: Tensor, *, chunk: int = 512) -> PairSimilarity:
    """`PairSimilarity` of all pairs of different rows of `[N, D]` unit vectors with `[N, K]` keys, each pair once.

    Cosines are counted in 65,536 bins of equal width, and two of one bin tie: AUROC is within half the share of pairs
    that do, of the order of 1e-4 at most where cosines spread over a tenth of the range or more.

    Raises:
        ValueError: if keys and rows differ in number.
    """
    _check_keys(rows, keys, "rows")
    tally, index = _Tally(rows.device), KeyIndex.of(keys)
    for start, cosines in _above(rows, chunk):
        row, column = _pairs(index, keys[start : start + chunk], rows.device)
        column = column - start
        row, column = row[column > row], column[column > row]
        tally.add(cosines, cosines[row, column])
    return tally.measure()


def similarity_across(
    image: Tensor, text: Tensor, image_keys: Tensor, text_keys: Tensor, *, chunk: int = 512
) -> PairSimilarity:
    """`PairSimilarity` of all pairs of an image and a text, of unit vectors; binned as in `similarity_within`.

    Raises:
        ValueError: if keys and rows differ in number, or widths differ.
    """
    _check_width(image, text)
    _check_keys(image, image_keys, "image")
    _check_keys(text, text_keys, "text")
    tally, index = _Tally(image.device), KeyIndex.of(text_keys)
    for start in range(0, len(image), chunk):
        cosines = image[start : start + chunk] @ text.T
        tally.add(cosines, cosines[_pairs(index, image_keys[start : start + chunk], image.device)])
    return tally.measure()


class _Tally:
    """Cosines of all pairs, and of those that share a key, summed and counted in bins."""

    def __init__(self, device: torch.device) -> None:
        self.every, self.same = (torch.zeros(BINS, dtype=torch.int64, device=device) for _ in range(2))
        self.every_sum = self.same_sum = 0.0

    def add(self, cosines: Tensor, same: Tensor) -> None:
        """Count `[n, m]` cosines, leaving out those of minus infinity, and those among them that share a key."""
        self.same += self._counted(same)
        self.same_sum += same.sum(dtype=torch.float64).item()
        finite = cosines[cosines.isfinite()] if torch.isinf(cosines).any() else cosines.flatten()
        self.every += self._counted(finite)
        self.every_sum += finite.sum(dtype=torch.float64).item()

    def measure(self) -> PairSimilarity:
        other = self.every - self.same
        same_pairs, other_pairs = int(self.same.sum()), int(other.sum())
        below = other.cumsum(0).double() - other / 2  # of others, half of the same bin
        both = same_pairs and other_pairs
        return PairSimilarity(
            same=self.same_sum / same_pairs if same_pairs else math.nan,
            other=(self.every_sum - self.same_sum) / other_pairs if other_pairs else math.nan,
            auroc=float((self.same * below).sum()) / same_pairs / other_pairs if both else math.nan,
            same_pairs=same_pairs,
            other_pairs=other_pairs,
        )

    def _counted(self, cosines: Tensor) -> Tensor:
        place = ((cosines.clamp(-1, 1) + 1) * (BINS / 2)).long().clamp_(max=BINS - 1)
        return torch.bincount(place, minlength=BINS)


def _above(rows: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """The cosines of every pair of different rows once: a start, and `[c, N - start]`, minus infinity where i >= j."""
    for start in range(0, len(rows), chunk):
        cosines = rows[start : start + chunk] @ rows[start:].T
        square = cosines[:, : len(cosines)]
        square.masked_fill_(torch.ones_like(square, dtype=torch.bool).tril(), -torch.inf)
        yield start, cosines


def _pairs(index: KeyIndex, keys: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """(row, column) of every pair that shares a key, rows counted from the first of `keys`."""
    columns = index.sharing(keys)
    row, place = (columns >= 0).nonzero(as_tuple=True)
    return row.to(device), columns[row, place].to(device)


def _spectrum(rows: Tensor) -> Tensor:
    """Singular values of the rows less their mean, float64."""
    values = torch.linalg.svdvals(rows.double() - rows.double().mean(0))
    if not values.any():
        raise ValueError(f"all {len(rows)} rows are equal: a single point has no rank")
    return values


def _check_width(image: Tensor, text: Tensor) -> None:
    if image.dim() != 2 or text.dim() != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(f"expected [N, D] and [M, D], not {tuple(image.shape)} and {tuple(text.shape)}")


def _check_keys(rows: Tensor, keys: Tensor, name: str) -> None:
    if keys.dim() != 2 or len(keys) != len(rows):
        raise ValueError(f"{name}: expected keys [{len(rows)}, K] for {len(rows)} rows, not {tuple(keys.shape)}")


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value

"""The geometry of a space: against every pair taken one by one, SciPy and scikit-learn, and shapes that are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import entropy, skew
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from diptych.core.pairing import share_a_key
from diptych.evaluation.geometry import (
    PairSimilarity,
    alignment,
    effective_rank,
    geometry,
    linear_separability,
    modality_gap,
    occurrences,
    participation_ratio,
    similarity_across,
    similarity_within,
    skewness,
    uniformity,
    unit_rows,
)
from diptych.scoring import occurrence_skew


def unit(rows: int, seed: int, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def keys(rows: int, seed: int, *, of: int = 9) -> Tensor:
    return torch.randint(-2, of, (rows, 2), generator=torch.Generator().manual_seed(seed)).clamp(min=-1)


IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS = unit(30, 0), unit(50, 1), keys(30, 2), keys(50, 3)


def separability(image: Tensor, text: Tensor) -> float:
    """Where the i-th image and the i-th text belong together."""
    return linear_separability(image, text, torch.arange(len(image))[:, None], torch.arange(len(text))[:, None])


def checked(found: PairSimilarity, cosines: Tensor, same: Tensor) -> None:
    """`found` is what scikit-learn says of the same pairs; cosines of two rows of one bin are 3e-5 apart at most."""
    assert (found.same_pairs, found.other_pairs) == (int(same.sum()), int((~same).sum()))
    assert found.same == pytest.approx(cosines[same].mean().item(), abs=1e-12)
    assert found.other == pytest.approx(cosines[~same].mean().item(), abs=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(same.numpy(), cosines.numpy()), abs=2e-4)


@pytest.mark.parametrize("chunk", [1, 7, 30, 1000])
def test_pairs_are_all_pairs_once(chunk: int) -> None:
    i, j = torch.triu_indices(50, 50, 1)
    same = share_a_key(TEXT_KEYS, TEXT_KEYS)[i, j]
    checked(similarity_within(TEXT, TEXT_KEYS, chunk=chunk), (TEXT @ TEXT.T)[i, j], same)
    same = share_a_key(IMAGE_KEYS, TEXT_KEYS)
    across = similarity_across(IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS, chunk=chunk)
    checked(across, (IMAGE @ TEXT.T).flatten(), same.flatten())
    row, column = same.nonzero(as_tuple=True)
    expected = (IMAGE[row] - TEXT[column]).square().sum(1).mean().item()
    assert alignment(IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS, chunk=chunk) == pytest.approx(expected, abs=1e-12)
    assert uniformity(TEXT, chunk=chunk) == pytest.approx(
        math.log(np.exp(-2 * pdist(TEXT.numpy(), "sqeuclidean")).mean()), abs=1e-12
    )
    assert uniformity(TEXT, t=0.5, chunk=chunk) == pytest.approx(
        math.log(np.exp(-0.5 * pdist(TEXT.numpy(), "sqeuclidean")).mean()), abs=1e-12
    )


def test_equal_cosines_tie_and_ends_of_the_range_are_counted() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    found = similarity_within(rows, torch.tensor([[0], [0], [1], [1]]))
    # Sharing: -1, -1. Others: 1 (rows 0, 2), 1 (1, 3), -1, -1: of the eight comparisons four tie and none is won.
    assert found == PairSimilarity(same=-1.0, other=0.0, auroc=0.25, same_pairs=2, other_pairs=4)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("k", [1, 5])
def test_hubness_is_the_skewness_of_scipy(k: int, chunk: int) -> None:
    counts = occurrences(IMAGE, TEXT, k=k, chunk=chunk)
    nearest = np.argsort(-(IMAGE @ TEXT.T).numpy(), axis=1)[:, :k]
    assert counts.tolist() == np.bincount(nearest.ravel(), minlength=50).tolist()
    assert skewness(counts) == pytest.approx(skew(counts.numpy()))
    assert skewness(counts) == pytest.approx(occurrence_skew(IMAGE @ TEXT.T, k))
    found = geometry(IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS, k=k, chunk=chunk)
    assert found.text_hubness == pytest.approx(skew(counts.numpy()))
    assert found.text_antihubs == (counts == 0).double().mean().item() > 0
    assert occurrences(IMAGE, TEXT[:3], k=10).tolist() == [30, 30, 30]


def test_a_hub_is_seen() -> None:
    """A row at the mean of all is near to each of them; without it no row is."""
    gallery, queries = unit(200, 5, 100), unit(400, 6, 100)
    cone = F.normalize(queries + 0.5 * queries.new_ones(100) / 10, dim=1)
    hub = torch.cat([gallery, gallery.new_ones(1, 100) / 10])
    assert int(occurrences(cone, hub, k=5).argmax()) == 200
    assert skewness(occurrences(cone, hub, k=5)) > 2 * skewness(occurrences(queries, gallery, k=5))


@pytest.mark.parametrize("width", [3, 16])
def test_ranks_of_known_spectra(width: int) -> None:
    axes = torch.cat([torch.eye(width), -torch.eye(width)]).double()
    assert effective_rank(axes) == pytest.approx(width)
    assert participation_ratio(axes) == pytest.approx(width)
    shifted = axes + 100  # less their mean they are the same
    assert effective_rank(shifted) == pytest.approx(width, rel=1e-9)
    line = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None] * unit(1, 0, width)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-9)
    assert participation_ratio(line) == pytest.approx(1.0, abs=1e-9)


def test_ranks_are_those_of_numpy() -> None:
    rows = unit(60, 9) * torch.arange(1, 9)
    centred = (rows - rows.mean(0)).numpy()
    values = np.linalg.svd(centred, compute_uv=False)
    assert effective_rank(rows) == pytest.approx(np.exp(entropy(values)))
    variances = np.linalg.eigvalsh(np.cov(centred.T))
    assert participation_ratio(rows) == pytest.approx(variances.sum() ** 2 / (variances**2).sum())


def test_the_gap_and_what_a_classifier_sees_of_it() -> None:
    shift = torch.zeros(8, dtype=torch.float64)
    shift[0] = 3.0
    image, text = (F.normalize(unit(400, seed) + side * shift, dim=1) for seed, side in ((0, 1), (1, -1)))
    assert modality_gap(image, text) == pytest.approx(np.linalg.norm(image.mean(0) - text.mean(0)))
    assert modality_gap(image, text) > 1.8
    assert separability(image, text) == 1.0
    # Alike, 400 held-out rows are guessed: a deviation of 1/2 / sqrt(400) = 0.025, four of them.
    assert separability(unit(400, 2), unit(400, 3)) == pytest.approx(0.5, abs=0.1)
    assert separability(image, image) == 0.5  # all lie on the border
    assert modality_gap(image, image) == 0.0


def test_texts_stay_in_the_half_of_their_image() -> None:
    """Kinds that lie alike, five texts by each image: with the two apart, held-out rows fall on the wrong side."""
    image, own = unit(300, 0, 64), torch.arange(300)[:, None]
    text = F.normalize(image.repeat(5, 1) + 0.1 * unit(1500, 1, 64), dim=1)
    together = linear_separability(image, text, own, own.repeat(5, 1))
    apart = linear_separability(image, text, own, torch.arange(1000, 2500)[:, None])
    assert together == pytest.approx(0.5, abs=0.09)  # 150 images: a deviation of 0.04 / sqrt 2, three of them
    assert apart < 0.42


def test_keys_that_leave_nothing_to_hold_out() -> None:
    one = torch.zeros(30, 1, dtype=torch.int64)
    assert math.isnan(linear_separability(IMAGE, TEXT, one, torch.zeros(50, 2, dtype=torch.int64)))
    assert math.isnan(linear_separability(IMAGE, TEXT, one, torch.arange(50)[:, None]))
    loose = [torch.full((rows, 1), -1) for rows in (30, 50)]  # rows without a key go by themselves
    assert not math.isnan(linear_separability(IMAGE, TEXT, *loose))


def test_separability_is_about_that_of_scikit_learn() -> None:
    image, text = unit(600, 0) + 0.15, unit(600, 1) - 0.15
    theirs = RidgeClassifier(alpha=1e-3).fit(torch.cat([image[:300], text[:300]]).numpy(), np.repeat([1, 0], 300))
    score = theirs.score(torch.cat([image[300:], text[300:]]).numpy(), np.repeat([1, 0], 300))
    assert 0.7 < separability(image, text) < 0.99
    assert separability(image, text) == pytest.approx(score, abs=0.06)  # other halves: 4 deviations of 0.4 / 24


def test_kinds_of_unequal_number_weigh_alike() -> None:
    """With 40 images among 2,000 texts, naming all texts would be right 98 % of the time; here it gets 1/2."""
    assert separability(unit(40, 0), unit(2000, 1)) == pytest.approx(
        0.5, abs=0.2
    )  # 20 held out: three of 0.11 / sqrt 2
    assert separability(unit(40, 0) + 1, unit(2000, 1) - 1) == 1.0


def test_all_in_one_is_each_by_itself() -> None:
    found = geometry(3 * IMAGE, TEXT.float() / 7, IMAGE_KEYS, TEXT_KEYS, k=4, chunk=11)
    near = 1e-5  # the texts are float32
    assert found.gap == pytest.approx(modality_gap(IMAGE, TEXT), abs=near)
    assert found.alignment == pytest.approx(alignment(IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS), abs=near)
    assert found.image_uniformity == pytest.approx(uniformity(IMAGE), abs=near)
    assert found.text_uniformity == pytest.approx(uniformity(TEXT), abs=near)
    assert found.image_effective_rank == pytest.approx(effective_rank(IMAGE), abs=near)
    assert found.text_participation == pytest.approx(participation_ratio(TEXT), abs=near)
    assert found.image_hubness == pytest.approx(skewness(occurrences(TEXT, IMAGE, k=4)))
    assert found.within_images.same_pairs == similarity_within(IMAGE, IMAGE_KEYS).same_pairs
    assert found.within_texts.auroc == pytest.approx(similarity_within(TEXT, TEXT_KEYS).auroc, abs=2e-4)
    line = found.flat("space")
    assert line["space_gap"] == found.gap and line["space_across_auroc"] == found.across.auroc
    assert len(line) == 13 + 9


def test_misalignment_within_a_kind_is_seen() -> None:
    """Texts next to their image, images of one class no nearer than others: across is high, within images is not."""
    image = unit(60, 0, 32)
    text, classes = F.normalize(image + 0.1 * unit(60, 1, 32), dim=1), torch.arange(60)[:, None] % 6
    own = torch.arange(100, 160)[:, None]
    pairs = geometry(image, text, torch.cat([own], 1), own)
    assert pairs.across.auroc > 0.99
    assert geometry(image, text, classes, classes).within_images.auroc == pytest.approx(0.5, abs=0.1)
    grouped = F.normalize(unit(6, 3, 32)[classes[:, 0]] + 0.1 * image, dim=1)
    assert geometry(grouped, text, classes, classes).within_images.auroc > 0.99


def test_what_there_is_no_pair_for_is_left_out_and_said() -> None:
    own = torch.arange(30)[:, None]
    found = geometry(IMAGE, TEXT, own, torch.full((50, 1), -1))
    assert math.isnan(found.alignment) and math.isnan(found.within_images.auroc)
    assert found.within_images.other == pytest.approx((IMAGE @ IMAGE.T).triu(1).sum().item() / 435)
    assert "space_alignment" not in found.flat("space") and "space_within_images_same" not in found.flat("space")
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["alignment"] is None and said["within_images"]["auroc"] is None
    assert said["within_images"]["same_pairs"] == 0 and said["gap"] == found.gap


def test_what_makes_no_sense_is_refused() -> None:
    broken = IMAGE.clone()
    broken[4] = 0
    with pytest.raises(ValueError, match=r"image: 1 of 30 rows have no direction; the first is 4, of length 0\.0"):
        geometry(broken, TEXT, IMAGE_KEYS, TEXT_KEYS)
    broken[2, 1] = math.nan
    with pytest.raises(ValueError, match="rows: 2 of 30 rows have no direction; the first is 2, of length nan"):
        unit_rows(broken)
    with pytest.raises(ValueError, match=r"text: expected keys \[50, K\] for 50 rows, not \(30, 2\)"):
        geometry(IMAGE, TEXT, IMAGE_KEYS, IMAGE_KEYS)
    with pytest.raises(ValueError, match=r"not \(30, 8\) and \(50, 7\)"):
        geometry(IMAGE, TEXT[:, :7], IMAGE_KEYS, TEXT_KEYS)
    with pytest.raises(ValueError, match="uniformity is of pairs"):
        uniformity(IMAGE[:1])
    with pytest.raises(ValueError, match="all 5 rows are equal"):
        effective_rank(torch.ones(5, 3))
    with pytest.raises(ValueError, match="k is 0 and chunk is 512"):
        geometry(IMAGE, TEXT, IMAGE_KEYS, TEXT_KEYS, k=0)

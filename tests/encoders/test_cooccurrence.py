"""Joint vectors of words and objects: counts by hand, numpy's correlation, and what a made-up world must give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych.core.configuration import build, describe
from diptych.encoders.cooccurrence import fit_word_objects, phi, ppmi

KITCHEN, STREET = ["cup", "fork", "oven"], ["car", "bus", "bike"]


def world(pictures: int = 120, seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Pictures of kitchens and of streets with two of three objects, and captions that name one and the place."""
    random = np.random.default_rng(seed)
    objects = [list(random.permutation(KITCHEN if i % 2 else STREET)[:2]) for i in range(pictures)]
    place = {True: ("kitchen", "inside"), False: ("street", "outside")}
    return [[f"The {one[0]} in a {place[one[0] in KITCHEN][i % 3 == 0]}"] for i, one in enumerate(objects)], objects


def test_mutual_information_by_hand():
    counts = torch.tensor([[4.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    # Rows 4 and 4, columns 5 and 3, all 8.
    expected = [[math.log(4 * 8 / (4 * 5)), 0.0], [0.0, math.log(3 * 8 / (4 * 3))]]  # log(8 / 20) is below 0
    torch.testing.assert_close(ppmi(counts), torch.tensor(expected, dtype=torch.float64))
    a, b = 5**0.5, 3**0.5
    smoothed = math.log((4 / 8) / (4 / 8 * a / (a + b)))
    assert float(ppmi(counts, smoothing=0.5)[0, 0]) == pytest.approx(smoothed)


def test_correlation_is_numpys():
    random = np.random.default_rng(0)
    a, b = (random.random((40, n)) < 0.4 for n in (3, 4))
    got = phi(torch.from_numpy(a.astype(float)), torch.from_numpy(b.astype(float)))
    np.testing.assert_allclose(got, np.corrcoef(a.T, b.T)[:3, 3:], atol=1e-12)
    assert phi(torch.ones(5, 1), torch.eye(5)).abs().max() == 0


def test_texts_find_pictures_of_their_place_and_objects():
    made = fit_word_objects(*world())
    captions, objects = world(60, seed=1)
    scores = made.texts([one[0] for one in captions]) @ made.pictures(objects).T
    for i, one in enumerate(captions):
        best = scores[i].topk(5).indices.tolist()
        assert all(one[0].split()[1] in objects[j] for j in best)  # the object named
    # The place is never an object's name, so that only what stands beside it tells.
    street = made.texts(["a street"]) @ made.pictures([STREET, KITCHEN]).T
    assert float(street[0, 0]) > float(street[0, 1]) + 0.3


def test_each_statistic_alone_and_a_product_is_their_mean():
    captions, objects = world()
    joint = fit_word_objects(captions, objects, width=4)
    alone = [
        fit_word_objects(captions, objects, width=4, statistics=[one]) for one in ("objects", "words", "correlation")
    ]
    place = joint.words.index("cup")
    row = torch.stack([one.object_vectors @ one.word_vectors[place] for one in alone]).mean(0)
    torch.testing.assert_close(joint.object_vectors @ joint.word_vectors[place], row)
    kitchen = alone[0].words.index("kitchen")
    assert alone[0].word_vectors[kitchen].abs().max() == 0  # no object of that name


def test_analogies_stay_among_the_other_kind():
    made = fit_word_objects(*world())
    assert made.analogy("cup", "fork", "car")[0][0] in ("bus", "bike")
    assert {name for name, _ in made.analogy("cup", "fork", "car", limit=9)} == {"oven", "bus", "bike"}
    with pytest.raises(ValueError, match="no object 'dog'"):
        made.analogy("dog", "cup", "car")


def test_a_description_and_weights_build_it_again_and_the_unknown_is_zeros():
    made = fit_word_objects(*world())
    again = build(describe(made))
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.texts(["a cup"]), made.texts(["a cup"]))
    assert made.texts(["zebra", "the"]).abs().max() == 0 and made.pictures([["zebra"], []]).abs().max() == 0


def test_mistakes_are_named():
    captions, objects = world(10)
    with pytest.raises(ValueError, match="10 pictures have captions, 9 objects"):
        fit_word_objects(captions, objects[:9])
    with pytest.raises(ValueError, match="not none"):
        fit_word_objects([["a"]], [[]])
    with pytest.raises(ValueError, match="smoothing 0"):
        fit_word_objects(captions, objects, smoothing=0)

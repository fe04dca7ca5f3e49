"""What is learned of every row: its embedding and its loss, worked out again by hand."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding, Features
from diptych.core.model import Model, Route
from diptych.core.objective import Needs, Objective
from diptych.core.pairing import Pairing
from diptych.core.teacher import Teacher
from diptych.data.keys import normalise
from diptych.data.pairs import Pairs, prepare
from diptych.data.sources import open_table
from diptych.models import Towers, dual_encoder
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.survey import Asked
from diptych.training.surveys import ItemEmbeddings, ItemLosses

SCALE = 5.0


@pytest.fixture(scope="module")
def asked(shapes: Path) -> Asked:
    """A fresh model, in eval mode, and 72 pictures of two captions each, the first of which many share."""
    torch.manual_seed(0)
    table = open_table(shapes)
    towers = Towers(image_size=16, widths=(8,), depths=(1,), text_width=16, text_depth=1, width=8, dropout=0.5)
    model = dual_encoder(replace(towers, vocab_size=300), parts={"dot": Dot(SCALE)})
    model.processors["text"].fit([text for row in table["text"][:] for text in row])
    return Asked(model.eval(), InfoNCE(), prepare(table, model.processors), 20, 0, nullcontext)


def encoded(asked: Asked, view: str) -> Tensor:
    """All rows of a view at once."""
    rows = asked.pairs.views[view]
    with torch.no_grad():
        return asked.model.encode(view, rows.take(np.arange(len(rows)))).dense.double()


def all_texts(pairs: Pairs, rows: np.ndarray) -> Batch:
    offsets = pairs.keys.offsets.tolist()
    return pairs.batch(rows, np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in rows.tolist()]))


def with_all_texts(asked: Asked) -> Asked:
    """One batch of everything."""
    return replace(asked, batch_size=1000, make=lambda rows, random: all_texts(asked.pairs, rows))


def rows_of_infonce(asked: Asked, a: str, b: str) -> np.ndarray:
    """Each row's cross-entropy against every row of the other view, from embeddings and captions, in plain loops."""
    captions = [[normalise(text) for text in row] for row in asked.pairs.table["text"][:]]
    flat = [(row, text) for row, texts in enumerate(captions) for text in texts]
    embedded = {view: encoded(asked, view).numpy() for view in (a, b)}
    scores = SCALE * embedded[a] @ embedded[b].T
    losses = np.zeros(len(scores))
    for i in range(len(scores)):
        if a == "image":
            match = np.array([row == i or text in captions[i] for row, text in flat])
        else:
            match = np.array([row == flat[i][0] or flat[i][1] in texts for row, texts in enumerate(captions)])
        losses[i] = np.log(np.exp(scores[i]).sum()) - scores[i][match].mean()
    return losses


def by_row(values: np.ndarray) -> np.ndarray:
    """The sums over the two texts of every row."""
    return values.reshape(-1, 2).sum(1)


def assert_close(found: np.ndarray, by_hand: np.ndarray | Tensor) -> None:
    """Equal but for what was computed in float32 and again in float64 from float32 embeddings."""
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-5)


def test_image_embeddings_are_those_of_the_model(asked: Asked):
    found = ItemEmbeddings()(asked)["embedding"]
    assert found.dtype == np.float32 and found.shape == (72, 8)
    assert_close(found, encoded(asked, "image"))


def test_a_rows_text_embedding_is_the_mean_of_its_texts(asked: Asked):
    found = ItemEmbeddings(view="text", column="words")(asked)["words"]
    mean = encoded(asked, "text").numpy().reshape(72, 2, 8).mean(1)
    assert_close(found, mean / np.linalg.norm(mean, axis=1, keepdims=True))


def test_a_rows_loss_is_its_rows_of_infonce(asked: Asked):
    found = ItemLosses()(with_all_texts(asked))["loss"]
    # Anchors of a row: its image and its two texts.
    by_hand = (rows_of_infonce(asked, "image", "text") + by_row(rows_of_infonce(asked, "text", "image"))) / 3
    assert found.dtype == np.float32 and by_hand.std() > 0.01
    assert_close(found, by_hand)


class Pull(Objective):
    """Half the squared distance of every text from its own image, by hand easy."""

    name = "pull"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({"image", "text"}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size("text")))

    def forward(self, pairing: Pairing) -> Tensor:
        image = pairing.all["image"].dense[pairing.partner("text", "image")]
        return 0.5 * (pairing.mine("text").dense - image).square().sum()


def test_a_sum_of_objectives_is_weighted_and_its_terms_can_be_had(asked: Asked):
    survey = ItemLosses(terms=("pull", "infonce/image-text/dot"))
    assert survey.columns == ("loss", "loss/pull", "loss/infonce/image-text/dot")
    found = survey(replace(with_all_texts(asked), objective=InfoNCE() + 0.25 * Pull()))
    image, text = encoded(asked, "image").numpy(), encoded(asked, "text").numpy().reshape(72, 2, 8)
    by_hand = (1 - (text * image[:, None]).sum(2)).mean(1)  # unit vectors: half the square is 1 - cosine
    assert_close(found["loss/pull"], by_hand)
    infonce = found["loss/infonce/image-text/dot"]
    assert_close(infonce, ItemLosses()(with_all_texts(asked))["loss"])
    assert_close(found["loss"], infonce + 0.25 * by_hand)
    assert tuple(found) == survey.columns


def test_their_mean_is_the_loss_of_the_batch(asked: Asked):
    batch = all_texts(asked.pairs, np.arange(72))
    with torch.no_grad():
        embeddings = {view: asked.model.encode(view, batch.inputs[view]) for view in ("image", "text")}
        whole = {view: slice(0, batch.size(view)) for view in embeddings}
        pairing = Pairing(embeddings, whole, batch.keys, batch.items, dict(asked.model.parts.items()))
        value = float(InfoNCE()(pairing) / InfoNCE().size(batch))
    # 72 sums in float32.
    assert ItemLosses()(with_all_texts(asked))["loss"].mean() == pytest.approx(value, rel=1e-5)


def test_the_seed_decides_the_batches(asked: Asked):
    one, again, other = (ItemLosses()(replace(asked, seed=seed))["loss"] for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).all()
    assert (one > 0).all()


def test_the_objective_is_as_it_was(asked: Asked):
    objective = InfoNCE().train()
    ItemLosses()(replace(asked, objective=objective))
    assert objective.training and not asked.model.training


class FromTeacher(Objective):
    """The distance of every image from the teacher's."""

    name = "from teacher"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({"image"}), teacher=frozenset({"image"}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size("image")))

    def forward(self, pairing: Pairing) -> Tensor:
        assert pairing.teacher is not None
        return (pairing.mine("image").dense - pairing.teacher.mine("image").dense).norm(dim=1).sum()


class Shrinks(Teacher):
    """Says what the student says, shorter by a share that grows with the row of the table."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.student = [model]

    def forward(self, batch: Batch, views: frozenset[str]) -> Pairing:
        said = {view: self.student[0].encode(view, batch.inputs[view]) for view in views}  # type: ignore[operator]
        factor = (1 - batch.items["image"].float() / 100)[:, None]
        rows = {view: slice(0, batch.size(view)) for view in views}
        shorter = {view: one.map(lambda x: x * factor) for view, one in said.items()}
        return Pairing(shorter, rows, batch.keys, batch.items, {})


def test_an_objective_may_learn_from_a_teacher(asked: Asked):
    given = replace(asked, objective=FromTeacher(), teacher=Shrinks(asked.model))
    # The teacher's vector of row i is shorter than the student's, of length 1, by i / 100.
    np.testing.assert_allclose(ItemLosses()(given)["loss"], np.arange(72) / 100, atol=1e-6)
    with pytest.raises(ValueError, match="learns from a teacher"):
        ItemLosses()(replace(given, teacher=None))


class FirstToken(torch.nn.Module):
    """A tower that gives its image's embedding back, each number more by a hundredth of the text's first token."""

    def forward(self, inputs: dict[str, Tensor], given: dict[str, Embedding]) -> Features:
        return Features(given["image"].dense + inputs["ids"][:, :1] / 100)


class Pooled(torch.nn.Module):
    def forward(self, features: Features) -> Tensor:
        return features.pooled


def test_views_may_read_other_views(asked: Asked):
    towers = {"image": asked.model.towers["image"], "reader": FirstToken()}
    heads = {"image": dict(asked.model.heads["image"].items()), "reader": {"dense": Pooled()}}  # type: ignore[operator]
    model = Model(towers, heads, {}, {}, {"text": Route("reader", ("image",))}).eval()
    given = replace(with_all_texts(asked), model=model, objective=Pull())
    rows = asked.pairs.views["text"]
    first = rows.take(np.arange(len(rows)))["ids"][:, 0].numpy() / 100
    # A text is its own image's vector, 8 numbers, each more by `first`.
    assert_close(ItemLosses()(given)["loss"], by_row(0.5 * 8 * first**2) / 2)


class NeedsPairs(InfoNCE):
    @property
    def needs(self) -> Needs:
        return super().needs | Needs(pairs=frozenset({("image", "text")}))


class NeedsColumn(InfoNCE):
    @property
    def needs(self) -> Needs:
        return super().needs | Needs(columns=frozenset({"weight"}))


@pytest.mark.parametrize(
    ("objective", "survey", "message"),
    [
        (InfoNCE(), ItemLosses(terms=("pull",)), r"no terms \['pull'\]; it has \['infonce/image-text/dot'\]"),
        (InfoNCE(scorer="fusion"), ItemLosses(), r"needs the parts \['fusion'\]; the model has \['dot'\]"),
        (InfoNCE("image", "image@strong"), ItemLosses(), r"needs \['image@strong'\]; the survey's batches lack them"),
        (NeedsColumn(), ItemLosses(), r"needs \['image/weight', 'text/weight'\]"),
        (NeedsPairs(), ItemLosses(), "scores of pairs"),
        (InfoNCE(), ItemEmbeddings(space="lexical"), r"no space 'lexical'; it has \['dense'\]"),
    ],
)
def test_what_is_missing_is_named(asked: Asked, objective: Objective, survey: ItemLosses, message: str):
    with pytest.raises(ValueError, match=message):
        survey(replace(asked, objective=objective))


def test_rows_out_of_order_are_refused(asked: Asked):
    def make(rows: np.ndarray, random: np.random.Generator) -> Batch:
        return asked.pairs.batch(rows, asked.pairs.keys.offsets[rows[::-1]])

    with pytest.raises(ValueError, match="view 'text' are not in the order"):
        ItemLosses()(replace(asked, make=make))


def test_columns_of_the_batch_come_along(asked: Asked):
    class Weighted(NeedsColumn):
        def forward(self, pairing: Pairing) -> Tensor:
            return pairing.extra["image/weight"][pairing.rows["image"]].sum()

        def size(self, batch: Batch) -> Tensor:
            return batch.extra["image/weight"].new_tensor(float(batch.size("image")))

    def make(rows: np.ndarray, random: np.random.Generator) -> Batch:
        weight = torch.from_numpy(rows).float()
        return replace(
            all_texts(asked.pairs, rows), extra={"image/weight": weight, "text/weight": weight.repeat_interleave(2)}
        )

    np.testing.assert_array_equal(ItemLosses()(replace(asked, objective=Weighted(), make=make))["loss"], np.arange(72))


@pytest.mark.parametrize("build", [ItemEmbeddings, ItemLosses])
def test_they_run_every_so_many_epochs(build):
    with pytest.raises(ValueError, match="every is 0"):
        build(every=0)

"""The lexicon bottleneck: what it hides, whom it restores from, and that dimensions come to mean words."""

from __future__ import annotations

import pytest
import torch

from diptych.core import Embedding, Pairing
from diptych.encoders import LexicalHead, LexiconDecoder, TextTransformer
from diptych.objectives import LexiconBottleneck
from diptych.objectives.lexicon_bottleneck import hidden_words


def test_words_are_hidden_at_the_asked_share_by_each_texts_noise_alone():
    noise = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.arange(9) < torch.arange(1, 4001)[:, None] % 9 + 1
    hidden = hidden_words(noise, mask, 0.3)
    assert not (hidden & ~mask).any()
    real = mask.sum(0)
    # Each place apart: a share of about n real tokens has the standard deviation sqrt(0.3 * 0.7 / n); 5 of them.
    assert ((hidden.sum(0) / real - 0.3).abs() < 5 * (0.21 / real).sqrt()).all()
    both = (hidden[:, 0] & hidden[:, 1])[mask[:, 1]].double().mean()
    assert float(both) == pytest.approx(0.09, abs=0.025)  # places are hidden apart from each other; 5 deviations
    torch.testing.assert_close(hidden_words(noise[5:9], mask[5:9], 0.3), hidden[5:9])
    assert (hidden_words(noise, mask, 1.0) == mask).all()


class Spy(torch.nn.Module):
    """Keeps what it is given; its losses are the largest weights."""

    def forward(self, weights, ids, mask, hidden):
        self.weights, self.ids = weights, ids
        return weights.amax(1)


def test_texts_are_restored_from_their_own_images():
    image, text = torch.eye(3, 6), torch.zeros(4, 6)
    ids = torch.arange(4)[:, None].expand(4, 5)
    spy = Spy()
    pairing = Pairing(
        {"image": Embedding({"lexical": image}), "text": Embedding({"lexical": text})},
        {"image": slice(0, 1), "text": slice(0, 4)},
        {},
        {"image": torch.tensor([7, 8, 9]), "text": torch.tensor([9, 7, 5, 9])},  # the third has no image here
        {"decoder": spy},
        {"text": {"ids": ids, "mask": torch.ones(4, 5, dtype=torch.bool)}},
    )
    assert float(LexiconBottleneck()(pairing)) == 3
    assert torch.equal(spy.weights, image[[2, 0, 2]]) and spy.ids[:, 0].tolist() == [0, 1, 3]
    assert float(LexiconBottleneck("text")(pairing)) == 0 and torch.equal(spy.weights, text)


def test_a_frozen_text_tower_is_refused():
    said = {"text": Embedding({"lexical": torch.zeros(2, 6)})}
    pairing = Pairing(said, {"text": slice(0, 2)}, {}, {}, {}, {"text": {"pooled": torch.zeros(2, 4)}})
    with pytest.raises(ValueError, match="has no token ids"):
        LexiconBottleneck("text")(pairing)


def test_a_decoder_that_knows_nothing_pays_the_logarithm_of_the_vocabulary():
    decoder = LexiconDecoder(50, width=8, depth=1, heads=2)
    torch.nn.init.zeros_(decoder.word.weight)
    ids, mask = torch.zeros(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool)
    hidden = torch.tensor([[True, True, False, False], [False] * 4])
    losses = decoder(torch.rand(2, 50), ids, mask, hidden)
    torch.testing.assert_close(losses, torch.tensor([50.0, 1.0]).log())
    with pytest.raises(ValueError, match="places for 3"):
        LexiconDecoder(50, width=8, heads=2, max_length=3)(torch.rand(2, 50), ids, mask, hidden)


def test_dimensions_come_to_mean_words():
    """Of random texts of 8 of 58 words, a sixth of the weights' six largest would be their own by chance."""
    torch.manual_seed(0)
    tower = TextTransformer(60, width=32, depth=1, heads=4, max_length=8)
    head, decoder = LexicalHead(32, 60, unit=True), LexiconDecoder(60, width=32, depth=1, heads=4, max_length=8)
    parameters = [p for module in (tower, head, decoder) for p in module.parameters()]
    optimizer, objective = torch.optim.Adam(parameters, lr=3e-3), LexiconBottleneck("text")
    generator, mask = torch.Generator().manual_seed(1), torch.ones(64, 8, dtype=torch.bool)
    items = torch.arange(64)

    def own_words() -> float:
        ids = torch.randint(2, 60, (256, 8), generator=torch.Generator().manual_seed(2))
        weights = head(tower({"ids": ids, "mask": torch.ones(256, 8, dtype=torch.bool)}))
        return float((weights.topk(6, 1).indices[:, :, None] == ids[:, None]).any(2).float().mean())

    before = own_words()
    for step in range(150):
        ids = torch.randint(2, 60, (64, 8), generator=generator)
        said = {"text": Embedding({"lexical": head(tower({"ids": ids, "mask": mask}))})}
        inputs = {"text": {"ids": ids, "mask": mask}}
        pairing = Pairing(said, {"text": slice(0, 64)}, {}, {"text": items}, {"decoder": decoder}, inputs, seed=step)
        optimizer.zero_grad()
        (objective(pairing) / 64).backward()
        optimizer.step()
    assert before < 0.3 and own_words() > 0.5

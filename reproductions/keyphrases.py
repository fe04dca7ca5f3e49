"""Long noisy texts as several keyphrase queries, their answers put together, and feedback, Flickr8k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from diptych.data.keyphrases import Documents, by_rake, by_textrank, by_tfidf
from diptych.data.pairs import prepare
from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.evaluate import embed_texts
from diptych.experiments.reproduction import Reproduction
from diptych.models.embed import embed, with_frozen_features
from diptych.models.opened import open_model
from diptych.scoring import greedy_coverage
from diptych.search import Hit, borda, reciprocal_rank, rocchio
from reproducing import FLICKR8K, pretrained_towers, reproduce, trained

BUDGET = ["--width", "256", "--batch-size", "500", "--epochs", "10", "--lr", "1e-3", "--weight-decay", "0.5"]
CAPTIONS, NOISE = 3, 3
"""Sentences of a text: of its image, and of other images."""
PHRASES, DEPTH, LIKED = 5, 100, 5


@dataclass(frozen=True)
class Asked:
    """What is asked of a seed's texts: every vector of unit length.

    Attributes:
        images: `[1000, D]`; text i is about image i.
        whole: `[1000, D]`, of the texts as they are.
        phrases: extractor -> the phrases of each text.
        vectors: phrase -> `[D]`.
    """

    images: np.ndarray
    whole: np.ndarray
    phrases: dict[str, list[list[str]]]
    vectors: dict[str, np.ndarray]


@cache
def asked(seed: int) -> Asked:
    """Train the dual encoder, write the texts and extract their phrases."""
    model = open_model(trained("keyphrases", "clip", *pretrained_towers(), *BUDGET, seed=seed)).model
    table = holdout(open_table(str(FLICKR8K)))
    pairs = with_frozen_features(model, prepare(select_split(table, "test"), model.processors))
    images = embed(model, "image", pairs.views["image"]).dense.numpy()
    random = np.random.default_rng(seed)
    known = [text for texts in select_split(table, "train")["text"][:] for text in texts]
    texts = [_long_text(captions, known, random) for captions in pairs.table["text"][:]]
    documents = Documents.of(known)
    extract = {"tf-idf": partial(by_tfidf, documents=documents), "textrank": by_textrank, "rake": by_rake}
    phrases = {
        name: [[one.text for one in extractor(text, limit=PHRASES)] for text in texts]
        for name, extractor in extract.items()
    }
    distinct = sorted({phrase for lists in phrases.values() for mine in lists for phrase in mine})
    vectors = embed_texts(model, distinct).numpy()
    return Asked(images, embed_texts(model, texts).numpy(), phrases, dict(zip(distinct, vectors, strict=True)))


def _long_text(captions: Sequence[str], known: Sequence[str], random: np.random.Generator) -> str:
    """Some of an image's captions among sentences about other images."""
    own = [captions[i] for i in random.permutation(len(captions))[:CAPTIONS]]
    sentences = [*own, *(known[i] for i in random.integers(0, len(known), NOISE))]
    return " ".join(f"{sentences[i].rstrip(' .')}." for i in random.permutation(len(sentences)))


def hits(images: np.ndarray, query: np.ndarray) -> list[Hit]:
    """The nearest images."""
    scores = images @ query
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    return [Hit(str(i), float(scores[i]), {}) for i in best]


def queries(of: Asked, text: int, extractors: Sequence[str]) -> np.ndarray:
    """The vectors of a text's phrases, each once."""
    names = dict.fromkeys(phrase for name in extractors for phrase in of.phrases[name][text])
    return np.stack([of.vectors[phrase] for phrase in names])


def chosen(vectors: np.ndarray) -> np.ndarray:
    """`PHRASES` of a text's phrases that cover all of them best."""
    similarity = torch.from_numpy(vectors @ vectors.T)
    return vectors[greedy_coverage(similarity, PHRASES).numpy()]


def arm(*extractors: str, fuse=reciprocal_rank, share: float = 0.0, cover: bool = False):
    """A search for each phrase, fused; with feedback, also one by the mean phrase moved towards the first hits."""

    def measure(seed: int) -> dict[str, float]:
        of = asked(seed)
        answers = []
        for text in range(len(of.images)):
            vectors = queries(of, text, extractors) if extractors else of.whole[text : text + 1]
            vectors = chosen(vectors) if cover else vectors
            rankings = [hits(of.images, vector) for vector in vectors]
            fused = fuse(rankings)
            if share:
                liked = of.images[[int(hit.id) for hit in fused[:LIKED]]]
                moved = rocchio(vectors.mean(0), liked, share=share)
                fused = reciprocal_rank([fused, hits(of.images, moved)])
            answers.append([int(hit.id) for hit in fused])
        ranks = np.array([found.index(i) + 1 if i in found else np.inf for i, found in enumerate(answers)])
        return {
            "mrr": float((1 / ranks).mean()),
            "recall@1": float((ranks == 1).mean()),
            "recall@10": float((ranks <= 10).mean()),
        }

    return measure


ALL = ("tf-idf", "textrank", "rake")

REPRODUCTION = Reproduction(
    name="keyphrases",
    system=251,
    claim="rankings of several keyphrase extractors put together, with relevance feedback, against one "
    "extractor: images found for long texts",
    here=f"{CAPTIONS} captions of a photograph among {NOISE} sentences about others for a news text, a dual "
    "encoder on frozen towers for the image search engine; feedback takes the first 5 of the fused ranking as "
    "right. The thesis asks people which images suit; here one photograph is right",
    arms={
        "all + feedback": arm(*ALL, share=0.3),
        "tf-idf": arm("tf-idf"),
        "textrank": arm("textrank"),
        "rake": arm("rake"),
        "all": arm(*ALL),
        "all, borda": arm(*ALL, fuse=borda),
        "all, covering 5": arm(*ALL, cover=True),
        "whole text": arm(),
    },
    method="all + feedback",
    baseline="tf-idf",
    figure="mrr",
    data="flickr8k, official split, test: 1,000 images, one text of each",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)

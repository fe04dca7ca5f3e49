"""The tasks find what `clip_benchmark` finds on the same model, where no scores tie and each row has one key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clip_benchmark.metrics import zeroshot_classification
from datasets import Dataset
from test_open_clip_face import KS, Rows, benchmarked
from torch.utils.data import DataLoader

from diptych.core.model import Model
from diptych.evaluation.bench import Bench
from diptych.evaluation.protocols import retrieval, zero_shot
from diptych.faces import as_open_clip


def test_retrieval(table: Dataset, learned: Model):
    theirs, ours = benchmarked(learned, table), retrieval.measure(Bench(learned, table), ks=KS).numbers
    for k in KS:
        assert ours[f"t2i_recall@{k}"] == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert ours[f"i2t_recall@{k}"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)
    assert 0.05 < ours["t2i_recall@1"] < 0.95


def test_zero_shot(table: Dataset, learned: Model, monkeypatch: pytest.MonkeyPatch):
    # It calls float() on arrays of one element, which NumPy has ceased to allow; the figures stay its own.
    monkeypatch.setattr(zeroshot_classification, "float", lambda one: np.asarray(one).item(), raising=False)
    face = as_open_clip(learned)
    rows = Rows(table, face, "colour")
    loader: Any = DataLoader(rows, batch_size=20)  # type: ignore[arg-type]
    sentences = ["0: a {} circle", "one square drawn in {}"]
    theirs = [one.replace("{}", "{c}") for one in sentences]
    expected = zeroshot_classification.evaluate(face, loader, face.tokenizer, rows.classes, theirs, "cpu", amp=False)
    ours = zero_shot.measure(Bench(learned, table), label="colour", templates=sentences).numbers
    assert ours["accuracy"] == pytest.approx(expected["acc1"], abs=1e-6)
    assert ours["accuracy@5"] == pytest.approx(expected["acc5"], abs=1e-6)
    assert ours["mean_per_class"] == pytest.approx(expected["mean_per_class_recall"], abs=1e-6)
    assert 1 / 6 < ours["accuracy"] < 1

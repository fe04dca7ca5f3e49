"""A checkpoint loads without the training data, gives the same vectors, and notices what was altered."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diptych.core.model import Model
from diptych.data.pairs import tokenize
from diptych.models import Towers, dual_encoder, load, save
from diptych.models.checkpoint import CheckpointError, fingerprint
from diptych.models.embed import embed
from diptych.scoring import Dot

TEXTS = ["a red circle", "one square drawn in blue", "نص عربي", "🦄 emoji"]


def small_model(seed: int = 0, **towers) -> Model:
    torch.manual_seed(seed)
    model = dual_encoder(Towers(image_size=16, width=8, vocab_size=300, max_length=9, **towers), parts={"dot": Dot()})
    model.processors["text"].fit(TEXTS)
    return model.eval()


def reference(model: Model) -> dict:
    return {"text": model.processors["text"](TEXTS), "image": {"pixels": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = small_model()
    save(model, tmp_path / "model", reference=reference(model), note={"by": "test"})
    return tmp_path / "model"


def vectors(model: Model) -> torch.Tensor:
    return embed(model, "text", tokenize(TEXTS, model.processors["text"])[0]).dense


def test_a_loaded_model_gives_the_same_vectors(saved: Path):
    assert torch.equal(vectors(load(saved)), vectors(small_model()))


def test_the_fingerprint_names_weights_and_description(saved: Path):
    model = small_model()
    kept = json.loads((saved / "model.json").read_text())["fingerprint"]
    assert kept == fingerprint(model) == fingerprint(load(saved))
    with torch.no_grad():
        model.parts["dot"].get_parameter("log_scale").add_(1e-3)
    assert fingerprint(model) != kept
    assert fingerprint(small_model(hidden=4)) != kept


def test_altered_weights_are_noticed(saved: Path):
    weights = load_file(saved / "model.safetensors")
    weights["heads.text.dense.linear.weight"] *= -1
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"gives other vectors.*text"):
        load(saved)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "reference.safetensors"])
def test_a_damaged_file_is_named(saved: Path, name: str):
    (saved / name).write_bytes((saved / name).read_bytes()[:40])
    with pytest.raises(CheckpointError, match=str(saved)):
        load(saved)


def test_no_checkpoint_and_a_newer_one(tmp_path: Path, saved: Path):
    with pytest.raises(CheckpointError, match=r"no model\.json"):
        load(tmp_path / "nothing")
    content = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(CheckpointError, match="update diptych"):
        load(saved)


def test_a_class_from_elsewhere_is_refused(saved: Path):
    content = json.loads((saved / "model.json").read_text())
    content["model"]["parts"]["dot"]["class"] = "subprocess:Popen"
    (saved / "model.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="subprocess:Popen"):
        load(saved)


def test_a_full_disk_leaves_the_earlier_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("diptych.models.checkpoint.save_file", full)
    model = small_model(seed=1)
    with pytest.raises(OSError, match="No space left"):
        save(model, saved, reference=reference(model))
    assert torch.equal(vectors(load(saved)), vectors(small_model()))


def test_killed_between_the_two_renames(saved: Path):
    shutil.move(saved, saved.with_name(".model.old"))
    assert torch.equal(vectors(load(saved)), vectors(small_model()))

"""ONNX graphs of towers: onnxruntime gives the model's vectors, at batch sizes and lengths it was not traced with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from clips import TEXTS, clip, pictures, text_alone, vectors
from tokenizers import Tokenizer

from diptych.core.model import Model, Route
from diptych.data.processors import TextProcessor
from diptych.encoders import HubText, Projection, TextTransformer
from diptych.encoders.packing import Padded
from diptych.exporting import onnx as exporting
from diptych.exporting.native import CannotExport
from diptych.exporting.onnx import write_onnx
from diptych.models import Towers, dual_encoder
from diptych.scoring import Dot

SAME = {"rtol": 0, "atol": 1e-5}  # unit vectors in float32, summed in another order by other kernels
SMALL = Towers(
    image_size=24, patch=4, widths=(8, 16), depths=(1, 1), text_width=16, text_depth=1, max_length=16, width=16
)
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 300,
    "max_position_embeddings": 32,
}


def asked(folder: Path, tower: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    session = onnxruntime.InferenceSession(folder / f"{tower}.onnx")
    return torch.from_numpy(session.run(["dense"], {name: x.numpy() for name, x in inputs.items()})[0])


def require_same(model: Model, folder: Path) -> None:
    """Of one picture and of seven, of one text and of many, short and as long as may be."""
    side = model.processors["image"].shape[1]  # type: ignore[attr-defined]
    for count in (1, 7):
        images = pictures(size=(side, side), count=count)
        got = asked(folder, "image", model.processors["image"](images))
        torch.testing.assert_close(got, vectors(model, "image", images), **SAME)
    for texts in (["a"], TEXTS, ["runs " * 3] * 9):
        got = asked(folder, "text", model.processors["text"](texts))
        torch.testing.assert_close(got, vectors(model, "text", texts), **SAME)


def fitted(model: Model) -> Model:
    model.processors["text"].fit(TEXTS)
    return model.eval()


def timm_and_hub() -> Model:
    torch.manual_seed(0)
    model = dual_encoder(
        Towers(image="test_vit", image_size=160, max_length=16, width=16, vocab_size=300), parts={"dot": Dot()}
    )
    model.towers["text"] = HubText(BERT)
    model.heads["text"]["dense"] = Projection(16, 16, hidden=8)  # type: ignore[index, operator]
    return fitted(model)


def test_a_clip(tmp_path: Path):
    model = clip(quick=True, layers=1)
    assert write_onnx(model, tmp_path) == []
    require_same(model, tmp_path)


def test_towers_of_timm_and_transformers(tmp_path: Path):
    model = timm_and_hub()
    write_onnx(model, tmp_path)
    require_same(model, tmp_path)


def test_our_own_small_towers_with_facts_enough_to_rank_texts_without_diptych(tmp_path: Path):
    torch.manual_seed(0)
    model = fitted(dual_encoder(SMALL, parts={"dot": Dot(bias=-2.0)}))
    write_onnx(model, tmp_path)
    require_same(model, tmp_path)
    facts = json.loads((tmp_path / "onnx.json").read_text())
    image, text = (facts["towers"][name] for name in ("image", "text"))
    size, words = image["processor"]["size"], text["processor"]
    assert image["processor"]["resize"] == "crop" and "largest square in the middle" in image["processor"]["how"]
    pixels = np.stack([np.asarray(one.resize((size, size))).transpose(2, 0, 1) for one in pictures(size=(24, 24))])
    tokenizer = Tokenizer.from_file(str(tmp_path / words["tokenizer"]))
    rows = [tokenizer.encode(one).ids[: words["max_length"]] for one in TEXTS[:3]]
    length = max(map(len, rows))
    ids = np.array([row + [words["pad_id"]] * (length - len(row)) for row in rows])
    mask = np.array([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    vector = {
        name: np.asarray(onnxruntime.InferenceSession(tmp_path / facts["towers"][name]["file"]).run(None, inputs)[0])
        for name, inputs in (("image", {"pixels": pixels}), ("text", {"ids": ids, "mask": mask}))
    }
    scores = facts["scorer"]["scale"] * vector["image"] @ vector["text"].T + facts["scorer"]["bias"]
    said = [model.encode(view, model.processors[view](v)) for view, v in (("image", pictures()), ("text", TEXTS[:3]))]
    expected = model.parts["dot"](*said).detach()
    torch.testing.assert_close(
        torch.from_numpy(scores), expected, rtol=0, atol=1e-3
    )  # vectors' 1e-5, times a scale of 14


def test_texts_that_are_filled_up_have_one_length(tmp_path: Path):
    torch.manual_seed(0)
    model = fitted(dual_encoder(SMALL, parts={"dot": Dot()}))
    words = model.processors["text"]
    assert isinstance(words, TextProcessor)
    model.processors["text"] = TextProcessor(SMALL.vocab_size, max_length=16, definition=words.definition, fill=True)
    write_onnx(text_alone(model), tmp_path)
    inputs = model.processors["text"](TEXTS)
    assert inputs["ids"].shape == (5, 16)
    torch.testing.assert_close(asked(tmp_path, "text", inputs), vectors(model, "text", TEXTS), **SAME)


def test_ids_alone_will_do(tmp_path: Path):
    model = clip(words=False, layers=1)
    write_onnx(text_alone(model), tmp_path)
    ids = torch.randint(0, 40, (4, 11))
    mask = torch.arange(11) < torch.tensor([[11], [1], [5], [7]])
    expected = model.encode("text", {"ids": ids, "mask": mask}).dense
    torch.testing.assert_close(asked(tmp_path, "text", {"ids": ids, "mask": mask}), expected, **SAME)
    assert not (tmp_path / "tokenizer.json").exists()


def test_a_graph_that_says_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = fitted(dual_encoder(SMALL, parts={"dot": Dot()}))
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(CannotExport, match=r"image.onnx gives other vectors than the model for inputs of"):
        write_onnx(model, tmp_path)


def test_what_cannot_be_a_graph_is_named(tmp_path: Path):
    model = fitted(dual_encoder(SMALL, parts={"dot": Dot()}))
    model.routes = {"image": Route("image", ("text",))}
    with pytest.raises(CannotExport, match="tower 'image' has no head 'dense' or reads other views"):
        write_onnx(model, tmp_path)
    model.routes = {}
    del model.processors["image"]
    with pytest.raises(CannotExport, match="tower 'image' has no processor to say what its inputs are"):
        write_onnx(model, tmp_path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = exporting.importlib.util.find_spec
    monkeypatch.setattr(
        exporting.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(ImportError, match=r"needs onnxscript: pip install 'diptych\[onnx\]'"):
        write_onnx(clip(), tmp_path)


@pytest.mark.parametrize(("causal", "pooling"), [(False, "mean"), (True, "last")])
def test_unpacked_texts_have_the_vectors_of_packed_ones(causal: bool, pooling: str, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    tower = TextTransformer(50, width=16, depth=2, heads=2, causal=causal, pooling=pooling).eval()  # type: ignore[arg-type]
    mask = torch.arange(9) < torch.tensor([[9], [1], [4]])
    inputs = {"ids": torch.randint(0, 50, (3, 9)), "mask": mask}
    with torch.no_grad():
        packed = tower(inputs)
        monkeypatch.setattr("diptych.encoders.transformer.packing_of", Padded)
        padded = tower(inputs)
    torch.testing.assert_close(padded.pooled, packed.pooled, rtol=0, atol=1e-5)  # float32 sums in another order
    torch.testing.assert_close(padded.tokens, packed.tokens, rtol=0, atol=1e-5)

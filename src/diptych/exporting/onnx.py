"""Each tower with its head `"dense"` as an ONNX graph, to run without Diptych and without PyTorch.

    image.onnx  pixels uint8 [batch, 3, H, W]                        -> dense float32 [batch, D], unit vectors
    text.onnx   ids int64 [batch, length], mask bool [batch, length] -> dense float32 [batch, D], unit vectors
    onnx.json   how pixels and ids are made, and the scorer: score = scale * <image, text> + bias

Normalisation of pixels is inside the graph. What was written is run with onnxruntime at other batch sizes and lengths
and compared with the model. Needs `pip install 'diptych[onnx]'`.

Source: ONNX, https://onnx.ai.
"""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.core.configuration import describe
from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer
from diptych.data.processors import TextProcessor
from diptych.encoders import TextTransformer
from diptych.exporting.native import CannotExport
from diptych.exporting.tokenizer import definition_of
from diptych.scoring import Dot

TOLERANCE = 1e-4
"""Unit vectors in float32: other kernels sum in another order, which through twelve blocks stays within a few 1e-6;
a wrong graph differs by tenths."""
_LARGE = 1_500_000_000
"""Bytes of weights above which they are kept beside the graph: a protobuf file holds at most 2 GiB."""

Inputs = dict[str, Tensor]

_RESIZED = {
    "squash": "resized to size x size, whatever the aspect ratio",
    "crop": "cut to the largest square in the middle, which is resized to size x size",
    "pad": "resized until the longer side is size, and centred on a square of the grey level fill",
    "shortest": "resized until the shorter side is edge (null: size), and cut to size x size in the middle",
}
_PIXELS = "An image is turned upright by its EXIF tag, converted to mode, {}; its bytes [3, H, W] are the input."
_WORDS = (
    "A text is encoded by tokenizer.json with its special tokens, cut to max_length tokens (where all texts end "
    "with the same token, it stays the last), and filled up with pad_id to the longest of the batch (fill: to "
    "max_length); mask is true where a token is none of the filling."
)


class _Dense(nn.Module):
    """A tower and its head, with tensors for arguments."""

    def __init__(self, tower: nn.Module, head: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.tower, self.head, self.names = tower, head, list(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        features: Features = self.tower(dict(zip(self.names, inputs, strict=True)))
        return self.head(features)


def write_onnx(model: Model, folder: Path) -> list[str]:
    """Write a graph for each tower, `onnx.json` and, with a tokenizer, `tokenizer.json`.

    Args:
        model: any whose towers stand alone (no routes that read other views).
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        ImportError: if the packages are not installed.
        CannotExport: if a tower reads other views, has no head `"dense"`, or cannot be traced; or if the graph's
            answers differ from the model's.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"exporting to ONNX needs {', '.join(missing)}: pip install 'diptych[onnx]'")
    facts: dict[str, Any] = {"towers": {}, "tolerance": TOLERANCE}
    for name, tower in model.towers.items():
        heads = dict(model.heads[name].named_children()) if name in model.heads else {}
        if "dense" not in heads or any(route.tower == name and route.reads for route in model.routes.values()):
            raise CannotExport(f"the tower {name!r} has no head 'dense' or reads other views; export --to safetensors")
        examples = _examples(model, name)
        dense = _Dense(tower, heads["dense"], list(examples[0])).eval()
        worst = _write(dense, examples, model.processors.get(name), folder / f"{name}.onnx")
        facts["towers"][name] = {
            "file": f"{name}.onnx",
            "inputs": {key: _said(x) for key, x in examples[0].items()},
            "width": int(getattr(heads["dense"], "width", 0)),
            "processor": _processor_facts(model.processors.get(name), name, folder),
            "largest_difference": worst,
        }
    dot = dict(model.parts.named_children()).get("dot")
    if isinstance(dot, Dot):
        bias = 0.0 if dot.offset is None else float(dot.offset.detach())
        facts["scorer"] = {
            "formula": "scale * <a, b> + bias",
            "scale": float(dot.current_scale().detach()),
            "bias": bias,
        }
    (folder / "onnx.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    return []


def _write(dense: _Dense, examples: Sequence[Inputs], processor: Any, file: Path) -> float:
    """Trace with the first example, check with all; the largest difference."""
    names = list(examples[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on axes that share a name, which is meant
            program = torch.onnx.export(
                dense,
                tuple(examples[0].values()),
                dynamo=True,
                input_names=names,
                output_names=["dense"],
                dynamic_shapes=(_dynamic(examples[0], processor),),
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise CannotExport(
            f"the tower {file.stem!r} cannot be made a graph ({_first_line(error)}); export --to safetensors"
        ) from error
    assert program is not None
    size = sum(p.numel() * p.element_size() for p in dense.parameters())
    program.save(file, external_data=size > _LARGE)
    return _check(dense, examples, file)


def _dynamic(example: Inputs, processor: Any) -> tuple[dict[int, Any], ...]:
    """Which sizes of the inputs are free: the batch, and the length of texts that are not filled up."""
    batch = torch.export.Dim("batch")
    if getattr(processor, "fixed_length", None) is not None:
        return tuple({0: batch} for _ in example)
    length = torch.export.Dim("length", max=getattr(processor, "max_length", None))
    return tuple({0: batch, 1: length} if x.dim() == 2 else {0: batch} for x in example.values())


def _check(dense: _Dense, examples: Sequence[Inputs], file: Path) -> float:
    """The largest difference between what the graph and the model say.

    Raises:
        CannotExport: if it is more than `TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for inputs in examples:
        with torch.no_grad():
            expected = dense(*inputs.values())
        try:
            got = torch.from_numpy(session.run(["dense"], {name: x.numpy() for name, x in inputs.items()})[0])
        except Exception as error:  # those of onnxruntime share no other base
            raise CannotExport(
                f"the graph of the tower {file.stem!r} runs for one batch size or length only "
                f"({_first_line(error)}); export --to safetensors"
            ) from error
        off = float((got - expected).abs().max())
        if not off <= TOLERANCE:
            shapes = {name: tuple(x.shape) for name, x in inputs.items()}
            raise CannotExport(
                f"{file.name} gives other vectors than the model for inputs of {shapes}: off by {off:.2g}, more than "
                f"{TOLERANCE:g}; nothing was exported. Use --to safetensors, and please report it"
            )
        worst = max(worst, off)
    return worst


def _first_line(error: Exception) -> str:
    """Without what colours a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[0]


def _examples(model: Model, name: str) -> list[Inputs]:
    """Inputs of several batch sizes and lengths; the first is what the graph is traced with."""
    processor, tower = model.processors.get(name), model.towers[name]
    generator = torch.Generator().manual_seed(0)
    shape = getattr(processor, "shape", None)
    if shape is not None:
        noise = [torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator) for n in (2, 1, 5)]
        return [{"pixels": pixels} for pixels in noise]
    if processor is not None:
        long = "so many words " * getattr(processor, "max_length", 64)
        texts = [["a reference text", "another one, a little longer"], ["one"], ["", long, "three of them"]]
        return [processor(some) for some in texts]
    if isinstance(tower, TextTransformer):  # token ids only
        sizes = [(2, min(5, tower.max_length)), (1, 2), (3, tower.max_length)]
        ids = [torch.randint(0, tower.vocab_size, size, generator=generator) for size in sizes]
        return [{"ids": one, "mask": torch.ones_like(one, dtype=torch.bool)} for one in ids]
    raise CannotExport(f"the tower {name!r} has no processor to say what its inputs are; export --to safetensors")


def _said(x: Tensor) -> dict[str, Any]:
    """Precision and axes of an input."""
    axes = ["batch", "length"] if x.dim() == 2 else ["batch", *x.shape[1:]]
    return {"dtype": str(x.dtype).removeprefix("torch."), "shape": axes}


def _processor_facts(processor: Any, name: str, folder: Path) -> Mapping[str, Any] | None:
    """A processor's settings; its tokenizer goes to a file."""
    if processor is None:
        return None
    facts = dict(describe(processor)["arguments"])
    facts.pop("definition", None)
    if isinstance(processor, TextProcessor | OpenClipTokenizer):
        (folder / "tokenizer.json").write_text(definition_of(processor), encoding="utf-8")
        facts["tokenizer"] = "tokenizer.json"
        facts["how"] = _WORDS
    if facts.get("resize") in _RESIZED:
        facts["how"] = _PIXELS.format(_RESIZED[facts["resize"]])
    return facts

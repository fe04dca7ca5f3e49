"""How fast pairs get from tars and from a folder to 224-pixel batches with token ids, beside open_clip's pipeline.

    python benchmarks/input_pipeline.py --json figures.json

Every contestant has one core, of which it uses one thread, and takes its turn round by round. The pictures are
640 x 480 mosaics of nine photographs of coco_mini (160 pixels high, so one alone would have to be blown up and
would be easier to decode than real ones), JPEG of quality 90; the captions are theirs. Where there are none, noise.

- Centre crop: ours is `Stream` from tars, and `open_table` and `prepare` from a folder, with an empty store;
  open_clip's is `get_wds_dataset` with its transform for evaluation, from the same tars.
- Random part (0.9 to 1 of the area, resized to the square): `Stream` with `RandomCrop`, and open_clip's for training.

Ours ends in bytes, which the encoder normalises on its device; open_clip's in normalised floats. webdataset since
0.2.96 marks the end of each tar by a sample without a name, at which open_clip 3.3 falls over; it is not given any.
Of open_clip's 0 and 1 workers the faster is taken. The bars are on wall time; CPU time is beside it for a busy machine.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import argparse
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import open_clip
import open_clip_train.data
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from diptych.data.crop import RandomCrop
from diptych.data.pairs import prepare
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.data.sources import open_table
from diptych.data.stream import open_stream
from harness import DATA, arguments, figure, finish, in_turns, medians

SHARDS = 4
TOKENIZER = open_clip.get_tokenizer("ViT-B-32")
WORDS = ["a", "man", "rides", "brown", "horse", "along", "the", "beach", "two", "dogs", "run", "in", "front"]


def photographs() -> tuple[list[Image.Image], list[str]]:
    """Small photographs and captions: of coco_mini, or noise where it is missing."""
    file = DATA / "coco_mini" / "coco_mini-000.tar"
    if not file.exists():
        print(f"no {file}: the pictures are noise")
        random = np.random.default_rng(0)
        noise = [Image.fromarray(random.integers(0, 256, (20, 27, 3), np.uint8)) for _ in range(90)]
        return noise, [" ".join(random.permutation(WORDS)[:10]) for _ in range(500)]
    images, captions = [], []
    with tarfile.open(file) as archive:
        for member in archive:
            data = archive.extractfile(member).read()
            if member.name.endswith(".jpg"):
                images.append(Image.open(io.BytesIO(data)).convert("RGB"))
            else:
                captions += json.loads(data)["captions"]
    return images, captions


def mosaic(images: list[Image.Image], number: int) -> bytes:
    """Nine photographs in one JPEG of 640 x 480."""
    picture = Image.new("RGB", (640, 480))
    for i in range(9):
        one = images[(9 * number + i) % len(images)].resize((214, 160), Image.Resampling.BICUBIC)
        picture.paste(one, (213 * (i % 3), 160 * (i // 3)))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_pairs(folder: Path, pairs: int) -> None:
    """The same pairs in tars/ and in pictures/."""
    images, captions = photographs()
    (folder / "tars").mkdir()
    (folder / "pictures").mkdir()
    total = 0
    for shard in range(SHARDS):
        with tarfile.open(folder / "tars" / f"{shard:04}.tar", "w") as archive:
            for number in range(shard * pairs // SHARDS, (shard + 1) * pairs // SHARDS):
                picture, caption = mosaic(images, number), captions[number % len(captions)].encode()
                total += len(picture)
                for suffix, data in (("jpg", picture), ("txt", caption)):
                    name = f"{number:06}.{suffix}"
                    (folder / "pictures" / name).write_bytes(data)
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    print(f"{pairs} pairs; pictures of 640 x 480, {total / pairs / 1e3:.0f} KB on average")


def apart(folder: Path, size: int) -> float:
    """Grey levels by which our pixels differ on average from those of pictures decoded whole."""
    processor, levels = ImageProcessor(size), []
    for path in sorted((folder / "pictures").glob("*.jpg"))[:50]:
        whole = processor.one(Image.open(path).convert("RGB"))
        levels.append(np.abs(processor.one(path).astype(int) - whole).mean())
    return float(np.mean(levels))


def ours_from_tars(folder: Path, batch_size: int, size: int, crop: RandomCrop | None) -> int:
    processors = {"image": ImageProcessor(size), "text": TextProcessor(8192, max_length=77)}
    stream = open_stream(f"{folder}/tars/{{0000..{SHARDS - 1:04}}}.tar", processors)
    processors["text"].fit(stream.texts())
    stream = replace(stream, batch_size=batch_size, crop=crop, threads=0, ahead=0)
    return sum(batch.size("image") for batch, _ in stream.batches(0))


def ours_from_folder(folder: Path, batch_size: int, size: int) -> int:
    shutil.rmtree(folder / "cache" / "arrays", ignore_errors=True)
    processors = {"image": ImageProcessor(size), "text": TextProcessor(8192, max_length=77)}
    table = open_table(folder / "pictures")
    processors["text"].fit([text for texts in table["text"][:] for text in texts])
    pairs = prepare(table, processors)
    order = np.random.default_rng(0).permutation(len(pairs))
    return sum(
        pairs.batch(order[at : at + batch_size], order[at : at + batch_size]).size("image")
        for at in range(0, len(pairs), batch_size)
    )


def peer_from_tars(folder: Path, batch_size: int, size: int, pairs: int, train: bool, workers: int) -> int:
    tars = f"{folder}/tars/{{0000..{SHARDS - 1:04}}}.tar"
    settings = argparse.Namespace(
        train_data=tars, val_data=tars, train_num_samples=pairs, val_num_samples=pairs, dataset_resampled=False,
        train_data_upsampling_factors=None, seed=0, batch_size=batch_size, workers=workers, world_size=1,
    )  # fmt: skip
    transform = image_transform_v2(PreprocessCfg(size=size), is_train=train)
    made = open_clip_train.data.get_wds_dataset(settings, transform, train, tokenizer=TOKENIZER)
    return sum(len(images) for images, _ in made.dataloader)


def main() -> None:
    given = arguments(str(__doc__).partition("\n")[0], pairs=384, batch_size=64, size=224, rounds=7)
    assert given.pairs % given.batch_size == 0, "open_clip drops or repeats what is left over"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    expander = open_clip_train.data.tar_file_expander
    open_clip_train.data.tar_file_expander = partial(expander, eof_value=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DIPTYCH_CACHE"] = str(folder / "cache")
        write_pairs(folder, given.pairs)
        print(f"decoded at a fraction, pixels differ by {apart(folder, given.size):.2f} of 255 levels on average")
        compare(folder, given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    cpu: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], int]) -> Callable[[], None]:
        def timed_run() -> None:
            start = time.process_time()
            assert run() == given.pairs, name
            cpu.setdefault(name, []).append(time.process_time() - start)

        return timed_run

    workers = {train: fastest_workers(folder, given, train) for train in (False, True)}
    ours, peer = (partial(run, folder, given.batch_size, given.size) for run in (ours_from_tars, peer_from_tars))
    runs: dict[str, Callable[[], int]] = {
        "ours, tars, centre": partial(ours, None),
        "ours, folder, centre": partial(ours_from_folder, folder, given.batch_size, given.size),
        "peer, centre": partial(peer, given.pairs, False, workers[False]),
        "ours, tars, random": partial(ours, RandomCrop(0.9, 4 / 3)),
        "peer, random": partial(peer, given.pairs, True, workers[True]),
    }
    took = in_turns({name: timed(name, run) for name, run in runs.items()}, rounds=given.rounds)
    wall = {name: given.pairs / seconds for name, seconds in medians(took).items()}
    busy = {name: given.pairs / median(seconds[1:]) for name, seconds in cpu.items()}
    figures = []
    for name in runs:
        crop = name.rpartition(", ")[2]
        if name.startswith("ours"):
            about, other = name.removeprefix("ours, "), f"peer, {crop}"
            figures.append(figure(f"pairs/s, {about}", wall[name], wall[other], bar=">= 1.5"))
            if not workers[crop == "random"]:
                figures.append(figure(f"pairs per CPU second, {about}", busy[name], busy[other]))
    least = min(one.ratio for one in figures if one.bar and one.ratio)
    finish(figures, least, given.json, ["open-clip-torch", "webdataset", "pillow", "tokenizers"])


def fastest_workers(folder: Path, given: argparse.Namespace, train: bool) -> int:
    """0 or 1 of open_clip's workers."""
    seconds = {}
    for workers in (0, 1, 0, 1):
        start = time.perf_counter()
        peer_from_tars(folder, given.batch_size, given.size, given.pairs, train, workers)
        seconds[workers] = min(seconds.get(workers, 1e9), time.perf_counter() - start)
    print(
        f"open_clip, {'random' if train else 'centre'}: "
        + ", ".join(f"{k} workers {seconds[k]:.1f} s" for k in seconds)
    )
    return min(seconds, key=seconds.__getitem__)


if __name__ == "__main__":
    main()

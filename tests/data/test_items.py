"""An item's name depends on what the tower reads of it, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.data.items import hashes_of, item_hashes
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.data.views import Arrays, Processed, Ragged, Selected

TEXTS = ["to be", "", "not to be or to be or not", "be", "to be"]


@pytest.fixture(scope="module")
def processor() -> TextProcessor:
    return TextProcessor(300, max_length=9).fit(TEXTS)


def test_padding_and_company_do_not_matter(processor: TextProcessor):
    together = hashes_of(processor(TEXTS))
    alone = np.concatenate([hashes_of(processor([text])) for text in TEXTS])
    other_pad = Ragged(processor.encode(TEXTS)[0], pad_id=7).take(np.arange(5))
    assert together.tolist() == alone.tolist() == hashes_of(other_pad).tolist()
    assert together[0] == together[4] and len(set(together.tolist())) == 4


def test_all_that_a_tower_reads_matters():
    ids, mask = torch.tensor([[3, 4, 5]]), torch.tensor([[True, True, True]])
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    inputs = [
        {"ids": ids, "mask": mask},
        {"ids": ids.int(), "mask": mask},
        {"ids": ids + 1, "mask": mask},
        {"ids": ids, "mask": torch.tensor([[True, False, True]])},
        {"ids": ids, "mask": torch.tensor([[True, True, False]])},
        {"kinds": ids, "mask": mask},
        {"pixels": pixels},
        {"pixels": pixels.transpose(2, 3)},
        {"pixels": pixels.view(1, 3, 1, 4)},
        {"pixels": pixels, "scale": torch.ones(1)},
    ]
    assert len({hashes_of(one).tolist()[0] for one in inputs}) == len(inputs)


def test_names_end_in_zero_bytes_without_harm():
    pixels = torch.arange(3000).view(-1, 1, 1, 1)
    names = hashes_of({"pixels": pixels})
    assert names.dtype == "S16" and names.view(np.uint8).reshape(-1, 16)[:, 15].min() == 0  # one in 256 does
    assert len(np.unique(names)) == 3000


class Counted(Arrays):
    taken = 0

    def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        self.taken += len(rows)
        return super().take(rows)


def test_a_view_that_is_known_by_a_key_is_hashed_once():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 3, 4, 4), dtype=np.uint8)
    told: list[tuple[int, int]] = []
    first, second, unknown = (
        Counted({"pixels": pixels}, "a key"),
        Counted({"pixels": pixels}, "a key"),
        Counted({"pixels": pixels}),
    )
    names = [item_hashes(view, progress=lambda *done: told.append(done)) for view in (first, second, unknown)]
    assert names[0].tolist() == names[1].tolist() == names[2].tolist()
    assert (first.taken, second.taken, unknown.taken) == (700, 0, 700)
    assert told[-1] == (700, 700)
    assert len(item_hashes(Arrays({"pixels": pixels[:0]}))) == 0


def test_some_rows_of_a_known_view_are_known_too():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
    whole = Arrays({"pixels": pixels}, "another key")
    names = item_hashes(whole)
    for rows in (np.array([3, 1]), np.array([1, 3, 5])):
        assert Selected(whole, rows).key not in (None, whole.key)
        assert item_hashes(Selected(whole, rows)).tolist() == names[rows].tolist()
    assert Selected(Arrays({"pixels": pixels}), np.array([0])).key is None


def test_pixels_kept_and_pixels_made_on_demand_have_the_same_names(shapes):
    processor, files = ImageProcessor(16), [shapes / f"{i:03}.png" for i in range(3)]
    kept = Arrays({"pixels": processor(files)["pixels"].numpy()})
    assert item_hashes(kept).tolist() == item_hashes(Processed(files, processor)).tolist()

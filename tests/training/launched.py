"""Started by `test_launch.py` in two processes: the same small runs as there, sharded or not, into a folder."""

import sys
from pathlib import Path

import torch

from diptych.data.sources import open_table
from diptych.models import Towers
from diptych.recipes import find_recipe
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import train
from diptych.training.running import Running


def recipe(**changes) -> Recipe:
    """Without dropout and augmentation, whose noise depends on how rows are shared out; 23 rows do not halve."""
    towers = Towers(image_size=24, width=16, vocab_size=300, max_length=16)
    schedule = Schedule(epochs=2, batch_size=23, lr=3e-3, precision="float32", **changes)
    return find_recipe("clip").recipe(towers, schedule)


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, out = open_table(Path(sys.argv[1])), Path(sys.argv[2])
    train(recipe, table, out / "replicas", about={})
    train(recipe, table, out / "sharded", about={}, running=Running(shard=True, save_minutes=0))
    train(lambda: recipe(micro=5, rows=4), table, out / "cut", about={}, running=Running(shard=True))

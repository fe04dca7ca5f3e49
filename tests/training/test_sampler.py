"""Every row once an epoch, in an order that the key alone decides."""

import numpy as np
import pytest

from diptych.training.sampler import Epoch, Shuffled


@pytest.mark.parametrize("bucket", [1, 4])
@pytest.mark.parametrize(("count", "size"), [(1, 4), (10, 4), (257, 32), (64, 64), (65, 64)])
def test_every_row_once_and_no_tiny_batch(count: int, size: int, bucket: int):
    lengths = np.random.default_rng(0).integers(1, 30, count)
    batches = Shuffled(bucket)(Epoch(count, key=(3, 0, 1), lengths=lengths), size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_the_key_decides_the_order():
    one, again, other = (Shuffled()(Epoch(50, key=key), 8) for key in ((1, 0, 0), (1, 0, 0), (1, 0, 1)))
    assert [b.tolist() for b in one] == [b.tolist() for b in again] != [b.tolist() for b in other]


def test_bucketing_puts_like_lengths_together():
    lengths = np.random.default_rng(1).integers(1, 60, 640)

    def padding(bucket: int) -> float:
        batches = Shuffled(bucket)(Epoch(640, lengths=lengths), 32)
        return float(np.mean([(lengths[b].max() - lengths[b]).mean() for b in batches]))

    # Uniform lengths: a random batch of 32 wastes about half of the longest, a sorted ten of them a twentieth.
    assert padding(10) < 0.25 * padding(1)

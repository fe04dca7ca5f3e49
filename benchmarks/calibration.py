"""Does `diptych compare` keep its word? How often it is wrong where nothing differs, and how often it sees what does.

    uv run python benchmarks/calibration.py --json calibration.json

Four questions, the last three asked of models that are really trained (small projections over frozen random towers, on
symbols, through the same loop as any recipe):

1. Of simulated differences with known parts, how often does the 95% interval hold the truth?
2. A recipe against itself under other seeds, 200 times: how often is one called better? By chance 10 times, and more
   than 17 times only once in fifty.
3. A planted gain of known size (a share of the queries is answered rightly by hand, with every seed): is it seen as
   often as the power analysis says?
4. Does the same recipe lose when its captions are shuffled?

Every training is an independent run; trials share the rows, no run. About 7 minutes of one core.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from datasets import Dataset

from diptych.core.model import Model
from diptych.data.bad_rows import BadRows
from diptych.data.pairs import Pairs, prepare
from diptych.data.sources import select_split
from diptych.data.tables import symbols
from diptych.evaluation.retrieval import both_ways
from diptych.experiments.budget import cut_to
from diptych.experiments.intervals import Difference, Spread, detectable, difference, power
from diptych.experiments.outcomes import Metric, clusters_of
from diptych.models import Towers
from diptych.models.embed import embed, with_frozen_features
from diptych.quickstart import one_each
from diptych.recipes import find_recipe
from diptych.scoring import Dot
from diptych.training.fit import fit
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import Listener, ready
from harness import Figure, arguments, figure, finish

PARTS: dict[str, tuple[float, float, float]] = {
    "seeds and queries": (0.5, 0.5, 0.0),
    "seeds, queries and rest": (0.34, 0.33, 0.33),
    "mostly seeds": (0.7, 0.2, 0.1),
    "mostly queries": (0.1, 0.8, 0.1),
    "seeds alone": (1.0, 0.0, 0.0),
    "queries alone": (0.0, 1.0, 0.0),
    "rest alone": (0.0, 0.0, 1.0),
}
"""Shares of the variance of the mean, of simulated differences."""


def coverage(
    parts: tuple[float, float, float], *, seeds: int, queries: int, trials: int, random: np.random.Generator
) -> float:
    """How often the 95% interval of a simulated difference holds its mean of 0.

    Args:
        parts: shares of the mean's variance from seeds, queries, and the rest.
        seeds, queries: S and Q, in clusters of 2 equal queries.
        trials: simulated experiments.
        random: draws them.
    """
    of_seed, of_query, rest = (math.sqrt(part) for part in parts)
    clusters = np.arange(queries) // 2
    held = 0
    for _ in range(trials):
        d = of_seed * math.sqrt(seeds) * random.normal(size=(seeds, 1))
        d = d + of_query * math.sqrt(queries / 2) * random.normal(size=(1, queries // 2))[:, clusters]
        d = d + rest * math.sqrt(seeds * queries / 2) * random.normal(size=(seeds, queries // 2))[:, clusters]
        low, high = difference(d, np.zeros_like(d), clusters).interval()
        held += low <= 0 <= high
    return held / trials


@dataclass
class Trainer:
    """Trains the same small recipe with any seed on rows that are ready, and says what each query got.

    Attributes:
        model: whose frozen towers and processors all runs share.
        rows, test: made ready once.
        steps: of every run.
        folder: for the log of the run under way.
    """

    model: Model
    rows: Pairs
    test: Pairs
    steps: int
    folder: Path
    metric = Metric("t2i", 10)

    @staticmethod
    def of(train: Dataset, test: Dataset, steps: int, folder: Path) -> Trainer:
        """Make the rows ready."""
        torch.manual_seed(0)
        recipe = _recipe()
        pairs = ready(recipe, train, bad=BadRows(), listener=Listener())
        assert isinstance(pairs, Pairs)
        measured = with_frozen_features(recipe.model, prepare(test, recipe.model.processors))
        return Trainer(recipe.model, pairs, measured, steps, folder)

    @property
    def clusters(self) -> np.ndarray:
        """`[Q]`, the group of each query."""
        return clusters_of(self.test.keys.text)

    def scores(self, seed: int) -> np.ndarray:
        """`[Q]`, what each query got from a model trained with a seed."""
        torch.manual_seed(seed)
        recipe = _recipe()
        recipe.model.towers, recipe.model.processors = self.model.towers, self.model.processors
        fit(cut_to(recipe, [self.steps], len(self.rows)), self.rows, self.folder, seed=seed)
        image, text = (embed(recipe.model, view, self.test.views[view]) for view in ("image", "text"))
        keys = torch.from_numpy(self.test.keys.image), torch.from_numpy(self.test.keys.text)
        scorer = recipe.model.parts["dot"]
        assert isinstance(scorer, Dot)
        return self.metric.of(both_ways(image, text, *keys, scorer)["text_to_image"].best_rank.numpy())


def _recipe() -> Recipe:
    towers = Towers(
        image_size=symbols.SIZE, colour="L", image_mean=(1.0,), image_std=(1.0,), patch=4, widths=(64,), depths=(1,),
        text_width=64, text_depth=1, vocab_size=800, max_length=16, width=64, freeze="both",
    )  # fmt: skip
    return find_recipe("clip").recipe(towers, Schedule(batch_size=128, lr=1e-2, precision="float32"))


def planted(scores: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """`[S, Q]` scores of 0 and 1 in which a share of the queries is answered rightly, the same with every seed."""
    return np.maximum(scores, random.random(scores.shape[1]) < share)


def mean_spread(found: Sequence[Difference]) -> Spread:
    """The spread that trials have on average: near the truth, unlike that of one."""
    spreads = [one.spread for one in found]
    seeds, own, rest = (mean(getattr(one, part) for one in spreads) for part in ("seeds", "own", "rest"))
    return Spread(seeds, own, rest, spreads[0].seed_count, spreads[0].clusters)


def told(found: Sequence[Difference]) -> int:
    """How many differences leave 0 out of their 95% interval."""
    return sum(abs(one.mean) > one.spread.half() for one in found)


def at_least(count: int, trials: int, share: float) -> float:
    """The probability of `count` successes or more in independent trials."""
    return sum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(count, trials + 1))


def without_difference(arms: np.ndarray, clusters: np.ndarray) -> Figure:
    """Question 2: `arms` is `[trials, 2, S, Q]`."""
    found = [difference(ours, theirs, clusters) for ours, theirs in arms]
    wrong = told(found)
    share = at_least(wrong, len(found), 0.05)
    name = f"told apart, a recipe and itself (of {len(found)}; so many or more at 5%: p {share:.2g})"
    return figure(name, wrong, None, bar="<= 0.085", value=wrong / len(found))


def with_difference(arms: np.ndarray, clusters: np.ndarray) -> list[Figure]:
    """Question 3, for gains that should be seen in half and in four fifths of the trials."""
    spread = mean_spread([difference(ours, theirs, clusters) for ours, theirs in arms])
    reached, figures = float(arms.mean()), []
    for chance in (0.5, 0.8):
        share = detectable(spread, chance=chance) / (1 - reached)
        random = np.random.default_rng(int(100 * chance))
        found = [difference(planted(ours, share, random), theirs, clusters) for ours, theirs in arms]
        effect = share * (1 - reached)
        expected, seen = power(effect, mean_spread(found)), told(found) / len(found)
        off = abs(seen - expected) / math.sqrt(expected * (1 - expected) / len(found))
        name = f"seen of a gain of {100 * effect:.1f} points; peer: as its power says"
        figures.append(figure(name, seen, expected, bar="<= 3", value=off))
    return figures


def shuffled(table: Dataset, seed: int) -> Dataset:
    """The rows with one another's captions."""
    order = np.random.default_rng(seed).permutation(len(table))
    texts = table["text"][:]
    return table.remove_columns("text").add_column("text", [texts[i] for i in order])  # pyright: ignore[reportCallIssue]


def with_shuffled_captions(make: Callable[[Dataset], Trainer], train: Dataset, arms: np.ndarray) -> Figure:
    """Question 4, five times, each against arms that were trained on what belongs together."""
    seeds, lost = arms.shape[2], 0
    for trial in range(5):
        trainer = make(shuffled(train, trial))
        theirs = np.stack([trainer.scores(10_000 + trial * seeds + seed) for seed in range(seeds)])
        found = difference(theirs, arms[trial, 0], trainer.clusters)
        lost += found.interval()[1] < 0
    return figure("lost, with captions shuffled (of 5)", lost, None, bar=">= 5", value=lost)


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], trials=200, seeds=3, steps=40, simulated=4000)
    torch.set_num_threads(1)
    figures: list[Figure] = []
    random = np.random.default_rng(0)
    for name, parts in PARTS.items():
        held = coverage(parts, seeds=args.seeds, queries=200, trials=args.simulated, random=random)
        figures.append(figure(f"coverage of 95% intervals: {name}", held, None, bar=">= 0.94", value=held))
        print(f"{name}: {held:.3f}", flush=True)
    table = symbols.load()
    test, train = (one_each(select_split(table, split)) for split in ("test", "train"))
    train = train.select(range(0, len(train), 5))
    with tempfile.TemporaryDirectory() as folder:

        def make(rows: Dataset) -> Trainer:
            return Trainer.of(rows, test, args.steps, Path(folder) / "run")

        trainer = make(train)
        runs = []
        for seed in range(args.trials * 2 * args.seeds):
            runs.append(trainer.scores(seed + 1))
            if seed % 100 == 99:
                print(f"{seed + 1} runs, recall@10 {100 * float(np.mean(runs)):.1f}", flush=True)
        arms = np.stack(runs).reshape(args.trials, 2, args.seeds, -1)
        figures += [without_difference(arms, trainer.clusters), *with_difference(arms, trainer.clusters)]
        figures.append(with_shuffled_captions(make, train, arms))
    wrong = figures[len(PARTS)]
    finish(figures, wrong.ours / args.trials, args.json)


if __name__ == "__main__":
    main()

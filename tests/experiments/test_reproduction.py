"""Arms are measured once a seed, kept, judged by their paired differences; what was kept in another way is not used."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from diptych import __version__
from diptych.experiments.reproduction import Reproduction, reproduce, revision


class Counting:
    """An arm with given values, which counts the seeds it was asked for."""

    def __init__(self, *values: float, figure: str = "recall") -> None:
        self.values, self.figure, self.asked = values, figure, []

    def __call__(self, seed: int) -> dict[str, float]:
        self.asked.append(seed)
        return {self.figure: self.values[seed], "other": 7.0}


def claim(ours: Any, theirs: Any, **changed: Any) -> Reproduction:
    said = {
        "name": "mine",
        "system": 75,
        "claim": "more",
        "here": "small",
        "data": "none",
        "method": "ours",
        "baseline": "theirs",
        "figure": "recall",
    }
    return Reproduction(**{**said, "arms": {"ours": ours, "theirs": theirs}, **changed})


def quiet(line: str) -> None: ...


def test_the_difference_is_paired_by_seed(tmp_path: Path):
    # Seeds differ by 0.3, the arms by 0.1 (sd 0): paired, it holds; two separate means would overlap.
    what = claim(Counting(0.3, 0.6, 0.9), Counting(0.2, 0.5, 0.8))
    record = reproduce(what, kept=tmp_path / "kept.json", tell=quiet)
    assert record.difference == pytest.approx(0.1)
    assert record.interval == pytest.approx((0.1, 0.1)) and record.verdict == "holds"
    assert record.arms["theirs"] == {"recall": [0.2, 0.5, 0.8], "other": [7.0, 7.0, 7.0]}
    assert record.seeds == [0, 1, 2] and record.commit == f"diptych {__version__}"


@pytest.mark.parametrize(
    ("changed", "said"),
    [({}, "does not hold here"), ({"higher": False}, "holds"), ({"within": 0.2}, "holds")],
)
def test_what_the_claim_is_decides_the_verdict(changed: dict[str, Any], said: str, tmp_path: Path):
    what = claim(Counting(0.1, 0.2), Counting(0.2, 0.3), **changed)
    record = reproduce(what, kept=tmp_path / "kept.json", seeds=2, tell=quiet)
    assert record.verdict == said and (record.higher, record.within) == (what.higher, what.within)


def test_an_interrupted_one_goes_on(tmp_path: Path):
    ours = Counting(1.0, 2.0)

    def interrupted(seed: int) -> dict[str, float]:
        if seed == 1:
            raise KeyboardInterrupt
        return {"recall": 0.0}

    with pytest.raises(KeyboardInterrupt):
        reproduce(claim(ours, interrupted), kept=tmp_path / "kept.json", seeds=2, tell=quiet)
    assert ours.asked == [0, 1]
    theirs, told = Counting(5.0, 0.5), []
    record = reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=2, tell=told.append)
    assert ours.asked == [0, 1] and theirs.asked == [1]
    assert record.arms["theirs"]["recall"] == [0.0, 0.5]
    assert told[0].startswith("3 measurements are kept")


def test_more_seeds_are_added_to_those_there_are(tmp_path: Path):
    ours, theirs = Counting(*range(4)), Counting(*range(4))
    reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=2, tell=quiet)
    record = reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=4, tell=quiet)
    assert ours.asked == theirs.asked == [0, 1, 2, 3] and record.seeds == [0, 1, 2, 3]
    fewer = reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=2, tell=quiet)
    assert fewer.seeds == [0, 1] and fewer.arms["ours"]["recall"] == [0, 1]


def test_again_measures_anew(tmp_path: Path):
    ours, theirs = Counting(1, 2), Counting(1, 2)
    for again in (False, True):
        reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=2, again=again, tell=quiet)
    assert ours.asked == [0, 1, 0, 1]


def test_what_was_measured_in_another_way_is_not_used(tmp_path: Path):
    told: list[str] = []
    ours, theirs = Counting(1, 2), Counting(1, 2)
    for settings in ("a", "a", "b"):
        kept = tmp_path / "kept.json"
        reproduce(claim(ours, theirs), kept=kept, settings=settings, seeds=2, tell=told.append)
    assert ours.asked == [0, 1, 0, 1]
    assert sum("measured anew" in line for line in told) == 1


def test_seconds_and_revisions_are_those_of_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours, theirs = Counting(1, 2, 3), Counting(1, 2, 3)
    clock = iter(range(0, 1000, 5))  # each measurement reads it twice
    monkeypatch.setattr("diptych.experiments.reproduction.time.perf_counter", lambda: next(clock))
    for seeds, commit in ((2, "abc"), (3, "def+"), (3, "not measured at")):
        monkeypatch.setattr("diptych.experiments.reproduction.revision", lambda folder, said=commit: said)
        record = reproduce(claim(ours, theirs), kept=tmp_path / "kept.json", seeds=seeds, tell=quiet)
    assert record.seconds == 5 * 6  # type: ignore[possibly-unbound]
    assert record.commit == "abc, def+"  # type: ignore[possibly-unbound]


def test_a_revision_has_a_plus_where_files_differ(tmp_path: Path):
    assert revision(tmp_path) == f"diptych {__version__}"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = revision(tmp_path)
    (tmp_path / "file").write_text("2")
    assert len(clean) >= 7 and revision(tmp_path) == clean + "+"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "mine"}, "the method 'mine' is none of the arms"),
        ({"baseline": "yours"}, "the baseline 'yours' is none of the arms"),
        ({"baseline": "ours"}, "compared with itself"),
        ({"within": -0.1}, "within is -0.1"),
    ],
)
def test_a_reproduction_that_compares_nothing_is_refused(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        claim(Counting(), Counting(), **changed)


def test_an_arm_must_measure_the_figure(tmp_path: Path):
    with pytest.raises(ValueError, match=r"theirs/0 measured \['speed', 'other'\], and not 'recall'"):
        reproduce(claim(Counting(1), Counting(1, figure="speed")), kept=tmp_path / "kept.json", tell=quiet)
    with pytest.raises(ValueError, match="ours/0 measured recall as nan"):
        reproduce(claim(Counting(float("nan")), Counting(1)), kept=tmp_path / "other.json", tell=quiet)
    with pytest.raises(ValueError, match="--seeds is 1"):
        reproduce(claim(Counting(1), Counting(1)), kept=tmp_path / "kept.json", seeds=1, tell=quiet)

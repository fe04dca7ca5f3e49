"""The convention of the literature, by hand: experts' own captions left out, tau-c and tau-b, a line a judgement."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from hand_bench import HandBench
from scipy import stats

from diptych.evaluation.protocols.human_judgement import measure

HEAD = "kind\timage_key\timage\tcaption_id\tscore1\tscore2\tscore3\n"
LINES = [
    "expert_1to4\t0\tp.jpg\tp.jpg#0\t4\t4\t4",  # the picture's own caption
    "expert_1to4\t0\tp.jpg\tq.jpg#0\t1\t1\t2",
    "expert_1to4\t1\tq.jpg\tp.jpg#1\t2\t3\t3",
    "expert_1to4\t1\tq.jpg\tr.jpg#0\t1\t1\t1",
    "crowd_fracyes\t0\tp.jpg\tp.jpg#0\t1\t3\t0",
    "crowd_fracyes\t0\tp.jpg\tr.jpg#0\t0.25\t1\t3",
    "crowd_fracyes\t1\tq.jpg\tp.jpg#1\t0.1\t1\t9",
    "crowd_fracyes\t1\tgone.jpg\tp.jpg#1\t0.5\t2\t2",
]
ANGLE = {"p": 0.0, "q": 1.05, "r": 2.0, "one": 0.1, "two": 0.9, "three": 1.2, "four": 2.5}


def bench(folder: Path, lines: list[str] = LINES, *, zipped: bool = False) -> HandBench:
    text = HEAD + "\n".join(lines) + "\n"
    if zipped:
        (folder / "judged.tsv.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (folder / "judged.tsv").write_text(text)
    rows = {"id": ["p", "q", "r"], "text": [["one", "two"], ["three"], ["four"]], "image": ["p", "q", "r"]}

    def vector(word: str) -> torch.Tensor:
        angle = torch.tensor(ANGLE[word.removeprefix("see ")])
        return torch.stack([angle.cos(), angle.sin()])

    return HandBench(rows, image=vector, text=vector, folder=folder)


@pytest.mark.parametrize("zipped", [False, True])
def test_by_hand(tmp_path: Path, zipped: bool):
    name = "judged.tsv.gz" if zipped else "judged.tsv"
    found = measure(bench(tmp_path, zipped=zipped), file=name, prompt="see {}")
    apart = [
        ANGLE["three"],
        1.05 - ANGLE["two"],
        ANGLE["four"] - 1.05,
    ]  # p-three, q-two, q-four: the cosine falls with it
    grades = [[1, 1, 2], [2, 3, 3], [1, 1, 1]]
    score = [-one for one, own in zip(apart, grades, strict=True) for _ in own]
    flat = [grade for own in grades for grade in own]
    assert found.numbers["expert_tau_c"] == pytest.approx(stats.kendalltau(score, flat, variant="c")[0])
    assert found.numbers["expert_spearman"] == pytest.approx(stats.spearmanr(score, flat)[0])
    # The crowd: p-one is 0.1 apart, p-four 2.5, q-two 0.15; of the pairs of shares one is the other way.
    assert found.numbers["crowd_tau_b"] == pytest.approx(1 / 3)
    assert "1 pairs that experts judged are left out" in found.notes[2]
    assert "1 lines are left out" in found.notes[3]


def test_refusals(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no file"):
        measure(bench(tmp_path), file="other.tsv")
    with pytest.raises(ValueError, match=r"judged.tsv, line 2: caption 7 of p, which has 2"):
        measure(bench(tmp_path, ["expert\t0\tp.jpg\tp.jpg#7\t4\t4\t4"]), file="judged.tsv")
    with pytest.raises(ValueError, match=r"judged.tsv, line 2: not a judgement"):
        measure(bench(tmp_path, ["expert\t0\tp.jpg\tp.jpg#0\tgood\t4\t4"]), file="judged.tsv")
    with pytest.raises(ValueError, match=r"line 2: not a judgement .*neither with 'expert'"):
        measure(bench(tmp_path, ["me\t0\tp.jpg\tp.jpg#0\t4\t4\t4"]), file="judged.tsv")
    with pytest.raises(ValueError, match="none of them, but 'p'"):
        measure(bench(tmp_path, ["expert\t0\tx.jpg\tx.jpg#0\t4\t4\t4"]), file="judged.tsv")

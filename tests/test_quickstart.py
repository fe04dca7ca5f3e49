"""The quickstart end to end, on a small part of the table and a short schedule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from diptych import quickstart
from diptych.data.sources import select_split
from diptych.data.tables import symbols
from diptych.training.run import RunExists


def test_galleries_have_one_picture_a_symbol_and_share_none_with_training():
    table = symbols.load()
    parts = quickstart.galleries(table)
    trained = set(select_split(table, "train")["id"][:])
    unseen, seen, fonts = (part["id"][:] for part in (parts.unseen, parts.seen, parts.fonts))
    assert len(set(unseen)) == len(unseen) == len(set(seen)) == len(seen)
    assert not trained & set(unseen) and set(seen) <= trained and set(fonts) <= trained
    assert not set(select_split(table, "train")["font"][:]) & set(parts.fonts["font"][:])


def test_a_run_of_ones_own_is_not_replaced(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"recipe": "clip", "status": "done"}))
    with pytest.raises(RunExists, match="finished run"):
        quickstart.run(tmp_path / "run")


def test_it_runs_and_writes_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    table = symbols.load().shuffle(seed=0).select(range(1500))
    monkeypatch.setattr(quickstart.symbols, "load", lambda **_: table)
    monkeypatch.setattr(quickstart, "SCHEDULE", replace(quickstart.SCHEDULE, epochs=1))
    for _ in range(2):  # the second time over a finished run
        quickstart.run(tmp_path / "run", numbers=tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    wanted = {"seconds", "train_seconds", "pairs_per_second", "gallery", "peak_memory_mb"}
    wanted |= {f"{part}_{way}_recall@{k}" for part in ("unseen", "seen") for way in ("t2i", "i2t") for k in (1, 5, 10)}
    assert wanted <= set(numbers)
    assert numbers["gallery"] == len(quickstart.galleries(table).unseen)
    shown = capsys.readouterr().out
    assert all(question in shown for question in quickstart.QUESTIONS) and "diptych train YOUR_FOLDER" in shown
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()

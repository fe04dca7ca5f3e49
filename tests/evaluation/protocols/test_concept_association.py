"""A bag of concepts names the other thing's colour, a binder its own; strength, chance and refusals by hand."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hand_bench import HandBench
from PIL import Image

from diptych.data.images import decode_image
from diptych.evaluation.protocols.concept_association import beside, measure

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
KINDS = {"square": "red", "circle": "green", "star": "blue"}
CONCEPTS = [*COLOURS, *KINDS]


def file_of(colour: str) -> dict[str, Any]:
    file = BytesIO()
    Image.new("RGB", (8, 8), COLOURS[colour]).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def seen(value: Any) -> list[str]:
    """The colours of a picture, left to right."""
    pixels = np.asarray(decode_image(value, mode="RGB"))
    row = [tuple(int(v) for v in pixels[4, x]) for x in (1, pixels.shape[1] - 2)]
    names = {colour: name for name, colour in COLOURS.items()}
    return list(dict.fromkeys(names[(r, g, b)] for r, g, b in row))


def concepts(words: list[str]) -> torch.Tensor:
    return torch.tensor([float(one in words) for one in CONCEPTS] + [0.1])


def bag_of_image(value: Any) -> torch.Tensor:
    """Things and colours, which is whose forgotten; a thing's place among its own words counts for less."""
    colours = seen(value)
    things = [kind for kind, colour in KINDS.items() if colour in colours]
    return concepts(colours + things)


def gap_filler(text: str) -> torch.Tensor:
    """A sentence whose thing and colour go together repeats one concept; else it has two of the picture's."""
    words = text.split()
    said = [one for one in CONCEPTS if one in words]
    thing = next(one for one in said if one in KINDS)
    known = [one for one in said if one != KINDS[thing]]
    return concepts(known)


def rows(names: list[str]) -> dict[str, list]:
    return {
        "image": [file_of(KINDS[name]) for name in names],
        "label": names,
        "colour": [KINDS[name] for name in names],
    }


def test_a_bag_of_concepts_names_the_other_ones_quality():
    bench = HandBench(rows(["square", "circle", "star"] * 4), image=bag_of_image, text=gap_filler)
    found = measure(bench, quality="colour", questions=60)
    assert found.numbers["other"] == 1.0 and found.numbers["own"] == 0.0 and found.numbers["cab"] == 1.0
    assert found.chance["own"] == pytest.approx(1 / 3) and found.chance["cab"] == 0.5
    assert len(found.items["own"]) == 60 and found.shown
    assert "cab_strong" not in found.numbers  # every thing has its colour by nature: there is nothing weak


def test_a_binder_names_its_own():
    def bound(text: str) -> torch.Tensor:
        words = text.split()
        pairs = [(kind, colour) for kind in KINDS for colour in COLOURS]
        return torch.tensor([float(kind in words and colour in words) for kind, colour in pairs] + [0.1])

    def bound_image(value: Any) -> torch.Tensor:
        colours = seen(value)
        pairs = [(kind, colour) for kind in KINDS for colour in COLOURS]
        return torch.tensor([float(KINDS[kind] == colour and colour in colours) for kind, colour in pairs] + [0.1])

    bench = HandBench(rows(["square", "circle", "star"] * 4), image=bound_image, text=bound)
    found = measure(bench, by_nature=KINDS, questions=40)
    assert found.numbers["own"] == found.numbers["single_accuracy"] == 1.0 and found.numbers["cab"] == 0.0


def test_strength_is_of_the_other_things_quality():
    # Of four squares three are red (strong), one is blue (weak); circles are green.
    table = rows(["square", "square", "square", "square", "circle"])
    table["colour"][3], table["image"][3] = "blue", file_of("blue")
    bench = HandBench(table, image=bag_of_image, text=lambda text: concepts(text.split()))
    found = measure(bench, quality="colour", questions=200)
    assert {"cab_strong", "cab_weak", "strong_less_weak"} <= found.numbers.keys()
    # A bag ties between the two colours of every picture, so none is named and a tie is no answer.
    assert found.numbers["own"] == found.numbers["other"] == 0.0 and np.isnan(found.numbers["cab_strong"])
    assert "cab is NaN" in found.notes[1]
    strong = int(found.notes[0].split("; of ")[1].split()[0])
    # Of 8 ordered pairs of a square and the circle, the blue square stands beside the circle in one: that one is weak.
    assert strong / 200 == pytest.approx(7 / 8, abs=0.07)  # three standard deviations of 200 draws


def test_side_by_side_keeps_the_height_and_both_shapes():
    both = beside(Image.new("RGB", (10, 20), (255, 0, 0)), Image.new("RGB", (30, 40), (0, 0, 255)))
    assert both.size == (25, 20)
    assert both.getpixel((0, 0)) == (255, 0, 0) and both.getpixel((24, 19)) == (0, 0, 255)


def test_refusals():
    bench = HandBench(rows(["square", "square"]), image=bag_of_image, text=gap_filler)
    with pytest.raises(ValueError, match="either `quality`"):
        measure(bench)
    with pytest.raises(ValueError, match="two things of unlike qualities are needed"):
        measure(bench, quality="colour")
    with pytest.raises(ValueError, match=r"it needs \{thing\}"):
        measure(bench, quality="colour", prompt="it is {quality}")
    with pytest.raises(ValueError, match="has no field 'shade'"):
        measure(bench, quality="colour.shade")

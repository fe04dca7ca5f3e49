"""The page is one file that fetches nothing, escapes what strangers wrote, and shows every number it was given."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.evaluation.classification import classify
from diptych.evaluation.report import (
    Example,
    Hit,
    Plot,
    Report,
    Table,
    accuracy_table,
    recall_table,
    ticks,
    write_html,
    write_json,
)
from diptych.evaluation.retrieval import RetrievalReport

HOSTILE = '<script>alert("x")</script> & \'"><img src=http://elsewhere.example/x.png>'


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, kind)
    return buffer.getvalue()


def retrieval(recall: float) -> RetrievalReport:
    empty = torch.zeros(0)
    return RetrievalReport({1: recall}, {1: 0.0002}, 7.0, 12.5, 0.25, 0.125, 5000, 25000, 3, empty, empty, empty)


class Page(HTMLParser):
    """The tags of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def report() -> Report:
    hits = [Hit(0.9, True, picture("PNG"), HOSTILE), Hit(-0.25, False, picture("JPEG"))]
    return Report(
        title=HOSTILE,
        facts={HOSTILE: HOSTILE, "rows": 25000, "spread": math.nan},
        curves={HOSTILE: [(0, 3.0), (10, 2.0), (20, math.nan), (30, 1.0)], "empty": []},
        tables=[recall_table({"text_to_image": retrieval(0.4136), "image_to_text": retrieval(0.5)})],
        gallery=[Example(hits, text=HOSTILE, picture=picture("PNG"), rank=1)],
        next_steps=[HOSTILE, "diptych search runs/a 'two dogs'"],
    )


def test_what_strangers_wrote_is_text_and_nothing_is_fetched(report: Report, tmp_path: Path) -> None:
    page = Page(write_html(report, tmp_path / "new" / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.text.count(HOSTILE) >= 6  # title, heading, fact, curve, query, hit, next step
    sources = [value or "" for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert len(sources) == 3 and all(source.startswith("data:image/") for source in sources)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in page.text and "@import" not in page.text  # the style sheet


def test_pictures_arrive_as_they_were(report: Report, tmp_path: Path) -> None:
    page = write_html(report, tmp_path / "report.html").read_text(encoding="utf-8")
    found = re.findall(r'src="data:image/(png|jpeg);base64,([^"]+)"', page)
    assert [(kind, base64.b64decode(data)) for kind, data in found] == [
        ("png", picture("PNG")),
        ("png", picture("PNG")),
        ("jpeg", picture("JPEG")),
    ]


def test_tables_facts_and_verdicts_are_there(report: Report, tmp_path: Path) -> None:
    text = Page(write_html(report, tmp_path / "report.html").read_text(encoding="utf-8")).text
    for shown in ("text to image", "chance", "Recall@1", "41.4 %", "0.02 %", "25,000", "12.5", "✓ right", "✗ wrong"):
        assert shown in text
    assert "0.900" in text and "-0.250" in text and "right answer at rank 1" in text


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    page = write_html(Report("nothing yet"), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nothing yet" in page and "<table" not in page and "<svg" not in page


def test_curves_are_drawn_to_scale_with_gaps(report: Report, tmp_path: Path) -> None:
    page = write_html(report, tmp_path / "report.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 1  # a curve without points is left out
    ElementTree.fromstring(drawings[0])
    plot = Plot.of("y", [(0, 3.0), (10, 2.0), (20, math.nan), (30, 1.0)])
    assert plot is not None and len(plot.lines) == 1 and len(plot.dots) == 1
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in plot.lines[0].split())
    x2, y2 = plot.dots[0]
    assert (x0, x2) == (Plot.left, Plot.width - Plot.right)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)  # coordinates are rounded to 0.1
    assert x2 - x1 == pytest.approx(2 * (x1 - x0), abs=0.2)


def test_long_curves_are_thinned_but_keep_their_spikes() -> None:
    points = [(float(i), 1.0) for i in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    plot = Plot.of("y", points)
    assert plot is not None
    heights = [float(point.split(",")[1]) for point in plot.lines[0].split()]
    assert len(heights) < 1000
    assert heights.count(min(heights)) == 1


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_are_few_even_and_cover(low: float, width: float) -> None:
    high = low + width
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return  # closer than a float can part into ticks
    marks = ticks(low, high)
    step = marks[1] - marks[0]
    slack = 1e-6 * step + 1e-9 * max(abs(low), abs(high))
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + slack and marks[-1] >= high - slack
    assert all(after - before == pytest.approx(step, abs=slack) for before, after in pairwise(marks))


def test_json_is_whole_and_strict(report: Report, tmp_path: Path) -> None:
    content = json.loads(
        write_json(report, tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )
    assert content["facts"]["spread"] is None and content["facts"]["rows"] == 25000
    assert content["curves"][HOSTILE][2] == [20, None]
    assert content["tables"][0]["rows"][0] == ["Recall@1", "41.4 %", "0.02 %", "50.0 %", "0.02 %"]
    assert content["gallery"][0]["hits"][1] == {"score": -0.25, "right": False, "text": None}


def test_a_failed_write_leaves_the_old_page_and_no_litter(report: Report, tmp_path: Path) -> None:
    path = write_html(report, tmp_path / "report.html")
    before = path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="PNG or JPEG"):
        write_html(Report("other", gallery=[Example([Hit(1.0, True, b"GIF89a")])]), path)
    with pytest.raises(UnicodeEncodeError):
        write_html(Report("a lone surrogate \ud800"), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="'odd': row 1 has 3 cells, not 2"):
        Table("odd", ["", "a"], [["x", 1], ["y", 1, 2]])


def test_accuracy_stands_beside_chance() -> None:
    table = accuracy_table({"pets": classify(torch.eye(4), torch.eye(4), torch.tensor([0, 1, 2, 2]), ks=(1, 2))})
    assert table.columns == ["", "pets", "chance"]
    assert table.rows[:3] == [
        ["Top-1", "75.0 %", "25.0 %"],
        ["Top-2", "75.0 %", "50.0 %"],  # the wrong one ties with two others, so its class comes last of four
        ["Mean per class", "83.3 %", "25.0 %"],
    ]


def test_a_curve_may_count_something_of_its_own(tmp_path: Path) -> None:
    points = [(1.0, 0.2), (2.0, 0.4)]
    report = Report("r", curves={"loss": points, "few": points}, x_labels={"few": "shots"})
    page = write_html(report, tmp_path / "r.html").read_text()
    assert 'aria-label="few by shots"' in page and 'aria-label="loss by step"' in page

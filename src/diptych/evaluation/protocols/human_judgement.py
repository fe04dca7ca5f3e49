"""Does a model's score of a picture and a sentence agree with what people said of the two?

    Kendall's tau of  score(picture, sentence)  and  judgement,   over all judgements

The judgements are those of Flickr8k: three experts' grades of 1 to 4 of each pair, and the share of a crowd that said
yes. As in the literature since SPICE, a pair whose sentence is one of the picture's own captions is left out of the
experts' (not of the crowd's), each expert's grade counts as one judgement, and the experts' correlation is tau-c, the
crowd's tau-b. Spearman's rho stands beside both.

Use it to see whether a score can grade captions, not only find them. Sources: the judgements, Hodosh, Young &
Hockenmaier 2013 (JAIR 47); how they are used, Anderson et al. 2016 (SPICE, arXiv 1607.08822) and Hessel et al. 2021
(CLIPScore, arXiv 2104.08718, appendix A). CLIPScore's own score is 2.5 max(cosine, 0) of "A photo depicts " and the
sentence: `prompt` adds these words, and the rest changes no order but among negative cosines.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Measured
from diptych.evaluation.rank_correlation import kendall_tau_b, kendall_tau_c, spearman

EXPERT, CROWD = "expert", "crowd"
_COLUMNS = ("kind", "image", "caption_id", "score1", "score2", "score3")


@dataclass(frozen=True)
class Judged:
    """A line of the file: of which people, the picture's id, the caption's, and its grades."""

    line: int
    people: str
    image: str
    caption_of: str
    caption: int
    grades: tuple[float, ...]


def measure(bench: Bench, *, file: str = "human_judgements.tsv.gz", prompt: str = "{}") -> Measured:
    """`expert_tau_c`, `crowd_tau_b`, and `expert_spearman`, `crowd_spearman`: -1 to 1, by chance 0.

    Args:
        bench: a table with the judged pictures and captions; its `id` is the picture's name without its ending.
        file: beside the table: tab-separated, with the columns `kind` (beginning with "expert" or "crowd"), `image`,
            `caption_id` (picture#number), `score1` to `score3` (of a crowd the first is its share of yes).
        prompt: what a caption is put into, in the place of `{}`.

    Raises:
        ValueError: if there is no such file, a line of it cannot be read, or the table has none of what was judged.
    """
    if "{}" not in prompt:
        raise ValueError(f"prompt is {prompt!r}; it needs {{}} where the caption goes")
    row_of = {str(name): row for row, name in enumerate(bench.column("id"))}
    texts = bench.table["text"][:]
    found: dict[str, list[tuple[int, str, float]]] = {EXPERT: [], CROWD: []}
    not_here = own = 0
    path = bench.file(file)
    for judged in read_judgements(path):
        if judged.image not in row_of or judged.caption_of not in row_of:
            not_here += 1
            continue
        captions = texts[row_of[judged.caption_of]]
        if judged.caption >= len(captions):
            raise ValueError(
                f"{path}, line {judged.line}: caption {judged.caption} of {judged.caption_of}, "
                f"which has {len(captions)}"
            )
        caption, row = captions[judged.caption], row_of[judged.image]
        if judged.people == EXPERT and caption in texts[row]:
            own += 1
            continue
        found[judged.people] += [(row, caption, grade) for grade in judged.grades]
    numbers: dict[str, float] = {}
    for people, tau, name in ((EXPERT, kendall_tau_c, "tau_c"), (CROWD, kendall_tau_b, "tau_b")):
        if len(found[people]) > 1:
            scores = _scores(bench, [(row, prompt.replace("{}", text)) for row, text, _ in found[people]])
            grades = [grade for _, _, grade in found[people]]
            numbers |= {f"{people}_{name}": tau(scores, grades), f"{people}_spearman": spearman(scores, grades)}
    if not numbers:
        raise ValueError(
            f"{path} judges pictures and captions by ids such as {next(read_judgements(path)).image!r}; the table has "
            f"none of them, but {next(iter(row_of), None)!r}"
        )
    notes = [f"{people}: {len(judgements):,} judgements" for people, judgements in found.items() if judgements]
    notes.append(f"{own:,} pairs that experts judged are left out, for their sentence is a caption of the picture")
    if not_here:
        notes.append(f"{not_here:,} lines are left out, for the table lacks their picture or caption")
    return Measured(numbers, dict.fromkeys(numbers, 0.0), notes=notes)


def read_judgements(path: Path) -> Iterator[Judged]:
    """The lines of a file of judgements.

    Raises:
        ValueError: names the line that cannot be read.
    """
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]!r}; it has {reader.fieldnames}")
        for number, line in enumerate(reader, start=2):
            try:
                yield _judged(number, line)
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: not a judgement ({error}): {dict(line)}") from error


def _judged(number: int, line: Mapping[str, str]) -> Judged:
    people = next((one for one in (EXPERT, CROWD) if line["kind"].startswith(one)), None)
    if people is None:
        raise ValueError(f"kind is {line['kind']!r}, which begins neither with 'expert' nor with 'crowd'")
    name, _, place = line["caption_id"].rpartition("#")
    grades = ("score1", "score2", "score3") if people == EXPERT else ("score1",)
    return Judged(number, people, _stem(line["image"]), _stem(name), int(place), tuple(float(line[g]) for g in grades))


def _stem(image: str) -> str:
    return image.rsplit(".", 1)[0]


@torch.inference_mode()
def _scores(bench: Bench, pairs: list[tuple[int, str]]) -> Tensor:
    """`[n]`: each distinct pair is scored once."""
    place: dict[tuple[int, str], int] = {}
    numbers = torch.tensor([place.setdefault(pair, len(place)) for pair in pairs])
    rows = torch.tensor([row for row, _ in place])
    scores = bench.scorer.pairs(bench.image[rows], bench.texts([text for _, text in place]))
    return scores.double()[numbers]

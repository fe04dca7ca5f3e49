"""What a long text is about, in a few phrases: three extractors that need no model and no other library.

    by_tfidf       count(w, text) * log((1 + D) / (1 + documents with w)); a phrase has its words' mean
    by_textrank    PageRank of words that stand within a window of each other; a phrase has its words' mean
    by_rake        degree(w) / frequency(w), the degree counting the words of all phrases with w; a phrase has the sum

Candidates are runs of up to four words between stop words, numbers and punctuation. The first knows a collection
(`Documents`) and likes what is rare in it; the others know the text alone. They err differently, so their rankings are
worth putting together (`diptych.search.fusing`). English stop words, and words of letters only.

Sources: Sparck Jones 1972; Mihalcea and Tarau 2004 (TextRank; here without its filter by part of speech, and over
given candidates); Rose et al. 2010 (RAKE).

System: 251 (Keyword-to-image thesis)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LONGEST = 4
"""Words of a phrase."""
STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and another any are as at away back be because been before
    being below between both but by can could did do does doing down during each few for from further had has
    have having he her here hers him his how i if in into is it its itself just like many may me might more most
    much must my near no nor not now of off on once one only onto or other our out over own same she should so
    some such than that the their them then there these they this those through to too toward towards under
    until up upon very was we were what when where which while who whom whose why will with within without would
    you your
    """.split()  # noqa: SIM905 (a list of them is hard to read)
)


@dataclass(frozen=True)
class Keyphrase:
    """A phrase of a text, in lower case, and how much an extractor thinks of it: comparable within one answer only."""

    text: str
    score: float


Extractor = Callable[[str], list[Keyphrase]]


@dataclass(frozen=True)
class Documents:
    """In how many texts of a collection each word is.

    Attributes:
        counts: word -> texts that have it.
        texts: how many there are.
    """

    counts: Mapping[str, int]
    texts: int

    @staticmethod
    def of(texts: Sequence[str]) -> Documents:
        """Count them."""
        return Documents(Counter(word for text in texts for word in set(_words(text))), len(texts))


def by_tfidf(text: str, documents: Documents, *, limit: int = 10) -> list[Keyphrase]:
    """Phrases of words that the text has often and the collection seldom, best first.

    Args:
        text: of any length.
        documents: the collection that it is compared with.
        limit: how many at most, at least 1.

    Raises:
        ValueError: if `limit` is below 1.

    Example:
        >>> known = Documents.of(["a dog runs", "a dog sleeps", "a red kite"])
        >>> [one.text for one in by_tfidf("a dog and a red kite", known)]
        ['red kite', 'dog']
    """
    counts = Counter(_words(text))
    weight = {w: n * math.log((1 + documents.texts) / (1 + documents.counts.get(w, 0))) for w, n in counts.items()}
    return _best(text, weight, lambda scores: sum(scores) / len(scores), limit)


def by_textrank(text: str, *, limit: int = 10, window: int = 3, damping: float = 0.85) -> list[Keyphrase]:
    """Phrases of words that stand beside many words that do so themselves, best first.

    Args:
        text: of any length.
        limit: how many at most, at least 1.
        window: two words of one sentence are neighbours if fewer than so many places apart; stop words have none.
        damping: share of a word's rank that comes from its neighbours, 0 to below 1.

    Raises:
        ValueError: if `limit` is below 1, `window` below 2, or `damping` out of its range.
    """
    if window < 2 or not 0 <= damping < 1:
        raise ValueError(f"window is {window} and damping {damping}; expected at least 2, and 0 to below 1")
    sentences = [[w for w in _words(one) if w not in STOP_WORDS] for one in re.split(r"[.!?;\n]+", text)]
    place = {word: i for i, word in enumerate(dict.fromkeys(w for one in sentences for w in one))}
    links = np.zeros((len(place), len(place)))
    for words in sentences:
        for i, word in enumerate(words):
            for other in words[i + 1 : i + window]:
                if word != other:
                    links[place[word], place[other]] += 1
                    links[place[other], place[word]] += 1
    shares = links / np.maximum(links.sum(0), 1)
    rank = np.full(len(place), 1.0)
    for _ in range(50):
        rank = 1 - damping + damping * shares @ rank
    weight = {word: float(rank[i]) for word, i in place.items()}
    return _best(text, weight, lambda scores: sum(scores) / len(scores), limit)


def by_rake(text: str, *, limit: int = 10) -> list[Keyphrase]:
    """Long phrases of words that seldom stand alone, best first.

    Args:
        text: of any length.
        limit: how many at most, at least 1.

    Raises:
        ValueError: if `limit` is below 1.
    """
    phrases = _candidates(text)
    frequency = Counter(word for phrase in phrases for word in phrase)
    degree: Counter[str] = Counter()
    for phrase in phrases:
        for word in phrase:
            degree[word] += len(phrase)
    return _best(text, {word: degree[word] / n for word, n in frequency.items()}, sum, limit)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def _candidates(text: str) -> list[tuple[str, ...]]:
    """Runs of words between stop words and punctuation, in the text's order, each as often as it stands there."""
    found = []
    for part in re.split(r"[^\w\s']|\d+", text):
        run: list[str] = []
        for word in [*_words(part), ""]:
            if word and word not in STOP_WORDS:
                run.append(word)
                continue
            found += [tuple(run[i : i + LONGEST]) for i in range(0, len(run), LONGEST)]
            run = []
    return found


def _best(
    text: str, weight: Mapping[str, float], together: Callable[[Sequence[float]], float], limit: int
) -> list[Keyphrase]:
    """The candidates by what their words' weights make together; equals in the text's order."""
    if limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1")
    phrases = dict.fromkeys(_candidates(text))
    scored = [Keyphrase(" ".join(phrase), float(together([weight[word] for word in phrase]))) for phrase in phrases]
    return sorted(scored, key=lambda one: -one.score)[:limit]

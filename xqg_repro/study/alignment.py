"""Sentences of parallel paragraphs, aligned by their lengths, as by Gale and Church (1993), and by their numbers.

XQuAD's translators worked on whole paragraphs, so one sentence may have become two, or two one. In Thai, which does not
mark the ends of sentences, a sentence has several pieces. A sentence counts as aligned if one or more pieces of the
other language translate it alone, and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log
from typing import NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.core.languages import split_sentences

VARIANCE = 6.8
"""Of the length of a translation per character of the sentence, after Gale and Church."""

MOST_PIECES = {"th": 12}
"""How many pieces of a language may make one sentence; in others 3."""

SPLIT_COST = {"th": 0.5}
"""Cost of each piece after the first, in nats; in other languages :data:`USUAL_COST`."""

USUAL_COST = -log(0.089 / 0.89)
"""Cost of a split or a merge: how rare it is, after Gale and Church."""

MOST_UNEQUAL = 2.0
"""Largest ratio of the lengths of a sentence and its translation, relative to that of their paragraphs."""


NUMBER_COST = 2.0
"""Cost of a number, of two digits or more, that only one of a sentence and its translation has, in nats."""


class Sentence(NamedTuple):
    """A sentence of a paragraph and its translations, by language."""

    docid: str
    text: str
    translations: dict[str, str]


@dataclass
class Aligned:
    """The sentences of each paragraph that have a translation, and how many there are."""

    paragraphs: list[list[Sentence]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def align_paragraphs(paragraphs: Mapping[str, Sequence[Passage]], source: str, languages: Sequence[str]) -> Aligned:
    """Align the sentences of paragraphs in one language with those of the same paragraphs in others.

    Returns:
        the sentences by paragraph, and as counts the ``sentences`` with a translation, their ``translations``, and how
        many pairs of sentence and language are ``unaligned``.
    """
    result, unaligned = Aligned(), 0
    targets = [code for code in languages if code != source]
    for row, doc in enumerate(paragraphs[source]):
        sentences = split_sentences(doc.text, source)
        found: list[dict[str, str]] = [{} for _ in sentences]
        for code in targets:
            translations = align(sentences, split_sentences(paragraphs[code][row].text, code), code)
            for number, text in translations.items():
                found[number][code] = text
            unaligned += len(sentences) - len(translations)
        lines = [Sentence(doc.doc_id, text, t) for text, t in zip(sentences, found, strict=True) if t]
        result.paragraphs.append(lines)
    lines = [sentence for part in result.paragraphs for sentence in part]
    total = sum(len(sentence.translations) for sentence in lines)
    result.counts = {"sentences": len(lines), "translations": total, "unaligned": unaligned}
    return result


def align(sentences: Sequence[str], pieces: Sequence[str], language: str) -> dict[int, str]:
    """Position of each sentence that is aligned → its translation, of consecutive pieces.

    The alignment has the lowest cost. Left out are sentences that are translated together with others, and those whose
    translation is much longer or shorter than the others let expect.

    >>> align(["A short one here.", "And this one is a good deal longer than it."],
    ...       ["Ein kurzer Satz.", "Und dieser ist ein", "gutes Stück länger als er."], "de")
    {0: 'Ein kurzer Satz.', 1: 'Und dieser ist ein gutes Stück länger als er.'}
    """
    ratio = sum(map(len, pieces)) / max(1, sum(map(len, sentences)))
    translations = {}
    for first, last, start, end in _beads(sentences, pieces, language, ratio):
        text = ("" if language == "zh" else " ").join(pieces[start:end])
        expected = ratio * sum(map(len, sentences[first:last]))
        if text and last - first == 1 and expected / MOST_UNEQUAL <= len(text) <= expected * MOST_UNEQUAL:
            translations[first] = text
    return translations


def _beads(
    sentences: Sequence[str], pieces: Sequence[str], language: str, ratio: float
) -> list[tuple[int, int, int, int]]:
    """The cheapest alignment: positions of sentences, from and to, and of pieces, from and to."""
    most, split_cost = MOST_PIECES.get(language, 3), SPLIT_COST.get(language, USUAL_COST)
    shapes = [(1, number, (number - 1) * split_cost) for number in range(1, most + 1)]
    shapes += [(2, 1, USUAL_COST), (2, 2, 2 * USUAL_COST), (3, 1, 2 * USUAL_COST)]
    shapes += [(1, 0, 3 * USUAL_COST), (0, 1, 3 * USUAL_COST)]
    named = [[numbers(text) for text in texts] for texts in (sentences, pieces)]
    best = {(0, 0): (0.0, (0, 0))}
    for i in range(len(sentences) + 1):
        for j in range(len(pieces) + 1):
            for back, pieces_back, cost in shapes:
                origin = (i - back, j - pieces_back)
                if origin not in best:
                    continue
                parts = (sentences[origin[0] : i], pieces[origin[1] : j])
                source, target = (sum(map(len, part)) for part in parts)
                total = best[origin][0] + cost + _length_cost(source, target, ratio)
                total += NUMBER_COST * len(
                    set().union(*named[0][origin[0] : i]) ^ set().union(*named[1][origin[1] : j])
                )
                if total < best.get((i, j), (inf,))[0]:
                    best[i, j] = (total, origin)
    beads = []
    place = (len(sentences), len(pieces))
    while place in best and place != (0, 0):
        origin = best[place][1]
        beads.append((origin[0], place[0], origin[1], place[1]))
        place = origin
    return beads[::-1]


def numbers(text: str) -> set[str]:
    """The numbers of two or more digits, in European digits, without separators.

    >>> sorted(numbers("In १९९० 5 of 12,345"))
    ['12345', '1990']
    """
    digits = "".join(str(unicodedata.decimal(char, char)) for char in text)
    return set(re.findall(r"\d{2,}", re.sub(r"(?<=\d)[.,](?=\d)", "", digits)))


def _length_cost(source: int, target: int, ratio: float) -> float:
    """How unlikely these numbers of characters are for a sentence and its translation, in nats."""
    expected = source * ratio
    variance = VARIANCE * max(1.0, (expected + target) / 2)
    return (target - expected) ** 2 / (2 * variance)

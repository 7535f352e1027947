"""What is added to paragraphs, and what is left of it for a question's own paragraph when that question is asked.

A question must not find its paragraph by itself or by its own translation. So where a question is asked, it is left
out of what is added to its own paragraph, in all languages, and so is every question of the same wording. Other
paragraphs do not hold it, so their scores stay; that of its own paragraph is that of another vector, which is exact:
``a' = (Σv - Σ_left_out v) / (n - n_left_out)`` is what an index without the question would hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.study.data import ParallelData
from xqg_repro.study.settings import Source
from xqg_repro.study.vectors import Grouped, Vectors


@dataclass(frozen=True)
class Added:
    """Sums of the vectors added to paragraphs.

    Attributes:
        sums: by paragraph, float64, shape (paragraphs, dimension).
        counts: vectors in each, int64, shape (paragraphs,).
        own_sums: by question, those of its own paragraph when it is asked, float64, shape (questions, dimension).
        own_counts: vectors in each, int64, shape (questions,); 0 leaves the paragraph as it is.
        encoded: texts that had to be encoded.
        characters: in them.
    """

    sums: np.ndarray
    counts: np.ndarray
    own_sums: np.ndarray
    own_counts: np.ndarray
    encoded: int = 0
    characters: int = 0


def added(source: Source, paragraphs: str, asked: str, data: ParallelData, vectors: Vectors) -> Added:
    """What a source adds to paragraphs in one language for questions in another; checked for leaks.

    Raises:
        InputError: the vectors lack what the source needs; :func:`check_left_out`.
    """
    match source:
        case Source.QUESTIONS_OWN | Source.QUESTIONS_ALL:
            languages = [asked] if source.own else list(vectors.questions)
            found = _questions(data, vectors, languages)
            check_left_out(found, data, vectors, languages)
            return found
        case Source.PARAGRAPHS_OWN | Source.PARAGRAPHS_ALL:
            languages = [asked] if source.own else list(vectors.paragraphs)
            return _paragraphs(data, vectors, [code for code in languages if code != paragraphs])
        case Source.TRANSLATIONS_OWN | Source.TRANSLATIONS_ALL:
            languages = [asked] if source.own else list(vectors.questions)
            groups = [vectors.translations.get(code) for code in languages if code != paragraphs]
        case Source.GENERATED:
            groups = [vectors.generated]
        case Source.SENTENCES:
            groups = [vectors.sentences.get(paragraphs)]
    if any(held is None for held in groups):
        raise InputError(f"there are no vectors of {source} for paragraphs in {paragraphs}")
    return _grouped(data, vectors, groups)


def by_paragraph(vectors: np.ndarray, owners: np.ndarray, paragraphs: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums, float64 (paragraphs, dimension), and numbers, int64 (paragraphs,), of the vectors of each paragraph."""
    sums = np.zeros((paragraphs, vectors.shape[1]))
    np.add.at(sums, owners, vectors)
    return sums, np.bincount(owners, minlength=paragraphs)


def _questions(data: ParallelData, vectors: Vectors, languages: Sequence[str]) -> Added:
    """All questions of a paragraph in these languages; own sums lack the question asked and those of its wording."""
    every = np.sum([vectors.questions[code].astype(np.float64) for code in languages], axis=0)
    sums, counts = by_paragraph(every, data.own, len(data.docids))
    left_out = np.stack([every[list(rows)].sum(axis=0) for rows in data.same])
    numbers = np.array([len(rows) for rows in data.same])
    own_counts = (counts[data.own] - numbers) * len(languages)
    own_sums = np.where(own_counts[:, None] > 0, sums[data.own] - left_out, 0.0)
    characters = sum(len(text) for code in languages for text in data.questions[code])
    encoded = len(data.qids) * len(languages)
    return Added(sums, counts * len(languages), own_sums, own_counts, encoded, characters)


def _paragraphs(data: ParallelData, vectors: Vectors, languages: Sequence[str]) -> Added:
    """The same paragraphs in other languages; there may be none of these."""
    n, dimension = len(data.docids), next(iter(vectors.paragraphs.values())).shape[1]
    sums = np.zeros((n, dimension))
    for code in languages:
        sums += vectors.paragraphs[code]
    counts = np.full(n, len(languages))
    characters = sum(len(doc.text) for code in languages for doc in data.paragraphs[code])
    return Added(sums, counts, sums[data.own], counts[data.own], n * len(languages), characters)


def _grouped(data: ParallelData, vectors: Vectors, groups: Sequence[Grouped]) -> Added:
    """Vectors that belong to paragraphs; there may be none of these."""
    none = np.zeros((0, next(iter(vectors.questions.values())).shape[1]), dtype=np.float32)
    every = np.concatenate([none, *(held.vectors for held in groups)])
    owners = np.concatenate([np.zeros(0, dtype=np.int64), *(held.owners for held in groups)])
    sums, counts = by_paragraph(every, owners, len(data.docids))
    characters = sum(held.characters for held in groups)
    return Added(sums, counts, sums[data.own], counts[data.own], len(owners), characters)


def check_left_out(found: Added, data: ParallelData, vectors: Vectors, languages: Iterable[str]) -> None:
    """Raise :class:`InputError` where a question is among the vectors that its own paragraph is augmented with.

    The sums are put together again, in another way, from the paragraph's other questions: those with another id and, in
    every language of the study, other words.
    """
    languages = list(languages)
    for i in range(len(data.qids)):
        others = [
            j
            for j in np.flatnonzero(data.own == data.own[i])
            if j != i and not any(_same_words(texts[i], texts[j]) for texts in data.questions.values())
        ]
        expected = np.zeros(found.own_sums.shape[1])
        for code in languages:
            expected += vectors.questions[code][others].sum(axis=0, dtype=np.float64)
        number = len(others) * len(languages)
        if found.own_counts[i] != number or not np.allclose(found.own_sums[i], expected, atol=1e-5, rtol=1e-5):
            raise InputError(
                f"question {data.qids[i]} is asked, but its paragraph is augmented with {found.own_counts[i]} vectors "
                f"that are not those of the {number} questions left",
                hint="the question and its translations must be left out",
            )


def _same_words(one: str, other: str) -> bool:
    return one.casefold().split() == other.casefold().split()

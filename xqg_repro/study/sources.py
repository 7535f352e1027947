"""What a method adds to each paragraph, without the question asked.

A question must not find its paragraph through itself or a translation of itself. So when a question is asked, it is
left out of what is added to its own paragraph, in all languages, and so are its duplicates. Other paragraphs do not
contain it, so their vectors and scores stay the same. The question's own paragraph gets another vector, which is exact:
``a' = (Σv - Σ_left_out v) / (n - n_left_out)`` is what an index built without the question would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.study.data import ParallelData
from xqg_repro.study.settings import Kind, Source
from xqg_repro.study.vectors import OwnedVectors, StudyVectors


@dataclass(frozen=True)
class SourceSums:
    """Sums of the vectors that a source adds to paragraphs.

    Attributes:
        sums: sum for each paragraph, float64, shape (paragraphs, dimension).
        counts: number of vectors in each sum, int64, shape (paragraphs,).
        gold_sums: for each question, the sum for its own paragraph when it is asked, float64, shape (questions,
            dimension).
        gold_counts: number of vectors in each of these, int64, shape (questions,); 0 leaves the paragraph unchanged.
        texts: number of texts that had to be encoded.
        characters: number of characters in these texts.
    """

    sums: np.ndarray
    counts: np.ndarray
    gold_sums: np.ndarray
    gold_counts: np.ndarray
    texts: int = 0
    characters: int = 0


def sum_source(source: Source, passages: str, questions: str, data: ParallelData, vectors: StudyVectors) -> SourceSums:
    """What a source adds to paragraphs in the language ``passages`` for questions in the language ``questions``.

    Raises:
        InputError: the vectors that the source needs are missing, or a question leaks (:func:`check_leaks`).
    """
    groups: list[OwnedVectors | None]
    match source:
        case Source.QUESTIONS_OWN | Source.QUESTIONS_ALL:
            languages = [questions] if source.uses_question_language else list(vectors.questions)
            sums = _sum_questions(data, vectors, languages)
            check_leaks(sums, data, vectors, languages)
            return sums
        case Source.PARAGRAPHS_OWN | Source.PARAGRAPHS_ALL:
            languages = [questions] if source.uses_question_language else list(vectors.paragraphs)
            return _sum_paragraphs(data, vectors, [code for code in languages if code != passages])
        case Source.SENTENCES:
            groups = [vectors.sentences.get(passages)]
        case _:
            by_language = _machine_made(source, vectors)
            languages = [questions] if source.uses_question_language else list(vectors.questions)
            if Kind.TRANSLATED in source.needs:
                languages = [code for code in languages if code != passages]
            groups = [by_language.get(code) for code in languages]

    present = [group for group in groups if group is not None]
    if len(present) < len(groups):
        raise InputError(f"there are no {source} vectors for paragraphs in {passages}")
    return _sum_owned(data, vectors, present)


def _machine_made(source: Source, vectors: StudyVectors) -> Mapping[str, OwnedVectors]:
    """Language → the vectors of a source of machine-made texts."""
    if Kind.TRANSLATED in source.needs:
        return vectors.cut if Kind.GENERATED in source.needs else vectors.translations
    return vectors.filtered if Kind.FILTERED in source.needs else vectors.generated


def sum_by_paragraph(vectors: np.ndarray, owners: np.ndarray, paragraphs: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum, float64 (paragraphs, dimension), and number, int64 (paragraphs,), of the vectors of each paragraph."""
    sums = np.zeros((paragraphs, vectors.shape[1]))
    np.add.at(sums, owners, vectors)
    return sums, np.bincount(owners, minlength=paragraphs)


def _sum_questions(data: ParallelData, vectors: StudyVectors, languages: Sequence[str]) -> SourceSums:
    """All questions of a paragraph in these languages; the gold sums lack the question asked and its duplicates."""
    over_languages = np.sum([vectors.questions[code].astype(np.float64) for code in languages], axis=0)
    sums, counts = sum_by_paragraph(over_languages, data.gold, len(data.docids))

    left_out = np.stack([over_languages[list(rows)].sum(axis=0) for rows in data.duplicates])
    left_out_counts = np.array([len(rows) for rows in data.duplicates])
    gold_counts = (counts[data.gold] - left_out_counts) * len(languages)
    gold_sums = np.where(gold_counts[:, None] > 0, sums[data.gold] - left_out, 0.0)

    characters = sum(len(text) for code in languages for text in data.questions[code])
    texts = len(data.qids) * len(languages)
    return SourceSums(sums, counts * len(languages), gold_sums, gold_counts, texts, characters)


def _sum_paragraphs(data: ParallelData, vectors: StudyVectors, languages: Sequence[str]) -> SourceSums:
    """The same paragraphs in other languages, possibly in none."""
    n, dimension = len(data.docids), next(iter(vectors.paragraphs.values())).shape[1]
    sums = np.zeros((n, dimension))
    for code in languages:
        sums += vectors.paragraphs[code]
    counts = np.full(n, len(languages))
    characters = sum(len(doc.text) for code in languages for doc in data.paragraphs[code])
    return SourceSums(sums, counts, sums[data.gold], counts[data.gold], n * len(languages), characters)


def _sum_owned(data: ParallelData, vectors: StudyVectors, groups: Sequence[OwnedVectors]) -> SourceSums:
    """Vectors that each belong to a paragraph, possibly none."""
    dimension = next(iter(vectors.questions.values())).shape[1]
    empty = OwnedVectors(np.zeros((0, dimension), dtype=np.float32), np.zeros(0, dtype=np.int64), 0)
    added = np.concatenate([group.vectors for group in (empty, *groups)])
    owners = np.concatenate([group.owners for group in (empty, *groups)])
    sums, counts = sum_by_paragraph(added, owners, len(data.docids))
    characters = sum(group.characters for group in groups)
    return SourceSums(sums, counts, sums[data.gold], counts[data.gold], len(owners), characters)


def check_leaks(sums: SourceSums, data: ParallelData, vectors: StudyVectors, languages: Iterable[str]) -> None:
    """Raise :class:`InputError` if a question's own paragraph is augmented with the question itself.

    The check recomputes each sum in another way, from the paragraph's other questions: those with another id and with
    different words in every language of the study.
    """
    languages = list(languages)
    words = [[text.casefold().split() for text in texts] for texts in data.questions.values()]
    for row, gold in enumerate(data.gold):
        same_paragraph = np.flatnonzero(data.gold == gold).tolist()
        others = [other for other in same_paragraph if all(text[other] != text[row] for text in words)]
        expected = np.zeros(sums.gold_sums.shape[1])
        for code in languages:
            expected += vectors.questions[code][others].sum(axis=0, dtype=np.float64)
        count = len(others) * len(languages)
        if sums.gold_counts[row] != count or not np.allclose(sums.gold_sums[row], expected, atol=1e-5, rtol=1e-5):
            raise InputError(
                f"question {data.qids[row]}: its paragraph is augmented with {sums.gold_counts[row]} vectors that are "
                f"not those of the {count} other questions",
                hint="leave the question and its translations out",
            )


SumsOf = Callable[[Source, str, str], SourceSums]
"""A source, the language of the paragraphs and that of the questions → what the source adds."""


def cached_sums(data: ParallelData, vectors: StudyVectors) -> SumsOf:
    """:func:`sum_source` with a cache: each source is summed once for the languages that it depends on."""
    cached = cache(partial(sum_source, data=data, vectors=vectors))

    def sums_of(source: Source, passages: str, questions: str) -> SourceSums:
        passages = passages if source.uses_paragraph_language else ""
        return cached(source, passages, questions if source.uses_question_language else "")

    return sums_of

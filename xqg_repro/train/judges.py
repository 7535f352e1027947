"""Judges: is a retrieved passage a positive or a negative of a training question, or neither?

* ``string``: a passage that contains an answer, by the rule of :mod:`xqg_repro.train.answers`, is positive; any other
  is negative.
* ``reader``: a passage is positive if the best span of an extractive reader in it equals an answer, normalised as for
  SQuAD. If it is not, but contains an answer, it is neither.
* ``generator``, CORA's rule: a passage is positive if the answer that a generator writes from it equals an answer. If
  it does not, but the passage's text has the first answer as a substring, they are *matched*: the first such passage is
  the positive of a question that has no other.
* ``qrels``: a passage that is judged relevant is positive; any other is negative. This is the best any judge can do.

The reader and the generator read each passage by itself.

The published code compares strings as they are, and so does ``generator``, with one exception: as everywhere in this
package, ``yes`` and ``no`` are never substrings of a passage, since ``north`` has a ``no``. So a passage of such a
question is positive if the generator answers right, and otherwise negative. With the other judges that read answers,
such a question has no positive passage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.evaluation.measures.match import exact_match, normalise_squad
from xqg_repro.evaluation.measures.recall import scorable
from xqg_repro.models.answerer import Answerer, AskedPassages
from xqg_repro.models.reader import SpanReader
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
from xqg_repro.train.tevatron import TevatronLine


class Verdict(StrEnum):
    """What a passage is to a question; ``MATCHED`` is neither positive nor negative."""

    POSITIVE = "positive"
    MATCHED = "matched"
    NEGATIVE = "negative"


class Retrieved(NamedTuple):
    """A training question and one passage that was retrieved for it."""

    question: TevatronLine
    passage: Passage


Report = Callable[[int], object]
"""Receives the number of pairs that were just read."""

Judge = Callable[[Sequence[Retrieved], Report], list[Verdict]]
"""Returns the verdict on each pair."""


def open_judge(config: JudgeConfig, relevant: Mapping[str, AbstractSet[str]], device: str | None = None) -> Judge:
    """A judge, ready to judge.

    Args:
        config: which judge, with its model.
        relevant: qid → docids of the relevant passages, which only the judge ``qrels`` reads.
        device: torch device of the model; ``None`` takes a GPU if available.

    Raises:
        InputError: as the model's class.
    """
    if config.reader is not None:
        return ReaderJudge(SpanReader(config.reader, device))
    if config.answerer is not None:
        return GeneratorJudge(Answerer(config.answerer, device))
    return judge_strings if config.kind is JudgeKind.STRING else QrelsJudge(relevant)


def judge_strings(pairs: Sequence[Retrieved], report: Report) -> list[Verdict]:
    """The verdicts of the judge ``string``."""
    verdicts = [
        Verdict.POSITIVE if contains_answer(passage, question.answers) else Verdict.NEGATIVE
        for question, passage in pairs
    ]
    report(len(pairs))
    return verdicts


@dataclass(frozen=True)
class QrelsJudge:
    """The judge ``qrels``; ``relevant`` is by qid, and lacks questions that are not judged."""

    relevant: Mapping[str, AbstractSet[str]]

    def __call__(self, pairs: Sequence[Retrieved], report: Report) -> list[Verdict]:
        """The verdict on each pair."""
        report(len(pairs))
        return [
            Verdict.POSITIVE if passage.doc_id in self.relevant.get(question.qid, ()) else Verdict.NEGATIVE
            for question, passage in pairs
        ]


@dataclass(frozen=True)
class ReaderJudge:
    """The judge ``reader``, which reads texts without titles."""

    reader: SpanReader

    def __call__(self, pairs: Sequence[Retrieved], report: Report) -> list[Verdict]:
        """The verdict on each pair."""
        texts = [passage.text for _, passage in pairs]
        spans = self.reader.read([question.query for question, _ in pairs], texts, report)
        outputs = [text[span.start : span.end] if span else "" for text, span in zip(texts, spans, strict=True)]
        return [judge_span(output, q.answers, p) for output, (q, p) in zip(outputs, pairs, strict=True)]


@dataclass(frozen=True)
class GeneratorJudge:
    """The judge ``generator``, which asks about one passage at a time."""

    answerer: Answerer

    def __call__(self, pairs: Sequence[Retrieved], report: Report) -> list[Verdict]:
        """The verdict on each pair."""
        asked = [AskedPassages(question.query, question.lang, (passage,)) for question, passage in pairs]
        outputs = self.answerer.answer(asked, report)
        return [judge_output(output, q.answers, p) for output, (q, p) in zip(outputs, pairs, strict=True)]


def judge_span(span: str, answers: Sequence[str], passage: Passage) -> Verdict:
    """The verdict on a passage in which the reader marked a span, which is empty if it found none.

    >>> turku = Passage("1", "Turku", "The city of Turku was founded in 1229.")
    >>> [str(judge_span(span, ["1229"], turku)) for span in ("1229.", "Turku")]
    ['positive', 'matched']
    """
    if normalise_squad(span) and answers and exact_match(span, answers, normalise_squad):
        return Verdict.POSITIVE
    return Verdict.MATCHED if contains_answer(passage, answers) else Verdict.NEGATIVE


def judge_output(output: str, answers: Sequence[str], passage: Passage) -> Verdict:
    """The verdict on a passage from which the generator wrote an output. Only white space is normalised.

    >>> turku = Passage("1", "Turku", "The city of Turku was founded in 1229.")
    >>> [str(judge_output(output, ["1229", "the 1220s"], turku)) for output in ("the 1220s", "1230")]
    ['positive', 'matched']
    >>> str(judge_output("1229", ["the 1220s", "1220s"], turku)), str(judge_output("1230", ["no"], turku))
    ('negative', 'negative')
    """
    if output in {" ".join(answer.split()) for answer in answers}:
        return Verdict.POSITIVE
    first = scorable(answers[:1])
    return Verdict.MATCHED if first and first[0] in passage.text else Verdict.NEGATIVE

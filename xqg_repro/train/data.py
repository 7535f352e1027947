"""Training examples from ir-datasets, from Tevatron's JSON lines or from files in SQuAD's format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import check_questions, to_passage
from xqg_repro.collection.records import Passage
from xqg_repro.collection.squad import parse_squad
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.ids import lookalike_hint
from xqg_repro.train.recipe import Recipe
from xqg_repro.train.tevatron import TevatronLine, numbered_lines, parse_line

TRAINING = "training"
"""The collection in ``resources/collections/files.yaml`` that lists the published training files."""

_COMPARISON_DATA = re.compile(r"(xor-mini|xor-tydi)/(dev|test)\b")

_TRAINING_KEYS = ("query", "positive_passages", "negative_passages")

_GOLD_TITLE = re.compile(r"Title.(.*?)_parentSection.*", re.DOTALL)
"""A title in XOR-TyDi's gold paragraphs. The group is the article's title, as in DSI-QG's ``process_xorqa.py``."""


class Example(NamedTuple):
    """A training question with a passage that answers it and passages that do not.

    Attributes:
        lang: the question's language (ISO 639-1); empty if unknown.
        answers: its short answers, if known.
        starts: position of each answer's first character in the positive; -1 if unknown.
        other_positives: further passages that answer the question; only Tevatron's files have them.
        scores: a teacher's scores of the passages for the question, by docid, if they are needed and read.
    """

    query: str
    positive: Passage
    negatives: tuple[Passage, ...] = ()
    lang: str = ""
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    qid: str = ""
    other_positives: tuple[Passage, ...] = ()
    scores: Mapping[str, float] | None = None

    @property
    def label(self) -> str:
        """The question as messages name it."""
        return question_label(self.qid, self.query)


def question_label(qid: str, text: str) -> str:
    """A question as messages name it: its id, if it has one, and its text.

    >>> print(question_label("q1", "Missä?"), question_label("", "Mikä?"))
    q1 'Missä?' 'Mikä?'
    """
    return f"{qid} {quote(text)}".lstrip()


def load_examples(data: str, *, scored: bool = False) -> tuple[Sequence[Example], str]:
    """Training examples and their fingerprint, from one of

    * an ir-datasets id with questions and judgements. The positive is the first passage judged relevant; the negatives
      are the other passages with its title that are not judged relevant.
    * a ``.jsonl`` file in Tevatron's format, whose lines are read when an example is accessed.
    * a ``.json`` file in SQuAD's format, such as XOR-TyDi's gold paragraphs. The negatives are the article's other
      paragraphs.

    Files are looked up by :func:`training_file`.

    Args:
        scored: whether each passage must have a teacher's score, which only Tevatron's format has.

    Raises:
        InputError: the dataset is unknown or has no judgements, the file is missing or malformed, or ``data`` has no
            scores although it must.
    """
    if scored and not data.endswith(".jsonl"):
        hint = "name a .jsonl file whose passages have a score"
        raise InputError(f"{data} has no scores of a teacher, which distillation needs", hint=hint)
    if data.endswith((".jsonl", ".json", ".gz")):
        path = training_file(data)
        if path.suffix == ".jsonl":
            return TevatronFile(path, scored=scored), file_digest(path)
        examples = _squad_examples(path)
        confirm_training_file(data, len(examples))
        return examples, file_digest(path)
    return _judged_examples(data, collection.load(data, needs=["docs", "queries", "qrels"]))


def training_file(data: str) -> Path:
    """The file at this path, or else the published training file of this name, downloaded once.

    Raises :class:`InputError` if the file is compressed or the download fails.
    """
    path = Path(data)
    if path.suffix == ".gz":
        raise InputError("is compressed, but training needs random access", path=path, hint="decompress it first")
    if path.exists() and not path.is_file():
        raise InputError("is not a regular file, which training reads several times", path=path)
    published = None if path.exists() else collection.file_path(TRAINING, data)
    return published or path


def confirm_training_file(data: str, examples: int) -> None:
    """Note that a published training file was read whole, see :meth:`~xqg_repro.collection.files.DataFile.confirm`."""
    if not Path(data).exists():
        collection.confirm_file(TRAINING, data, examples)


def load_passages(data: str) -> list[Passage]:
    """All passages of a collection, or the positives of a training file."""
    if data.endswith((".jsonl", ".json")):
        return list(dict.fromkeys(example.positive for example in load_examples(data)[0]))
    return [to_passage(doc) for doc in collection.load(data, needs=["docs"]).docs_iter()]


# ir-datasets


def _judged_examples(data: str, dataset: Any) -> tuple[list[Example], str]:
    passages = {doc.doc_id: to_passage(doc) for doc in dataset.docs_iter()}
    by_title: dict[str, list[Passage]] = {}
    for passage in passages.values():
        by_title.setdefault(passage.title, []).append(passage)

    relevant = relevant_passages(dataset)
    examples = []
    for question in check_questions(dataset):
        docids = relevant.get(question.query_id)
        if not docids:
            raise InputError(f"question {question.query_id} of {data} has no relevant passage")
        if docids[0] not in passages:
            hint = lookalike_hint(docids[0], passages)
            raise InputError(f"{data} judges the passage {docids[0]!r}, which is not in its collection", hint=hint)
        positive = passages[docids[0]]
        answers = tuple(getattr(question, "answers", ()))
        example = Example(
            question.default_text(),
            positive,
            negatives=tuple(p for p in by_title[positive.title] if p.doc_id not in docids),
            lang=getattr(question, "lang", ""),
            answers=answers,
            starts=(-1,) * len(answers),
            qid=question.query_id,
        )
        examples.append(example)
    return examples, digest([collection.fingerprint(dataset, "docs"), collection.fingerprint(dataset, "queries")])


def relevant_passages(dataset: Any) -> dict[str, list[str]]:
    """Question id → docids of the passages judged relevant, in the order of the judgements."""
    relevant: dict[str, list[str]] = {}
    for judgement in dataset.qrels_iter():
        if judgement.relevance > 0:
            relevant.setdefault(judgement.query_id, []).append(judgement.doc_id)
    return relevant


# Tevatron's format


class CheckedExample(NamedTuple):
    """An example of a training file with its line number, and how many negatives were dropped from it.

    They were ``repeated``, or they were a ``positive`` of the line: the same docid, or the same title and text.
    """

    number: int
    example: Example
    repeated: int
    positive: int


class TevatronFile(Sequence[Example]):
    """A training file in Tevatron's format. Only line offsets are kept in memory; each access reads its line.

    Some negatives are dropped, see :class:`CheckedExample`; :mod:`xqg_repro.train.checks` counts them.
    """

    def __init__(self, path: str | Path, *, scored: bool = False) -> None:
        self.path, self.scored = Path(path), scored
        self._lines = [(number, offset) for number, offset, _ in numbered_lines(self.path)]

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return self.read(i).example

    def read(self, i: int) -> CheckedExample:
        """The example at a position; :class:`InputError` if its line is malformed, or lacks a positive or a score."""
        number, offset = self._lines[i]
        with open(self.path, "rb") as file:
            file.seek(offset)
            line = parse_line(file.readline(), self.path, number, _TRAINING_KEYS, scored=self.scored)
        if not line.positives:
            raise InputError("not a training example: the query has no positive passage", path=self.path, line=number)

        negatives, repeated, positive = _clean_negatives(line)
        first, *others = line.positives
        fields = (line.lang, line.answers, (-1,) * len(line.answers), line.qid, tuple(others), line.scores or None)
        example = Example(line.query, first, tuple(negatives), *fields)
        return CheckedExample(number, example, repeated, positive)


def _clean_negatives(line: TevatronLine) -> tuple[list[Passage], int, int]:
    """The negatives to keep, and how many were dropped as repeated and as positive."""

    def keys(passage: Passage) -> set[Any]:  # passages that share a key are the same
        return {passage.doc_id, (passage.title, passage.text)}

    positive_keys = {key for passage in line.positives for key in keys(passage)}
    kept: list[Passage] = []
    kept_keys: set[Any] = set()
    repeated = positive = 0
    for passage in line.negatives:
        if keys(passage) & positive_keys:
            positive += 1
        elif keys(passage) & kept_keys:
            repeated += 1
        else:
            kept.append(passage)
            kept_keys |= keys(passage)
    return kept, repeated, positive


# SQuAD's format


def _squad_examples(path: Path) -> list[Example]:
    """The questions of a file in SQuAD's format.

    Of several questions with the same id, only the first is used, as DSI-QG does with XOR-TyDi's gold paragraphs.
    """
    examples: list[Example] = []
    seen: set[str] = set()
    for article in parse_squad(path, "training file"):
        gold = _GOLD_TITLE.fullmatch(article.title)
        title = gold.group(1) if gold else article.title
        passages = [Passage(digest([title, paragraph.text]), title, paragraph.text) for paragraph in article.paragraphs]
        for paragraph, positive in zip(article.paragraphs, passages, strict=True):
            negatives = tuple(passage for passage in passages if passage != positive)
            for qid, text, lang, answers in paragraph.questions:
                if qid and qid in seen:
                    continue
                seen.add(qid)
                texts, starts = tuple(a.text for a in answers), tuple(a.start for a in answers)
                examples.append(Example(text, positive, negatives, lang, texts, starts, qid))
    return examples


# what is trained and measured on


class Selection(Sequence[Example]):
    """Examples of other sequences, read and changed when they are accessed.

    >>> list(Selection([(["a", "b", "c"], 2), (["d"], 0)], str.upper))
    ['C', 'D']
    """

    def __init__(
        self,
        places: Sequence[tuple[Sequence[Example], int]],
        change: Callable[[Example], Example] = lambda example: example,
    ) -> None:
        self._places, self._change = places, change

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return Selection(self._places[i], self._change)
        examples, position = self._places[i]
        return self._change(examples[position])


class Split(NamedTuple):
    """Questions to train on and to measure on, the fingerprint of both, and all questions of the recipe's ``data``."""

    kept: Sequence[Example]
    held_out: Sequence[Example]
    version: str
    examples: Sequence[Example]


def refuse_comparison_data(*names: str) -> None:
    """Raise :class:`InputError` if one of these is a dev or test set, on which systems are compared."""
    for name in names:
        if _COMPARISON_DATA.match(name):
            raise InputError(f"systems are compared on {name}", hint="train and measure on other questions")


def load_split(recipe: Recipe) -> Split:
    """The questions of a recipe's ``data``; a share of them, or ``held_out_data``, is held out.

    Raises:
        InputError: as for :func:`load_examples`; no question is left to train on; the held-out data is the training
            data; or the data is a dev or test set, on which systems are compared.
    """
    refuse_comparison_data(recipe.data, recipe.held_out_data)
    if recipe.data == recipe.held_out_data:
        raise InputError(f"{recipe.data} cannot be both training and held-out data", hint="name other held-out data")

    examples, version = load_examples(recipe.data, scored=recipe.needs_scores)
    if recipe.held_out_data:
        held_out, held_out_version = load_examples(recipe.held_out_data)
        split = Split(examples, held_out, digest([version, held_out_version]), examples)
    else:
        split = Split(*held_out_split(examples, recipe.held_out), version, examples)
    if not split.kept:
        raise InputError(f"{recipe.data} leaves no question to train on", hint="hold out fewer, or name other data")
    return split


def held_out_split(examples: Sequence[Example], share: float) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split examples by passage into (kept, held out).

    A hash of the first positive's docid decides, so all questions about a passage fall on the same side. A kept
    question loses its other positives on the held-out side; a held-out question loses all its other positives.
    """
    if not share:
        return examples, []

    def is_held_out(passage: Passage) -> bool:
        return int(hashlib.sha256(passage.doc_id.encode()).hexdigest()[:8], 16) / 2**32 < share

    def without_held_out(example: Example) -> Example:
        return example._replace(other_positives=tuple(p for p in example.other_positives if not is_held_out(p)))

    kept: list[tuple[Sequence[Example], int]] = []
    held_out: list[tuple[Sequence[Example], int]] = []
    for position, example in enumerate(examples):
        side = held_out if is_held_out(example.positive) else kept
        side.append((examples, position))
    return Selection(kept, without_held_out), Selection(held_out, lambda e: e._replace(other_positives=()))

"""Training examples, from ir-datasets with judgements, Tevatron's JSON lines and SQuAD's format; pairs of names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import digest, file_digest, read_text
from xqg_repro.core.settings import resource
from xqg_repro.train.recipe import Recipe

TRAINING = "training"
"""The training files that are fetched by their names, in ``resources/collections/files.yaml``."""

_COMPARED = re.compile(r"(xor-mini|xor-tydi)/(dev|test)\b")

_GOLD_TITLE = re.compile(r"Title.(.*?)_parentSection.*", re.DOTALL)
"""A title in XOR-TyDi's gold paragraphs, with the article's own, as DSI-QG's ``process_xorqa.py`` takes it out."""


class TrainingPassage(NamedTuple):
    """A passage as training sees it."""

    doc_id: str
    title: str
    text: str


class Example(NamedTuple):
    """A question, a passage that answers it, passages that do not.

    Where known: the question's language, its answers, the first character of each in the passage (-1 where that is not
    known), its id, and, of a training file, other passages that answer it.
    """

    query: str
    positive: TrainingPassage
    negatives: tuple[TrainingPassage, ...] = ()
    lang: str = ""
    answers: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    qid: str = ""
    other_positives: tuple[TrainingPassage, ...] = ()

    @property
    def label(self) -> str:
        """What messages call the question: its id, where it has one, and its text."""
        return labelled(self.qid, self.query)


def labelled(qid: str, text: str) -> str:
    """What messages call a question.

    >>> print(labelled("q1", "Missä?"), labelled("", "Mikä?"))
    q1 'Missä?' 'Mikä?'
    """
    return f"{qid} {quote(text)}".lstrip()


def training_file(data: str) -> Path:
    """The file of that path; if there is none, and a published training file has the name, that one, fetched once.

    Raises:
        InputError: the file is compressed, or a published one cannot be had.
    """
    path = Path(data)
    if path.suffix == ".gz":
        raise InputError("is compressed, and examples are read in any order", path=path, hint="uncompress it first")
    found = None if path.exists() else collection.file_path(TRAINING, data)
    return found or path


def load_examples(data: str) -> tuple[Sequence[Example], str]:
    """Training examples and their fingerprint.

    Args:
        data: ir-datasets id with questions and judgements (the positive is the first passage judged relevant, given
            negatives are the passages of its title that are not), a JSON-lines file in Tevatron's format (``query``,
            ``positive_passages``, ``negative_passages``), or a ``.json`` file in SQuAD's format, as XOR-TyDi's gold
            paragraphs are (given negatives are the article's other paragraphs). JSON lines are read when an example is
            asked for. Files are found by :func:`training_file`.

    Raises:
        InputError: an unknown dataset, one without judgements, or a bad line of a file.
    """
    if data.endswith((".jsonl", ".json", ".gz")):
        path = training_file(data)
        return TevatronFile(path) if path.suffix == ".jsonl" else _squad_examples(path), file_digest(path)
    dataset = collection.load(data, needs=["docs", "queries", "qrels"])
    return _judged_examples(data, dataset)


def _judged_examples(data: str, dataset: Any) -> tuple[list[Example], str]:
    passages = {passage.doc_id: passage for passage in _passages(dataset)}
    by_title: dict[str, list[TrainingPassage]] = {}
    for passage in passages.values():
        by_title.setdefault(passage.title, []).append(passage)
    relevant, examples = relevant_passages(dataset), []
    for question in dataset.queries_iter():
        own = relevant.get(question.query_id)
        if not own:
            raise InputError(f"question {question.query_id} of {data} has no relevant passage")
        if own[0] not in passages:
            raise InputError(f"{data} judges the passage {own[0]!r}, which its collection does not have")
        positive = passages[own[0]]
        negatives = tuple(p for p in by_title[positive.title] if p.doc_id not in own)
        lang, answers = getattr(question, "lang", ""), tuple(getattr(question, "answers", ()))
        starts = (-1,) * len(answers)
        examples.append(Example(question.default_text(), positive, negatives, lang, answers, starts, question.query_id))
    return examples, digest([collection.fingerprint(dataset, "docs"), collection.fingerprint(dataset, "queries")])


def relevant_passages(dataset: Any) -> dict[str, list[str]]:
    """Question id → docids of the passages judged relevant, in the order of the judgements."""
    relevant: dict[str, list[str]] = {}
    for judgement in dataset.qrels_iter():
        if judgement.relevance > 0:
            relevant.setdefault(judgement.query_id, []).append(judgement.doc_id)
    return relevant


def load_passages(data: str) -> list[TrainingPassage]:
    """All passages of a collection, or of a training file those that are somebody's positive."""
    if data.endswith((".jsonl", ".json")):
        return list({example.positive: None for example in load_examples(data)[0]})
    return _passages(collection.load(data, needs=["docs"]))


def _passages(dataset: Any) -> list[TrainingPassage]:
    return [training_passage(doc) for doc in dataset.docs_iter()]


def training_passage(doc: Any) -> TrainingPassage:
    """An ir-datasets document, whose title may be absent."""
    return TrainingPassage(doc.doc_id, getattr(doc, "title", None) or "", doc.text)


class TevatronFile(Sequence[Example]):
    """Tevatron's training file, read line by line as asked for: memory holds the lines' places only.

    Of a line's negatives those are left out that are one of its positives, or another negative once more: the same
    docid, or the same title and text under another. :mod:`xqg_repro.train.checks` counts them.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lines: list[tuple[int, int]] = []  # number and byte offset
        if not self.path.exists():
            raise InputError("there is no such training file", path=path)
        at = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    self._lines.append((number, at))
                at += len(line)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return self.read(i).example

    def read(self, i: int) -> Line:
        """The example at a position, with what was found in its line.

        Raises:
            InputError: the line is not an example, or has no positive passage.
        """
        with open(self.path, "rb") as file:
            number, offset = self._lines[i]
            file.seek(offset)
            line = file.readline()
        try:
            item = json.loads(line)
            query, lang, qid = item["query"], item.get("lang", "").strip(), str(item.get("query_id", ""))
            answers = tuple(map(str, item.get("answers", ())))
            positives, negatives = (
                [TrainingPassage(str(p["docid"]), p["title"], p["text"]) for p in item[f"{kind}_passages"]]
                for kind in ("positive", "negative")
            )
            if not all(isinstance(text, str) for p in (*positives, *negatives) for text in (query, p.title, p.text)):
                raise TypeError("a text is not a string")
            if not positives:
                raise ValueError("the query has no positive passage")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"is not a training example: {type(error).__name__} {error}",
                path=self.path,
                line=number,
                hint="each line has query, positive_passages (one at least) and negative_passages",
            ) from None
        others = _left_of(negatives, positives)
        kept = _left_of(others, [], once=True)
        starts = (-1,) * len(answers)
        example = Example(query, positives[0], tuple(kept), lang, answers, starts, qid, tuple(positives[1:]))
        return Line(number, example, len(others) - len(kept), len(negatives) - len(others))


class Line(NamedTuple):
    """A line of a training file: its number, its example, and how many negatives are left out of that for a reason."""

    number: int
    example: Example
    repeated: int
    positive: int


def _left_of(
    passages: Sequence[TrainingPassage], those: Sequence[TrainingPassage], *, once: bool = False
) -> list[TrainingPassage]:
    """The passages that are none of ``those``, by docid or by title and text; if asked, each ``once``."""
    seen: set[Any] = {key for passage in those for key in (passage.doc_id, passage[1:])}
    found = []
    for passage in passages:
        if passage.doc_id not in seen and passage[1:] not in seen:
            found.append(passage)
            if once:
                seen |= {passage.doc_id, passage[1:]}
    return found


class Chosen(Sequence[Example]):
    """Examples of other sequences, read there, and changed, when they are asked for.

    >>> list(Chosen([(["a", "b", "c"], 2), (["d"], 0)], str.upper))
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
            return Chosen(self._places[i], self._change)
        examples, position = self._places[i]
        return self._change(examples[position])


def together(*parts: Sequence[Example]) -> Chosen:
    """The examples of one sequence behind those of the other."""
    return Chosen([(part, position) for part in parts for position in range(len(part))])


def _squad_examples(path: Path) -> list[Example]:
    """The questions of a SQuAD-format file; given negatives are the other paragraphs of the article.

    A question whose id stood in the file before is left out, as DSI-QG does with XOR-TyDi's gold paragraphs.
    """
    examples, seen = [], set()
    try:
        for article in json.loads(read_text(path, "training file"))["data"]:
            title, paragraphs = article.get("title", "").strip(), article["paragraphs"]
            title = gold.group(1) if (gold := _GOLD_TITLE.fullmatch(title)) else title
            texts = [paragraph["context"] for paragraph in paragraphs]
            passages = [TrainingPassage(digest([title, text]), title, text) for text in texts]
            for paragraph, own in zip(paragraphs, passages, strict=True):
                others = tuple(passage for passage in passages if passage != own)
                for qa in paragraph["qas"]:
                    qid = str(qa.get("id", ""))
                    if qid and qid in seen:
                        continue
                    seen.add(qid)
                    answers = {(a["text"], int(a.get("answer_start", -1))): None for a in qa.get("answers", ())}
                    found = tuple(zip(*answers, strict=True)) or ((), ())
                    lang = qa.get("lang", "").strip()
                    examples.append(Example(qa["question"].strip(), own, others, lang, *found, qid))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"is not in SQuAD's format: {type(error).__name__} {error}", path=path) from None
    return examples


def load_names(*, held_out: bool = False) -> list[Example]:
    """Pairs of names: a name in one of the seven languages → the English name, of places, currencies and the like.

    Args:
        held_out: also the names of entities of the embedded collection of which no training question speaks.
    """
    path = resource("xor_mini", "names.tsv")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    languages = header.split("\t")[3:]
    pairs = []
    for number, line in enumerate(lines, 2):
        kind, split, english, *names = line.split("\t")
        if len(names) != len(languages):
            raise InputError(f"has {len(names)} names where {len(languages)} are due", path=path, line=number)
        if split != "train" and not held_out:
            continue
        target = TrainingPassage(f"{kind} {english}", english, "")
        pairs += [
            Example(name, target, lang=language)
            for language, name in zip(languages, names, strict=True)
            if name and name != english
        ]
    return pairs


class Split(NamedTuple):
    """The questions to train on, those to measure on, the fingerprint of both, and all questions of the data."""

    kept: Sequence[Example]
    held_out: Sequence[Example]
    version: str
    examples: Sequence[Example]


def load_split(recipe: Recipe) -> Split:
    """The questions of a recipe: its ``data``, and to measure on a share of it or ``held_out_data``.

    Raises:
        InputError: as for :func:`load_examples`, nothing is left to train on, data are to be measured on that are
            trained on, or data are those that systems are compared on.
    """
    for name in (recipe.data, recipe.held_out_data):
        if _COMPARED.match(name):
            raise InputError(f"{name} is what systems are compared on", hint="train and measure on other questions")
    if recipe.data == recipe.held_out_data:
        raise InputError(f"{recipe.data} cannot be both trained and measured on", hint="name other held-out data")
    examples, version = load_examples(recipe.data)
    if recipe.held_out_data:
        held_out, other = load_examples(recipe.held_out_data)
        split = Split(examples, held_out, digest([version, other]), examples)
    else:
        split = Split(*held_out_split(examples, recipe.held_out), version, examples)
    if not split.kept:
        raise InputError(f"{recipe.data} leaves no question to train on", hint="hold out fewer, or name other data")
    return split


def held_out_split(examples: Sequence[Example], share: float) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split by passage: (kept, held out). All questions of a passage fall on the same side, by a hash of its id.

    The passage is a question's first positive. Of the others, those on the held-out side are dropped, and a held-out
    question is left with its first.
    """
    if not share:
        return examples, []

    def is_held_out(passage: TrainingPassage) -> bool:
        return int(hashlib.sha256(passage.doc_id.encode()).hexdigest()[:8], 16) / 2**32 < share

    def without_held_out(example: Example) -> Example:
        return example._replace(other_positives=tuple(p for p in example.other_positives if not is_held_out(p)))

    sides: tuple[list[tuple[Sequence[Example], int]], list[tuple[Sequence[Example], int]]] = ([], [])
    for position, example in enumerate(examples):
        sides[is_held_out(example.positive)].append((examples, position))
    return Chosen(sides[0], without_held_out), Chosen(sides[1], lambda example: example._replace(other_positives=()))

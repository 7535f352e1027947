"""The prediction file of XOR-TyDi's leaderboard (XOR-Retrieve), read and validated.

It is a JSON list with one object per question, ``{"id": …, "lang": …, "ctxs": [text, …]}``: the texts (no titles) of
its passages in rank order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection import documents
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.ids import is_id, lookalike_hint
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.text import read_json

_SHAPE = 'a submission is one JSON list of {"id": "…", "lang": "…", "ctxs": ["a passage\'s text", …]}'


class Prediction(NamedTuple):
    """The passages retrieved for a question.

    Attributes:
        qid: the question's id.
        label: its language as the file writes it; see :attr:`lang`.
        ctxs: texts of its passages in rank order.
    """

    qid: str
    label: str
    ctxs: tuple[str, ...]

    @property
    def lang(self) -> str:
        """Language (ISO 639-1). The training file's label for Arabic, and copies of it, begin with a space."""
        return self.label.strip()


def read_submission(path: str | Path, topics: str | None = None, *, complete: bool = True) -> list[Prediction]:
    """Read and validate a submission of any origin. Unknown keys are ignored.

    Args:
        path: the JSON file; decompressed if its name ends in ``.gz``.
        topics: ir-datasets id of its questions; ``None`` allows any question in XOR-TyDi's languages.
        complete: with topics, whether every question must be present.

    Raises:
        InputError: names the item by its index (from 0) and id. The file is not a JSON list of such items; an id is
            repeated or unknown; a language is unknown, differs from the question's, or has two labels; or questions are
            missing.
    """
    path = Path(path)
    content = read_json(path, "submission", _SHAPE)
    if not isinstance(content, list) or not content:
        raise InputError("is not a JSON list of questions", path=path, hint=_SHAPE)
    languages = None if topics is None else question_languages(collection.load(topics, needs=["queries"]))
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    labels: dict[str, str] = {}
    for index, value in enumerate(content):
        prediction = _parse(value, index, path)
        qid, lang, label = prediction.qid, prediction.lang, prediction.label
        if qid in seen:
            raise item_error(path, index, qid, f"has the same id as item [{seen[qid]}]")
        _check_language(prediction, index, path, languages, topics)
        if labels.setdefault(lang, label) != label:
            hint = "the official script treats them as two languages"
            raise item_error(path, index, qid, f"the language is {label!r}, but {labels[lang]!r} before", hint)
        seen[qid] = index
        predictions.append(prediction)
    if languages and complete and (absent := [qid for qid in languages if qid not in seen]):
        raise InputError(
            f"lacks {len(absent):,} of the {len(languages):,} questions of {topics}, such as {absent[0]!r}",
            path=path,
            hint='the official script leaves them out of the mean; add items for them, with "ctxs": [] if need be',
        )
    return predictions


def question_languages(dataset: Any) -> dict[str, str]:
    """qid → language of every question, in order; :class:`InputError` if a question has none."""
    languages = documents.question_languages(dataset)
    if unknown := [qid for qid, lang in languages.items() if not lang]:
        raise InputError(
            f"{dataset.dataset_id()} does not say in which language question {unknown[0]!r} is",
            hint="a submission needs the language of every question; use other topics",
        )
    return languages


def item_error(path: Path, index: int, qid: Any, problem: str, hint: str = _SHAPE) -> InputError:
    """An error that names an item of a submission."""
    where = f"item [{index}]" if qid is None else f"item [{index}], id {quote(qid)}"
    return InputError(f"{where}: {problem}", path=path, hint=hint)


def _parse(value: Any, index: int, path: Path) -> Prediction:
    if not isinstance(value, dict):
        raise item_error(path, index, None, f"is not an object: {quote(value)}")
    qid = value.get("id")
    for key in ("id", "lang", "ctxs"):
        if key not in value:
            raise item_error(path, index, qid, f"has no {key!r}")
    for key in ("id", "lang"):
        if not isinstance(value[key], str):  # the official script compares ids as text, so it would not know a number
            raise item_error(path, index, qid, f"{key} is not text: {quote(value[key])}")
    qid, label, ctxs = value["id"], value["lang"], value["ctxs"]
    if not is_id(qid):
        raise item_error(path, index, qid, "the id is empty, or contains white space or half a character")
    if not isinstance(ctxs, list):
        raise item_error(path, index, qid, f"ctxs is not a list: {quote(ctxs)}")
    for position, text in enumerate(ctxs):
        if not isinstance(text, str):
            raise item_error(path, index, qid, f"ctxs[{position}] is not text: {quote(text)}")
        if not text.strip():
            raise item_error(path, index, qid, f"ctxs[{position}] is blank", "leave out passages without text")
    return Prediction(qid, label, tuple(ctxs))


def _check_language(
    prediction: Prediction, index: int, path: Path, languages: Mapping[str, str] | None, topics: str | None
) -> None:
    qid, problem = prediction.qid, f"the language is {quote(prediction.label)}"
    if languages is None:
        if prediction.lang not in XOR_LANGUAGES:
            raise item_error(path, index, qid, problem, f"choose from: {', '.join(XOR_LANGUAGES)}")
    elif qid not in languages:
        hint = lookalike_hint(qid, languages) or "is this a submission for another topic set?"
        raise item_error(path, index, qid, f"{topics} has no such question", hint)
    elif prediction.lang != languages[qid]:
        raise item_error(path, index, qid, problem, f"write {languages[qid]!r}")

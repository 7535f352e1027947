"""Reader of retrieval results in JSON: those of DPR and of Pyserini."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.text import read_json
from xqg_repro.evaluation.formats import Entry, ForeignRun, group_entries
from xqg_repro.retrieval.runfile import parse_number

_HINT = (
    'DPR writes [{"question": …, "ctxs": [{"id": …, "score": …}]}], '
    'Pyserini {"qid": {"question": …, "contexts": [{"docid": …, "score": …}]}}'
)
_ID_KEYS = ("id", "qid", "question_id")


def read_dpr(path: Path, questions: Mapping[str, str] | None) -> ForeignRun:
    """Read DPR's list of questions with ``ctxs``, or Pyserini's mapping of qids to questions with ``contexts``.

    DPR's items are identified by their id or, if they have none, by the question's text, ignoring differences in white
    space. If several questions share a text, there must be one item for each; they are matched in order.

    ``questions`` is qid → text of the topics; ``None`` allows any question, but then every item needs an id.

    Raises:
        InputError: names the file and the item. The file is not JSON of this form, an item cannot be identified, or two
            items are the same question.
    """
    content = read_json(path, "file of results", _HINT)
    if isinstance(content, dict):
        items = {f"question {quote(qid)}": (qid, item) for qid, item in content.items()}
        many, one, same_text = "contexts", "docid", 0
    elif isinstance(content, list):
        qids, same_text = _identify(content, path, questions)
        places = (f"item [{index}], question {quote(qid)}" for index, qid in enumerate(qids))
        items = dict(zip(places, zip(qids, content, strict=True), strict=True))
        many, one = "ctxs", "id"
    else:
        raise InputError("contains no questions", path=path, hint=_HINT)
    without_passages = 0
    entries: list[Entry] = []
    for place, (qid, item) in items.items():
        passages = item.get(many) if isinstance(item, dict) else None
        if not isinstance(passages, list):
            raise InputError(f"{place}: has no list {many!r}", path=path, hint=_HINT)
        without_passages += not passages
        for position, passage in enumerate(passages):
            entries.append(_entry(qid, passage, one, f"{place}, {many}[{position}]", path))
    return ForeignRun(group_entries(entries, path, questions), without_passages, same_text)


def _entry(qid: str, passage: Any, id_key: str, place: str, path: Path) -> Entry:
    if not isinstance(passage, dict):
        raise InputError(f"{place}: is not an object: {quote(passage)}", path=path, hint=_HINT)
    for key in (id_key, "score"):
        if key not in passage:
            raise InputError(f"{place}: has no {key!r}", path=path, hint=_HINT)
    try:
        score = parse_number(passage["score"], float)
    except ValueError:
        raise InputError(f"{place}: the score {quote(passage['score'])} is not a number", path=path) from None
    return Entry(qid, _id(passage[id_key], place, path), score, place=place)


def _id(value: Any, place: str, path: Path) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{place}: the id is not text: {quote(value)}", path=path, hint=_HINT)
    return str(value)


def _identify(items: Sequence[Any], path: Path, questions: Mapping[str, str] | None) -> tuple[list[str], int]:
    """The qid of each item, and the number of items with a text that several questions share."""
    ids = [_given_id(item, index, path) for index, item in enumerate(items)]
    texts = {index: _text(items[index], index, path, questions) for index, qid in enumerate(ids) if qid is None}
    candidates, same_text = _group_by_text(questions or {}, texts, path)
    seen: dict[str, int] = {}
    for index, given in enumerate(ids):
        qid = given
        if qid is None:
            if not candidates.get(texts[index]):
                problem = f"item [{index}]: the topics have no (other) question {quote(texts[index])}"
                raise InputError(problem, path=path, hint="does the file belong to another topic set?")
            qid = candidates[texts[index]].pop(0)
        if qid in seen:
            problem = f"item [{index}], question {quote(qid)}: is the same question as item [{seen[qid]}]"
            raise InputError(problem, path=path, hint="keep one item per question")
        seen[qid] = index
    return list(seen), same_text


def _given_id(item: Any, index: int, path: Path) -> str | None:
    if not isinstance(item, dict):
        raise InputError(f"item [{index}]: is not an object: {quote(item)}", path=path, hint=_HINT)
    ids = {_id(item[key], f"item [{index}]", path) for key in _ID_KEYS if key in item}
    if len(ids) > 1:
        raise InputError(f"item [{index}]: has several ids: {', '.join(sorted(ids))}", path=path)
    return ids.pop() if ids else None


def _text(item: Mapping[str, Any], index: int, path: Path, questions: Mapping[str, str] | None) -> str:
    """The question of an item without id, with single spaces as in files of topics."""
    text = item.get("question")
    if not isinstance(text, str):
        raise InputError(f"item [{index}]: has neither an id nor a question", path=path, hint=_HINT)
    if questions is None:
        hint = "name the topics (--topics), so that it can be identified by its text"
        raise InputError(f"item [{index}]: has no id", path=path, hint=hint)
    return " ".join(text.split())


def _group_by_text(
    questions: Mapping[str, str], texts: Mapping[int, str], path: Path
) -> tuple[dict[str, list[str]], int]:
    """Text → qids of the topics, and the number of items with a text that several questions share."""
    qids: dict[str, list[str]] = {}
    for qid, text in questions.items():
        qids.setdefault(" ".join(text.split()), []).append(qid)
    same_text = 0
    for text, count in Counter(texts.values()).items():
        expected = len(qids.get(text, ()))
        if expected > 1:
            same_text += count
            if count != expected:
                problem = f"{count} items have the question {quote(text)}, but {expected} questions of the topics do"
                raise InputError(problem, path=path, hint='give every item its "id"')
    return qids, same_text

"""The prediction file of XOR-TyDi's leaderboard (XOR-Retrieve): made from a TREC run, checked, and turned back.

The file is a JSON list with an object for each question, ``{"id": …, "lang": …, "ctxs": [text, …]}``: the texts (no
titles) of its passages in rank order. Scores depend on the first 5,000 tokens of them and on nothing else, so a file
that stops at the passage which reaches these has the same R2kt and R5kt as the whole run.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import atomic_write, read_json
from xqg_repro.core.ids import check_id, is_id
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.progress import track
from xqg_repro.core.stages import check_output
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, word_tokenize
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

logger = logging.getLogger(__name__)

LIMITS = tuple(sorted(TOKEN_LIMITS.values()))
"""The numbers of tokens that the two measures read."""

TAG = "submission"
"""The last column of a run that was made from a submission, unless told otherwise."""

_SHAPE = 'a submission is one JSON list of {"id": "…", "lang": "…", "ctxs": ["a passage\'s text", …]}'
_READ_AT_ONCE = 32  # passages of 100 words: two reads reach 5,000 tokens


class Item(NamedTuple):
    """A question's predictions.

    Attributes:
        qid: its id.
        label: its language as the file has it; see :attr:`lang`.
        ctxs: texts of its passages in rank order.
    """

    qid: str
    label: str
    ctxs: tuple[str, ...]

    @property
    def lang(self) -> str:
        """Language (ISO 639-1). The training file's label of Arabic begins with a space, and copies of it do."""
        return self.label.strip()


class Extent(NamedTuple):
    """How much a submission has for one question; tokens are counted as far as the passage that reaches 5,000."""

    lang: str
    passages: int
    tokens: int


@dataclass(frozen=True)
class Summary:
    """What a submission holds: qid → extent."""

    extents: Mapping[str, Extent]

    def below(self, limit: int) -> list[str]:
        """Qids of the questions with fewer tokens than that; any limit up to 5,000."""
        return [qid for qid, extent in self.extents.items() if extent.tokens < limit]

    @property
    def empty(self) -> list[str]:
        """Qids of the questions without a passage."""
        return [qid for qid, extent in self.extents.items() if not extent.passages]

    def table(self) -> Table:
        """A row for each language and one for all: questions, passages, and questions with little to read."""
        by_language: dict[str, list[Extent]] = {}
        for extent in self.extents.values():
            by_language.setdefault(extent.lang, []).append(extent)
        header = ["language", "questions", "passages", "no passage", *(f"< {limit:,} tokens" for limit in LIMITS)]
        rows = [_row(language, by_language[language]) for language in sorted(by_language)]
        return Table(header, [*rows, _row("all", list(self.extents.values()))])


def _row(name: str, extents: Sequence[Extent]) -> list[str]:
    numbers = [len(extents), sum(e.passages for e in extents), sum(not e.passages for e in extents)]
    numbers += [sum(e.tokens < limit for e in extents) for limit in LIMITS]
    return [name, *(f"{number:,}" for number in numbers)]


class Returned(NamedTuple):
    """What became of a submission that was turned into a run.

    Attributes:
        questions: in the submission.
        hits: in the run.
        ambiguous: hits whose text several passages of the collection have, so that another one may have been meant.
        absent: questions of the topics that the submission does not have.
    """

    questions: int
    hits: int
    ambiguous: int
    absent: int

    def table(self) -> Table:
        """A row for each count."""
        rows = [
            ("questions", self.questions),
            ("passages", self.hits),
            ("passages whose text several have", self.ambiguous),
            ("questions of the topics that are missing", self.absent),
        ]
        return Table(["converted", "count"], [(name, f"{number:,}") for name, number in rows])


# --- from a run


def write_submission(run: str | Path, topics: str, output: str | Path) -> Summary:
    """Write a run's submission: every question of the topics, in their order.

    Each has the passages that its first 5,000 tokens come from, or all where they hold fewer. A question that the
    run does not have gets no passage, which scores as a miss.

    Args:
        run: a TREC run.
        topics: ir-datasets id of the questions, such as ``xor-tydi/test``.
        output: the JSON file to write.

    Raises:
        InputError: a run that is malformed, empty or of other questions; a passage that the collection lacks; topics
            without languages; or ``output`` cannot be written.
    """
    dataset = collection.load(topics, needs=["queries", "docs"])
    languages = _languages(dataset)
    found = read_run(run, languages)
    if not found:
        raise InputError(f"the run holds no question of {topics}", path=run, hint="search first")
    check_output(output, run)
    reader = _Reader(dataset.docs_store(), run)
    extents: dict[str, Extent] = {}
    with atomic_write(output) as file:
        for qid, lang in track(languages.items(), len(languages), "submit", "questions"):
            texts, tokens = reader.read(found.get(qid, ()))
            # the official script opens the file in whatever encoding its machine has, so all of it is ASCII
            item = json.dumps({"id": qid, "lang": lang, "ctxs": texts}, ensure_ascii=True)
            file.write(f"{',' if extents else '['}\n{item}")
            extents[qid] = Extent(lang, len(texts), tokens)
        file.write("\n]\n")
    summary = Summary(extents)
    logger.info(
        f"submit: wrote {output} ({len(extents):,} questions, {len(languages.keys() - found):,} not in the run)"
    )
    _warn_of_short(summary)
    return summary


def _warn_of_short(summary: Summary) -> None:
    if short := summary.below(LIMITS[-1]):
        logger.info(
            f"submit: warning: {len(short):,} questions have fewer than {LIMITS[-1]:,} tokens to read, "
            f"{len(summary.empty):,} of them no passage"
        )


def _languages(dataset: Any) -> dict[str, str]:
    """Qid → language of every question, in order."""
    found = {q.query_id: getattr(q, "lang", None) or dataset.queries_lang() for q in dataset.queries_iter()}
    if lacking := [qid for qid, lang in found.items() if not lang]:
        raise InputError(
            f"{dataset.dataset_id()} does not say in which language question {lacking[0]!r} is",
            hint="a submission needs every question's language; name other topics",
        )
    return found


class _Reader:
    """Reads rankings' texts as far as their first 5,000 tokens need; a passage's tokens are counted once."""

    def __init__(self, store: Any, run: str | Path) -> None:
        self._store, self._run = store, run
        self._tokens: dict[str, int] = {}

    def read(self, hits: Sequence[Hit]) -> tuple[list[str], int]:
        """The texts, and the number of tokens in them."""
        texts, total = [], 0
        for docid, text in self._texts(hits):
            if docid not in self._tokens:
                self._tokens[docid] = len(word_tokenize(text))
            if not text.strip():  # nothing to read
                continue
            texts.append(text)
            total += self._tokens[docid]
            if total >= LIMITS[-1]:
                break
        return texts, total

    def _texts(self, hits: Sequence[Hit]) -> Iterator[tuple[str, str]]:
        for start in range(0, len(hits), _READ_AT_ONCE):
            docids = [hit.docid for hit in hits[start : start + _READ_AT_ONCE]]
            docs = self._store.get_many(docids)
            for docid in docids:
                if docid not in docs:
                    raise InputError(
                        f"the collection has no passage {docid!r}, but the run does",
                        path=self._run,
                        hint="is this the run of another collection?",
                    )
                yield docid, docs[docid].text


# --- reading and checking


def read_submission(path: str | Path, topics: str | None = None, *, complete: bool = True) -> list[Item]:
    """Read and validate a submission, whoever wrote it. Keys that it need not have are passed over.

    Args:
        path: the JSON file; uncompressed if its name ends in ``.gz``.
        topics: ir-datasets id of the questions that it must be about; ``None`` allows any of XOR-TyDi's languages.
        complete: with topics, whether each of their questions must be there.

    Raises:
        InputError: naming the item by its index (from 0) and id. The file is no JSON list of such items; an id is
            repeated or not one of the topics'; a language is unknown, not the question's, or labelled in two ways;
            or questions are missing.
    """
    path = Path(path)
    found = read_json(path, "submission", _SHAPE)
    if not isinstance(found, list) or not found:
        raise InputError("holds no JSON list of questions", path=path, hint=_SHAPE)
    items = [_item(value, index, path) for index, value in enumerate(found)]
    languages = None if topics is None else _languages(collection.load(topics, needs=["queries"]))
    seen: dict[str, int] = {}
    labels: dict[str, str] = {}
    for index, item in enumerate(items):
        if item.qid in seen:
            raise _refusal(path, index, item.qid, f"the id is that of item [{seen[item.qid]}] too")
        seen[item.qid] = index
        _check_language(item, index, path, languages, topics)
        if labels.setdefault(item.lang, item.label) != item.label:
            problem = f"the language is {item.label!r}, which was {labels[item.lang]!r} before"
            raise _refusal(path, index, item.qid, problem, "the official script takes them for two languages")
    if languages and complete and (absent := [qid for qid in languages if qid not in seen]):
        raise InputError(
            f"lacks {len(absent):,} of the {len(languages):,} questions of {topics}, such as {absent[0]!r}",
            path=path,
            hint='the official script leaves them out of the mean; give each an item, with "ctxs": [] at least',
        )
    return items


def _refusal(path: Path, index: int, qid: Any, problem: str, hint: str = _SHAPE) -> InputError:
    where = f"item [{index}]" if qid is None else f"item [{index}], id {quote(qid)}"
    return InputError(f"{where}: {problem}", path=path, hint=hint)


def _item(value: Any, index: int, path: Path) -> Item:
    if not isinstance(value, dict):
        raise _refusal(path, index, None, f"is no object but {quote(value)}")
    qid = value.get("id")
    if missing := [key for key in ("id", "lang", "ctxs") if key not in value]:
        raise _refusal(path, index, qid, f"has no {missing[0]!r}")
    for key in ("id", "lang"):
        if not isinstance(value[key], str):
            # the official script compares ids as text: a number would be no question of its
            raise _refusal(path, index, qid, f"{key} is no text but {quote(value[key])}")
    if not is_id(qid):
        raise _refusal(path, index, qid, "the id is empty, or holds white space or half a character")
    if not isinstance(value["ctxs"], list):
        raise _refusal(path, index, qid, f"ctxs is no list but {quote(value['ctxs'])}")
    for position, text in enumerate(value["ctxs"]):
        if not isinstance(text, str):
            raise _refusal(path, index, qid, f"ctxs[{position}] is no text but {quote(text)}")
        if not text.strip():
            raise _refusal(path, index, qid, f"ctxs[{position}] is blank", "leave out what is not a passage")
    return Item(qid, value["lang"], tuple(value["ctxs"]))


def _check_language(
    item: Item, index: int, path: Path, languages: Mapping[str, str] | None, topics: str | None
) -> None:
    if languages is None:
        if item.lang not in XOR_LANGUAGES:
            hint = f"choose from: {', '.join(XOR_LANGUAGES)}"
            raise _refusal(path, index, item.qid, f"the language is {quote(item.label)}", hint)
        return
    if item.qid not in languages:
        hint = "is this a submission for another topic set?"
        raise _refusal(path, index, item.qid, f"{topics} has no such question", hint)
    if item.lang != languages[item.qid]:
        hint = f"write {languages[item.qid]!r}"
        raise _refusal(path, index, item.qid, f"the language is {quote(item.label)}", hint)


def check(path: str | Path, topics: str | None = None) -> Summary:
    """Validate a submission as :func:`read_submission` does, and say what it holds.

    Args:
        path: the JSON file.
        topics: ir-datasets id of the questions that it must have, all of them; ``None`` allows any.
    """
    items = read_submission(path, topics)
    if spaced := [item for item in items if item.label != item.lang]:
        logger.info(
            f"submit: warning: {len(spaced):,} questions have the language {spaced[0].label!r}, as the training file "
            f"does; {spaced[0].lang!r} is the usual label"
        )
    summary = summarize(items)
    _warn_of_short(summary)
    return summary


def summarize(items: Iterable[Item]) -> Summary:
    """Count passages and tokens."""
    counted: dict[str, int] = {}  # text → tokens
    extents = {}
    for item in track(items, None, "submit", "questions"):
        tokens = 0
        for text in item.ctxs:
            if text not in counted:
                counted[text] = len(word_tokenize(text))
            tokens += counted[text]
            if tokens >= LIMITS[-1]:
                break
        extents[item.qid] = Extent(item.lang, len(item.ctxs), tokens)
    return Summary(extents)


# --- back to a run


def submission_to_run(path: str | Path, topics: str, output: str | Path, tag: str = TAG) -> Returned:
    """Write a submission as a TREC run, each text as the passage of the collection that has it.

    Scores count down to 1, so that the order is that of the submission. Where several passages have a text, it stands
    for the first in the collection's order that the question does not have yet. The collection is read once; memory
    holds the submission, and docids for its texts.

    Args:
        path: the submission.
        topics: ir-datasets id of its questions; they name the collection too. Some may be missing.
        output: the run to write.
        tag: its last column.

    Raises:
        InputError: as :func:`read_submission`; a text that no passage has, or that a question has more often than
            there are such passages (naming the item); no passage at all; a tag that is none.
    """
    check_id(tag, output)
    check_output(output, path)
    dataset = collection.load(topics, needs=["queries", "docs"])
    items = read_submission(path, topics, complete=False)
    if not any(item.ctxs for item in items):
        raise InputError("has no passage for any question", path=path)
    docids, shared = _docids(dataset, items)
    run = {item.qid: _hits(item, index, docids, Path(path)) for index, item in enumerate(items)}
    write_run(run, output, tag)
    returned = Returned(
        len(items),
        sum(map(len, run.values())),
        sum(text in shared for item in items for text in item.ctxs),
        sum(1 for question in dataset.queries_iter() if question.query_id not in run),
    )
    logger.info(f"submit: wrote {output} ({returned.questions:,} questions, {returned.hits:,} passages)")
    return returned


def _docids(dataset: Any, items: Sequence[Item]) -> tuple[dict[str, list[str]], set[str]]:
    """Text → docids in the collection's order, as many as one question can need; and texts of several passages."""
    needed: dict[str, int] = {}
    for item in items:
        for text, count in Counter(item.ctxs).items():
            needed[text] = max(needed.get(text, 0), count)
    docids: dict[str, list[str]] = {text: [] for text in needed}
    shared = set()
    for doc in track(dataset.docs_iter(), None, "submit", "passages"):
        found = docids.get(doc.text)
        if found is None:
            continue
        if found:
            shared.add(doc.text)
        if len(found) < needed[doc.text]:
            found.append(doc.doc_id)
    return docids, shared


def _hits(item: Item, index: int, docids: Mapping[str, Sequence[str]], path: Path) -> list[Hit]:
    used: Counter[str] = Counter()
    hits = []
    for position, text in enumerate(item.ctxs):
        if used[text] == len(docids[text]):
            problem = f"the collection has {len(docids[text])} of the text {quote(text)}"
            problem = problem if used[text] else f"no passage of the collection has the text {quote(text)}"
            hint = "texts must be the collection's own, without titles" if not used[text] else "remove repeated texts"
            raise _refusal(path, index, item.qid, f"ctxs[{position}]: {problem}", hint)
        hits.append(Hit(docids[text][used[text]], float(len(item.ctxs) - position)))
        used[text] += 1
    return hits

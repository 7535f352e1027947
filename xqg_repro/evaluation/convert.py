"""Other tools' retrieval results as TREC runs, and a check of any TREC run.

The form of a file is told, never guessed. Whatever it was, the run that is written follows this package's rule: by
score as printed (six decimals), ties by docid, ranks from 1.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from xqg_repro.core.errors import InputError, nearest, quote
from xqg_repro.core.files import read_json, read_text
from xqg_repro.core.ids import check_id, is_id
from xqg_repro.core.stages import check_output
from xqg_repro.core.tables import Table
from xqg_repro.retrieval.runfile import COLUMNS, Hit, rank, read_run, write_run

logger = logging.getLogger(__name__)


class Form(StrEnum):
    """A form of retrieval results.

    ``tevatron`` is qid, docid, score; ``msmarco`` qid, docid, rank; ``dpr`` the JSON of DPR (a list of questions with
    ``ctxs``) or of Pyserini (a mapping of qids to questions with ``contexts``); ``trec`` any tool's six columns.
    """

    TEVATRON = "tevatron"
    MSMARCO = "msmarco"
    DPR = "dpr"
    TREC = "trec"


class Entry(NamedTuple):
    """A retrieved passage as a file has it.

    Attributes:
        qid: its question.
        docid: its id.
        score: higher is better.
        rank: where the form has one.
        line: number of its line, in a form of lines.
        item: its place in a JSON file.
        tag: the run's name, where the form has one.
    """

    qid: str
    docid: str
    score: float
    rank: int | None = None
    line: int | None = None
    item: str = ""
    tag: str = ""

    def refusal(self, path: Path, problem: str, hint: str = "") -> InputError:
        """The error that names this entry's place."""
        return InputError(f"{self.item}{problem}", path=path, line=self.line, hint=hint)


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        questions: in the run.
        hits: in the run.
        without_passages: questions that the file has without a passage; the run does not have them.
        reordered: questions whose passages stood in another order before.
        merged: questions of which different scores are the same with six decimals, so that docids decide.
        same_text: questions matched by a text that several have, in the order of the topics.
        tags: the tags that the file had.
        missing: questions of the topics that the run does not have; ``None`` where no topics were named.
    """

    questions: int
    hits: int
    without_passages: int
    reordered: int
    merged: int
    same_text: int
    tags: tuple[str, ...]
    missing: int | None

    def table(self) -> Table:
        """A row for each count."""
        rows = [
            ("questions", self.questions),
            ("passages", self.hits),
            ("questions without passages, left out", self.without_passages),
            ("questions in another order than before", self.reordered),
            ("questions with scores that differ after six decimals only", self.merged),
            ("questions matched by a text that several have", self.same_text),
        ]
        rows += [] if self.missing is None else [("questions of the topics that are missing", self.missing)]
        rows += [("tags replaced", len(self.tags))] if self.tags else []
        return Table(["converted", "count"], [(name, f"{number:,}") for name, number in rows])


@dataclass(frozen=True)
class RunSummary:
    """What a run holds.

    Attributes:
        depths: qid → passages.
        tags: tag → lines.
        missing: qids of the topics that the run does not have; ``None`` where no topics were named.
    """

    depths: Mapping[str, int]
    tags: Mapping[str, int]
    missing: tuple[str, ...] | None = None

    def table(self) -> Table:
        """A row for each count, and one for each tag."""
        rows = [
            ("questions", len(self.depths)),
            ("passages", sum(self.depths.values())),
            ("fewest passages for a question", min(self.depths.values())),
            ("most passages for a question", max(self.depths.values())),
        ]
        rows += [] if self.missing is None else [("questions of the topics that are missing", len(self.missing))]
        rows += [(f"lines tagged {quote(tag)}", n) for tag, n in self.tags.items()]
        return Table(["run", "count"], [(name, f"{number:,}") for name, number in rows])


def check(path: str | Path, topics: str = "") -> RunSummary:
    """Validate a TREC run as :func:`~xqg_repro.retrieval.runfile.read_run` does, and say what it holds.

    Args:
        path: the run; uncompressed if its name ends in ``.gz``.
        topics: ir-datasets id, or a TSV file, of the questions that it may have; empty allows any.

    Raises:
        InputError: the run is malformed (file and line are named), empty, or of other questions.
    """
    path = Path(path)
    asked = _questions(topics)
    run = read_run(path, asked)
    if not run:
        raise InputError("holds no passage for any question", path=path)
    tags = Counter(line.split()[-1] for line in read_text(path, "run file").split("\n") if line)
    missing = None if asked is None else tuple(qid for qid in asked if qid not in run)
    if len(tags) > 1:
        logger.info(f"runfile: warning: the run has {len(tags)} tags where one is usual")
    if missing:
        logger.info(f"runfile: warning: {len(missing):,} questions of {topics} are missing, such as {missing[0]}")
    return RunSummary({qid: len(hits) for qid, hits in run.items()}, dict(tags), missing)


def _questions(topics: str) -> dict[str, str] | None:
    """Qid → text of the topics; ``None`` where none are named."""
    if not topics:
        return None
    from xqg_repro.collection.topics import read_topics

    return read_topics(topics)[0]


def convert(source: str | Path, output: str | Path, form: Form | str, tag: str, topics: str = "") -> Conversion:
    """Write another tool's results as a TREC run.

    Args:
        source: the file; uncompressed if its name ends in ``.gz``.
        output: the run to write.
        form: what ``source`` is.
        tag: the run's last column.
        topics: ir-datasets id, or a TSV file, of its questions. DPR's JSON needs them where items have no id: such
            an item is the question of the same text, but for white space. Items that share a text are as many
            questions in the order of the topics.

    Raises:
        InputError: naming file and line, or item: the file is not of that form, was cut off or is empty; a score is
            not finite; a passage is listed twice for a question; ranks are missing, repeated or contradict scores;
            or a question is not one of the topics'.
    """
    source = Path(source)
    if form not in list(Form):
        raise InputError(f"there is no form {form!r} of retrieval results", hint=nearest(form, Form))
    check_id(tag, output)
    check_output(output, source)
    asked = _questions(topics)
    reader = _READERS[Form(form)](source, asked)
    entries = _gather(reader.entries(), source, asked)
    if not entries:
        raise InputError("holds no passage for any question", path=source)
    ordered = {qid: reader.order(listed) for qid, listed in entries.items()}
    reader.check_all(ordered)
    run = {qid: [Hit(entry.docid, entry.score) for entry in listed] for qid, listed in ordered.items()}
    write_run(run, output, tag)
    done = _conversion(run, reader, asked, {entry.tag for listed in ordered.values() for entry in listed})
    logger.info(f"runfile: wrote {output} ({done.questions:,} questions, {done.hits:,} passages)")
    if done.merged:
        logger.info(f"runfile: warning: {done.merged:,} questions have scores that differ after six decimals only")
    return done


def _conversion(
    run: Mapping[str, Sequence[Hit]], reader: _Reader, asked: Mapping[str, str] | None, tags: set[str]
) -> Conversion:
    ranked = {qid: rank(hits) for qid, hits in run.items()}
    return Conversion(
        len(run),
        sum(map(len, run.values())),
        reader.without_passages,
        sum([hit.docid for hit in ranked[qid]] != [hit.docid for hit in hits] for qid, hits in run.items()),
        sum(len({h.score for h in ranked[qid]}) < len({h.score for h in hits}) for qid, hits in run.items()),
        reader.same_text,
        tuple(sorted(tags - {""})),
        None if asked is None else sum(qid not in run for qid in asked),
    )


def _gather(entries: Iterable[Entry], path: Path, asked: Mapping[str, str] | None) -> dict[str, list[Entry]]:
    """Qid → entries as they stand in the file; ids, scores and repetitions are checked."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if asked is not None and entry.qid not in asked:
            raise entry.refusal(
                path, f"the topics have no question {quote(entry.qid)}", "is this of another topic set?"
            )
        for name in (entry.qid, entry.docid):
            if not is_id(name):
                raise entry.refusal(path, f"{quote(name)} cannot be an id in a TREC run")
        if not math.isfinite(entry.score):
            raise entry.refusal(path, f"the score is {entry.score}", "scores must be finite numbers")
        listed = found.setdefault(entry.qid, {})
        if (first := listed.get(entry.docid)) is not None:
            where = f"on line {first.line}" if first.line else f"at {first.item.removesuffix(': ')}"
            problem = f"passage {quote(entry.docid)} is listed twice for question {quote(entry.qid)}, first {where}"
            raise entry.refusal(path, problem, "keep its best rank only")
        listed[entry.docid] = entry
    return {qid: list(listed.values()) for qid, listed in found.items()}


class _Reader:
    """Reads one form: its entries in the file's order, then what can be told only with all of a question's."""

    form: ClassVar[Form]

    def __init__(self, path: Path, asked: Mapping[str, str] | None) -> None:
        self.path, self.asked = path, asked
        self.without_passages = self.same_text = 0

    def entries(self) -> Iterator[Entry]:
        """Every retrieved passage, as it stands in the file."""
        raise NotImplementedError

    def order(self, listed: list[Entry]) -> list[Entry]:
        """One question's entries in the order and with the scores that the file means."""
        return listed

    def check_all(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        """Raise :class:`InputError` where all entries together show that the file is of another form."""

    def _lines(self, columns: str) -> Iterator[tuple[int, list[str]]]:
        """Each line's number and columns."""
        lines = read_text(self.path, "file of results").split("\n")
        if lines[-1]:
            hint = "write it again; or end the last line, if nothing is missing there"
            raise InputError("the last line has no line end: cut off?", path=self.path, line=len(lines), hint=hint)
        if lines[0].startswith("\ufeff"):
            raise InputError("begins with a byte order mark", path=self.path, line=1, hint="save it as plain UTF-8")
        for number, line in enumerate(lines[:-1], 1):
            found = line.split()
            if len(found) != len(columns.split()):
                problem = f"has {len(found)} columns where {len(columns.split())} are due"
                raise InputError(problem, path=self.path, line=number, hint=columns)
            yield number, found

    def _number(self, text: Any, what: str, kind: Callable[[Any], Any], line: int | None, item: str = "") -> Any:
        """A score (``float``) or rank (``int``) from a text or a JSON number."""
        try:
            # Python would read 1_000 as a number, and JSON's true as 1
            if isinstance(text, bool) or (isinstance(text, str) and "_" in text):
                raise ValueError
            return kind(text)
        except (ValueError, TypeError, OverflowError):
            hint = f"choose another --from than {self.form}?" if line else ""
            problem = f"{item}the {what} {quote(text)} is not {'a whole' if kind is int else 'a'} number"
            raise InputError(problem, path=self.path, line=line, hint=hint) from None


class _Tevatron(_Reader):
    form = Form.TEVATRON

    def entries(self) -> Iterator[Entry]:
        for line, (qid, docid, score) in self._lines("qid docid score"):
            yield Entry(qid, docid, self._number(score, "score", float, line), line=line)

    def check_all(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        """Ranks taken for scores would turn every ranking upside down."""
        counted = all([e.score for e in listed] == [*range(1, len(listed) + 1)] for listed in entries.values())
        if counted and any(len(listed) > 1 for listed in entries.values()):
            line = next(iter(entries.values()))[0].line
            hint = "convert it --from msmarco"
            raise InputError(
                "the third column counts up from 1: ranks, not scores", path=self.path, line=line, hint=hint
            )


class _Msmarco(_Reader):
    form = Form.MSMARCO

    def entries(self) -> Iterator[Entry]:
        for line, (qid, docid, position) in self._lines("qid docid rank"):
            yield Entry(qid, docid, 0.0, self._number(position, "rank", int, line), line)

    def order(self, listed: list[Entry]) -> list[Entry]:
        """By rank, of which none may be missing: nothing else tells the order. Scores count down to 1."""
        ordered = sorted(listed, key=lambda entry: entry.rank)
        for due, entry in enumerate(ordered, 1):
            if entry.rank != due:
                problem = f"question {quote(entry.qid)} has rank {entry.rank} where {due} is due"
                raise entry.refusal(self.path, problem, "ranks must be 1, 2, 3, …, each once")
        return [entry._replace(score=float(len(ordered) - i)) for i, entry in enumerate(ordered)]


class _Trec(_Reader):
    form = Form.TREC

    def entries(self) -> Iterator[Entry]:
        for line, (qid, _, docid, position, score, tag) in self._lines(COLUMNS):
            number = self._number(position, "rank", int, line)
            yield Entry(qid, docid, self._number(score, "score", float, line), number, line, tag=tag)

    def order(self, listed: list[Entry]) -> list[Entry]:
        """By rank. Ranks may start anywhere and ties stand in any order, but a worse rank has no better score."""
        strict = sorted(listed, key=lambda entry: (entry.rank, -entry.score))
        for before, entry in pairwise(strict):
            if entry.rank > before.rank and entry.score > before.score:
                problem = f"rank {entry.rank} has the score {entry.score}, and rank {before.rank} only {before.score}"
                hint = f"ranks and scores contradict each other (rank {before.rank} is on line {before.line})"
                raise entry.refusal(self.path, problem, hint)
        return sorted(listed, key=lambda entry: entry.rank)


_DPR_MEND = (
    'DPR writes [{"question": …, "ctxs": [{"id": …, "score": …}]}], '
    'Pyserini {"qid": {"question": …, "contexts": [{"docid": …, "score": …}]}}'
)
_ID_KEYS = ("id", "qid", "question_id")


class _Dpr(_Reader):
    form = Form.DPR

    def entries(self) -> Iterator[Entry]:
        found = read_json(self.path, "file of results", _DPR_MEND)
        if isinstance(found, dict):
            for qid, item in found.items():
                yield from self._passages(qid, item, f"question {quote(qid)}", "contexts", "docid")
        elif isinstance(found, list):
            qids = self._qids(found)
            for index, (qid, item) in enumerate(zip(qids, found, strict=True)):
                yield from self._passages(qid, item, f"item [{index}], question {quote(qid)}", "ctxs", "id")
        else:
            raise InputError("holds no questions", path=self.path, hint=_DPR_MEND)

    def _passages(self, qid: str, item: Any, where: str, many: str, one: str) -> Iterator[Entry]:
        passages = item.get(many) if isinstance(item, dict) else None
        if not isinstance(passages, list):
            raise InputError(f"{where}: has no list {many!r}", path=self.path, hint=_DPR_MEND)
        self.without_passages += not passages
        for position, passage in enumerate(passages):
            place = f"{where}, {many}[{position}]: "
            if not isinstance(passage, dict) or (lacking := [key for key in (one, "score") if key not in passage]):
                what = f"has no {lacking[0]!r}" if isinstance(passage, dict) else f"is no object but {quote(passage)}"
                raise InputError(f"{place}{what}", path=self.path, hint=_DPR_MEND)
            docid = self._id(passage[one], place)
            yield Entry(qid, docid, self._number(passage["score"], "score", float, None, place), item=place)

    def _id(self, value: Any, place: str) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InputError(f"{place}the id is no text but {quote(value)}", path=self.path, hint=_DPR_MEND)
        return str(value)

    def _qids(self, items: list[Any]) -> list[str]:
        """Each item's qid, by its id or by its text."""
        given = [self._given_id(item, index) for index, item in enumerate(items)]
        by_text = self._by_text([item for item, qid in zip(items, given, strict=True) if qid is None])
        qids: list[str] = []
        seen: dict[str, int] = {}
        for index, (item, known) in enumerate(zip(items, given, strict=True)):
            qid = known if known is not None else self._match(item, index, by_text)
            if qid in seen:
                problem = f"item [{index}], question {quote(qid)}: is item [{seen[qid]}] again"
                raise InputError(problem, path=self.path, hint="keep one item a question")
            seen[qid] = index
            qids.append(qid)
        return qids

    def _given_id(self, item: Any, index: int) -> str | None:
        if not isinstance(item, dict):
            raise InputError(f"item [{index}] is no object but {quote(item)}", path=self.path, hint=_DPR_MEND)
        ids = {self._id(item[key], f"item [{index}]: ") for key in _ID_KEYS if key in item}
        if len(ids) > 1:
            raise InputError(f"item [{index}] has several ids: {', '.join(sorted(ids))}", path=self.path)
        return ids.pop() if ids else None

    def _by_text(self, items: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Text → qids of the topics, in reverse order. A text of several questions must be there for each of them."""
        if not items or self.asked is None:
            return {}
        by_text: dict[str, list[str]] = {}
        for qid, text in self.asked.items():
            by_text.setdefault(_spaced(text), []).insert(0, qid)
        counts = Counter(_spaced(item["question"]) for item in items if isinstance(item.get("question"), str))
        for text, count in counts.items():
            qids = by_text.get(text, [])
            if len(qids) > 1:
                self.same_text += count
                if count != len(qids):
                    problem = f"{count} items ask {quote(text)}, which {len(qids)} questions of the topics do"
                    raise InputError(problem, path=self.path, hint='give every item its "id"')
        return by_text

    def _match(self, item: Mapping[str, Any], index: int, by_text: dict[str, list[str]]) -> str:
        text = item.get("question")
        if not isinstance(text, str):
            raise InputError(f"item [{index}] has neither an id nor a question", path=self.path, hint=_DPR_MEND)
        if self.asked is None:
            hint = "name the topics (--topics), in which to look for its text"
            raise InputError(f"item [{index}] has no id", path=self.path, hint=hint)
        qids = by_text.get(_spaced(text), [])
        if not qids:
            problem = f"item [{index}]: the topics have no question {quote(text)} (left)"
            raise InputError(problem, path=self.path, hint="is this of another topic set?")
        return qids.pop()


def _spaced(text: str) -> str:
    """A text with single spaces, as files of topics have it."""
    return " ".join(text.split())


_READERS: dict[Form, type[_Reader]] = {reader.form: reader for reader in (_Tevatron, _Msmarco, _Dpr, _Trec)}

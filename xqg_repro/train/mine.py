"""Hard negatives: what a retriever ranks high for a training question, though it does not answer it.

The retriever is an encoder (an index folder, searched by the stage ``search``) or BM25 (Pyserini's, over title and
text). Of the passages that it retrieves, positives are dropped, by docid or as the same words under another docid, and
so is every passage that *holds an answer*: one of the question's answers, ``yes`` and ``no`` aside, is a substring of
``title text``, both case-folded and with single spaces for white space. The rule is the one of R@2kt but for case,
title and white space, and is strict: the answer ``5`` is held by ``1953``. Where answers are not known, only positives
are dropped.

BM25 matches words: a question in another language than the passages finds those that share its names and numbers in
Latin script, and often none. It is a source of negatives without any model, not a cross-lingual ranking.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection.topics import write_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, file_digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.progress import track
from xqg_repro.core.stages import (
    Manifest,
    build_stage,
    check_output,
    fingerprint,
    manifest_path,
    matching_manifest,
    write_manifest,
)
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures.recall import scorable
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run
from xqg_repro.retrieval.search import QUERIES_PER_BATCH, search
from xqg_repro.train.data import TrainingPassage, relevant_passages, training_file, training_passage

logger = logging.getLogger(__name__)

DEPTH = 100
NEGATIVES = 30
BM25 = {"k1": 0.9, "b": 0.4, "stemmer": "porter"}
"""Anserini's defaults."""


class Question(NamedTuple):
    """A training question; ``answers`` is empty where they are not known."""

    query_id: str
    text: str
    lang: str
    answers: tuple[str, ...]
    positives: tuple[TrainingPassage, ...]


@dataclass(frozen=True)
class Mined:
    """What was counted while mining.

    Attributes:
        questions: written, each with its positives.
        negatives: written in all.
        answering: retrieved passages dropped because they hold an answer.
        positive: retrieved passages dropped because they are a positive.
        without_negatives: questions written with no negative at all.
        without_answers: questions of which no answer that counts is known.
        without_positives: questions left out because they have no positive.
    """

    questions: int = 0
    negatives: int = 0
    answering: int = 0
    positive: int = 0
    without_negatives: int = 0
    without_answers: int = 0
    without_positives: int = 0

    def table(self) -> Table:
        """The counts in words."""
        rows = [
            ("questions", self.questions),
            ("negatives", self.negatives),
            ("dropped, hold an answer", self.answering),
            ("dropped, positive", self.positive),
            ("questions without a negative", self.without_negatives),
            ("questions without known answers", self.without_answers),
            ("questions left out, without a positive", self.without_positives),
        ]
        return Table(("what", "count"), [(name, f"{count:,}") for name, count in rows])


def mine(
    data: str,
    output: str | Path,
    *,
    index: str | Path | None = None,
    bm25: str | Path | None = None,
    passages: str = "",
    depth: int = DEPTH,
    negatives: int = NEGATIVES,
    sample: int | None = None,
    device: str | None = None,
    force: bool = False,
) -> Mined:
    """Write a training file in Tevatron's format with mined negatives, or reuse the one that is there.

    Args:
        data: ir-datasets id with questions and judgements, such as ``xor-mini/train``, or a ``.jsonl`` file in
            Tevatron's format, whose own negatives are replaced.
        output: the ``.jsonl`` file to write. A note beside it, ``<output>.json``, says what it was made from.
        index: an index folder of the stage ``index``; its encoder embeds the questions. Or else:
        bm25: the folder of a Lucene index, made here unless it is up to date.
        passages: ir-datasets id of the passages; needed for a file, and none for an id, which has passages of its own.
        depth: passages to retrieve for a question.
        negatives: to keep of them.
        sample: a seed: draw the negatives at random from those retrieved; ``None`` takes the first.
        device: torch device of the encoder; ``None`` takes a GPU if there is one.
        force: mine again even if the file matches.

    Returns:
        what was counted, also printed by the command and kept in the note.

    Raises:
        InputError: unknown data, data without judgements, a bad line of a file, both or neither of ``index`` and
            ``bm25``, an index over another collection.
    """
    output = Path(output)
    _check_arguments(data, output, index, bm25, passages, depth, negatives)
    docs = collection.load(passages or data, needs=["docs"] if passages else ["docs", "queries", "qrels"])
    version = collection.fingerprint(docs, "docs")
    questions, read = _of_file(training_file(data)) if passages else _judged(data, docs)
    retriever, made_from = (BM25, version) if index is None else _checked_index(Path(index), version, passages or data)
    wanted = Manifest(
        "mine",
        {
            "data": data,
            "collection": docs.dataset_id(),
            "retriever": retriever,
            "depth": depth,
            "negatives": negatives,
            "sample": sample,
        },
        {"questions": read, "collection": version, "index": made_from},
    )
    if not force and (there := matching_manifest(output, wanted)):
        logger.info(f"mine: {output} is up to date")
        return Mined(**there.counts)
    asked = {question.query_id: question.text for question in questions if question.positives}
    if not asked:
        raise InputError(f"{data} has no question with a positive passage")
    if index is not None:
        run = _dense_run(index, asked, depth, device)
    else:
        assert bm25 is not None
        run = _bm25_run(bm25_index(docs, bm25), asked, depth)
    manifest_path(output).unlink(missing_ok=True)
    mined = _write(questions, run, docs.docs_store(), output, negatives, sample)
    write_manifest(output, wanted, dataclasses.asdict(mined))
    logger.info(f"mine: wrote {output} (questions {mined.questions:,}, negatives {mined.negatives:,})")
    return mined


def _check_arguments(
    data: str,
    output: Path,
    index: str | Path | None,
    bm25: str | Path | None,
    passages: str,
    depth: int,
    negatives: int,
) -> None:
    if (index is None) == (bm25 is None):
        raise InputError(
            f"{'neither' if index is None else 'both'} of an encoder's index and BM25 named",
            hint="name one of --index and --bm25",
        )
    if not 1 <= negatives <= depth:
        raise InputError(f"{negatives} negatives cannot be kept of {depth} retrieved", hint="keep 1 to --depth")
    if output.suffix != ".jsonl":
        raise InputError("is not named as a training file", path=output, hint="end its name in .jsonl")
    check_output(output, data)
    if data.endswith(".jsonl") != bool(passages):
        if passages:
            raise InputError(f"{data} has passages of its own", hint="leave --collection out")
        raise InputError("does not say which collection to search", path=data, hint="name it with --collection")


# the questions


def _judged(data: str, dataset: Any) -> tuple[list[Question], str]:
    """The questions of an ir-datasets dataset, with the passages judged relevant, and their fingerprint."""
    relevant = relevant_passages(dataset)
    found = dataset.docs_store().get_many({docid for docids in relevant.values() for docid in docids})
    questions = []
    for query in dataset.queries_iter():
        docids = relevant.get(query.query_id, [])
        if absent := [docid for docid in docids if docid not in found]:
            raise InputError(f"{data} judges the passage {absent[0]!r}, which its collection does not have")
        positives = tuple(training_passage(found[docid]) for docid in docids)
        lang, answers = getattr(query, "lang", ""), tuple(getattr(query, "answers", ()))
        questions.append(Question(query.query_id, query.default_text(), lang, answers, positives))
    return questions, digest([collection.fingerprint(dataset, "queries"), relevant])


def _of_file(path: Path) -> tuple[list[Question], str]:
    """The questions of a training file in Tevatron's format, with all their positives, and the file's fingerprint."""
    if not path.exists():
        raise InputError("there is no such training file", path=path)
    questions: dict[str, Question] = {}
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                question = _parse(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"is not a training example: {type(error).__name__} {error}",
                    path=path,
                    line=number,
                    hint="each line has query_id, query and positive_passages",
                ) from None
            check_id(question.query_id, path, number)
            if question.query_id in questions:
                raise InputError(f"repeats the id {question.query_id}", path=path, line=number)
            questions[question.query_id] = question
    return list(questions.values()), file_digest(path)


def _parse(item: Any) -> Question:
    positives = tuple(TrainingPassage(str(p["docid"]), p["title"], p["text"]) for p in item["positive_passages"])
    answers = tuple(map(str, item.get("answers", ())))
    return Question(str(item["query_id"]), item["query"], item.get("lang", "").strip(), answers, positives)


# retrieval


def _checked_index(index: Path, version: str, passages: str) -> tuple[dict[str, Any], str]:
    """The encoder that made an index, as its manifest has it, and the index's fingerprint."""
    manifest = Manifest.read(index)
    if manifest.inputs.get("collection") != version:
        raise InputError(
            f"was made from {manifest.parameters.get('collection')}, whose passages are not those of {passages}",
            path=index,
            hint="name an index of this collection, or make one with encode and index",
        )
    return {"encoder": manifest.parameters["encoder"]}, fingerprint(index)


def _dense_run(index: str | Path, asked: dict[str, str], depth: int, device: str | None) -> Run:
    """What the stage ``search`` finds; the run itself is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        topics = Path(folder, "topics.tsv")
        write_topics(asked, topics)
        logger.info(f"mine: searching {index} with {len(asked):,} questions")
        run = search(index, str(topics), Path(folder, "run.txt"), depth=depth, device=device)
        return read_run(run)


def bm25_index(docs: Any, output: str | Path, *, force: bool = False) -> Path:
    """Index the titles and texts of an ir-datasets collection with Lucene, or reuse the index that is there.

    Args:
        docs: the dataset.
        output: the stage folder, which Pyserini's ``LuceneSearcher`` opens.
        force: index again even if the folder matches.
    """
    version = collection.fingerprint(docs, "docs")
    wanted = Manifest("bm25", {"stemmer": BM25["stemmer"]}, {"collection": version})

    def build(folder: Path) -> dict[str, int]:
        for left in folder.glob("[!.]*"):  # of a killed run: Lucene cannot go on with it
            left.unlink()
        jvm.ready()
        from pyserini.index.lucene import LuceneIndexer

        indexer, count = LuceneIndexer(str(folder), threads=1), 0  # one thread: the order of passages decides ties
        try:
            for doc in track(docs.docs_iter(), docs.docs_count(), "bm25", "passages"):
                indexer.add_doc_dict({"id": doc.doc_id, "contents": _words(training_passage(doc))})
                count += 1
        finally:
            indexer.close()
        return {"passages": count}

    build_stage(output, wanted, build, force=force)
    return Path(output)


def _bm25_run(index: Path, asked: Mapping[str, str], depth: int) -> Run:
    jvm.ready()
    from pyserini.search.lucene import LuceneSearcher

    searcher = LuceneSearcher(str(index))
    searcher.set_bm25(BM25["k1"], BM25["b"])
    qids, run = list(asked), {}
    for start in range(0, len(qids), QUERIES_PER_BATCH):
        batch = qids[start : start + QUERIES_PER_BATCH]
        found = searcher.batch_search([asked[qid] for qid in batch], batch, k=depth)
        run.update({qid: rank(Hit(hit.docid, float(hit.score)) for hit in found[qid]) for qid in batch})
    return run


# what is kept


def _words(passage: TrainingPassage) -> str:
    return f"{passage.title} {passage.text}"


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def holds_answer(passage: TrainingPassage, answers: Sequence[str]) -> bool:
    """Whether one of the answers, ``yes`` and ``no`` aside, is in the passage; see the module's head for the rule.

    >>> turku = TrainingPassage("1", "Turku", "It was  founded in\\n1229.")
    >>> holds_answer(turku, ["TURKU"]), holds_answer(turku, ["in 1229"]), holds_answer(turku, ["yes", "1230"])
    (True, True, False)
    """
    text = _plain(_words(passage))
    return any(answer in text for answer in scorable(map(_plain, answers)) if answer)


def _write(
    questions: Sequence[Question], run: Run, store: Any, output: Path, negatives: int, sample: int | None
) -> Mined:
    counts: Counter[str] = Counter()
    with atomic_write(output) as file:
        for question in questions:
            if not question.positives:
                counts["without_positives"] += 1
                continue
            docids = [hit.docid for hit in run.get(question.query_id, [])]
            found = store.get_many(docids)
            retrieved = [training_passage(found[docid]) for docid in docids]
            left, dropped = _judge(question, retrieved)
            kept = left[:negatives] if sample is None else _drawn(left, negatives, f"{sample}|{question.query_id}")
            file.write(_line(question, kept))
            unknown = not any(scorable(map(_plain, question.answers)))
            counts.update(
                dropped, questions=1, negatives=len(kept), without_negatives=not kept, without_answers=unknown
            )
    return Mined(**counts)


def _judge(question: Question, retrieved: Sequence[TrainingPassage]) -> tuple[list[TrainingPassage], dict[str, int]]:
    """The retrieved passages that can be negatives, in rank order, and how many were dropped for what."""
    own = {p.doc_id for p in question.positives} | {_plain(_words(p)) for p in question.positives}
    others = [p for p in retrieved if not {p.doc_id, _plain(_words(p))} & own]
    left = [p for p in others if not holds_answer(p, question.answers)]
    return left, {"positive": len(retrieved) - len(others), "answering": len(others) - len(left)}


def _drawn(left: Sequence[TrainingPassage], count: int, seed: str) -> list[TrainingPassage]:
    """A sample in rank order; each question draws from a stream of its own."""
    places = random.Random(seed).sample(range(len(left)), min(count, len(left)))
    return [left[place] for place in sorted(places)]


def _line(question: Question, negatives: Sequence[TrainingPassage]) -> str:
    def listed(passages: Sequence[TrainingPassage]) -> Iterator[dict[str, str]]:
        return ({"docid": p.doc_id, "title": p.title, "text": p.text} for p in passages)

    item = {
        "query_id": question.query_id,
        "query": question.text,
        "lang": question.lang,
        **({"answers": question.answers} if question.answers else {}),
        "positive_passages": [*listed(question.positives)],
        "negative_passages": [*listed(negatives)],
    }
    return json.dumps(item, ensure_ascii=False) + "\n"

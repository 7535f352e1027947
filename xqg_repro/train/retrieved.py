"""Training questions, and the passages that a retriever finds for them.

The retriever is an encoder (an index folder, searched by the stage ``search``), BM25 (Pyserini's, over title and text)
or a run that was made before.

BM25 matches words: for a question in another language than the passages it finds those that share its names and numbers
in Latin script, which is often none. It is a source of negatives that needs no model, not a cross-lingual ranking.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents, check_questions, lookalike_docid, to_passage
from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import write_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.progress import track
from xqg_repro.core.stages import Manifest, build_stage, check_output, fingerprint
from xqg_repro.models.questions import add_suffix
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.lucene import java_path
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run, read_run_of
from xqg_repro.retrieval.search import QUERIES_PER_BATCH, search
from xqg_repro.retrieval.stage import stored_encoder
from xqg_repro.train.data import confirm_training_file, relevant_passages, training_file
from xqg_repro.train.loop import in_parts
from xqg_repro.train.tevatron import TevatronLine, numbered_lines, parse_line

logger = logging.getLogger(__name__)

BM25 = {"k1": 0.9, "b": 0.4, "stemmer": "porter"}
"""Anserini's defaults."""

_REQUIRED_KEYS = ("query_id", "query", "positive_passages")


def check_training_output(output: str | Path, *inputs: str | Path) -> None:
    """Raise :class:`InputError` unless a training file can be written there without replacing an input."""
    if Path(output).suffix != ".jsonl" and not is_stream(output):
        raise InputError("the name of a training file must end in .jsonl", path=output)
    check_output(output, *inputs)


# questions


class Asked(NamedTuple):
    """Training questions and the passages to search.

    Attributes:
        data: their ir-datasets id or file.
        questions: with their relevant passages, where these are known, as positives.
        version: the questions' fingerprint.
        docs: the ir-datasets dataset that has the passages.
        name: the passages', for messages.
    """

    data: str
    questions: list[TevatronLine]
    version: str
    docs: Any
    name: str

    def passages(self, hits: Sequence[Hit]) -> list[Passage]:
        """The retrieved passages; :class:`InputError` if the collection lacks one."""
        docs = collection.run_documents(self.docs, [hit.docid for hit in hits])
        return [to_passage(docs[hit.docid]) for hit in hits]


def load_questions(data: str, passages: str = "", *, needs: tuple[str, ...] = ("qrels",)) -> Asked:
    """The training questions of an ir-datasets id, or of a ``.jsonl`` file in Tevatron's format.

    Args:
        data: the id or the file. A file's negatives are not read.
        passages: ir-datasets id of the passages; a file needs it.
        needs: parts that an id must have besides questions and passages.

    Raises:
        InputError: the data is unknown, lacks a part or has a malformed line.
    """
    if data.endswith(".jsonl"):
        if not passages:
            raise InputError("needs a collection to search", path=data, hint="name it with --collection")
        docs = collection.load(passages, needs=["docs"])
        questions, version = _read_file(training_file(data))
        confirm_training_file(data, len(questions))
    else:
        docs = collection.load(data, needs=["docs", "queries", *needs], passages=passages)
        questions, version = _read_dataset(data, docs)
    return Asked(data, questions, version, docs, passages or data)


def _read_dataset(data: str, dataset: Any) -> tuple[list[TevatronLine], str]:
    """The questions of an ir-datasets dataset with the passages judged relevant, and their fingerprint."""
    relevant = relevant_passages(dataset) if dataset.has("qrels") else {}
    store = dataset.docs_store()
    docs = store.get_many({docid for docids in relevant.values() for docid in docids})
    questions = []
    for query in check_questions(dataset):
        docids = relevant.get(query.query_id, [])
        for docid in docids:
            if docid not in docs:
                problem = f"{data} judges the passage {docid!r}, which is not in its collection"
                raise InputError(problem, hint=lookalike_docid(store, docid))
        positives = tuple(to_passage(docs[docid]) for docid in docids)
        lang, answers = getattr(query, "lang", ""), tuple(getattr(query, "answers", ()))
        questions.append(TevatronLine(query.query_id, query.default_text(), lang, answers, positives))
    return questions, digest([collection.fingerprint(dataset, "queries"), relevant])


def _read_file(path: Path) -> tuple[list[TevatronLine], str]:
    """The questions of a training file with all their positives but no negatives, and the file's fingerprint."""
    questions: dict[str, TevatronLine] = {}
    for number, _, line in numbered_lines(path):
        question = parse_line(line, path, number, _REQUIRED_KEYS)
        check_id(question.qid, path, number)
        if question.qid in questions:
            raise InputError(f"repeats the id {question.qid}", path=path, line=number)
        questions[question.qid] = question
    return list(questions.values()), file_digest(path)


# retrieval


@dataclass(frozen=True)
class Retriever:
    """Where the passages of a question come from: one of three.

    Attributes:
        index: an index folder of the stage ``index``, whose encoder embeds the questions.
        bm25: folder of a Lucene index, which is built if it is not up to date.
        run: a TREC run of the questions.
    """

    index: str | Path | None = None
    bm25: str | Path | None = None
    run: str | Path | None = None

    def __post_init__(self) -> None:
        given = [place for place in (self.index, self.bm25, self.run) if place is not None]
        if len(given) != 1:
            problem = "two retrievers" if given else "no retriever"
            raise InputError(problem, hint="use one of --index, --bm25 and --run")

    def identify(self, asked: Asked) -> tuple[Any, str]:
        """What a manifest records: the retriever's settings, and the fingerprint of what it searches.

        Raises:
            InputError: the index was built from other passages, or there is no such index or run.
        """
        version = collection.fingerprint(asked.docs, "docs")
        if self.run is not None:
            if not Path(self.run).exists():
                raise InputError("no such run", path=self.run, hint="search first")
            return "run", file_digest(Path(self.run))
        if self.index is None:
            return BM25, version
        manifest = Manifest.read(self.index)
        if manifest.inputs.get("collection") != version:
            raise InputError(
                f"was built from {manifest.parameters.get('collection')}, not from the passages of {asked.name}",
                path=self.index,
                hint="name an index of this collection, or build one with encode and index",
            )
        return {"encoder": manifest.parameters["encoder"]}, fingerprint(Path(self.index))

    def retrieve(self, asked: Asked, qids: set[str], depth: int, device: str | None = None) -> Run:
        """The highest-ranked passages of some questions; a run may lack a question.

        :class:`InputError` if the encoder's suffix names the language of a question, which is unknown.
        """
        texts = {question.qid: question.query for question in asked.questions if question.qid in qids}
        if self.run is not None:
            return {qid: hits[:depth] for qid, hits in read_run_of(self.run, texts, asked.data).items()}
        if self.bm25 is not None:
            return _bm25_run(bm25_index(asked.docs, self.bm25), texts, depth)
        assert self.index is not None
        if encoder := stored_encoder(self.index):
            languages = {question.qid: question.lang for question in asked.questions}
            texts = {qid: add_suffix(text, languages[qid], encoder) for qid, text in texts.items()}
        return _dense_run(self.index, texts, depth, device)


def _dense_run(index: str | Path, questions: dict[str, str], depth: int, device: str | None) -> Run:
    """The run of the stage ``search`` of questions that have their suffixes; its file is not kept."""
    encoder = stored_encoder(index)
    plain = encoder and dataclasses.replace(encoder, query_suffix="")
    with tempfile.TemporaryDirectory() as folder:
        topics = Path(folder, "topics.tsv")
        write_topics(questions, topics)
        logger.info(f"searching {index} with {len(questions):,} training questions")
        how: dict[str, Any] = {"depth": depth, "encoder": plain, "device": device}
        return read_run(search(index, str(topics), Path(folder, "run.txt"), **how))


def bm25_index(docs: Any, output: str | Path) -> Path:
    """Index the titles and texts of an ir-datasets collection with Lucene, or reuse an existing index that matches.

    ``output`` is a stage folder, which Pyserini's ``LuceneSearcher`` opens.
    """
    version = collection.fingerprint(docs, "docs")
    wanted = Manifest("bm25", {"stemmer": BM25["stemmer"]}, {"collection": version})

    def build(folder: Path) -> dict[str, int]:
        check_documents(docs)
        for path in folder.glob("[!.]*"):  # of an interrupted run, which Lucene cannot resume
            path.unlink()
        indexer_class = jvm.load("pyserini.index.lucene", "LuceneIndexer")
        indexer = indexer_class(java_path(folder), threads=1)  # one thread, as the order of passages breaks ties
        count = 0
        try:
            for doc in track(docs.docs_iter(), docs.docs_count(), "bm25", "passages"):
                indexer.add_doc_dict({"id": doc.doc_id, "contents": to_passage(doc).default_text()})
                count += 1
        finally:
            indexer.close()
        return {"passages": count}

    build_stage(output, wanted, build)
    return Path(output)


def _bm25_run(index: Path, questions: Mapping[str, str], depth: int) -> Run:
    searcher = jvm.load("pyserini.search.lucene", "LuceneSearcher")(java_path(index))
    searcher.set_bm25(BM25["k1"], BM25["b"])
    run: Run = {}
    for batch in in_parts(list(questions), QUERIES_PER_BATCH):
        hits = searcher.batch_search([questions[qid] for qid in batch], batch, k=depth)
        for qid in batch:
            run[qid] = rank(Hit(hit.docid, float(hit.score)) for hit in hits[qid])
    return run

"""Hard negatives: passages that a retriever ranks high for a training question although they do not answer it.

The retriever is an encoder (an index folder, searched by the stage ``search``) or BM25 (Pyserini's, over title and
text). From the retrieved passages, positives are dropped, by docid or as the same words under another docid, and so is
every passage that *contains an answer*: one of the question's answers, other than ``yes`` and ``no``, is a substring of
``title text`` after case folding and collapsing white space. The rule is that of R@2kt except for case, title and white
space. It is strict: ``1953`` contains the answer ``5``. If the answers are unknown, only positives are dropped.

BM25 matches words: for a question in another language than the passages it finds those that share its names and numbers
in Latin script, which is often none. It is a source of negatives that needs no model, not a cross-lingual ranking.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents, check_questions, lookalike_docid, to_passage
from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import write_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, file_digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.progress import track
from xqg_repro.core.stages import Manifest, build_file, build_stage, check_output, fingerprint
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures.recall import scorable
from xqg_repro.models.questions import add_suffix
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.lucene import java_path
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run
from xqg_repro.retrieval.search import QUERIES_PER_BATCH, search
from xqg_repro.retrieval.stage import stored_encoder
from xqg_repro.train.data import confirm_training_file, relevant_passages, training_file
from xqg_repro.train.loop import in_parts
from xqg_repro.train.tevatron import TevatronLine, numbered_lines, parse_line

logger = logging.getLogger(__name__)

DEPTH = 100
NEGATIVES = 30
BM25 = {"k1": 0.9, "b": 0.4, "stemmer": "porter"}
"""Anserini's defaults."""

_REQUIRED_KEYS = ("query_id", "query", "positive_passages")


@dataclass(frozen=True)
class Mined:
    """Counts of what was mined. Retrieved passages are dropped if they are positives or contain an answer."""

    questions: int = 0  # written, each with its positives
    negatives: int = 0  # written
    answering: int = 0
    positive: int = 0
    without_negatives: int = 0
    without_answers: int = 0  # other than ``yes`` and ``no``
    without_positives: int = 0

    def table(self) -> Table:
        """The counts with a description each."""
        rows = [
            ("questions", self.questions),
            ("negatives", self.negatives),
            ("dropped, contain an answer", self.answering),
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
    """Write a training file in Tevatron's format with mined negatives, or reuse an existing file that matches.

    Args:
        data: ir-datasets id with questions and judgements, such as ``xor-mini/train``, or a ``.jsonl`` file in
            Tevatron's format, whose own negatives are replaced.
        output: the ``.jsonl`` file to write. Its manifest, ``<output>.json``, is written beside it.
        index: an index folder of the stage ``index``, whose encoder embeds the questions. Alternatively:
        bm25: folder of a Lucene index, which is built if it is not up to date.
        passages: ir-datasets id of the passages; required for a file, not allowed for an id, which has its own.
        depth: passages to retrieve per question.
        negatives: negatives to keep per question.
        sample: seed to draw the negatives at random from those retrieved; ``None`` keeps the highest-ranked.
        device: torch device of the encoder; ``None`` uses a GPU if available.
        force: mine again even if the file matches.

    Returns:
        the counts, which are also in the manifest.

    Raises:
        InputError: the data is unknown, has no judgements or has a malformed line; both or neither of ``index`` and
            ``bm25`` are given; or the index is over another collection.
    """
    output = Path(output)
    _check_arguments(data, output, index, bm25, passages, depth, negatives)
    docs = collection.load(passages or data, needs=["docs"] if passages else ["docs", "queries", "qrels"])
    version = collection.fingerprint(docs, "docs")
    if passages:
        questions, questions_version = _read_file(training_file(data))
        confirm_training_file(data, len(questions))
    else:
        questions, questions_version = _read_dataset(data, docs)
    retriever, index_version = (
        (BM25, version) if index is None else _check_index(Path(index), version, passages or data)
    )
    parameters = {"data": data, "collection": docs.dataset_id(), "retriever": retriever}
    parameters |= {"depth": depth, "negatives": negatives, "sample": sample}
    inputs = {"questions": questions_version, "collection": version, "index": index_version}

    def write(path: Path) -> dict[str, int]:
        encoder = stored_encoder(index) if index is not None else None
        texts = {}
        for question in questions:
            if question.positives:
                text = add_suffix(question.query, question.lang, encoder) if encoder else question.query
                texts[question.qid] = text
        if not texts:
            raise InputError(f"{data} has no question with a positive passage")
        if bm25 is not None:
            run = _bm25_run(bm25_index(docs, bm25), texts, depth)
        else:
            assert index is not None
            run = _dense_run(index, texts, depth, device)
        return dataclasses.asdict(_write(questions, run, docs.docs_store(), path, negatives, sample))

    return Mined(**build_file(output, Manifest("mine", parameters, inputs), write, force=force).counts)


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
        problem = "no retriever" if index is None else "two retrievers, an encoder's index and BM25"
        raise InputError(problem, hint="use one of --index and --bm25")
    if not 1 <= negatives <= depth:
        problem = f"cannot keep {negatives} negatives of {depth} retrieved passages"
        raise InputError(problem, hint="keep at least 1 and at most --depth")
    if output.suffix != ".jsonl" and not is_stream(output):
        raise InputError("the name of a training file must end in .jsonl", path=output)
    check_output(output, data)
    if data.endswith(".jsonl") and not passages:
        raise InputError("needs a collection to search", path=data, hint="name it with --collection")
    if passages and not data.endswith(".jsonl"):
        raise InputError(f"{data} has passages of its own", hint="leave out --collection")


# questions


def _read_dataset(data: str, dataset: Any) -> tuple[list[TevatronLine], str]:
    """The questions of an ir-datasets dataset with the passages judged relevant, and their fingerprint."""
    relevant = relevant_passages(dataset)
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


def _check_index(index: Path, version: str, passages: str) -> tuple[dict[str, Any], str]:
    """The encoder in an index's manifest, and the index's fingerprint."""
    manifest = Manifest.read(index)
    if manifest.inputs.get("collection") != version:
        raise InputError(
            f"was built from {manifest.parameters.get('collection')}, not from the passages of {passages}",
            path=index,
            hint="name an index of this collection, or build one with encode and index",
        )
    return {"encoder": manifest.parameters["encoder"]}, fingerprint(index)


def _dense_run(index: str | Path, questions: dict[str, str], depth: int, device: str | None) -> Run:
    """The run of the stage ``search`` of questions that have their suffixes; its file is not kept."""
    encoder = stored_encoder(index)
    plain = encoder and dataclasses.replace(encoder, query_suffix="")
    with tempfile.TemporaryDirectory() as folder:
        topics = Path(folder, "topics.tsv")
        write_topics(questions, topics)
        logger.info(f"mine: searching {index} with {len(questions):,} questions")
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


# negatives


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def contains_answer(passage: Passage, answers: Sequence[str]) -> bool:
    """Whether a passage contains one of the answers other than ``yes`` and ``no``, by the rule of the module.

    >>> turku = Passage("1", "Turku", "It was  founded in\\n1229.")
    >>> contains_answer(turku, ["TURKU"]), contains_answer(turku, ["in 1229"]), contains_answer(turku, ["yes", "1230"])
    (True, True, False)
    """
    text = _plain(passage.default_text())
    return any(answer in text for answer in scorable(map(_plain, answers)) if answer)


def _write(
    questions: Sequence[TevatronLine], run: Run, store: Any, output: Path, count: int, sample: int | None
) -> Mined:
    """Write the questions with at most ``count`` negatives each."""
    counts: Counter[str] = Counter()
    with atomic_write(output) as file:
        for question in questions:
            if not question.positives:
                counts["without_positives"] += 1
                continue
            docids = [hit.docid for hit in run.get(question.qid, [])]
            docs = store.get_many(docids)
            candidates = _drop(question, [to_passage(docs[docid]) for docid in docids], counts)
            negatives = candidates[:count]
            if sample is not None:  # a random sample, in rank order
                draw = random.Random(f"{sample}|{question.qid}")
                positions = draw.sample(range(len(candidates)), len(negatives))
                negatives = [candidates[position] for position in sorted(positions)]
            file.write(question._replace(negatives=tuple(negatives)).to_json())
            counts["questions"] += 1
            counts["negatives"] += len(negatives)
            counts["without_negatives"] += not negatives
            counts["without_answers"] += not any(scorable(map(_plain, question.answers)))
    return Mined(**counts)


def _drop(question: TevatronLine, retrieved: Sequence[Passage], counts: Counter[str]) -> list[Passage]:
    """The retrieved passages that can be negatives, in rank order; those dropped are counted."""
    positives = {key for passage in question.positives for key in (passage.doc_id, _plain(passage.default_text()))}
    candidates = []
    for passage in retrieved:
        if passage.doc_id in positives or _plain(passage.default_text()) in positives:
            counts["positive"] += 1
        elif contains_answer(passage, question.answers):
            counts["answering"] += 1
        else:
            candidates.append(passage)
    return candidates

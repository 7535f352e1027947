"""What int8 costs in quality: R2kt of xor-mini's augmented conditions, against float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import Section, Target

from xqg_repro import collection
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import Precision, load_preset
from xqg_repro.representation.augment import combine
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.sums import Layout, sum_shard
from xqg_repro.reproduction.benchmark import Condition, load_benchmark
from xqg_repro.retrieval.runfile import Hit

QUERIES = Path(__file__).parents[2] / "out" / "queries" / "xor-mini.xqg-mini"
TOPICS = ("xor-mini/dev", "xor-mini/held-out")
MEASURE = "R2kt"
LARGEST = 0.3
_PRECISIONS = (Precision.FLOAT32, Precision.INT8)


class Vectors(NamedTuple):
    """What an encoder makes in one precision.

    Attributes:
        passages: float32, shape (passages, dimension).
        sums: of the first 1, 2, … queries in each language, float32, shape (passages, ranks, dimension).
        counts: the number of queries in each sum, shape (passages, ranks).
        questions: topic set → float32, shape (questions, dimension).
    """

    passages: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    questions: Mapping[str, np.ndarray]


def reproduced_queries() -> list[PassageQueries] | None:
    """The queries that ``make reproduce`` wrote, if it has run."""
    queries = load_benchmark("xor-mini").queries
    return list(read_queries(QUERIES, XOR_LANGUAGES, queries)) if QUERIES.is_dir() else None


def measure(queries: Sequence[PassageQueries], conditions: int | None = None) -> Section:
    """Score the first augmented conditions, or all of them, with the passages that have these queries."""
    benchmark = load_benchmark("xor-mini")
    augmented = [condition for condition in benchmark.conditions if condition.augmentation][:conditions]
    by_encoder = {name: encode_all(name, queries) for name in dict.fromkeys(c.encoder for c in augmented)}
    rows, targets = [], []
    for topics in TOPICS:
        for condition in augmented:
            exact, quantised = (by_encoder[condition.encoder][precision] for precision in _PRECISIONS)
            mixed = quantised._replace(passages=exact.passages, questions=exact.questions)
            ways = (exact, mixed, quantised)
            scores = [score(condition, vectors, queries, topics, benchmark.depth) for vectors in ways]
            differences = [f"{value - scores[0]:+.2f}" for value in scores[1:]]
            rows.append((condition.name, topics, *(f"{value:.2f}" for value in scores), *differences))
            if topics == TOPICS[0]:
                what, met = f"{MEASURE}, int8 to float32, {condition.name}", abs(scores[-1] - scores[0]) <= LARGEST
                targets.append(Target(what, f"within {LARGEST} points", differences[-1], met))
    header = ("condition", "questions", "float32", "sums in int8", "all in int8", "difference, sums", "difference, all")
    text = f"""Average {MEASURE} (in %) of xor-mini's conditions with xQG, each with the same generated queries for
{len(queries):,} passages. *float32*: torch computes all vectors. *Sums in int8*: CTranslate2 computes those of the
queries in int8, as in `make reproduce`. *All in int8*: those of passages and questions too.

{Table(header, rows).markdown()}
"""
    return Section("Quality of int8 encoding", text, targets)


def encode_all(preset: str, queries: Sequence[PassageQueries]) -> dict[Precision, Vectors]:
    """The vectors of passages, sums and questions in each precision."""
    docs = {doc.doc_id: doc for doc in collection.load("xor-mini", needs=["docs"]).docs_iter()}
    passages = [docs[passage.docid] for passage in queries]
    titles, texts = [passage.title for passage in passages], [passage.text for passage in passages]
    made = {}
    for precision in _PRECISIONS:
        encoder = TextEncoder(dataclasses.replace(load_preset(preset), precision=precision), "cpu")
        sums, counts = sum_shard(queries, encoder, Layout())
        questions = {topics: encoder.encode_queries(list(_questions(topics).values())) for topics in TOPICS}
        vectors = encoder.encode_passages(titles, texts)
        made[precision] = Vectors(vectors, sums[:, 0], counts[:, 0], questions)
    return made


def score(condition: Condition, vectors: Vectors, queries: Sequence[PassageQueries], topics: str, depth: int) -> float:
    """The measure's average over languages, in %, of an exact search."""
    how = condition.augmentation
    rank = (how.queries or Layout.count) - 1
    sums, counts = vectors.sums[:, rank], vectors.counts[:, rank]
    normalize = load_preset(condition.encoder).normalize
    augmented = combine(vectors.passages, sums, counts, how, normalize)
    run = {}
    for qid, scores in zip(_questions(topics), vectors.questions[topics] @ augmented.T, strict=True):
        best = np.argsort(-scores, kind="stable")[:depth]
        run[qid] = [Hit(queries[i].docid, float(scores[i])) for i in best]
    return 100 * evaluate(run, topics, [MEASURE]).average(MEASURE)


def _questions(topics: str) -> dict[str, str]:
    return {question.query_id: question.text for question in collection.load(topics, needs=["queries"]).queries_iter()}

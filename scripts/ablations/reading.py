"""Choose the number of passages to read and the weight of retrieval on the held-out questions: ``make ablations``.

Writes docs/ablations/reading.held-out/table.md from the indexes that ``make reproduce`` wrote to ``out/``: the mean F1
of answers, over conditions, languages and questions, for each depth and weight. No question of dev is read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from held_out import TOPICS, search

from xqg_repro import collection
from xqg_repro.core.files import atomic_write
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Cell, Table
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import load_reader
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.retrieval.runfile import read_run

DEPTHS, WEIGHTS = (1, 2, 3, 5), (0.0, 0.1, 0.3, 1.0, 3.0)
OUTPUT = Path("docs", "ablations", "reading.held-out", "table.md")


class Candidate(NamedTuple):
    """A span as an answer: the scores of reader and retrieval, and its F1."""

    span: float
    retrieval: float
    f1: float


def main() -> None:
    """Search with each condition, read the top passages once, and score every way to choose between their spans."""
    dataset, reader = collection.load(TOPICS), SpanReader(load_reader("reader-mini"))
    means: dict[tuple[int, float], list[float]] = {(k, w): [] for k in DEPTHS for w in WEIGHTS if k > 1 or not w}
    for condition in filter(lambda condition: condition.encoder, load_benchmark("xor-mini").conditions):
        candidates = read_candidates(search(condition.name), dataset, reader)
        for (depth, weight), scores in means.items():
            answers = [max(top[:depth], key=lambda c: c.span + weight * c.retrieval) for top in candidates.values()]
            scores.append(fmean(answer.f1 for answer in answers))
    table = make_table({setting: fmean(scores) for setting, scores in means.items()})
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(OUTPUT) as file:
        file.write(f"{table.markdown()}\n")
    print(table.text())


def read_candidates(run: Path, dataset: Any, reader: SpanReader) -> dict[str, list[Candidate]]:
    """For each question, the spans in its top passages, in rank order."""
    questions = {question.query_id: question for question in dataset.queries_iter()}
    hits = [(qid, hit) for qid, ranking in read_run(run, list(questions)).items() for hit in ranking[: max(DEPTHS)]]
    texts = collection.texts(dataset, {hit.docid for _, hit in hits})
    spans = reader.read([questions[qid].text for qid, _ in hits], [texts[hit.docid] for _, hit in hits])
    candidates: dict[str, list[Candidate]] = {}
    for (qid, hit), span in zip(hits, spans, strict=True):
        answer = texts[hit.docid][span.start : span.end] if span else ""
        f1 = match_score("F1", answer, questions[qid].answers)
        candidates.setdefault(qid, []).append(Candidate(span.score if span else float("-inf"), hit.score, f1))
    return candidates


def make_table(means: Mapping[tuple[int, float], float]) -> Table:
    """Depths × weights, with the best in bold."""
    texts = {setting: f"{100 * mean:.1f}" for setting, mean in means.items()}
    best = max(texts.values(), key=float)
    cells = {setting: Cell(text, bold=text == best) for setting, text in texts.items()}
    rows = [[f"first {depth}", *(cells.get((depth, weight), "") for weight in WEIGHTS)] for depth in DEPTHS]
    return Table(["F1 by passages and weight", *(f"{weight:g}" for weight in WEIGHTS)], rows)


if __name__ == "__main__":
    sys.exit(exit_status(main))

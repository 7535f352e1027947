"""Chooses how many passages are read, and how much retrieval counts, on the held-out questions: ``make ablations``.

Writes docs/ablations/reading.held-out/table.md from the indexes that ``make reproduce`` left in ``out/``: the mean F1,
over conditions, languages and questions, of answers for each depth and weight. No question of dev is read.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from xqg_repro import cli, collection
from xqg_repro.core.files import atomic_write
from xqg_repro.core.tables import Cell, Table
from xqg_repro.evaluation.measures.match import match_score
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import load_reader
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.retrieval.runfile import read_run

TOPICS = "xor-mini/held-out"
DEPTHS, WEIGHTS = (1, 2, 3, 5), (0.0, 0.1, 0.3, 1.0, 3.0)


def main() -> None:
    """Search with each condition, read the first passages once, and score every choice between their spans."""
    benchmark = load_benchmark("xor-mini")
    dataset = collection.load(TOPICS)
    questions = {q.query_id: q for q in dataset.queries_iter()}
    reader = SpanReader(load_reader("reader-mini"))
    means: dict[tuple[int, float], list[float]] = {(k, w): [] for k in DEPTHS for w in WEIGHTS if k > 1 or not w}
    for condition in benchmark.conditions:
        run = Path("out", "held-out", f"run.xor-mini.{condition.name}.held-out.txt")
        index = f"out/indexes/xor-mini.{condition.name}"
        cli.main(["search", "--index", index, "--topics", TOPICS, "--tag", condition.name, "--output", str(run)])
        hits = {qid: held[: max(DEPTHS)] for qid, held in read_run(run, list(questions)).items()}
        texts = collection.texts(dataset, {hit.docid for held in hits.values() for hit in held})
        pairs = [(qid, hit) for qid, held in hits.items() for hit in held]
        spans = reader.read([questions[qid].text for qid, _ in pairs], [texts[hit.docid] for _, hit in pairs])
        scored: dict[str, list[tuple[float, float, float]]] = {qid: [] for qid in hits}
        for (qid, hit), span in zip(pairs, spans, strict=True):
            answer = texts[hit.docid][span.start : span.end] if span else ""
            right = match_score("F1", answer, questions[qid].answers)
            scored[qid].append((span.score if span else float("-inf"), hit.score, right))
        for (depth, weight), found in means.items():
            best = (max(held[:depth], key=lambda one: one[0] + weight * one[1]) for held in scored.values())
            found.append(fmean(right for *_, right in best))
    shown = {how: f"{100 * fmean(found):.1f}" for how, found in means.items()}
    top = max(shown.values(), key=float)
    cells = {how: Cell(text, bold=text == top) for how, text in shown.items()}
    rows = [[f"first {k}", *(cells.get((k, w), "") for w in WEIGHTS)] for k in DEPTHS]
    table = Table(["F1 by passages and weight", *(f"{w:g}" for w in WEIGHTS)], rows)
    output = Path("docs", "ablations", "reading.held-out", "table.md")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as file:
        file.write(f"{table.markdown()}\n")
    print(table.text())


if __name__ == "__main__":
    main()

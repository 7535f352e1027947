"""Choose how BM25 and vectors are combined, on the held-out questions: ``make ablations``.

Writes three folders of docs/ablations/ from what ``make reproduce`` wrote to ``out/``: BM25 by the number of generated
queries, the hybrid by its weights, and reciprocal rank fusion of each choice of conditions. No question of dev is read.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

from held_out import TOPICS, search

from xqg_repro import cli
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.printing import format_score, measure_config
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.retrieval.fusion import Fusion, Method, fuse_runs
from xqg_repro.retrieval.runfile import read_run

FOLDER = Path("docs", "ablations")
HYBRID = "xdr-mini+bm25-xqg"
MEASURES = ("R2kt", "R5kt")
MOST = 3
"""How many runs are fused at most."""
SHOWN = 10


def main() -> int:
    """Write the three ablations."""
    generated = ("--collection", "xor-mini", "--generated", "out/queries/xor-mini.xqg-mini", "--topics", TOPICS)
    status = cli.main(["ablate", "expansion", *generated, "--output", str(FOLDER / "bm25.queries.held-out")])
    conditions = [c for c in load_benchmark("xor-mini").conditions if not c.fuses]
    runs = {condition.name: search(condition.name) for condition in conditions}
    parts = [str(runs[name]) for name in load_benchmark("xor-mini").condition(HYBRID).fuses]
    output = str(FOLDER / f"{HYBRID}.weight.held-out")
    status = status or cli.main(["ablate", "fusion", *parts, "--topics", TOPICS, "--output", output])
    table = choices([name for name in runs if not name.endswith("xqg4")], runs)
    with atomic_write(FOLDER / "fusion.held-out" / "table.md") as file:
        file.write(f"{table.markdown()}\n")
    print(table.text())
    return status


def choices(names: list[str], runs: dict[str, Path]) -> Table:
    """The fusions, and single conditions, with the best averages of the first measure."""
    read, scored = {name: read_run(runs[name]) for name in names}, []
    for number in range(1, MOST + 1):
        for chosen in combinations(names, number):
            parts = [read[name] for name in chosen]
            run = fuse_runs(parts, Fusion(Method.RRF)) if number > 1 else parts[0]
            scores = evaluate(run, TOPICS, MEASURES)
            scored.append((" + ".join(chosen), *(scores.table(measure)[AVERAGE] for measure in MEASURES)))
    best = sorted(scored, key=lambda row: -row[1])[:SHOWN]
    rows = [(name, *map(format_score, values, map(measure_config, MEASURES))) for name, *values in best]
    return Table(["fused", *MEASURES], rows)


if __name__ == "__main__":
    sys.exit(exit_status(main))

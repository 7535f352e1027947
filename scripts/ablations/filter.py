"""Choose how many generated queries are kept, of how many, on the held-out questions; then score that choice on dev.

Writes docs/ablations/filter.held-out and filter.dev from what ``make reproduce`` wrote to ``out/``, and generates eight
queries per language. The controls are the first queries, as many as the filter keeps or all of them. Each has its own
α, the best on the held-out questions, because the sum of few queries needs a larger one than that of many.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple, TypeAlias

from held_out import TOPICS

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest, build_stage, fingerprint
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Cell, Table
from xqg_repro.evaluation.printing import format_score, measure_config
from xqg_repro.reproduction.ablate import read_ablation

FOLDER = Path("docs", "ablations")
EMBEDDINGS = "out/embeddings/xor-mini.xdr-mini"
GENERATED = {5: "out/queries/xor-mini.xqg-mini", 8: "out/queries/xor-mini.xqg-mini.8"}
NUMBERS = (1, 2, 3, 4, 5, 8)
ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.3)
MEASURES = ("R2kt", "R5kt")
ENCODER = ("--preset", "xdr-mini", "--precision", "int8")


class Choice(NamedTuple):
    """How many queries per language are added, of how many, and whether the best or the first."""

    kind: str
    number: int
    of: int

    @property
    def name(self) -> str:
        """Such as ``best-2-of-8``; part of a run's name."""
        return f"{self.kind}-{self.number}-of-{self.of}"


Scores: TypeAlias = dict[Choice, dict[float, dict[str, float]]]
"""Choice → α → measure → average over languages."""


def main() -> None:
    """Write both ablations."""
    scores: Scores = {}
    for of, generated in GENERATED.items():
        run(*("generate", "--collection", "xor-mini", "--preset", "xqg-mini"), "--queries", of, "--output", generated)
        best = f"out/queries/xor-mini.xdr-mini.xqg-mini.best-{of}-of-{of}"  # in order, so that the first are the best
        inputs = ("--queries", generated, "--embeddings", EMBEDDINGS)
        run("filter", *inputs, *ENCODER, "--keep", of, "--output", best)
        for kind, queries in (("first", generated), ("best", best)):
            run("sum", "--generated", queries, *ENCODER, "--queries", of, "--output", sums(kind, of))
            for number in NUMBERS:
                if number <= of and (kind, number) != ("best", of):
                    choice = Choice(kind, number, of)
                    scores[choice] = vary_alpha(choice)
    write_held_out(scores)
    compare_on_dev(scores)


def vary_alpha(choice: Choice) -> dict[float, dict[str, float]]:
    """The scores of a choice on the held-out questions."""
    inputs = ("--embeddings", EMBEDDINGS, "--sums", sums(choice.kind, choice.of), "--queries", choice.number)
    output = f"out/ablations/filter.{choice.name}"
    run("ablate", "alpha", *inputs, "--alpha", *ALPHAS, "--topics", TOPICS, "--output", output)
    by_measure = read_ablation(output).scores
    return {alpha: {measure: by_measure[measure][alpha][AVERAGE] or 0.0 for measure in MEASURES} for alpha in ALPHAS}


def best_alpha(scores: Scores, choice: Choice) -> float:
    """The α with the best first measure, and the smallest one in a tie."""
    return max(ALPHAS, key=lambda alpha: scores[choice][alpha][MEASURES[0]])


def sums(kind: str, of: int) -> str:
    """The folder of the sums of the first or the best queries."""
    return f"out/sums/xor-mini.xdr-mini.{kind}-of-{of}"


def run(*words: str | int) -> None:
    """Run a command of xqg-repro; :class:`InputError` if it fails."""
    if cli.main([str(word) for word in words]):
        raise InputError(f"{words[0]} failed")


def write_held_out(scores: Scores) -> None:
    """Write the stage folder with the scores of all choices."""
    parameters = {"topics": TOPICS, "measures": MEASURES, "values": NUMBERS, "alpha": ALPHAS}
    inputs = {f"{kind}-of-{of}": fingerprint(Path(sums(kind, of))) for kind in ("first", "best") for of in GENERATED}
    inputs["embeddings"] = fingerprint(Path(EMBEDDINGS))

    def build(folder: Path) -> dict[str, int]:
        with atomic_write(folder / "scores.json") as file:
            json.dump({choice.name: by_alpha for choice, by_alpha in scores.items()}, file, indent=1)
            file.write("\n")
        with atomic_write(folder / "table.md") as file:
            file.write("\n\n".join(table(measure, scores).markdown() for measure in MEASURES) + "\n")
        return {"choices": len(scores), "values": len(ALPHAS)}

    build_stage(FOLDER / "filter.held-out", Manifest("ablate", parameters, inputs), build, force=True)


def table(measure: str, scores: Scores) -> Table:
    """Number of queries × first or best of so many, each at its best α; the highest score is bold."""
    columns, config = [(kind, of) for of in GENERATED for kind in ("first", "best")], measure_config(measure)
    highest = max(by_alpha[best_alpha(scores, choice)][measure] for choice, by_alpha in scores.items())
    rows: list[list[str | Cell]] = []
    for number in NUMBERS:
        row: list[str | Cell] = [str(number)]
        for kind, of in columns:
            choice = Choice(kind, number, of)
            if choice not in scores:
                row.append("")
                continue
            alpha = best_alpha(scores, choice)
            mean = scores[choice][alpha][measure]
            row.append(Cell(f"{format_score(mean, config)} (α {alpha:g})", bold=mean == highest))
        rows.append(row)
    return Table([f"{measure} by queries per language", *(f"{kind} of {of}" for kind, of in columns)], rows)


def compare_on_dev(scores: Scores) -> None:
    """Compare the best filter with as many queries without one, with all queries, and with none."""
    filters = [choice for choice in scores if choice.kind == "best"]
    chosen = max(filters, key=lambda choice: scores[choice][best_alpha(scores, choice)][MEASURES[0]])
    runs = [search(EMBEDDINGS, "none")]
    for choice in (
        Choice("first", 5, 5),
        chosen._replace(kind="first", number=chosen.of),
        chosen._replace(kind="first"),
        chosen,
    ):
        inputs = ("--embeddings", EMBEDDINGS, "--sums", sums(choice.kind, choice.of), "--queries", choice.number)
        output = f"out/embeddings/xor-mini.xdr-mini.{choice.name}"
        run("augment", *inputs, "--alpha", best_alpha(scores, choice), "--output", output)
        runs.append(search(output, choice.name))
    output = FOLDER / "filter.dev" / "table.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    options = ("--baseline", runs[-1], "--topics", "xor-mini/dev", "--format", "markdown")
    run("compare", *runs, *options, "--output", str(output))


def search(embeddings: str, name: str) -> str:
    """The run of the dev questions."""
    output = f"out/filter/run.xor-mini.{name}.dev.txt"
    run("search", "--embeddings", embeddings, "--topics", "xor-mini/dev", "--tag", name, "--output", output)
    return output


if __name__ == "__main__":
    sys.exit(exit_status(main))

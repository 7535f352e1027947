"""Train the related systems on the embedded collection, with several seeds, and score each without and with xQG.

Every step is a command of ``xqg-repro``, which is printed and reuses what is up to date, so that an interrupted run
goes on. It starts from what ``make reproduce`` wrote to ``out/``. Settings are chosen on the held-out questions: α of
each encoder here, the recipes' by hand. Each model is compared with one that trained for as many steps without a
teacher.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE, XOR_LANGUAGES
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.compare import Comparison, System, compare
from xqg_repro.evaluation.printing import format_score, measure_config
from xqg_repro.evaluation.scores import Scores, read_scores
from xqg_repro.reproduction.ablate import read_ablation

TOPICS = {"held-out": "xor-mini/held-out", "dev": "xor-mini/dev"}
MEASURES = ("R2kt", "R5kt", "RR@10")
ALPHAS = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
QUERIES = "out/queries/xor-mini.xqg-mini"
DATA = Path("out", "train")


class Model(NamedTuple):
    """A training.

    Attributes:
        name: of its folder.
        train: the recipe and its options; ``{name}`` stands for the folder of another model with the same seed.
        title: of its rows; empty for a model that only others start from.
        control: name of the model that it is compared with.
        late: whether it is a late-interaction model.
    """

    name: str
    train: str
    title: str = ""
    control: str = ""
    late: bool = False


MODELS = (
    Model("control", "xdr --recipe quick-mini-control", "xDR, 300 steps more"),
    Model("control-600", "xdr --recipe quick-mini-control --steps 600", "xDR, 600 steps more"),
    Model("vectors", "xdr --recipe xdr-mini-parallel", "vectors (C)", "control"),
    Model("scores", "xdr --recipe xdr-mini-distilled --model package:xdr-mini", "scores (D)", "control"),
    Model("both", "xdr --recipe xdr-mini-distilled --model {vectors}", "vectors, then scores (C, D)", "control-600"),
    Model("late-a", "decr --recipe decr-mini-a", late=True),
    Model("late-b", "decr --recipe decr-mini-b --model {late-a}", "DR.DECR, A, B", late=True),
    Model("late-more", "decr --recipe decr-mini-b --model {late-b} --steps 600", "A, B, 600 steps more", late=True),
    Model(
        "late-bd",
        "decr --recipe decr-mini-d --model {late-b} --teacher {late-a}",
        "DR.DECR, A, B, D",
        "late-b",
        late=True,
    ),
    Model("late-c", "decr --recipe decr-mini-c --model {late-b} --teacher {late-a}", late=True),
    Model(
        "late-cd",
        "decr --recipe decr-mini-d --model {late-c} --teacher {late-a}",
        "DR.DECR, A to D",
        "late-more",
        late=True,
    ),
    Model("quick-scores", "xdr --recipe quick-mini-scores", "QuiCK, scores", "control"),
    Model("quick", "xdr --recipe quick-mini", "QuiCK, scores and alignment", "control"),
)


class Row(NamedTuple):
    """A row of the tables: a model's runs with all seeds."""

    name: str
    title: str
    control: str
    alpha: float | None
    seeds: dict[int, dict[str, Scores]]  # seed → part of the questions → scores

    def mean(self, part: str, measure: str) -> list[float]:
        """The average over languages with each seed."""
        return [scores[part].average(measure, XOR_LANGUAGES) for scores in self.seeds.values()]

    def per_question(self, part: str) -> dict[str, dict[str, dict[str, float]]]:
        """Measure → language → qid → mean over the seeds."""
        runs = [scores[part].per_query for scores in self.seeds.values()]
        return {
            measure: {
                code: {qid: fmean(run[measure][code][qid] for run in runs) for qid in runs[0][measure][code]}
                for code in XOR_LANGUAGES
            }
            for measure in MEASURES
        }


def main() -> None:
    """Prepare the data, train, search, and write the tables."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="default: %(default)s")
    options.add_argument("--models", nargs="+", choices=[m.name for m in MODELS], default=[m.name for m in MODELS])
    options.add_argument("--steps", type=int, help="of every training, to try this script")
    options.add_argument("--work", type=Path, default=Path("out", "related"), help="default: %(default)s")
    options.add_argument("--output", type=Path, default=Path("docs", "related"), help="default: %(default)s")
    args = options.parse_args()
    prepare()
    rows: list[Row] = []
    for model in (model for model in MODELS if model.name in args.models):
        for seed in args.seeds:
            more = ["--steps", args.steps] if args.steps else []
            train = model.train.format_map({m.name: args.work / f"{m.name}.{seed}" for m in MODELS})
            run("train", *train.split(), *more, "--seed", seed, "--output", args.work / f"{model.name}.{seed}")
        if model.title:
            rows += (
                score_late(model, args.seeds, args.work) if model.late else score_dense(model, args.seeds, args.work)
            )
    write(rows, args.output)


def run(*words: Any) -> None:
    """Print and run a command; stop if it fails."""
    command = [str(word) for word in words]
    print("$ xqg-repro", *command, flush=True)
    if cli.main(command):
        raise InputError(f"xqg-repro {command[0]} failed")


def prepare() -> None:
    """What all seeds share: candidates, English twins, and the scores of both teachers."""
    index = ("--index", "out/indexes/xor-mini.xdr-mini")
    mined, twins = DATA / "xor-mini.mined.jsonl", DATA / "xor-mini.twins.jsonl"
    english = DATA / "xor-mini.en.jsonl"
    run("train", "mine", "--data", "xor-mini/train", *index, "--depth", 50, "--negatives", 15, "--output", mined)
    run("train", "mine", "--data", "xor-mini/train/en", *index, "--negatives", 7, "--output", english)
    run("train", "twins", "--data", mined, "--parallel", "xor-mini/parallel", "--output", twins)
    teacher = ("--embeddings", "out/embeddings/xor-mini.zs-mini", "--twins", twins)
    run("train", "score", "--data", mined, *teacher, "--output", DATA / "xor-mini.zs-mini.jsonl")
    contrastive = "out/models/xqg-mini-contrastive"
    run("train", "xqg", "--recipe", "xqg-mini-contrastive", "--output", contrastive)
    scorer = ("--generator", contrastive, "--prompt-max-length", 128)
    run("train", "score", "--data", mined, *scorer, "--output", DATA / "xor-mini.scored.jsonl")


def score_dense(model: Model, seeds: Sequence[int], work: Path) -> list[Row]:
    """Search with each seed's vectors, and with augmented ones at the α that is best on held-out questions."""
    plain: dict[int, dict[str, Scores]] = {}
    augmented: dict[int, dict[str, Scores]] = {}
    folders = {seed: work / f"{model.name}.{seed}" for seed in seeds}
    for seed, folder in folders.items():
        encoder = ("--encoder", folder, "--pooling", "mean")
        vectors, sums = f"{folder}.embeddings", f"{folder}.sums"
        run("encode", "--collection", "xor-mini", *encoder, "--output", vectors)
        run("sum", "--generated", QUERIES, *encoder, "--precision", "int8", "--queries", 5, "--output", sums)
        tried = ("--embeddings", vectors, "--sums", sums, "--topics", TOPICS["held-out"])
        run("ablate", "alpha", *tried, "--alpha", *ALPHAS, "--output", f"{folder}.alpha")
        plain[seed] = search("--embeddings", vectors, output=folder)
    found = [read_ablation(f"{folder}.alpha").scores["R2kt"] for folder in folders.values()]
    alpha = max(ALPHAS[1:], key=lambda alpha: fmean(scores[alpha][AVERAGE] or 0.0 for scores in found))
    for seed, folder in folders.items():
        more = f"{folder}.augmented"
        inputs = ("--embeddings", f"{folder}.embeddings", "--sums", f"{folder}.sums")
        run("augment", *inputs, "--alpha", alpha, "--output", more)
        augmented[seed] = search("--embeddings", more, output=Path(more))
    return [
        Row(model.name, model.title, model.control, None, plain),
        Row(f"{model.name}+xqg", f"{model.title} + xQG", model.name, alpha, augmented),
    ]


def score_late(model: Model, seeds: Sequence[int], work: Path) -> list[Row]:
    """Search all passages by late interaction, and rerank the run from xdr-mini's augmented passages."""
    alone: dict[int, dict[str, Scores]] = {}
    reranked: dict[int, dict[str, Scores]] = {}
    for seed in seeds:
        folder = work / f"{model.name}.{seed}"
        index, encoder = f"{folder}.index", ("--preset", "decr-mini", "--encoder", folder)
        run("index", "--late", "--collection", "xor-mini", *encoder, "--output", index)
        alone[seed] = search("--index", index, output=folder)
        reranked[seed] = {}
        for part, topics in TOPICS.items():
            first, output = work / f"first.{part}.txt", f"{folder}.reranked.{part}"
            run("search", "--index", "out/indexes/xor-mini.xdr-mini-xqg", "--topics", topics, "--output", first)
            inputs = ("--run", first, "--topics", topics, "--index", index, "--depth", 100)
            run("rerank", "late", *inputs, "--output", f"{output}.txt")
            reranked[seed][part] = score(f"{output}.txt", topics)
    return [
        Row(model.name, model.title, model.control, None, alone),
        Row(f"{model.name}+xqg", f"{model.title}, of xDR + xQG", model.name, None, reranked),
    ]


def search(*source: str, output: Path) -> dict[str, Scores]:
    """Search for both parts of the questions, and score the runs."""
    scores = {}
    for part, topics in TOPICS.items():
        run("search", *source, "--topics", topics, "--output", f"{output}.{part}.txt")
        scores[part] = score(f"{output}.{part}.txt", topics)
    return scores


def score(path: str, topics: str) -> Scores:
    """The scores of a run."""
    run("evaluate", "--run", path, "--topics", topics, "--measures", *MEASURES, "--output", f"{path}.json")
    return read_scores(f"{path}.json")


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write the scores of all seeds and, for each part of the questions, a table and the tests against the controls."""
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Any] = {}
    for part in TOPICS:
        names = {row.name for row in rows}
        systems = [
            System(row.name, row.title, row.per_question(part), row.control if row.control in names else "")
            for row in rows
        ]
        compared = compare(systems, XOR_LANGUAGES, {name: measure_config(name) for name in MEASURES})
        with atomic_write(folder / f"{part}.md") as file:
            file.write(table(rows, part, compared).markdown() + "\n")
        stored[part] = {
            row.name: {
                "alpha": row.alpha,
                **{
                    measure: {
                        str(seed): {code: scores[part].mean(measure, code) for code in XOR_LANGUAGES}
                        for seed, scores in row.seeds.items()
                    }
                    for measure in MEASURES
                },
            }
            for row in rows
        }
    with atomic_write(folder / "scores.json") as file:
        json.dump(stored, file, indent=1)
        file.write("\n")


def table(rows: Sequence[Row], part: str, compared: Comparison) -> Table:
    """Mean and deviation over the seeds, and p against the control, corrected by Holm over the rows."""
    p = {(r.system, r.measure): r.p_corrected for r in compared.results if r.column == AVERAGE}
    lines = []
    for row in rows:
        line = [row.title, "–" if row.alpha is None else f"{row.alpha:g}"]
        for measure in MEASURES:
            means, how = row.mean(part, measure), measure_config(measure)
            spread = f" ± {format_score(stdev(means), how)}" if len(means) > 1 else ""
            found = p.get((row.name, measure))
            line += [f"{format_score(fmean(means), how)}{spread}", "–" if found is None else f"{found:.3f}"]
        lines.append([*line, row.control or "–"])
    headers = ["system", "α", *(name for measure in MEASURES for name in (measure, "p")), "compared with"]
    return Table(headers, lines, left=1)


if __name__ == "__main__":
    sys.exit(exit_status(main))

"""How good labels and encoder are in each round: ``rounds.json``, ``rounds.svg``, and a link to the final encoder.

``rounds.json`` has the recipe's settings, ``encoder``, the final encoder's folder (null before the last round), and per
round, in order, ``rounds``:

* ``data``: the SHA-256 of the training file, and its questions in all and by language;
* ``labels``: what was counted as this file was labelled (see :mod:`xqg_repro.train.label`), with the precision and
  recall of the labels, in all and by language. Null in the first round, which has no labels;
* ``encoder``: its folder, its steps, and the fingerprint of the model that it started from;
* ``held_out``: the loss, and R2kt by language with its macro average, on held-out questions.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.plots import curves
from xqg_repro.core.stages import Manifest
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.scores import Scores
from xqg_repro.train.label import COUNTS, Labelled
from xqg_repro.train.rounds_recipe import RoundsRecipe

MEASURE = "R2kt"


@dataclass(frozen=True)
class Round:
    """A round.

    Attributes:
        number: counted from 0.
        data: manifest of the training file; ``None`` if the encoder is not trained in this round.
        labels: what was counted as the file was labelled; ``None`` for the first round.
        encoder: folder or name of the encoder.
        trained: the encoder's manifest, if it is trained.
        keeps_best: whether the encoder has the weights of the lowest held-out loss, not the last ones.
        held_out: scores of the held-out questions, if there are any.
    """

    number: int
    data: Manifest | None
    labels: Labelled | None
    encoder: str
    trained: Manifest | None
    keeps_best: bool
    held_out: Scores | None

    @property
    def scores(self) -> dict[str, float]:
        """R2kt by language, without those that have no question to score, and the macro average."""
        if self.held_out is None:
            return {}
        means = {
            language: self.held_out.mean(MEASURE, language)
            for language, own in self.held_out.per_query[MEASURE].items()
            if own
        }
        return {**means, AVERAGE: fmean(means.values())}

    @property
    def loss(self) -> float | None:
        """The held-out loss of the encoder's weights, if it was measured."""
        if self.trained is None:
            return None
        with open(Path(self.encoder, "loss.csv"), encoding="utf-8") as file:
            losses = [float(row["held_out_loss"]) for row in csv.DictReader(file) if row["held_out_loss"]]
        return (min(losses) if self.keeps_best else losses[-1]) if losses else None

    def to_json(self, output: Path) -> dict[str, Any]:
        """The round as ``rounds.json`` has it."""
        return {
            "round": self.number,
            "data": self.data and _describe_data(self.data),
            "labels": self.labels and describe_labels(self.labels),
            "encoder": {
                "folder": _relative(self, output),
                "steps": self.trained.counts["steps"] if self.trained else 0,
                "start": self.trained.inputs["model"] if self.trained else "",
            },
            "held_out": {"loss": self.loss, MEASURE: self.scores},
        }


def _describe_data(data: Manifest) -> dict[str, Any]:
    (file,) = data.files.values()
    by_language = {name.partition(".")[2]: number for name, number in sorted(data.counts.items()) if "." in name}
    return {"sha256": file["sha256"], "questions": data.counts["questions"], "by_language": by_language}


def describe_labels(labels: Labelled) -> dict[str, Any]:
    """Counts, precision and recall of labels, in all and by language."""

    def describe(language: str) -> dict[str, Any]:
        end = f".{language}" if language else ""
        return {
            "counts": {name: labels.counts.get(name + end, 0) for name in COUNTS},
            "precision": labels.precision(language),
            "first_precision": labels.first_precision(language),
            "recall": labels.recall(language),
        }

    return {**describe(""), "by_language": {language: describe(language) for language in labels.languages}}


def rises(rounds: Sequence[Round]) -> bool:
    """Whether the last round has a higher held-out score than the one before."""
    return len(rounds) < 2 or rounds[-1].scores[AVERAGE] > rounds[-2].scores[AVERAGE]


def final_round(recipe: RoundsRecipe, rounds: Sequence[Round]) -> Round:
    """The round whose encoder is the final one: the last, or the one before if early stopping rejects the last."""
    return rounds[-2] if recipe.stop_early and not rises(rounds) else rounds[-1]


def write_report(recipe: RoundsRecipe, rounds: Sequence[Round], output: Path, *, finished: bool) -> None:
    """Write ``rounds.json`` and, if matplotlib is installed, ``rounds.svg``; then link ``encoder`` to the final one."""
    final = final_round(recipe, rounds) if finished else None
    content = {
        "recipe": recipe.settings(),
        "encoder": final and _relative(final, output),
        "rounds": [own.to_json(output) for own in rounds],
    }
    with atomic_write(output / "rounds.json") as file:
        json.dump(content, file, ensure_ascii=False, indent=1, allow_nan=False)
        file.write("\n")
    panels = plot_panels(rounds)
    if panels and importlib.util.find_spec("matplotlib"):
        with atomic_write(output / "rounds.svg") as file:
            file.write(curves("round", panels, whole=True))
    if final and final.trained:
        link, temporary = output / "encoder", output / ".encoder.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(_relative(final, output))
        os.replace(temporary, link)


def _relative(own: Round, output: Path) -> str:
    return Path(own.encoder).relative_to(output).as_posix() if own.trained else own.encoder


def plot_panels(rounds: Sequence[Round]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """The panels of ``rounds.svg``: label precision and recall, and held-out R2kt and loss, by round."""

    def lines(values: Iterable[tuple[str, int, float | None]]) -> dict[str, list[tuple[float, float]]]:
        points: dict[str, list[tuple[float, float]]] = {}
        for name, number, value in values:
            if value is not None:
                points.setdefault(name, []).append((number, value))
        return points

    labelled = [(own.number, own.labels, language) for own in rounds if own.labels for language in _names(own.labels)]
    panels = {
        "label precision": lines((name or "all", number, labels.precision(name)) for number, labels, name in labelled),
        "label recall": lines((name or "all", number, labels.recall(name)) for number, labels, name in labelled),
        f"held-out {MEASURE}": lines((name, own.number, score) for own in rounds for name, score in own.scores.items()),
        "held-out loss": lines(("loss", own.number, own.loss) for own in rounds),
    }
    return {label: points for label, points in panels.items() if points}


def _names(labels: Labelled) -> list[str]:
    return ["", *labels.languages]


def rounds_table(rounds: Sequence[Round]) -> Table:
    """One row per round: data, label quality and held-out scores."""
    header = ("round", "questions", "labelled", "fallback", "left out", "precision", "of the first", "recall")
    rows = []
    for own in rounds:
        counts = own.labels.counts if own.labels else {}
        shares = (own.labels.precision(), own.labels.first_precision(), own.labels.recall()) if own.labels else ()
        cells = [f"{own.data.counts['questions']:,}" if own.data else ""]
        cells += [f"{counts[name]:,}" if counts else "" for name in ("labelled", "fallback", "left_out")]
        cells += ["" if share is None else f"{share:.1%}" for share in shares or (None,) * 3]
        cells += [f"{own.loss:.3f}" if own.loss is not None else ""]
        cells += [f"{own.scores[AVERAGE]:.1%}" if own.scores else ""]
        rows.append((str(own.number), *cells))
    return Table((*header, "held-out loss", f"held-out {MEASURE}"), rows)

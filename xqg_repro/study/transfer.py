"""What training an encoder on some articles of XQuAD does for questions about the others: before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest, verify
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.printing import format_p
from xqg_repro.evaluation.significance import Correction, Test, correct_p_values, p_value
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.folds import split
from xqg_repro.study.scoring import MEASURES, ranks
from xqg_repro.study.training_folds import STAGE, fold_file
from xqg_repro.train.data import load_split
from xqg_repro.train.recipe import EncoderRecipe

REPORTED = ("RR", "R@1")
"""Measures, by the rank of a question's own paragraph, without a cut-off."""

ALL, HELD_OUT = "all", "held-out"
"""The paragraphs that are ranked: all of XQuAD, or those of the held-out articles only."""


def measure_transfer(
    before: EncoderConfig, after: EncoderConfig, folds: str | Path, fold: int, *, device: str | None = None
) -> dict[str, Any]:
    """Scores of an encoder before and after it was trained on a fold's other articles, on the fold's own questions.

    The tests are paired randomisation tests by question. A language's p-values are Holm-corrected over the languages of
    a measure and kind of candidates. The average over the languages is tested on the mean of a question's differences,
    as a question and its translations are no independent evidence.

    Args:
        before, after: the encoder, and the one that ``xqg-repro train xdr`` made of it.
        folds: folder that ``xqg-repro train folds`` wrote.
        fold: number of the fold, from 0.
        device: a torch device.

    Returns:
        ``folds`` (how the articles were split), ``fold``, ``articles``, ``questions`` (in each language),
        ``paragraphs`` (number of candidates by kind), ``models`` (fingerprints), ``recipe``, and ``rows``: for each
        measure, kind of candidates and language the means ``before`` and ``after``, ``p`` and ``p_corrected``.

    Raises:
        InputError: the folder holds no folds, or not this one, or those of other data; ``after`` was not trained on the
            fold's training file.
    """
    how, data = _read_folds(Path(folds), fold)
    trained = _trained_on(after, Path(folds), fold)
    asked = np.flatnonzero(split(data.articles, how["folds"], how["seed"]) == fold)
    # every paragraph has a question, so these are all paragraphs of the articles
    candidates = {ALL: np.arange(len(data.docids)), HELD_OUT: np.unique(data.own[asked])}
    found = [_ranks(TextEncoder(config, device), data, how, asked, candidates) for config in (before, after)]
    rows = []
    for measure in REPORTED:
        for name in candidates:
            scores = [{code: MEASURES[measure](row) for code, row in by[name].items()} for by in found]
            rows += _rows(measure, name, *scores)
    return {
        "folds": how,
        "fold": fold,
        "articles": len(np.unique(data.articles[asked])),
        "questions": len(asked),
        "paragraphs": {name: len(places) for name, places in candidates.items()},
        "models": {"before": model_fingerprint(before.model), "after": model_fingerprint(after.model)},
        "recipe": trained.parameters["recipe"],
        "rows": rows,
    }


def transfer_table(measured: Mapping[str, Any]) -> Table:
    """What :func:`measure_transfer` found: kinds of candidates and languages × measures."""
    header = ["paragraphs", "questions"]
    for measure in REPORTED:
        header += [f"{measure} before", "after", "p", "Holm"]
    lines: dict[tuple[str, str], list[str]] = {}
    for row in measured["rows"]:
        name, code = row["candidates"], row["language"]
        line = lines.setdefault((name, code), [f"{name} {measured['paragraphs'][name]}", code])
        line += [f"{row['before']:.3f}", f"{row['after']:.3f}", format_p(row["p"]), format_p(row["p_corrected"])]
    return Table(header, list(lines.values()), left=2)


def _read_folds(folder: Path, fold: int) -> tuple[dict[str, Any], ParallelData]:
    """How the articles were split, and the data, as long as they are still the same."""
    made = verify(folder)
    if made.stage != STAGE:
        raise InputError(f"is the output of {made.stage}, not of {STAGE}", path=folder)
    how = made.parameters
    if not 0 <= fold < how["folds"]:
        raise InputError(f"there is no fold {fold}", path=folder, hint=f"choose from 0 to {how['folds'] - 1}")
    data = load_data(list(dict.fromkeys([how["passages"], *how["languages"]])))
    if made.inputs != {NAME: data.version}:
        raise InputError("was made from another version of XQuAD", path=folder, hint="write the folds again")
    return how, data


def _trained_on(after: EncoderConfig, folds: Path, fold: int) -> Manifest:
    """The manifest of the trained encoder, if it was trained on the fold's questions and no others."""
    made, file = Manifest.read(after.model), fold_file(folds, "train", fold)
    recipe = made.parameters.get("recipe", {})
    held_out = str(fold_file(folds, "held-out", fold)) if recipe.get("held_out_data") else ""
    own = EncoderRecipe(name="", data=str(file), held_out_data=held_out)
    if made.inputs.get("data") != load_split(own).version:
        raise InputError(
            f"was not trained on {file}",
            path=after.model,
            hint="train it on that file, measured on that fold's held-out questions or none, or name its own fold",
        )
    return made


def _ranks(
    encoder: TextEncoder,
    data: ParallelData,
    how: Mapping[str, Any],
    asked: np.ndarray,
    candidates: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """Kind of candidates → language → rank of each question's own paragraph among them, int64, shape (asked,)."""
    docs, own = data.paragraphs[how["passages"]], data.own[asked]
    paragraphs = encoder.encode_passages([doc.title for doc in docs], [doc.text for doc in docs])
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in candidates}
    for code in how["languages"]:
        questions = encoder.encode_queries([data.questions[code][i] for i in asked])
        scores = questions.astype(np.float64) @ paragraphs.T.astype(np.float64)  # as the study takes them
        for name, places in candidates.items():
            found[name][code] = ranks(scores[:, places], np.searchsorted(places, own))
    return found


def _rows(
    measure: str, candidates: str, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each language, and one for their average, whose p-value is not corrected."""
    scores = [{**by, AVERAGE: np.mean(list(by.values()), axis=0)} for by in (before, after)]
    p_values = {code: p_value({"": scores[1][code] - scores[0][code]}, Test.RANDOMISATION) for code in scores[0]}
    holm = correct_p_values([p_values[code] for code in before], Correction.HOLM)
    held = dict(zip(before, holm, strict=True))
    return [
        {
            "measure": measure,
            "candidates": candidates,
            "language": code,
            "before": float(scores[0][code].mean()),
            "after": float(scores[1][code].mean()),
            "p": p,
            "p_corrected": held.get(code),
        }
        for code, p in p_values.items()
    ]

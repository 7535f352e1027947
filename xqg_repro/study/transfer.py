"""Scores of an encoder before and after training on some articles of XQuAD, on questions about the other articles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest, open_stage
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.printing import format_p
from xqg_repro.evaluation.significance import Correction, Test, correct_p_values, p_value
from xqg_repro.models.encoder import TextEncoder, open_encoders
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.models.untied import pair_fingerprints
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.folds import split_articles
from xqg_repro.study.scoring import MEASURES, rank_gold
from xqg_repro.study.training_folds import STAGE, fold_file
from xqg_repro.train.data import load_split
from xqg_repro.train.recipe import EncoderRecipe

REPORTED = ("RR", "R@1")
"""Measures, by the rank of a question's gold paragraph, without a cut-off."""


def measure_transfer(
    before: EncoderConfig, after: EncoderConfig, folds: str | Path, fold: int, *, device: str | None = None
) -> dict[str, Any]:
    """Score an encoder on a fold's held-out questions, before and after training on the fold's other articles.

    The tests are paired randomisation tests by question. The p-values of the languages are Holm-corrected for each
    measure and set of candidates. The average over the languages is tested on each question's mean difference, as a
    question and its translations are not independent.

    Args:
        before, after: the encoder, and the one that ``xqg-repro train xdr`` made from it.
        folds: folder that ``xqg-repro train folds`` wrote.
        fold: number of the fold, from 0.

    Returns:
        ``folds`` (how the articles were split), ``fold``, ``articles``, ``questions`` (per language), ``paragraphs``
        (number of candidates in each set), ``models`` (fingerprints), ``recipe``, and ``rows``: for each measure, set
        of candidates and language the means ``before`` and ``after``, ``p`` and ``p_corrected``.

    Raises:
        InputError: the folder has no folds, not this fold, or folds of other data; ``after`` was not trained on the
            fold's training file.
    """
    folds = Path(folds)
    split, data = read_folds(folds, fold)
    trained = check_training(after, folds, fold)
    held_out = np.flatnonzero(split_articles(data.articles, split["folds"], split["seed"]) == fold)
    # all paragraphs of XQuAD, or only those of the held-out articles, each of which has a question
    candidates = {"all": np.arange(len(data.docids)), "held-out": np.unique(data.gold[held_out])}
    ranks = [_rank(open_encoders(config, device), data, split, held_out, candidates) for config in (before, after)]
    rows = []
    for measure in REPORTED:
        for name in candidates:
            scores = [{code: MEASURES[measure](row) for code, row in by_name[name].items()} for by_name in ranks]
            rows += _compare(measure, name, *scores)
    return {
        "folds": split,
        "fold": fold,
        "articles": len(np.unique(data.articles[held_out])),
        "questions": len(held_out),
        "paragraphs": {name: len(paragraphs) for name, paragraphs in candidates.items()},
        "models": {
            "before": pair_fingerprints(before.model)["model"],
            "after": pair_fingerprints(after.model)["model"],
        },
        "recipe": trained.parameters["recipe"],
        "rows": rows,
    }


def transfer_table(measured: Mapping[str, Any]) -> Table:
    """The rows of :func:`measure_transfer`: sets of candidates and languages × measures."""
    header = ["paragraphs", "questions"]
    for measure in REPORTED:
        header += [f"{measure} before", "after", "p", "Holm"]
    lines: dict[tuple[str, str], list[str]] = {}
    for row in measured["rows"]:
        name, code = row["candidates"], row["language"]
        line = lines.setdefault((name, code), [f"{name} {measured['paragraphs'][name]}", code])
        line += [f"{row['before']:.3f}", f"{row['after']:.3f}", format_p(row["p"]), format_p(row["p_corrected"])]
    return Table(header, list(lines.values()), left=2)


def read_folds(folder: Path, fold: int) -> tuple[dict[str, Any], ParallelData]:
    """How the articles were split, and the data, which must not have changed since."""
    manifest = open_stage(folder, STAGE)
    split = manifest.parameters
    if not 0 <= fold < split["folds"]:
        raise InputError(f"there is no fold {fold}", path=folder, hint=f"choose from 0 to {split['folds'] - 1}")
    data = load_data(list(dict.fromkeys([split["passages"], *split["languages"]])))
    if manifest.inputs != {NAME: data.version}:
        raise InputError("was made from another version of XQuAD", path=folder, hint="write the folds again")
    return split, data


def check_training(after: EncoderConfig, folds: Path, fold: int) -> Manifest:
    """The trained encoder's manifest; raise :class:`InputError` unless it was trained on the fold's training file."""
    manifest, training_file = Manifest.read(after.model), fold_file(folds, "train", fold)
    recipe = manifest.parameters.get("recipe", {})
    held_out = str(fold_file(folds, "held-out", fold)) if recipe.get("held_out_data") else ""
    expected = EncoderRecipe(name="", data=str(training_file), held_out_data=held_out)
    if manifest.inputs.get("data") != load_split(expected).version:
        raise InputError(
            f"was not trained on {training_file}",
            path=after.model,
            hint="train on that file, with that fold's held-out questions or none, or choose the fold of the training",
        )
    return manifest


def _rank(
    encoders: tuple[TextEncoder, TextEncoder],
    data: ParallelData,
    split: Mapping[str, Any],
    held_out: np.ndarray,
    candidates: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """Candidates → language → rank of each question's gold paragraph among them, int64, shape (held_out,)."""
    of_questions, of_passages = encoders
    docs, gold = data.paragraphs[split["passages"]], data.gold[held_out]
    paragraphs = of_passages.encode_passages([doc.title for doc in docs], [doc.text for doc in docs])
    ranks: dict[str, dict[str, np.ndarray]] = {name: {} for name in candidates}
    for code in split["languages"]:
        texts = [data.questions[code][row] for row in held_out]
        questions = of_questions.encode_queries(texts, [code] * len(texts))
        scores = questions.astype(np.float64) @ paragraphs.T.astype(np.float64)  # in float64, as in the study
        for name, rows in candidates.items():
            ranks[name][code] = rank_gold(scores[:, rows], np.searchsorted(rows, gold))
    return ranks


def _compare(
    measure: str, candidates: str, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each language, and one for their average, whose p-value is not corrected."""
    rows: list[dict[str, Any]] = []
    old_scores, new_scores = ({**by, AVERAGE: np.mean(list(by.values()), axis=0)} for by in (before, after))
    for code, old in old_scores.items():
        new = new_scores[code]
        means = {"before": float(old.mean()), "after": float(new.mean())}
        p = p_value({"": new - old}, Test.RANDOMISATION)
        rows.append({"measure": measure, "candidates": candidates, "language": code, **means, "p": p})
    corrected = correct_p_values([row["p"] for row in rows[:-1]], Correction.HOLM)
    for row, p_corrected in zip(rows, [*corrected, None], strict=True):
        row["p_corrected"] = p_corrected
    return rows

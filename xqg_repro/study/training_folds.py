"""XQuAD as training data: its articles in folds, a pair of SQuAD-format files each, to train on and to measure on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.collection.xquad import NAME, Answer, located_answers
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.folds import split

STAGE = "train-folds"


def write_folds(
    output: str | Path,
    languages: Sequence[str],
    *,
    passages: str = "en",
    folds: int = 5,
    seed: int = 42,
    force: bool = False,
) -> Manifest:
    """Write ``train.F.json`` and ``held-out.F.json`` for each fold F, from 0, into a stage folder.

    The files hold paragraphs in one language with questions in others (``lang``) and answers in the paragraphs'
    language. The questions of a fold's articles are in its ``held-out`` file, all others in its ``train`` file.
    Articles are dealt out as for the study, by :func:`xqg_repro.study.folds.split`: equal numbers of folds and seeds
    give equal folds. A question has XQuAD's id with its language behind it, ``….ar``, so that no two have the same.

    Raises:
        InputError: an unknown or repeated language; a file that cannot be had or is damaged; an answer that is
            not at its place; fewer articles than folds, or fewer than two folds.
    """
    if repeated := [code for code in languages if list(languages).count(code) > 1]:
        raise InputError(f"--languages repeats {repeated[0]}")
    data = load_data(list(dict.fromkeys([passages, *languages])))
    answers, fold = located_answers(passages), split(data.articles, folds, seed)
    parameters = {"passages": passages, "languages": list(languages), "folds": folds, "seed": seed}

    def build(folder: Path) -> dict[str, int]:
        for number in range(folds):
            for name, chosen in (("train", fold != number), ("held-out", fold == number)):
                with atomic_write(fold_file(folder, name, number)) as file:
                    content = _squad(data, passages, languages, answers, np.flatnonzero(chosen))
                    json.dump({"data": content}, file, ensure_ascii=False, indent=1)
                    file.write("\n")
        return {"articles": len(np.unique(data.articles)), "questions": len(data.qids) * len(languages)}

    return build_stage(output, Manifest(STAGE, parameters, {NAME: data.version}), build, force=force)


def fold_file(folder: Path, name: str, fold: int) -> Path:
    """The file of a fold, ``name`` being ``train`` or ``held-out``."""
    return folder / f"{name}.{fold}.json"


def _squad(
    data: ParallelData,
    passages: str,
    languages: Sequence[str],
    answers: Mapping[str, Sequence[Answer]],
    chosen: np.ndarray,
) -> list[dict[str, Any]]:
    """The articles of some questions, by their positions in ``data``, with these questions only."""
    articles: dict[int, dict[str, Any]] = {}
    paragraphs: dict[int, dict[str, Any]] = {}
    for i in chosen.tolist():
        own = int(data.own[i])
        if own not in paragraphs:
            doc = data.paragraphs[passages][own]
            article = articles.setdefault(int(data.articles[i]), {"title": doc.title, "paragraphs": []})
            paragraphs[own] = {"context": doc.text, "qas": []}
            article["paragraphs"].append(paragraphs[own])
        qid = data.qids[i]
        given = [{"text": text, "answer_start": start} for text, start in answers[qid]]
        paragraphs[own]["qas"] += [
            {"id": f"{qid}.{code}", "lang": code, "question": data.questions[code][i], "answers": given}
            for code in languages
        ]
    return list(articles.values())

"""XQuAD as training data: its articles in folds, with files to train on and held-out ones per fold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.collection.squad import Answer
from xqg_repro.collection.xquad import NAME, located_answers
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.study.alignment import Aligned, align_paragraphs
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.folds import split_articles

STAGE = "train-folds"


def write_folds(
    output: str | Path,
    languages: Sequence[str],
    *,
    passages: str = "en",
    folds: int = 5,
    seed: int = 42,
    parallel: bool = False,
    force: bool = False,
) -> Manifest:
    """Write ``train.F.json``, ``held-out.F.json`` and ``passages.F.jsonl`` for each fold F into a stage folder.

    The files have paragraphs in the language ``passages``, questions in ``languages`` (with ``lang``), and answers in
    the paragraphs' language.
    The questions about a fold's articles are in its ``held-out`` file, all others in its ``train`` file. Its paragraphs
    are a collection, for a generator or translator that was trained on the ``train`` file. The articles
    are split as in the study, by :func:`xqg_repro.study.folds.split_articles`. Question ids are XQuAD's followed by the
    language, as in ``….ar``, so they are unique.

    With ``parallel``, each fold also has ``parallel.train.F.jsonl`` and ``parallel.held-out.F.jsonl``, the sentences of
    the same paragraphs with their translations (see :mod:`xqg_repro.study.alignment`).

    Raises:
        InputError: an unknown or repeated language; a file that is unavailable or damaged; an answer whose
            ``answer_start`` is wrong; fewer articles than folds, or fewer than two folds.
    """
    if repeated := [code for code in languages if list(languages).count(code) > 1]:
        raise InputError(f"--languages repeats {repeated[0]}")
    data = load_data(list(dict.fromkeys([passages, *languages])))
    answers, fold = located_answers(passages), split_articles(data.articles, folds, seed)
    parameters: dict[str, Any] = {"passages": passages, "languages": list(languages), "folds": folds, "seed": seed}
    if parallel:
        parameters["parallel"] = True  # otherwise left out, as in the manifests of older folders

    def build(folder: Path) -> dict[str, int]:
        aligned = align_paragraphs(data.paragraphs, passages, languages) if parallel else None
        for number in range(folds):
            for name, chosen in (("train", fold != number), ("held-out", fold == number)):
                rows = np.flatnonzero(chosen)
                articles = _squad_articles(data, passages, languages, answers, rows)
                with atomic_write(fold_file(folder, name, number)) as file:
                    json.dump({"data": articles}, file, ensure_ascii=False, indent=1)
                    file.write("\n")
                if aligned:
                    _write_lines(folder / f"parallel.{name}.{number}.jsonl", _sentences(aligned, data.gold[rows]))
            docs = [data.paragraphs[passages][i] for i in np.unique(data.gold[fold == number])]
            lines = [{"docid": doc.doc_id, "title": doc.title, "text": doc.text} for doc in docs]
            _write_lines(folder / f"passages.{number}.jsonl", lines)
        counts = {"articles": len(np.unique(data.articles)), "questions": len(data.qids) * len(languages)}
        return counts | (aligned.counts if aligned else {})

    return build_stage(output, Manifest(STAGE, parameters, {NAME: data.version}), build, force=force)


def fold_file(folder: Path, name: str, fold: int) -> Path:
    """Path of a fold's file; ``name`` is ``train`` or ``held-out``."""
    return folder / f"{name}.{fold}.json"


def _sentences(aligned: Aligned, gold: np.ndarray) -> list[dict[str, Any]]:
    """The lines of the sentences of these paragraphs."""
    return [
        {"docid": docid, "text": sentence, "translations": translations}
        for row in np.unique(gold)
        for docid, sentence, translations in aligned.paragraphs[row]
    ]


def _write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def _squad_articles(
    data: ParallelData,
    passages: str,
    languages: Sequence[str],
    answers: Mapping[str, Sequence[Answer]],
    rows: np.ndarray,
) -> list[dict[str, Any]]:
    """Articles with only the questions in these rows of ``data``, as SQuAD's format has them."""
    articles: dict[int, dict[str, Any]] = {}
    paragraphs: dict[int, dict[str, Any]] = {}
    for row in rows.tolist():
        gold = int(data.gold[row])
        if gold not in paragraphs:
            doc = data.paragraphs[passages][gold]
            article = articles.setdefault(int(data.articles[row]), {"title": doc.title, "paragraphs": []})
            paragraphs[gold] = {"context": doc.text, "qas": []}
            article["paragraphs"].append(paragraphs[gold])
        qid = data.qids[row]
        spans = [{"text": text, "answer_start": start} for text, start in answers[qid]]
        for code in languages:
            question = {"id": f"{qid}.{code}", "lang": code, "question": data.questions[code][row], "answers": spans}
            paragraphs[gold]["qas"].append(question)
    return list(articles.values())

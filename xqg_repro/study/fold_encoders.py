"""The study once more, with a trained encoder for each fold of the articles: do the gains survive a better encoder?

The encoder of a fold was trained on the questions about the other folds (``xqg-repro train folds`` and ``train xdr``).
It embeds everything, but only the questions about its fold's articles, which it has not seen, are measured with it; so
each question is measured once. As elsewhere, α is chosen on the questions of other articles, each measured by its own
encoder. All paragraphs are candidates, most of which the encoder has been trained on, for all methods alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.models.untied import pair_fingerprints
from xqg_repro.study.data import ParallelData
from xqg_repro.study.folds import split_articles
from xqg_repro.study.made import MadeTexts
from xqg_repro.study.rank import EncoderView, score_views
from xqg_repro.study.settings import Study
from xqg_repro.study.sources import cached_sums
from xqg_repro.study.statistics import compare_in_scopes
from xqg_repro.study.summarise import mean_scores
from xqg_repro.study.summary import FoldEncoders
from xqg_repro.study.transfer import check_training, read_folds
from xqg_repro.study.vectors import encode_all


def assign_folds(configs: Sequence[EncoderConfig], folds: str | Path, data: ParallelData) -> list[np.ndarray]:
    """The rows of the questions that each encoder is measured on, int64; those of its fold.

    Raises:
        InputError: the folder has no folds, or another number of them; an encoder was not trained on its fold's
            training file.
    """
    folds = Path(folds)
    split, _ = read_folds(folds, 0)
    if len(configs) != split["folds"]:
        problem = f"has {split['folds']} folds, but there are {len(configs)} fold encoders"
        raise InputError(problem, path=folds, hint="name one encoder for each fold, in their order")
    for number, config in enumerate(configs):
        check_training(config, folds, number)
    fold = split_articles(data.articles, split["folds"], split["seed"])
    return [np.flatnonzero(fold == number) for number in range(len(configs))]


def measure_fold_encoders(
    study: Study,
    data: ParallelData,
    made: MadeTexts,
    configs: Sequence[EncoderConfig],
    rows: Sequence[np.ndarray],
    folder: Path,
    *,
    device: str | None = None,
    force: bool = False,
) -> FoldEncoders:
    """Score and test all methods, without answers.

    Args:
        rows: see :func:`assign_folds`.
        folder: parent of the folders ``embeddings.F`` of each fold F.
    """
    views = []
    for number, (config, own_rows) in enumerate(zip(configs, rows, strict=True)):
        vectors = encode_all(
            study, data, config, folder / f"embeddings.{number}", made=made, device=device, force=force
        )
        views.append(EncoderView(vectors, cached_sums(data, vectors), own_rows))
    methods = {name: dataclasses.replace(method, read=False) for name, method in study.methods.items()}
    plain = dataclasses.replace(study, methods=methods, groups={})
    results = score_views(plain, data, views, configs[0].normalize)
    return FoldEncoders(
        encoder=Path(configs[0].model).name,
        models=tuple(pair_fingerprints(config.model)["model"] for config in configs),
        means=mean_scores(results),
        mixed=tuple(compare_in_scopes(results, plain)),
    )

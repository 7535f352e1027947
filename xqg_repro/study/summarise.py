"""From the results of a study to its summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from xqg_repro.study.data import ParallelData
from xqg_repro.study.results import Curve, Pair, Results
from xqg_repro.study.settings import Study
from xqg_repro.study.sources import SumsOf
from xqg_repro.study.statistics import answer_question, compare_each_pair, compare_in_scopes, find_examples, pair_name
from xqg_repro.study.summary import MethodCost, StudySummary
from xqg_repro.study.trends import Losses, find_trends
from xqg_repro.study.vectors import StudyVectors

T = TypeVar("T")

EXAMPLE_COMPARISONS = (("queries-all", "passages-all"), ("queries-own", "passages-own"))
"""The comparisons with examples."""


def summarise(
    study: Study,
    data: ParallelData,
    results: Results,
    vectors: StudyVectors,
    sums_of: SumsOf,
    model: str,
    model_version: str,
    losses: Losses | None = None,
) -> StudySummary:
    """Test the results, count the costs and put everything into its written form.

    ``model`` is the folder or id of the encoder's model, and ``model_version`` its fingerprint; ``losses`` are those of
    the generator of machine-made texts.
    """
    curves: dict[str, dict[str, dict[str, Curve]]] = {}
    for measure, by_method in results.curves.items():
        curves[measure] = {method: _named(by_pair) for method, by_pair in by_method.items()}
    shown = [comparison for comparison in EXAMPLE_COMPARISONS if set(comparison) <= study.methods.keys()]
    tests = compare_in_scopes(results, study)
    return StudySummary(
        encoder=Path(model).name,
        model=model_version,
        data=data.version,
        languages=study.languages,
        passages=study.passages,
        folds=study.folds,
        seed=study.seed,
        chosen_by=study.chosen_by,
        alphas=tuple(sorted(study.alphas)),
        counts={
            "articles": len(np.unique(data.articles)),
            "paragraphs": len(data.docids),
            "questions": len(data.qids),
            "alone": int((np.bincount(data.gold)[data.gold] == 1).sum()),
            "same": sum(len(rows) > 1 for rows in data.duplicates),
            "answered": results.answered,
        },
        titles={name: method.title for name, method in study.methods.items()},
        bounds={name: method.bound.value for name, method in study.methods.items()},
        means=mean_scores(results),
        chosen=_named(results.chosen),
        read=_named(results.read),
        gold={measure: _named(by_pair) for measure, by_pair in results.gold.items()},
        curves=curves,
        tests=tuple(compare_each_pair(results, study.comparisons)),
        mixed=tuple(tests),
        sources={name: grouping.source for name, grouping in study.groups.items()},
        costs=tuple(method_costs(study, vectors, sums_of)),
        examples=tuple(find_examples(results, study, shown)),
        answers=tuple(answer_question(results, study, tests)),
        trends=tuple(find_trends(results, study, losses or {})),
    )


def mean_scores(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Measure → pair → method → mean score."""
    return {
        measure: _named({pair: results.means(measure, pair) for pair in by_pair})
        for measure, by_pair in results.scores.items()
    }


def method_costs(study: Study, vectors: StudyVectors, sums_of: SumsOf) -> list[MethodCost]:
    """What each method encodes and stores, for paragraphs in the first language and questions in all languages."""
    first = study.passages[0]
    index_bytes = 4 * vectors.paragraphs[first].size
    costs = []
    for name, method in study.methods.items():
        sums = []
        for source in method.sources:
            languages = study.languages if source.uses_question_language else study.languages[:1]
            sums += [sums_of(source, first, language) for language in languages]
        by_language = any(source.uses_question_language for source in method.sources)
        indexes = len(study.languages) if by_language else 1
        texts, characters = sum(s.texts for s in sums), sum(s.characters for s in sums)
        costs.append(MethodCost(name, texts, characters, indexes, indexes * index_bytes))
    return costs


def _named(by_pair: Mapping[Pair, T]) -> dict[str, T]:
    return {pair_name(pair): value for pair, value in by_pair.items()}

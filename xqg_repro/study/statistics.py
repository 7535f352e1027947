"""Tests of the study: a comparison on each pair of languages, and over all pairs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xqg_repro.evaluation.significance import Correction, Test, bootstrap_interval, correct_p_values, p_value
from xqg_repro.study.results import Pair, Results
from xqg_repro.study.settings import NONE, Study
from xqg_repro.study.summary import Example, Mixed, Tested

ALL = "all"
"""The scope of all pairs, whatever the paragraphs' language."""

EXAMPLES = 5
"""Examples a comparison and direction."""


def name_of(pair: Pair) -> str:
    """A pair as files and tables write it: ``en/ar`` for English paragraphs and Arabic questions."""
    return "/".join(pair)


def scopes(study: Study) -> dict[str, list[Pair]]:
    """Pairs to be summarised: those of the first language of paragraphs, and all; two different languages each."""
    first = study.passages[0]
    found = {first: [pair for pair in study.pairs if pair[0] == first != pair[1]]}
    if len(study.passages) > 1:
        found[ALL] = [pair for pair in study.pairs if pair[0] != pair[1]]
    return {scope: pairs for scope, pairs in found.items() if pairs}


def each_pair(results: Results, comparisons: Sequence[Sequence[str]]) -> list[Tested]:
    """Each comparison on each pair, Holm-corrected over the pairs of a comparison and measure."""
    found = []
    for measure in results.scores:
        for method, other in comparisons:
            differences = results.differences(measure, method, other, results.pairs)
            differences = differences[:, ~np.isnan(differences).any(axis=0)]
            p_values = [p_value({"": row}, Test.RANDOMISATION) for row in differences]
            for pair, row, p, q in zip(
                results.pairs, differences, p_values, correct_p_values(p_values, Correction.HOLM), strict=True
            ):
                found.append(Tested(measure, method, other, name_of(pair), float(row.mean()), p, q))
    return found


def mixed(
    results: Results, measure: str, method: str, other: str, scope: str, pairs: Sequence[Pair], group: str = ""
) -> Mixed:
    """One comparison over many pairs.

    All pairs have the same questions, so what is tested is the mean over pairs of a question's differences: each pair
    counts the same, and a question's flip is that of all its pairs, which are no independent evidence. The questions of
    an article are not independent either; a second test flips them together.
    """
    of_question = results.differences(measure, method, other, pairs).mean(axis=0)
    scored = ~np.isnan(of_question)
    of_question = of_question[scored]
    _, article = np.unique(results.articles[scored], return_inverse=True)
    of_article = np.bincount(article, weights=of_question)
    of_article *= len(of_article) / len(of_question)  # so that their mean is that of the questions
    low, high = bootstrap_interval({"": of_article})
    p = None if group else p_value({"": of_question}, Test.RANDOMISATION)  # by article will do for groups
    p_articles = p_value({"": of_article}, Test.RANDOMISATION)
    mean = float(of_question.mean())
    return Mixed(measure, method, other, scope, group, len(pairs), mean, low, high, p, p_articles)


def mixed_summaries(results: Results, study: Study) -> list[Mixed]:
    """Each comparison over all pairs of each scope, then over those of each group of question languages."""
    found = []
    for measure in results.scores:
        for scope, pairs in scopes(study).items():
            groups = {"": pairs}
            for grouping, held in study.groups.items():
                for group in sorted({held.languages[code] for code in study.languages}):
                    groups[f"{grouping}: {group}"] = [pair for pair in pairs if held.languages[pair[1]] == group]
            for method, other in study.comparisons:
                found += [
                    mixed(results, measure, method, other, scope, some, group) for group, some in groups.items() if some
                ]
    return found


def examples(results: Results, study: Study, comparisons: Sequence[tuple[str, str]]) -> list[Example]:
    """Questions, all different, that one method answers first and the other ranks the lowest, in both directions."""
    pairs = next(iter(scopes(study).values()), [])
    found: list[Example] = []
    for winner, loser in [c for method, other in comparisons for c in ((method, other), (other, method))]:
        candidates = [
            Example(winner, loser, name_of(pair), results.qids[i], {name: int(held[name][i]) for name in shown})
            for shown in [tuple(dict.fromkeys((NONE, winner, loser)))]
            for pair, held in ((pair, results.ranks[pair]) for pair in pairs)
            for i in np.flatnonzero((held[winner] == 1) & (held[loser] > 1))
        ]
        first: dict[str, Example] = {}
        for one in sorted(candidates, key=lambda one: (-one.ranks[loser], one.qid, one.pair)):
            first.setdefault(one.qid, one)
        found += list(first.values())[:EXAMPLES]
    return found

"""Significance tests of the study: each comparison on each pair of languages, and over many pairs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xqg_repro.evaluation.significance import Correction, Test, bootstrap_interval, correct_p_values, p_value
from xqg_repro.study.power import questions_needed
from xqg_repro.study.results import Pair, Results
from xqg_repro.study.settings import NONE, Study
from xqg_repro.study.summary import PairTest, PooledTest, QuestionAnswer, QuestionExample

ALL = "all"
"""The scope of all pairs, whatever the language of the paragraphs."""

EXAMPLES = 5
"""Examples per comparison and direction."""


def pair_name(pair: Pair) -> str:
    """A pair as files and tables write it: ``en/ar`` for English paragraphs and Arabic questions."""
    return "/".join(pair)


def pair_scopes(study: Study) -> dict[str, list[Pair]]:
    """The pairs to pool, always of two different languages: with the first language of paragraphs, and all."""
    first = study.passages[0]
    cross_lingual = [pair for pair in study.pairs if pair[0] != pair[1]]
    scopes = {first: [pair for pair in cross_lingual if pair[0] == first]}
    if len(study.passages) > 1:
        scopes[ALL] = cross_lingual
    return {scope: pairs for scope, pairs in scopes.items() if pairs}


def compare_each_pair(results: Results, comparisons: Sequence[Sequence[str]]) -> list[PairTest]:
    """Each comparison on each pair, Holm-corrected over the pairs of a comparison and measure."""
    tests = []
    for measure in results.scores:
        for method, other in comparisons:
            differences = results.differences(measure, method, other, results.pairs)
            differences = differences[:, ~np.isnan(differences).any(axis=0)]
            p_values = [p_value({"": row}, Test.RANDOMISATION) for row in differences]
            holm = correct_p_values(p_values, Correction.HOLM)
            for pair, row, p, p_holm in zip(results.pairs, differences, p_values, holm, strict=True):
                tests.append(PairTest(measure, method, other, pair_name(pair), float(row.mean()), p, p_holm))
    return tests


def compare_over_pairs(
    results: Results, measure: str, method: str, other: str, scope: str, pairs: Sequence[Pair], group: str = ""
) -> PooledTest:
    """One comparison over many pairs.

    All pairs have the same questions, and a question's differences on several pairs are not independent evidence. So
    the test is on each question's mean difference over the pairs: every pair has the same weight, and a randomisation
    swaps a question's methods in all pairs at once. Questions about the same article are not independent either; a
    second test swaps these together.
    """
    by_question, by_article = mean_differences(results, measure, method, other, pairs)
    low, high = bootstrap_interval({"": by_article})
    p = None if group else p_value({"": by_question}, Test.RANDOMISATION)  # groups are tested by article only
    p_articles = p_value({"": by_article}, Test.RANDOMISATION)
    mean = float(by_question.mean())
    return PooledTest(measure, method, other, scope, group, len(pairs), mean, low, high, p, p_articles)


def mean_differences(
    results: Results, measure: str, method: str, other: str, pairs: Sequence[Pair]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean differences over pairs of the questions that have a score.

    Returns:
        of each question, float64, shape (questions,); and of each article, float64, shape (articles,), scaled so that
        their mean is that of the questions.
    """
    by_question = results.differences(measure, method, other, pairs).mean(axis=0)
    scored = ~np.isnan(by_question)
    by_question = by_question[scored]
    _, article = np.unique(results.articles[scored], return_inverse=True)
    totals = np.bincount(article, weights=by_question)
    return by_question, totals * (len(totals) / len(by_question))


def answer_question(results: Results, study: Study, tests: Sequence[PooledTest]) -> list[QuestionAnswer]:
    """The research question in each of its ways and measures, from the tests over the first scope's pairs."""
    scope, pairs = next(iter(pair_scopes(study).items()), ("", []))
    by_comparison = {(t.measure, t.method, t.other): t for t in tests if t.scope == scope and not t.group}
    answers = []
    for way, comparisons in study.question.items():
        for method, other in comparisons:
            for measure in results.scores if pairs else ():
                test = by_comparison[measure, method, other]
                by_question, by_article = mean_differences(results, measure, method, other, pairs)
                is_open = test.low <= 0 <= test.high
                needed = questions_needed(by_article, len(by_question)) if is_open else None
                numbers = (test.difference, test.low, test.high, test.p_articles, len(by_question), needed)
                answers.append(QuestionAnswer(way, measure, method, other, *numbers))
    return answers


def compare_in_scopes(results: Results, study: Study) -> list[PooledTest]:
    """Each comparison over all pairs of each scope, then over the pairs of each group of question languages."""
    tests = []
    for measure in results.scores:
        for scope, pairs in pair_scopes(study).items():
            groups = {"": pairs, **_groups(study, pairs)}
            for method, other in study.comparisons:
                for group, grouped_pairs in groups.items():
                    tests.append(compare_over_pairs(results, measure, method, other, scope, grouped_pairs, group))
    return tests


def _groups(study: Study, pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """``grouping: group`` → pairs whose question language is in the group; groups without pairs are left out."""
    groups = {}
    for name, grouping in study.groups.items():
        for group in sorted({grouping.languages[code] for code in study.languages}):
            groups[f"{name}: {group}"] = [pair for pair in pairs if grouping.languages[pair[1]] == group]
    return {group: grouped_pairs for group, grouped_pairs in groups.items() if grouped_pairs}


def find_examples(results: Results, study: Study, comparisons: Sequence[tuple[str, str]]) -> list[QuestionExample]:
    """Distinct questions that one method ranks first and the other lowest, in both directions of each comparison."""
    examples: list[QuestionExample] = []
    for method, other in comparisons:
        for winner, loser in ((method, other), (other, method)):
            candidates = sorted(_wins(results, study, winner, loser), key=lambda e: (-e.ranks[loser], e.qid, e.pair))
            by_qid: dict[str, QuestionExample] = {}
            for example in candidates:
                by_qid.setdefault(example.qid, example)
            examples += list(by_qid.values())[:EXAMPLES]
    return examples


def _wins(results: Results, study: Study, winner: str, loser: str) -> Iterator[QuestionExample]:
    """Questions that the winner ranks first and the loser does not, over the pairs of the first scope."""
    shown = dict.fromkeys((NONE, winner, loser))
    for pair in next(iter(pair_scopes(study).values()), []):
        ranks = results.ranks[pair]
        for row in np.flatnonzero((ranks[winner] == 1) & (ranks[loser] > 1)).tolist():
            by_method = {name: int(ranks[name][row]) for name in shown}
            yield QuestionExample(winner, loser, pair_name(pair), results.qids[row], by_method)

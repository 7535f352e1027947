"""The answer to the research question in five sentences, made from a study's numbers."""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.evaluation.printing import format_p
from xqg_repro.study.cells import interval, mean, points, score
from xqg_repro.study.summary import GainTrend, QuestionAnswer, StudySummary

VERSUS, QUERIES, TRANSLATIONS, COST = (
    "queries against translations",
    "queries against none",
    "translations against none",
    "queries against translations at equal cost",
)
"""The ways of asking, as in ``resources/study.yaml``."""

ANSWERS = "F1"
"""The measure of answers that is told."""


def answer_text(summary: StudySummary) -> str:
    """Up to five sentences, one per line of a list: who wins, against nothing, at equal cost, in answers, by language.

    A sentence whose numbers a study does not have is left out. The first method of each comparison, which adds texts in
    the question's language, comes first.
    """
    sentences = [
        _versus(summary),
        _against_none(summary),
        _equal_cost(summary),
        _answers(summary),
        _languages(summary),
    ]
    return "\n".join(f"{number}. {text}" for number, text in enumerate(filter(None, sentences), 1))


def find_answers(summary: StudySummary, way: str, measure: str) -> list[QuestionAnswer]:
    """The answers to one way of asking on one measure."""
    return [answer for answer in summary.answers if (answer.way, answer.measure) == (way, measure)]


def verdict(answer: QuestionAnswer) -> str:
    """The difference with its interval and p, and what would decide it if it is open.

    >>> verdict(QuestionAnswer("", "RR", "a", "b", 0.012, -0.001, 0.025, 0.07, 1190, 5200))
    '+1.2 points (95 % interval -0.1 to +2.5, p 0.070; open: about 5,200 questions would decide)'
    """
    text = (
        f"{points(answer.difference)} points (95 % interval {interval(answer.low, answer.high)}, p {format_p(answer.p)}"
    )
    if not answer.is_decided:
        text += "; open"
        if answer.needed:
            text += f": about {answer.needed:,} questions would decide"
    return f"{text})"


def queries_win(summary: StudySummary) -> tuple[bool, str]:
    """Whether queries beat translations in the question's language, in each of the measures that a study has.

    Returns:
        whether every difference is above zero with its whole interval; and all differences in words.
    """
    first = {answer.measure: answer for answer in reversed(summary.answers) if answer.way == VERSUS}
    answers = [first[measure] for measure in summary.means if measure in first]
    told = ", ".join(f"{answer.measure} {verdict(answer)}" for answer in answers)
    return bool(answers) and all(answer.low > 0 for answer in answers), told


def _versus(summary: StudySummary) -> str:
    answers = find_answers(summary, VERSUS, summary.chosen_by)
    if not answers:
        return ""
    first = answers[0]
    winner, loser = ("queries", "translations") if first.difference > 0 else ("translations", "queries")
    claim = f"**{winner} beat {loser}**" if first.is_decided else "**neither queries nor translations win**"
    means = [score(_average(summary, first.measure, method)) for method in (first.method, first.other)]
    return (
        f"With nothing human in the index, machine-made {claim}: {first.measure} over {_count(summary)} languages is "
        f"{means[0]} with queries and {means[1]} with translations, {_both(answers)}."
    )


def _against_none(summary: StudySummary) -> str:
    queries, translations = (find_answers(summary, way, summary.chosen_by) for way in (QUERIES, TRANSLATIONS))
    if not queries or not translations:
        return ""
    none = score(_average(summary, summary.chosen_by, queries[0].other))
    return f"Over passages alone ({none}), queries change {_both(queries)}, and translations {_both(translations)}."


def _equal_cost(summary: StudySummary) -> str:
    answers = find_answers(summary, COST, summary.chosen_by)
    costs = [cost for cost in summary.budget if cost.queries and cost.translation_tokens]
    if not answers or not costs:
        return ""
    ratio = mean([cost.translation_tokens * cost.queries / cost.query_tokens for cost in costs])
    return (
        f"A translation costs as many tokens as {ratio:.0f} queries; against translations that end after as many "
        f"tokens as the queries have, queries are {_both(answers)}."
    )


def _answers(summary: StudySummary) -> str:
    answers = find_answers(summary, VERSUS, ANSWERS)
    if not answers:
        return ""
    queries, translations = (find_answers(summary, way, ANSWERS) for way in (QUERIES, TRANSLATIONS))
    return (
        f"In {ANSWERS} of the readers' answers to {answers[0].questions:,} questions, queries against translations are "
        f"{_both(answers)}; against none, {verdict(queries[0])} and {verdict(translations[0])}."
    )


def _languages(summary: StudySummary) -> str:
    trends = [trend for trend in summary.trends if trend.measure == summary.chosen_by]
    if not trends:
        return ""
    told = ", ".join(f"{_trend(trend)} for {trend.method} − {trend.other} against {trend.against}" for trend in trends)
    signs = {trend.rho > 0 for trend in trends if trend.low > 0 or trend.high < 0}
    claim = (
        "The gain depends on a language's resources" if signs else "No gain depends clearly on a language's resources"
    )
    return f"{claim} (Spearman's ρ with its 95 % interval: {told})."


def _trend(trend: GainTrend) -> str:
    return f"{trend.rho:+.2f} [{trend.low:+.2f}, {trend.high:+.2f}]"


def _both(answers: Sequence[QuestionAnswer]) -> str:
    """The verdict in the question's language and, if there is one, in all languages."""
    texts = [verdict(answer) for answer in answers]
    return f"{texts[0]} in the question's language" + "".join(f" and {text} in all languages" for text in texts[1:])


def _average(summary: StudySummary, measure: str, method: str) -> float:
    """The mean over questions in the languages other than the paragraphs'."""
    first, means = summary.passages[0], summary.means[measure]
    return mean([means[f"{first}/{code}"][method] for code in summary.question_languages])


def _count(summary: StudySummary) -> int:
    return len(summary.question_languages)

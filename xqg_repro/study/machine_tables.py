"""Tables of studies with machine-made texts: the question's answers, costs, trends and trained encoders."""

from __future__ import annotations

from collections.abc import Callable

from xqg_repro.core.tables import Table
from xqg_repro.evaluation.printing import MISSING, format_p
from xqg_repro.study.cells import comparison, interval, mean, points, score
from xqg_repro.study.settings import NONE
from xqg_repro.study.summary import PooledTest, StudySummary


def answers_table(summary: StudySummary, measure: str) -> Table:
    """The research question in each of its ways; open ones with the number of questions that would decide."""
    rows = []
    for answer in summary.answers:
        if answer.measure == measure:
            verdict = "decided"
            if not answer.is_decided:
                verdict = f"open: {answer.needed:,} questions" if answer.needed else "open"
            cells = [points(answer.difference), interval(answer.low, answer.high), format_p(answer.p), verdict]
            rows.append([answer.way, comparison(answer.method, answer.other), *cells])
    columns = ["difference", "95 % interval", "p by article", "decided by"]
    questions = next(a.questions for a in summary.answers if a.measure == measure)
    columns[-1] = f"{questions:,} questions"
    return Table(["asked", f"{measure}, points", *columns], rows, left=2)


def trends_table(summary: StudySummary, measure: str) -> Table:
    """Gains by question language against resources and losses, with Spearman's correlation."""
    rows = []
    for trend in summary.trends:
        if trend.measure == measure:
            limits = f"{trend.low:+.2f} to {trend.high:+.2f}"
            cells = [str(len(trend.points)), f"{trend.rho:+.2f}", limits, format_p(trend.p)]
            rows.append([comparison(trend.method, trend.other), trend.against, *cells])
    header = [f"gain in {measure}", "against", "languages", "Spearman's ρ", "95 % interval", "p"]
    return Table(header, rows, left=2)


def encoders_table(summary: StudySummary, measure: str) -> Table:
    """Averages over the other languages by method, with the study's encoder and with those trained on folds."""
    assert summary.fold_encoders is not None
    first, scope = summary.passages[0], summary.passages[0]
    columns = [(summary.means, summary.mixed), (summary.fold_encoders.means, summary.fold_encoders.mixed)]
    rows = []
    for method in summary.fold_encoders.means[measure][f"{first}/{first}"]:
        row = [method]
        for means, tests in columns:
            average = mean([means[measure][f"{first}/{code}"][method] for code in summary.question_languages])
            row += [score(average), *_gain(tests, measure, method, scope)]
        rows.append(row)
    columns_of = [f"{measure}, {summary.encoder}", "− none", "p", "trained on folds", "− none", "p"]
    return Table(["method", *columns_of], rows)


def _gain(tests: tuple[PooledTest, ...], measure: str, method: str, scope: str) -> list[str]:
    for test in tests:
        if (test.measure, test.method, test.other, test.scope, test.group) == (measure, method, NONE, scope, ""):
            return [points(test.difference), format_p(test.p_articles)]
    return [MISSING, MISSING]


def budget_table(summary: StudySummary) -> Table:
    """Tokens of a paragraph's queries and translation by language, and how many queries a translation costs."""
    rows = []
    for cost in summary.budget:
        per_query = cost.query_tokens / cost.queries if cost.queries else 0.0
        equal = f"{cost.translation_tokens / per_query:.1f}" if per_query and cost.translation_tokens else MISSING
        numbers = [cost.queries, cost.query_tokens, cost.translation_tokens, cost.cut_tokens]
        rows.append([cost.language, *(f"{number:.1f}" if number else MISSING for number in numbers), equal])
    header = [
        "a paragraph in",
        "queries",
        "their tokens",
        "tokens of its translation",
        "cut to",
        "costs as many queries",
    ]
    return Table(header, rows)


def written_table(summary: StudySummary) -> Table:
    """What the writers of machine-made texts have counted themselves."""
    names = list(dict.fromkeys(name for counts in summary.written.values() for name in counts))
    rows = []
    for kind, counts in summary.written.items():
        rows.append([kind, *(f"{counts[name]:,}" if name in counts else MISSING for name in names)])
    return Table(["written", *names], rows)


BY_MEASURE: dict[str, Callable[[StudySummary, str], Table]] = {
    "answers": answers_table,
    "encoders": encoders_table,
    "trends": trends_table,
}
PLAIN: dict[str, Callable[[StudySummary], Table]] = {"budget": budget_table, "written": written_table}

"""From runs to scores: measures, significance, comparisons, submissions and other tools' runs."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.evaluation.compare import Comparison as Comparison, System as System, compare as compare
    from xqg_repro.evaluation.evaluate import evaluate as evaluate, evaluate_answers as evaluate_answers
    from xqg_repro.evaluation.scores import Missing as Missing, Scores as Scores
    from xqg_repro.evaluation.significance import Correction as Correction, Test as Test

export(
    __name__,
    scores=["Missing", "Scores"],
    evaluate=["evaluate", "evaluate_answers"],
    compare=["Comparison", "System", "compare"],
    significance=["Correction", "Test"],
)

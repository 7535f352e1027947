"""Stage ``evaluate``: a TREC run, or answers, and the questions → scores per question, per language and on average.

The average over languages is the plain (macro) mean of the languages' means, as in the paper's tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, read_text
from xqg_repro.core.languages import AVERAGE
from xqg_repro.evaluation.measures import register
from xqg_repro.evaluation.measures.match import MATCH_MEASURES, match_score, read_answers
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, scorable, tokens_until
from xqg_repro.retrieval.runfile import Run, read_run

if TYPE_CHECKING:
    from ir_measures import Measure


class Missing(StrEnum):
    """What a question that the run does not hold counts: a score of zero, or nothing (as in the official script)."""

    ZERO = "zero"
    SKIP = "skip"


@dataclass(frozen=True)
class Scores:
    """Scores of one run, or of one file of answers.

    Attributes:
        topics: ir-datasets id.
        missing: what was done about questions that the run does not hold.
        per_query: measure → qid → score in [0, 1]; only questions that can be scored.
        languages: qid → language, of every question of the topics.
        absent: qids of the topics that the run does not hold.
    """

    topics: str
    missing: Missing
    per_query: dict[str, dict[str, float]]
    languages: dict[str, str]
    absent: tuple[str, ...]

    def count(self, measure: str, language: str | None = None) -> int:
        """Number of questions scored."""
        return len(self._values(measure, language))

    def mean(self, measure: str, language: str) -> float:
        """Mean over the questions of one language; NaN where there is none."""
        values = self._values(measure, language)
        return fmean(values) if values else float("nan")

    def average(self, measure: str, languages: Iterable[str] | None = None) -> float:
        """Macro average: the mean of the languages' means."""
        chosen = list(languages or dict.fromkeys(self.languages.values()))
        return fmean(self.mean(measure, language) for language in chosen)

    def table(self, measure: str) -> dict[str, float]:
        """Language → mean, then ``average`` → macro average."""
        languages = list(dict.fromkeys(self.languages.values()))
        return {
            **{language: self.mean(measure, language) for language in languages},
            AVERAGE: self.average(measure, languages),
        }

    def by_language(self, measure: str) -> dict[str, dict[str, float]]:
        """Language → qid → score; only questions that can be scored."""
        found: dict[str, dict[str, float]] = {language: {} for language in self.languages.values()}
        for qid, score in self.per_query[measure].items():
            found[self.languages[qid]][qid] = score
        return found

    def _values(self, measure: str, language: str | None) -> list[float]:
        return [score for qid, score in self.per_query[measure].items() if language in (None, self.languages[qid])]

    def write(self, path: str | Path) -> None:
        """Write everything as JSON, per-question scores included."""
        summary = {
            measure: {
                "means": {column: None if isnan(mean) else mean for column, mean in self.table(measure).items()},
                "questions": self.count(measure),
            }
            for measure in self.per_query
        }
        with atomic_write(path) as file:
            json.dump(
                {
                    "topics": self.topics,
                    "missing": self.missing,
                    "absent": self.absent,
                    "summary": summary,
                    "languages": self.languages,
                    "per_query": self.per_query,
                },
                file,
                ensure_ascii=False,
                indent=1,
                allow_nan=False,
            )
            file.write("\n")


def read_scores(path: str | Path) -> Scores:
    """Scores as :meth:`Scores.write` wrote them; :class:`InputError` where it did not."""
    try:
        found = json.loads(read_text(Path(path), "file of scores"))
        return Scores(
            found["topics"],
            Missing(found["missing"]),
            found["per_query"],
            found["languages"],
            tuple(found["absent"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"holds no scores: {error}", path=path, hint="write it with xqg-repro evaluate") from None


def evaluate(run: str | Path | Run, topics: str, measures: Sequence[str], *, missing: Missing = Missing.ZERO) -> Scores:
    """Score a run.

    Args:
        run: a TREC run file, or a run already read.
        topics: ir-datasets id of the questions, such as ``xor-mini/dev``.
        measures: ``R2kt``, ``R5kt``, or any name that ir-measures knows (``nDCG@10``, ``RR@10``, ``R@5``).
        missing: what a question absent from the run counts.

    Raises:
        InputError: a run that is malformed or of other questions, an unknown measure, a measure that needs answers or
            relevance judgements that the topics do not have, or no question in common.
    """
    dataset = collection.load(topics, needs=["queries"])
    parsed = parse_measures(measures)
    if answers := [name for name in parsed if name in MATCH_MEASURES]:
        raise InputError(f"{answers[0]} is of answers, not of runs", hint="name files of answers (--answers)")
    questions = list(dataset.queries_iter())
    found = run if isinstance(run, dict) else read_run(run, [question.query_id for question in questions])
    absent = tuple(question.query_id for question in questions if question.query_id not in found)
    if len(absent) == len(questions):
        raise InputError(f"the run holds no question of {topics}", hint="is this the run of another topic set?")
    counted = [q for q in questions if missing is Missing.ZERO or q.query_id in found]
    per_query: dict[str, dict[str, float]] = {}
    if by_answers := {name: measure for name, measure in parsed.items() if name in TOKEN_LIMITS}:
        per_query.update(_score_recall(dataset, counted, found, by_answers))
    if by_judgements := {name: measure for name, measure in parsed.items() if name not in TOKEN_LIMITS}:
        per_query.update(_score_judgements(dataset, counted, found, by_judgements))
    return Scores(topics, missing, {name: per_query[name] for name in parsed}, _languages(dataset, questions), absent)


def evaluate_answers(
    answers: str | Path | dict[str, str],
    topics: str,
    measures: Sequence[str] = ("EM", "F1"),
    *,
    missing: Missing = Missing.ZERO,
) -> Scores:
    """Score answers; each question by the best of its gold answers, ``yes`` and ``no`` included.

    Args:
        answers: qid → answer, or a JSON file of that.
        topics: ir-datasets id of the questions.
        measures: ``EM``, ``F1``, ``EM_mlqa``, ``F1_mlqa``; the last two take answers to be in the passages' language.
        missing: what a question without an answer counts; zero is what the official script counts.

    Raises:
        InputError: a malformed file, a measure that is not of answers, an answer to a question that the topics do not
            have, questions without gold answers, or no question in common.
    """
    if other := [name for name in measures if name not in MATCH_MEASURES]:
        raise InputError(f"{other[0]} is not a measure of answers", hint=f"choose from: {', '.join(MATCH_MEASURES)}")
    dataset = collection.load(topics, needs=["queries"])
    questions = list(dataset.queries_iter())
    found = answers if isinstance(answers, dict) else read_answers(answers)
    known = {question.query_id for question in questions}
    if unknown := [qid for qid in found if qid not in known]:
        raise InputError(
            f"{topics} has no question {unknown[0]!r}, which is answered ({len(unknown)} in all)",
            path=None if isinstance(answers, dict) else answers,
            hint="are these the answers to another topic set?",
        )
    if not found:
        raise InputError(f"no question of {topics} is answered")
    gold = {q.query_id: q.answers for q in questions if getattr(q, "answers", ())}
    if not gold:
        raise InputError(f"{topics} has no answers, which {', '.join(measures)} need")
    counted = [qid for qid in gold if missing is Missing.ZERO or qid in found]
    languages = _languages(dataset, questions)
    written_in = dataset.docs_lang() if dataset.has_docs() else None
    per_query = {
        name: {
            qid: match_score(name, found[qid], gold[qid], written_in or languages[qid]) if qid in found else 0.0
            for qid in counted
        }
        for name in measures
    }
    return Scores(
        topics, missing, per_query, languages, tuple(q.query_id for q in questions if q.query_id not in found)
    )


def _languages(dataset: Any, questions: Iterable[Any]) -> dict[str, str]:
    return {q.query_id: getattr(q, "lang", None) or dataset.queries_lang() or "?" for q in questions}


def parse_measures(names: Sequence[str]) -> dict[str, Measure]:
    """ir-measures measures by name, R2kt and R5kt included; :class:`InputError` for a name that it does not know."""
    import ir_measures

    register()
    try:
        return {name: ir_measures.parse_measure(name) for name in names}
    except (ValueError, NameError, SyntaxError, AssertionError) as error:
        raise InputError(
            f"ir-measures does not know one of the measures {', '.join(names)}: {error}",
            hint="use R2kt, R5kt or an ir-measures name such as nDCG@10",
        ) from None


def _score_recall(
    dataset: Any, questions: list[Any], run: Run, measures: dict[str, Measure]
) -> dict[str, dict[str, float]]:
    """R@kt as ir-measures gives it, but for all cut-offs at once."""
    if not all(hasattr(question, "answers") for question in questions):
        raise InputError(f"{dataset.dataset_id()} has no answers, which {', '.join(measures)} need")
    gold = {q.query_id: answers for q in questions if (answers := scorable(q.answers))}
    if not gold:
        raise InputError(
            f"no question of {dataset.dataset_id()} has an answer that counts",
            hint="the test set's answers are not public; submit the run to the leaderboard",
        )
    texts = collection.texts(dataset, {hit.docid for qid in gold for hit in run.get(qid, ())})
    until = {qid: tokens_until((texts[hit.docid] for hit in run.get(qid, ())), gold[qid]) for qid in gold}
    return {name: {qid: float(tokens <= TOKEN_LIMITS[name]) for qid, tokens in until.items()} for name in measures}


def _score_judgements(
    dataset: Any, questions: list[Any], run: Run, measures: dict[str, Measure]
) -> dict[str, dict[str, float]]:
    import pandas as pd

    if not dataset.has_qrels():
        raise InputError(
            f"{dataset.dataset_id()} has no relevance judgements, which {', '.join(measures)} need",
            hint="score R2kt and R5kt instead",
        )
    counted = {question.query_id for question in questions}
    judged = [(q.query_id, q.doc_id, q.relevance) for q in dataset.qrels_iter() if q.query_id in counted]
    # the position stands for the score: equal scores keep the run's order whatever a provider does about ties
    rows = [(qid, hit.docid, float(-i)) for qid in run if qid in counted for i, hit in enumerate(run[qid])]
    return _calculate(
        measures,
        pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"]),
        pd.DataFrame(rows, columns=["query_id", "doc_id", "score"]),
    )


def _calculate(measures: dict[str, Measure], qrels: Any, run: Any) -> dict[str, dict[str, float]]:
    import ir_measures

    scores: dict[str, dict[str, float]] = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(dict.fromkeys(measures.values())), qrels, run):
        for name in (name for name, measure in measures.items() if measure == metric.measure):  # RR@10, say, and MRR@10
            scores[name][str(metric.query_id)] = float(metric.value)
    order = {qid: None for qid in qrels["query_id"]}
    return {name: {qid: values[qid] for qid in order if qid in values} for name, values in scores.items()}

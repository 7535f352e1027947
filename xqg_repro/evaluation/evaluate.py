"""Stage ``evaluate``: a TREC run, or answers, and the questions → scores per question, per language and on average.

The average over languages is the macro mean, the plain mean of the languages' means, as in the paper's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.text import read_json
from xqg_repro.evaluation.measures import register
from xqg_repro.evaluation.measures.match import MATCH_MEASURES, match_score
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, scorable, tokens_until
from xqg_repro.evaluation.scores import Missing, Scores, by_language
from xqg_repro.retrieval.runfile import Run, read_run

if TYPE_CHECKING:
    from ir_measures import Measure

QuestionScores: TypeAlias = dict[str, dict[str, float]]
"""Measure → qid → score."""


def evaluate(run: str | Path | Run, topics: str, measures: Sequence[str], *, missing: Missing = Missing.ZERO) -> Scores:
    """Score a run.

    Args:
        topics: ir-datasets id of the questions, such as ``xor-mini/dev``.
        measures: ``R2kt``, ``R5kt``, or any name that ir-measures knows (``nDCG@10``, ``RR@10``, ``R@5``).
        missing: how questions missing from the run are scored.

    Raises:
        InputError: the run is malformed or has none of the questions; a measure is unknown, or needs answers or
            relevance judgements that the topics do not have.
    """
    dataset = collection.load(topics, needs=["queries"])
    parsed = parse_measures(measures)
    for name in parsed:
        if name in MATCH_MEASURES:
            raise InputError(f"{name} scores answers, not runs", hint="score a file of answers (--answers)")
    languages = _question_languages(dataset)
    if not isinstance(run, dict):
        run = read_run(run, languages)
    absent = tuple(qid for qid in languages if qid not in run)
    if len(absent) == len(languages):
        raise InputError(f"the run has no question of {topics}", hint="is this the run of another topic set?")
    counted = {qid for qid in languages if missing is Missing.ZERO or qid in run}
    recall = [name for name in parsed if name in TOKEN_LIMITS]
    judged = {name: measure for name, measure in parsed.items() if name not in TOKEN_LIMITS}
    scores = _score_recall(dataset, counted, run, recall) if recall else {}
    if judged:
        scores |= _score_judgements(dataset, counted, run, judged)
    return Scores(topics, missing, {name: by_language(scores[name], languages) for name in parsed}, languages, absent)


def evaluate_answers(
    answers: str | Path | dict[str, str],
    topics: str,
    measures: Sequence[str] = ("EM", "F1"),
    *,
    missing: Missing = Missing.ZERO,
) -> Scores:
    """Score answers; a question's score is that of its best gold answer. ``yes`` and ``no`` count.

    Args:
        answers: qid → answer, or a JSON file with that.
        measures: ``EM``, ``F1``, ``EM_mlqa``, ``F1_mlqa``; the last two expect answers in the passages' language.
        missing: how questions without an answer are scored; the official script scores them with zero.

    Raises:
        InputError: the file is malformed; a measure does not score answers; a question is unknown; the questions have
            no gold answers; or none of them is answered.
    """
    for name in measures:
        if name not in MATCH_MEASURES:
            raise InputError(f"{name} does not score answers", hint=f"choose from: {', '.join(MATCH_MEASURES)}")
    dataset = collection.load(topics, needs=["queries"])
    languages = _question_languages(dataset)
    path = None if isinstance(answers, dict) else answers
    if not isinstance(answers, dict):
        answers = read_answers(answers)
    if unknown := [qid for qid in answers if qid not in languages]:
        problem = f"{topics} has no question {unknown[0]!r} ({len(unknown)} answered questions are unknown)"
        raise InputError(problem, path=path, hint="are these the answers to another topic set?")
    if not answers:
        raise InputError(f"no question of {topics} is answered", path=path)
    gold = {q.query_id: q.answers for q in dataset.queries_iter() if getattr(q, "answers", ())}
    if not gold:
        raise InputError(f"{topics} has no answers, which {', '.join(measures)} need")
    answer_language = dataset.docs_lang() if dataset.has_docs() else None
    scores: QuestionScores = {name: {} for name in measures}
    for qid, right in gold.items():
        if qid not in answers and missing is Missing.SKIP:
            continue
        language = answer_language or languages[qid]
        for name in measures:
            scores[name][qid] = match_score(name, answers[qid], right, language) if qid in answers else 0.0
    absent = tuple(qid for qid in languages if qid not in answers)
    return Scores(topics, missing, {name: by_language(scores[name], languages) for name in measures}, languages, absent)


def read_answers(path: str | Path) -> dict[str, str]:
    """Read answers by qid from JSON: ``{qid: answer}`` or, as for the official script, ``{qid: {"answer": …}}``.

    Raises:
        InputError: the file cannot be read, is not JSON of this form, or repeats a qid.
    """
    path, hint = Path(path), 'write {"qid": "answer", …}'
    content = read_json(path, "file of answers", hint)
    if not isinstance(content, dict):
        raise InputError("is not a mapping of questions to answers", path=path, hint=hint)
    answers = {}
    for qid, value in content.items():
        answer = value.get("answer") if isinstance(value, dict) else value
        if not isinstance(answer, str):
            raise InputError(f"the answer to question {qid!r} is not text: {answer!r}", path=path, hint=hint)
        answers[qid] = answer
    return answers


def parse_measures(names: Sequence[str]) -> dict[str, Measure]:
    """ir-measures' measures by name, including R2kt and R5kt; :class:`InputError` for an unknown name."""
    import ir_measures

    register()
    try:
        return {name: ir_measures.parse_measure(name) for name in names}
    except (ValueError, NameError, SyntaxError, AssertionError) as error:
        raise InputError(
            f"ir-measures does not know one of the measures {', '.join(names)}: {error}",
            hint="use R2kt, R5kt or an ir-measures name such as nDCG@10",
        ) from None


def _question_languages(dataset: Any) -> dict[str, str]:
    """qid → language of every question, in order; ``?`` if it is not known."""
    default = dataset.queries_lang() or "?"
    return {q.query_id: getattr(q, "lang", None) or default for q in dataset.queries_iter()}


def _score_recall(dataset: Any, counted: set[str], run: Run, measures: Sequence[str]) -> QuestionScores:
    """R@kt, as ir-measures computes it, but for all limits at once."""
    gold: dict[str, list[str]] = {}
    for question in dataset.queries_iter():
        if not hasattr(question, "answers"):
            raise InputError(f"{dataset.dataset_id()} has no answers, which {', '.join(measures)} need")
        answers = scorable(question.answers)
        if answers and question.query_id in counted:
            gold[question.query_id] = answers
    if not gold:
        raise InputError(
            f"no question of {dataset.dataset_id()} has an answer that counts",
            hint="the test set's answers are not public; submit the run to the leaderboard",
        )
    texts = collection.texts(dataset, {hit.docid for qid in gold for hit in run.get(qid, ())})
    scores: QuestionScores = {name: {} for name in measures}
    for qid, answers in gold.items():
        tokens = tokens_until((texts[hit.docid] for hit in run.get(qid, ())), answers)
        for name in measures:
            scores[name][qid] = float(tokens <= TOKEN_LIMITS[name])
    return scores


def _score_judgements(dataset: Any, counted: set[str], run: Run, measures: Mapping[str, Measure]) -> QuestionScores:
    import ir_measures
    import pandas as pd

    if not dataset.has_qrels():
        raise InputError(
            f"{dataset.dataset_id()} has no relevance judgements, which {', '.join(measures)} need",
            hint="score R2kt and R5kt instead",
        )
    judged = [(q.query_id, q.doc_id, q.relevance) for q in dataset.qrels_iter() if q.query_id in counted]
    # the negative rank replaces the score, so that equal scores keep the run's order with every provider
    ranked = [(qid, hit.docid, float(-i)) for qid in run if qid in counted for i, hit in enumerate(run[qid])]
    qrels = pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"])
    frame = pd.DataFrame(ranked, columns=["query_id", "doc_id", "score"])
    scores: QuestionScores = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(dict.fromkeys(measures.values())), qrels, frame):
        for name, measure in measures.items():
            if measure == metric.measure:  # two names can mean one measure, such as RR@10 and MRR@10
                scores[name][str(metric.query_id)] = float(metric.value)
    return scores

"""Stage ``evaluate``: a TREC run, or answers, and the questions → scores per question, per language and on average.

The average over languages is the macro mean, the plain mean of the languages' means, as in the paper's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from xqg_repro import collection
from xqg_repro.collection.documents import question_languages
from xqg_repro.core.errors import InputError
from xqg_repro.core.text import read_json
from xqg_repro.evaluation.measures.match import MATCH_MEASURES, match_score
from xqg_repro.evaluation.measures.parse import calculate, check_judgements, parse_measures
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, scorable, tokens_until
from xqg_repro.evaluation.scores import Missing, Scores, by_language
from xqg_repro.retrieval.runfile import Run, keep_known, read_run_of

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure

QuestionScores: TypeAlias = dict[str, dict[str, float]]
"""Measure → qid → score."""


def evaluate(
    run: str | Path | Run,
    topics: str,
    measures: Sequence[str],
    *,
    missing: Missing = Missing.ZERO,
    passages: str = "",
) -> Scores:
    """Score a run.

    Args:
        topics: ir-datasets id of the questions, such as ``xor-mini/dev``, or a path.
        measures: ``R2kt``, ``R5kt``, or names of ir-measures or trec_eval (``nDCG@10``, ``ndcg_cut_10``). Scores have
            the names that are given here.
        missing: how questions missing from the run are scored.
        passages: id of the collection that was searched, if the topics do not have its passages.

    Questions of the run that the topics do not have are left out, and their number is logged.

    Raises:
        InputError: the run is malformed or has only other questions; a measure is unknown, cannot be computed, or
            needs answers or relevance judgements that the topics do not have.
    """
    dataset = collection.load(topics, needs=["queries"], passages=passages)
    parsed = parse_measures(measures)
    for name in parsed:
        if name in MATCH_MEASURES:
            raise InputError(f"{name} scores answers, not runs", hint="score a file of answers (--answers)")
    recall = [name for name in parsed if name in TOKEN_LIMITS]
    judged = {name: measure for name, measure in parsed.items() if name not in TOKEN_LIMITS}
    qrels = _read_judgements(dataset, judged) if judged else None
    languages = _question_languages(dataset)
    path = None if isinstance(run, dict) else run
    if not isinstance(run, dict):
        run = read_run_of(run, languages, topics)
    absent = tuple(qid for qid in languages if qid not in run)
    if len(absent) == len(languages) and (run or missing is Missing.SKIP):  # a search may find nothing at all
        raise InputError(
            f"the run has no question of {topics}", path=path, hint="is this the run of another topic set?"
        )
    counted = {qid for qid in languages if missing is Missing.ZERO or qid in run}
    scores = _score_recall(dataset, counted, run, recall, path) if recall else {}
    if qrels is not None:
        scores |= _score_judgements(qrels, counted, run, judged)
    return Scores(topics, missing, {name: by_language(scores[name], languages) for name in parsed}, languages, absent)


def evaluate_answers(
    answers: str | Path | dict[str, str],
    topics: str,
    measures: Sequence[str] = ("EM", "F1"),
    *,
    missing: Missing = Missing.ZERO,
    passages: str = "",
) -> Scores:
    """Score answers; a question's score is that of its best gold answer. ``yes`` and ``no`` count.

    Args:
        answers: qid → answer, or a JSON file with that.
        measures: ``EM``, ``F1``, ``EM_mlqa``, ``F1_mlqa``; the last two expect answers in the passages' language.
        missing: how questions without an answer are scored; the official script scores them with zero.
        passages: as for :func:`evaluate`; their language is that of the answers.

    Raises:
        InputError: the file is malformed; a measure does not score answers; the questions have no gold answers; or none
            of them is answered. Answers to some other questions are left out, and their number is logged.
    """
    for name in measures:
        if name not in MATCH_MEASURES:
            raise InputError(f"{name} does not score answers", hint=f"choose from: {', '.join(MATCH_MEASURES)}")
    dataset = collection.load(topics, needs=["queries"], passages=passages)
    languages = _question_languages(dataset)
    path = None if isinstance(answers, dict) else answers
    if not isinstance(answers, dict):
        answers = read_answers(answers)
    answers = keep_known(answers, languages, topics, path)
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


def _question_languages(dataset: Any) -> dict[str, str]:
    """qid → language of every question, in order; ``?`` if it is not known."""
    return {qid: language or "?" for qid, language in question_languages(dataset).items()}


def _score_recall(
    dataset: Any, counted: set[str], run: Run, measures: Sequence[str], path: str | Path | None
) -> QuestionScores:
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
            hint="choose other --measures; if the answers are not public, submit the run to the leaderboard",
        )
    texts = collection.texts(dataset, {hit.docid for qid in gold for hit in run.get(qid, ())}, path)
    scores: QuestionScores = {name: {} for name in measures}
    for qid, answers in gold.items():
        tokens = tokens_until((texts[hit.docid] for hit in run.get(qid, ())), answers)
        for name in measures:
            scores[name][qid] = float(tokens <= TOKEN_LIMITS[name])
    return scores


def _read_judgements(dataset: Any, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """All judgements: query_id, doc_id and relevance. :class:`InputError` if they do not suffice for the measures."""
    import pandas as pd

    if not dataset.has_qrels():
        raise InputError(
            f"{dataset.dataset_id()} has no relevance judgements, which {', '.join(measures)} need",
            hint="score R2kt and R5kt instead",
        )
    rows = [(q.query_id, q.doc_id, q.relevance) for q in dataset.qrels_iter()]
    qrels = pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])
    check_judgements(measures, qrels, dataset.dataset_id())
    return qrels


def _score_judgements(
    qrels: pd.DataFrame, counted: set[str], run: Run, measures: Mapping[str, Measure]
) -> QuestionScores:
    # the negative rank replaces the score, so that equal scores keep the run's order with every provider
    ranked = {qid: {hit.docid: float(-i) for i, hit in enumerate(run[qid])} for qid in run if qid in counted}
    return calculate(measures, qrels[qrels["query_id"].isin(counted)], ranked)

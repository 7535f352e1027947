"""The chance level: scores of random rankings, which tell what a score is worth.

R@kt needs it more than other measures do. It asks whether an answer occurs anywhere in thousands of tokens, and short
answers, such as numbers, occur in many passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from xqg_repro import collection
from xqg_repro.collection.documents import question_texts
from xqg_repro.core.errors import InputError
from xqg_repro.core.progress import track
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.scores import Missing, Scores
from xqg_repro.retrieval.runfile import Hit

RANKINGS = 20


def score_chance(
    topics: str,
    measures: Sequence[str],
    *,
    passages: str = "",
    rankings: int = RANKINGS,
    depth: int = 100,
    seed: int = 0,
) -> Scores:
    """Score random rankings; a question's score is its mean over them.

    Memory holds all docids.

    Args:
        topics, measures, passages: as for :func:`~xqg_repro.evaluation.evaluate.evaluate`.
        rankings: how many, each of ``depth`` different passages for every question.
        depth: enough for the measures: 5,000 tokens are about 50 passages of Wikipedia.
        seed: each seed has its own rankings.

    Raises:
        InputError: ``rankings``, ``depth`` or ``seed`` is too small; the topics do not say which collection they belong
            to; or anything that ``evaluate`` refuses.
    """
    for name, value, least in (("rankings", rankings, 1), ("depth", depth, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"--{name} cannot be {value}", hint=f"it must be {least} or more")
    dataset = collection.load(topics, needs=["queries", "docs"], passages=passages)
    docids, qids = [passage.doc_id for passage in dataset.docs_iter()], question_texts(dataset)
    drawn = []
    for number in track(range(rankings), rankings, "chance", "rankings"):
        random = np.random.default_rng([seed, number])
        run = {qid: _rank_at_random(docids, depth, random) for qid in qids}
        drawn.append(evaluate(run, topics, measures, passages=passages))
    means = {
        measure: {
            language: {qid: fmean(scores.per_query[measure][language][qid] for scores in drawn) for qid in by_question}
            for language, by_question in by_language.items()
        }
        for measure, by_language in drawn[0].per_query.items()
    }
    return Scores(topics, Missing.ZERO, means, drawn[0].languages, ())


def _rank_at_random(docids: Sequence[str], depth: int, random: np.random.Generator) -> list[Hit]:
    places = random.choice(len(docids), size=min(depth, len(docids)), replace=False)
    return [Hit(docids[place], float(-rank)) for rank, place in enumerate(places)]

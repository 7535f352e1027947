"""Scored lists: a training file whose passages carry a teacher's score of the line's question.

The teacher is a generator, whose score is the log-likelihood of the question under the passage's prompt in the
question's language (see :mod:`xqg_repro.models.scorer`), or a dual encoder, whose score is the inner product. Each
passage object of the output has a ``score``; all else in a line stays as it is. The manifest beside the file names the
teacher.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.languages import question_language
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import Manifest, build_file, check_output
from xqg_repro.core.text import decode
from xqg_repro.models.loading import writer_fingerprints
from xqg_repro.models.scorer import AskedPassage
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.representation.likelihood import score_in_shards
from xqg_repro.train.data import confirm_training_file, training_file
from xqg_repro.train.tevatron import numbered_lines, parse_line

KINDS = ("positive_passages", "negative_passages")


class Pairs(NamedTuple):
    """The pairs of question and passage in a training file.

    Attributes:
        passages: each distinct prompt with its distinct questions, in the order of the file.
        places: for each pair, in the order of the file, its passage and its question among the passage's.
        lines: number of questions.
    """

    passages: list[AskedPassage]
    places: list[tuple[int, int]]
    lines: int


def score(
    data: str,
    config: ScorerConfig,
    output: str | Path,
    *,
    tokens_per_batch: int | None = None,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Score every pair of question and passage of a training file, or reuse an existing file that matches.

    The manifest counts ``questions``, ``pairs``, distinct ``prompts``, truncated prompts and questions (the latter
    under each prompt), the questions that have both kinds of passages (``compared``), and those of them whose best
    passage is a positive (``positive_first``).

    Args:
        data: ``.jsonl`` file in Tevatron's format.
        config: the generator.
        output: the ``.jsonl`` file to write. Its manifest, ``<output>.json``, is written beside it, and an interrupted
            run resumes from ``<output>.partial``.
        tokens_per_batch, device: see :class:`~xqg_repro.models.scorer.QuestionScorer`.
        force: score again even if the file matches.

    Raises:
        InputError: as the class; or the file is missing or empty, or a line is malformed or of an unknown language.
    """
    output, path = Path(output), check_paths(data, output)
    pairs = read_pairs(path)
    confirm_training_file(data, pairs.lines)
    inputs = {"data": file_digest(path), **writer_fingerprints(config.model, config.chat)}
    wanted = Manifest("score", {"data": data, "scorer": dataclasses.asdict(config)}, inputs)

    def write(target: Path) -> dict[str, int]:
        settings: dict[str, Any] = {"tokens_per_batch": tokens_per_batch, "device": device, "force": force}
        with score_in_shards(pairs.passages, config, target, wanted.identity, **settings) as (scores, cut):
            scores_in_order = (scores[passage][question] for passage, question in pairs.places)
            compared = write_scores(path, target, scores_in_order)
        counts = {"questions": pairs.lines, "pairs": len(pairs.places), "prompts": len(pairs.passages)}
        return {**counts, **cut, **compared}

    return build_file(output, wanted, write, force=force)


def check_paths(data: str, output: str | Path, *others: str) -> Path:
    """Check the names of a training file and of the file to write, and return the former's path."""
    for file in (data, *others):
        if not file.endswith(".jsonl"):
            hint = "write one with xqg-repro train mine"
            raise InputError("only a training file in .jsonl can be scored", path=file, hint=hint)
    if Path(output).suffix != ".jsonl" and not is_stream(output):
        raise InputError("the name of a training file must end in .jsonl", path=output)
    check_output(output, data, *others)
    return training_file(data)


def read_pairs(path: Path) -> Pairs:
    """All pairs of a training file; :class:`InputError` names a line that is malformed or of an unknown language."""
    prompts: dict[tuple[str, str, str], int] = {}
    questions: list[dict[str, int]] = []
    places: list[tuple[int, int]] = []
    lines = 0
    for number, _, text in numbered_lines(path):
        line = parse_line(text, path, number, ("query", *KINDS))
        lines += 1
        try:
            language = question_language(line.query, line.lang)
        except InputError as error:
            raise InputError(error.problem, path=path, line=number, hint=error.hint) from None
        for passage in (*line.positives, *line.negatives):
            prompt = prompts.setdefault((language, passage.title, passage.text), len(prompts))
            if prompt == len(questions):
                questions.append({})
            places.append((prompt, questions[prompt].setdefault(line.query, len(questions[prompt]))))
    if not places:
        raise InputError("has no question with a passage to score", path=path)
    passages = [AskedPassage(*prompt, tuple(own)) for prompt, own in zip(prompts, questions, strict=True)]
    return Pairs(passages, places, lines)


def write_scores(path: Path, output: Path, scores: Iterator[float]) -> Counter[str]:
    """Write the lines of a training file with the scores of its pairs in order; count where positives are first."""
    counts = Counter(compared=0, positive_first=0)
    with atomic_write(output) as file:
        for number, _, text in numbered_lines(path):
            item = json.loads(decode(text, path, number))
            add_scores(item, scores)
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            positives, negatives = ([passage["score"] for passage in item[kind]] for kind in KINDS)
            if positives and negatives:
                counts["compared"] += 1
                counts["positive_first"] += max(positives) > max(negatives)
    return counts


def add_scores(item: dict[str, Any], scores: Iterator[float]) -> None:
    """Give each passage of a training file's line its score, the positives first.

    >>> item = {"positive_passages": [{"docid": "1"}], "negative_passages": [{"docid": "2"}]}
    >>> add_scores(item, iter([-0.5, -0.9]))
    >>> item
    {'positive_passages': [{'docid': '1', 'score': -0.5}], 'negative_passages': [{'docid': '2', 'score': -0.9}]}
    """
    for kind in KINDS:
        item[kind] = [{**passage, "score": next(scores)} for passage in item[kind]]

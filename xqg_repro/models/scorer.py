"""A query generator as a scorer: how likely is a question under a passage's prompt in the question's language?

``ℓ(q, p) = (1/|q|) Σ_t log P(q_t | q_<t, prompt(p, language of q))``, where the question's end token counts. The
texts of prompt and question become tokens as in :mod:`xqg_repro.models.generator` and in the training of a generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import check_length, explain_failure
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.models.writers import Fill, open_writer


class AskedPassage(NamedTuple):
    """A passage, and questions in one language that are scored under its prompt."""

    language: str
    title: str
    text: str
    questions: tuple[str, ...]


class Scored(NamedTuple):
    """Scores of questions.

    Attributes:
        scores: those of each passage's questions.
        cut_prompts: prompts that were truncated.
        cut_questions: questions that were truncated, counted under each prompt.
    """

    scores: list[list[float]]
    cut_prompts: int
    cut_questions: int


class QuestionScorer:
    """A tokenizer and a model that score questions as a :class:`ScorerConfig` specifies.

    Args:
        config: everything that determines the scores.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: padded tokens of prompts, or of questions, that are computed at a time; ``None`` chooses by
            device and vocabulary. It affects only speed, memory and the last digits.

    Raises:
        InputError: as :func:`~xqg_repro.models.writers.open_writer`; or a maximum length is beyond the model's.
    """

    def __init__(self, config: ScorerConfig, device: str | None = None, tokens_per_batch: int | None = None) -> None:
        self.config = config
        if tokens_per_batch is not None and tokens_per_batch < 1:
            raise InputError(f"a batch cannot hold {tokens_per_batch} tokens")
        opened = open_writer(config.model, config.precision, device, config.chat)
        self._folder, self._tokenizer, self._model, self.device, self._writer = opened
        longest = self._writer.longest(config.prompt_max_length, config.query_max_length)
        with explain_failure(self._model, self._folder, "score questions"):
            hint = "lower --prompt-max-length or --query-max-length"
            check_length(None, self._model, longest, self._folder, hint=hint)
            self._scorer = self._writer.scorer(self._model, tokens_per_batch)

    def score(self, passages: Sequence[AskedPassage], report: Callable[[int], None] = lambda passages: None) -> Scored:
        """The scores of all questions; the model reads each passage's prompt once.

        ``report`` receives the number of passages of each batch.

        Raises:
            InputError: a score is infinite or not a number.
        """
        if not passages:
            return Scored([], 0, 0)
        prompts, cut_prompts = self._prompts(passages)
        questions = [question for passage in passages for question in passage.questions]
        tokens, cut_questions = self._questions(questions)
        rest = iter(tokens)
        rows = [[next(rest) for _ in passage.questions] for passage in passages]
        with explain_failure(self._model, self._folder, "score questions"):
            scores = self._scorer.score(prompts, rows, self.config.normalise, report)
        if not all(isfinite(score) for own in scores for score in own):
            hint = "try another precision, such as float32"
            raise InputError("the generator's scores are not numbers", path=self._folder, hint=hint)
        return Scored(scores, cut_prompts, cut_questions)

    def _prompts(self, passages: Sequence[AskedPassage]) -> tuple[list[list[int]], int]:
        """The tokens of each passage's prompt, and how many were truncated."""
        limit = self.config.prompt_max_length
        fills: list[tuple[Fill, str]] = [
            (partial(self.config.prompt_for, passage.language, passage.title), passage.text) for passage in passages
        ]
        ids = self._writer.encode(fills, limit + 1)  # one more shows which are too long
        cut = [number for number, tokens in enumerate(ids) if len(tokens) > limit]
        for number, tokens in zip(cut, self._writer.encode([fills[i] for i in cut], limit) if cut else (), strict=True):
            ids[number] = tokens
        return ids, len(cut)

    def _questions(self, questions: Sequence[str]) -> tuple[list[list[int]], int]:
        """The tokens of each question with its end token, and how many were truncated."""
        limit = self.config.query_max_length
        distinct = list(dict.fromkeys(questions))
        rows = dict(zip(distinct, self._writer.targets(distinct), strict=True)) if distinct else {}
        ids = [rows[question] for question in questions]
        cut = sum(len(tokens) > limit for tokens in ids)
        return [tokens if len(tokens) <= limit else [*tokens[: limit - 1], tokens[-1]] for tokens in ids], cut

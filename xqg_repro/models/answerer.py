"""Answer generators: a sequence-to-sequence model that reads a question with passages and writes the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from xqg_repro.collection.records import Passage
from xqg_repro.models.answerer_settings import AnswererConfig, answer_language, answer_prompt
from xqg_repro.models.architectures import check_length, explain_failure
from xqg_repro.models.loading import token_batches
from xqg_repro.models.writers import open_writer

TOKENS_PER_BATCH = 32_768


class AskedPassages(NamedTuple):
    """A question, its language (empty if unknown), and the passages to answer it from."""

    query: str
    lang: str
    passages: tuple[Passage, ...]


class Answerer:
    """A tokenizer and a model that answer questions as an :class:`AnswererConfig` specifies.

    At each step it takes the most likely token, so the same questions in the same order get the same answers.

    Args:
        config: everything that determines the answers.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size, where each question counts as its padded prompt plus its
            answer's maximum length; affects only speed and memory.

    Raises:
        InputError: as :func:`~xqg_repro.models.writers.open_writer`; or a maximum length is beyond the model's.
    """

    def __init__(
        self, config: AnswererConfig, device: str | None = None, tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> None:
        from transformers import GenerationConfig

        self.config, self.tokens_per_batch = config, tokens_per_batch
        self._folder, _, self._model, self.device, self._writer = open_writer(
            config.model, config.precision, device, chat=False
        )
        longest = self._writer.longest(config.prompt_max_length, config.answer_max_length)
        with explain_failure(self._model, self._folder, "write answers"):
            hint = "lower the answerer's maximum lengths"
            check_length(None, self._model, longest, self._folder, hint=hint)
        self._model.generation_config = GenerationConfig()  # the folder's own settings, such as beams, must not apply
        self._settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=config.answer_max_length,
            eos_token_id=self._writer.ends,
            **self._writer.generation(self._model),
        )

    def answer(
        self, asked: Sequence[AskedPassages], report: Callable[[int], object] = lambda answers: None
    ) -> list[str]:
        """The answer to each question, on one line; ``report`` receives the number of each batch's.

        :class:`InputError` if a question's language is needed and unknown.
        """
        prompts = [(str, self._prompt(question)) for question in asked]
        tokens = self._writer.encode(prompts, self.config.prompt_max_length) if prompts else []
        answers = [""] * len(asked)
        sizes = [len(ids) + self.config.answer_max_length for ids in tokens]
        for batch in token_batches(sizes, self.tokens_per_batch):
            padded = self._writer.pad([tokens[i] for i in batch], self.device)
            with explain_failure(self._model, self._folder, "write answers"):
                rows = self._model.generate(**padded, generation_config=self._settings)
            cut = self._writer.cut(rows, padded["input_ids"].shape[1])
            for position, text in zip(batch, self._writer.decode([row for row, _ in cut]), strict=True):
                answers[position] = text
            report(len(batch))
        return answers

    def _prompt(self, question: AskedPassages) -> str:
        language = answer_language(self.config.language, question.query, question.lang)
        return answer_prompt(question.query, language, question.passages)

"""What CTranslate2 writes with: its class for sequence-to-sequence models, or that for causal language models.

Both take prompts as token ids, and give rows of token ids. Tokens that only fill a model's vocabulary, which its
tokenizer does not have, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from xqg_repro.core.errors import InputError
from xqg_repro.models.architectures import is_causal
from xqg_repro.models.conversion import CAUSAL, GENERATORS, check_kind, convert_causal, convert_seq2seq, use_torch
from xqg_repro.models.endings import cut_row
from xqg_repro.models.folders import CONFIG, read_config, transformer_folder
from xqg_repro.models.loading import model_fingerprint, resolve_model
from xqg_repro.models.settings import GeneratorConfig, TranslatorConfig
from xqg_repro.models.writers import Opened

_TOKENS_PER_BATCH = 1_024
"""Of a search for translations."""


class Engine(Protocol):
    """A converted model.

    Attributes:
        open: opens CTranslate2's object, which computes ``inter_threads`` batches side by side.
        shares_starts: whether prompts that start alike are best sampled together.
    """

    open: Callable[..., Any]
    shares_starts: bool

    def sample(
        self, opened: Any, prompts: Sequence[list[int]], config: GeneratorConfig, steps: int
    ) -> list[list[list[int]]]:
        """Rows of tokens for each prompt, the likeliest first."""

    def search(
        self, opened: Any, prompts: Sequence[list[int]], config: TranslatorConfig, settings: Any
    ) -> list[tuple[list[int], bool]]:
        """The best row of tokens for each prompt, and whether it is finished; ``settings`` are transformers'."""


def check_engine(model: str, precision: str, device: str, prompt: int, text: int) -> None:
    """Raise :class:`InputError` unless CTranslate2 computes this model in this precision on this device.

    ``prompt`` and ``text`` are maximum lengths, which together must be within the window of sliding attention.
    """
    folder = resolve_model(model)
    causal = is_causal(folder)
    check_kind(folder, CAUSAL if causal else GENERATORS, precision, device)
    config = read_config(transformer_folder(folder) / CONFIG)
    window = config.get("sliding_window") if causal and config.get("use_sliding_window", True) else None
    if window and prompt + text > window:
        problem = f"CTranslate2 reads at most {window} tokens with this model, its window of attention"
        hint = f"lower the maximum lengths, which are {prompt} and {text}, or {use_torch(precision)}"
        raise InputError(problem, path=folder, hint=hint)


def convert(opened: Opened, model: str, device: str, precision: str) -> Engine:
    """Convert a loaded model; :class:`InputError` if it cannot be converted or is then computed otherwise."""
    arguments = opened.folder, opened.tokenizer, opened.model, model_fingerprint(model), device, precision
    make, engine = (convert_causal, CausalEngine) if opened.writer.is_causal else (convert_seq2seq, Seq2SeqEngine)
    return engine(make(*arguments), opened.tokenizer, opened.writer.ends)


class Seq2SeqEngine:
    """A sequence-to-sequence model in CTranslate2."""

    shares_starts = False

    def __init__(self, opening: Callable[..., Any], tokenizer: Any, ends: list[int]) -> None:
        self.open, self._tokenizer, self._ends = opening, tokenizer, ends
        self._numbers = tokenizer.get_vocab()

    def sample(
        self, opened: Any, prompts: Sequence[list[int]], config: GeneratorConfig, steps: int
    ) -> list[list[list[int]]]:
        """Rows of tokens for each prompt, the likeliest first."""
        results = opened.translate_batch(
            [self._tokenizer.convert_ids_to_tokens(ids) for ids in prompts],
            beam_size=1,
            num_hypotheses=config.queries,
            end_token=self._ends,
            max_input_length=0,
            max_decoding_length=steps,
            **_sampling(config),
        )
        return [[self._to_ids(row) for row in result.hypotheses] for result in results]

    def search(
        self, opened: Any, prompts: Sequence[list[int]], config: TranslatorConfig, settings: Any
    ) -> list[tuple[list[int], bool]]:
        """The best row of tokens for each prompt, and whether it is finished."""
        to_tokens, forced = self._tokenizer.convert_ids_to_tokens, settings.forced_bos_token_id
        first = [] if forced is None else [to_tokens(forced)]
        unwanted = settings.suppress_tokens and [[to_tokens(token)] for token in settings.suppress_tokens]
        results = opened.translate_batch(
            [to_tokens(ids) for ids in prompts],
            target_prefix=[first] * len(prompts) if first else None,
            max_batch_size=_TOKENS_PER_BATCH,
            batch_type="tokens",
            beam_size=config.beams,
            suppress_sequences=unwanted,
            end_token=self._ends,
            return_end_token=True,
            max_input_length=0,
            max_decoding_length=config.translation_max_length,
        )
        rows = [self._to_ids(result.hypotheses[0][len(first) :]) for result in results]
        return [(row, not {*self._ends}.isdisjoint(row)) for row in rows]

    def _to_ids(self, tokens: Sequence[str]) -> list[int]:
        return [self._numbers[token] for token in tokens if token in self._numbers]


class CausalEngine:
    """A causal language model in CTranslate2."""

    shares_starts = True

    def __init__(self, opening: Callable[..., Any], tokenizer: Any, ends: list[int]) -> None:
        self.open, self._tokenizer, self._ends = opening, tokenizer, ends
        self._size = len(tokenizer)

    def sample(
        self, opened: Any, prompts: Sequence[list[int]], config: GeneratorConfig, steps: int
    ) -> list[list[list[int]]]:
        """Rows of tokens for each prompt, the likeliest first; what all prompts start with is read once."""
        start = _common_start(prompts) if len(prompts) > 1 else []
        results = opened.generate_batch(
            [self._tokenizer.convert_ids_to_tokens(ids[len(start) :]) for ids in prompts],
            static_prompt=self._tokenizer.convert_ids_to_tokens(start) or None,
            cache_static_prompt=False,
            num_hypotheses=config.queries,
            max_length=steps,
            **self._settings(),
            **_sampling(config),
        )
        return [[self._cut(row)[0] for row in result.sequences_ids] for result in results]

    def search(
        self, opened: Any, prompts: Sequence[list[int]], config: TranslatorConfig, settings: Any
    ) -> list[tuple[list[int], bool]]:
        """The best row of tokens for each prompt, and whether it is finished."""
        results = opened.generate_batch(
            [self._tokenizer.convert_ids_to_tokens(ids) for ids in prompts],
            max_batch_size=_TOKENS_PER_BATCH,
            batch_type="tokens",
            beam_size=config.beams,
            max_length=config.translation_max_length,
            **self._settings(),
        )
        return [self._cut(result.sequences_ids[0]) for result in results]

    def _settings(self) -> dict[str, Any]:
        """No end is the first token, and the prompt is no part of the result."""
        ends = {"end_token": self._ends, "return_end_token": True, "min_length": 1}
        return {**ends, "include_prompt_in_result": False}

    def _cut(self, row: Sequence[int]) -> tuple[list[int], bool]:
        return cut_row([token for token in row if token < self._size], {*self._ends})


def _common_start(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts start with, without the last of any.

    >>> _common_start([[1, 2, 3], [1, 2, 3, 4]])
    [1, 2]
    """
    first, last = min(prompts)[:-1], max(prompts)[:-1]  # all others are between them
    pairs = zip(first, last, strict=False)
    return first[: next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))]


def _sampling(config: GeneratorConfig) -> dict[str, Any]:
    return {
        "sampling_topk": config.top_k,
        "sampling_topp": config.top_p,
        "sampling_temperature": config.temperature,
    }

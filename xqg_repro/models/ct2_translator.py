"""A translator in CTranslate2, which is faster on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.models.conversion import GENERATORS, check_kind, convert_seq2seq, count_workers
from xqg_repro.models.loading import choose_device, model_fingerprint, resolve_model
from xqg_repro.models.settings import TranslatorConfig
from xqg_repro.models.translator import Translator

_TOKENS_PER_BATCH = 1_024


class CTranslate2Translator(Translator):
    """A :class:`~xqg_repro.models.translator.Translator` that searches with CTranslate2.

    Args:
        config: everything that determines the translations.
        languages: the target languages.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as the base class, :func:`~xqg_repro.models.conversion.check_kind` and
            :func:`~xqg_repro.models.conversion.convert_seq2seq`.
    """

    def __init__(self, config: TranslatorConfig, languages: Sequence[str], device: str | None = None) -> None:
        device = choose_device(device)
        check_kind(resolve_model(config.model), GENERATORS, config.precision, device)
        super().__init__(config, languages, "cpu")
        fingerprint = model_fingerprint(config.model)
        open_engine = convert_seq2seq(self._folder, self._tokenizer, self._model, fingerprint, device, config.precision)
        del self._model
        self._engine = open_engine(inter_threads=count_workers(device))

    def _write(self, prompts: Sequence[list[int]], language: str) -> list[tuple[str, bool]]:
        """The translation of each prompt, and whether the model finished it."""
        if not prompts:
            return []
        settings, to_tokens = self._settings[language], self._tokenizer.convert_ids_to_tokens
        first = [] if settings.forced_bos_token_id is None else [to_tokens(settings.forced_bos_token_id)]
        unwanted = settings.suppress_tokens and [[to_tokens(token)] for token in settings.suppress_tokens]
        results = self._engine.translate_batch(
            [to_tokens(ids) for ids in prompts],
            target_prefix=[first] * len(prompts) if first else None,
            max_batch_size=_TOKENS_PER_BATCH,
            batch_type="tokens",
            beam_size=self.config.beams,
            suppress_sequences=unwanted,
            end_token=settings.eos_token_id,
            return_end_token=True,
            max_input_length=0,
            max_decoding_length=self.config.translation_max_length,
        )
        ends = {to_tokens(token) for token in settings.eos_token_id}
        rows = [result.hypotheses[0][len(first) :] for result in results]
        ids = [self._tokenizer.convert_tokens_to_ids(tokens) for tokens in rows]
        texts = self._writer.decode(ids)
        return [(text, not ends.isdisjoint(tokens)) for text, tokens in zip(texts, rows, strict=True)]

"""A translator in CTranslate2, which is faster on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.models.conversion import count_workers
from xqg_repro.models.ct2_writers import check_engine, convert
from xqg_repro.models.loading import choose_device
from xqg_repro.models.settings import TranslatorConfig
from xqg_repro.models.translator import Translator
from xqg_repro.models.writers import Opened


class CTranslate2Translator(Translator):
    """A :class:`~xqg_repro.models.translator.Translator` that searches with CTranslate2.

    Args:
        config: everything that determines the translations.
        languages: the target languages.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as the base class, :func:`~xqg_repro.models.ct2_writers.check_engine` and
            :func:`~xqg_repro.models.ct2_writers.convert`.
    """

    def __init__(self, config: TranslatorConfig, languages: Sequence[str], device: str | None = None) -> None:
        device = choose_device(device)
        lengths = config.text_max_length, config.translation_max_length
        check_engine(config.model, config.precision, device, *lengths)
        super().__init__(config, languages, "cpu")
        opened = Opened(self._folder, self._tokenizer, self._model, "cpu", self._writer)
        self._converted = convert(opened, config.model, device, config.precision)
        del self._model, opened
        self._engine = self._converted.open(inter_threads=count_workers(device))

    def _write(self, prompts: Sequence[list[int]], language: str) -> list[tuple[str, bool]]:
        """The translation of each prompt, and whether the model finished it."""
        if not prompts:
            return []
        rows = self._converted.search(self._engine, prompts, self.config, self._settings[language])
        texts = self._writer.decode([row for row, _ in rows])
        return [(text, finished) for text, (_, finished) in zip(texts, rows, strict=True)]

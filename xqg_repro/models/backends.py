"""Which backend computes a query generator or a translator."""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.models.ct2_generator import CTranslate2Generator
from xqg_repro.models.ct2_translator import CTranslate2Translator
from xqg_repro.models.generator import TOKENS_PER_BATCH, QueryGenerator
from xqg_repro.models.settings import Backend, GeneratorConfig, TranslatorConfig
from xqg_repro.models.translator import TOKENS_PER_BATCH as TRANSLATED_TOKENS, Translator


def open_generator(
    config: GeneratorConfig, device: str | None = None, tokens_per_batch: int = TOKENS_PER_BATCH
) -> QueryGenerator:
    """The generator that the settings describe, in their backend."""
    if config.backend is Backend.CTRANSLATE2:
        return CTranslate2Generator(config, device)
    return QueryGenerator(config, device, tokens_per_batch)


def open_translator(
    config: TranslatorConfig,
    languages: Sequence[str],
    device: str | None = None,
    tokens_per_batch: int = TRANSLATED_TOKENS,
) -> Translator:
    """The translator that the settings describe, in their backend."""
    if config.backend is Backend.CTRANSLATE2:
        return CTranslate2Translator(config, languages, device)
    return Translator(config, languages, device, tokens_per_batch)

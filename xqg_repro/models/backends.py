"""Which backend computes a query generator or a translator."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from xqg_repro.core.errors import InputError
from xqg_repro.models.ct2_generator import CTranslate2Generator
from xqg_repro.models.ct2_translator import CTranslate2Translator
from xqg_repro.models.generator import TOKENS_PER_BATCH, QueryGenerator, resolve_precision
from xqg_repro.models.loading import choose_device
from xqg_repro.models.settings import Backend, GeneratorConfig, Precision, TranslatorConfig
from xqg_repro.models.translator import TOKENS_PER_BATCH as TRANSLATED_TOKENS, Translator

logger = logging.getLogger(__name__)


def resolve_generator(config: GeneratorConfig, device: str | None = None) -> GeneratorConfig:
    """The settings with a backend and a precision that suit the device, if they name none.

    A backend that is left open is CTranslate2 on a CPU, unless it lacks the precision, or cannot compute the model,
    which is logged.
    """
    device = choose_device(device)
    if config.backend is None:
        backend = Backend.TORCH
        if device == "cpu" and config.precision in (None, Precision.FLOAT32):
            try:
                CTranslate2Generator(dataclasses.replace(config, backend=Backend.CTRANSLATE2), device)
                backend = Backend.CTRANSLATE2
            except InputError as error:
                logger.info(f"generate: {config.model} runs in torch, which is slower: {error.problem}")
        config = dataclasses.replace(config, backend=backend)
    return resolve_precision(config, device)


def open_generator(
    config: GeneratorConfig, device: str | None = None, tokens_per_batch: int = TOKENS_PER_BATCH
) -> QueryGenerator:
    """The generator that the settings describe, in their backend; see :func:`resolve_generator`."""
    config = resolve_generator(config, device)
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

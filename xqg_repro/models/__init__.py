"""Models behind their settings: encoders, generators, translators and readers."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.models.encoder import (
        DocumentEncoder as DocumentEncoder,
        QueryEncoder as QueryEncoder,
        TextEncoder as TextEncoder,
    )
    from xqg_repro.models.scorer import AskedPassage as AskedPassage, QuestionScorer as QuestionScorer
    from xqg_repro.models.scorer_settings import ScorerConfig as ScorerConfig, load_scorer as load_scorer
    from xqg_repro.models.settings import (
        EncoderConfig as EncoderConfig,
        GeneratorConfig as GeneratorConfig,
        Pooling as Pooling,
        Precision as Precision,
        ReaderConfig as ReaderConfig,
        TranslatorConfig as TranslatorConfig,
        load_generator as load_generator,
        load_preset as load_preset,
        load_reader as load_reader,
        load_translator as load_translator,
    )

export(
    __name__,
    settings=[
        "EncoderConfig",
        "GeneratorConfig",
        "Pooling",
        "Precision",
        "ReaderConfig",
        "TranslatorConfig",
        "load_generator",
        "load_preset",
        "load_reader",
        "load_translator",
    ],
    encoder=["DocumentEncoder", "QueryEncoder", "TextEncoder"],
    scorer=["AskedPassage", "QuestionScorer"],
    scorer_settings=["ScorerConfig", "load_scorer"],
)

"""Models behind their settings: encoders, generators, translators and readers."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.models.encoder import DocumentEncoder as DocumentEncoder
    from xqg_repro.models.encoder import QueryEncoder as QueryEncoder
    from xqg_repro.models.encoder import TextEncoder as TextEncoder
    from xqg_repro.models.settings import EncoderConfig as EncoderConfig
    from xqg_repro.models.settings import GeneratorConfig as GeneratorConfig
    from xqg_repro.models.settings import Pooling as Pooling
    from xqg_repro.models.settings import Precision as Precision
    from xqg_repro.models.settings import ReaderConfig as ReaderConfig
    from xqg_repro.models.settings import TranslatorConfig as TranslatorConfig
    from xqg_repro.models.settings import load_generator as load_generator
    from xqg_repro.models.settings import load_preset as load_preset
    from xqg_repro.models.settings import load_reader as load_reader
    from xqg_repro.models.settings import load_translator as load_translator

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
)

"""A collection of 14 passages, and what each stage makes of it with tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import ir_datasets
import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, Mini, made_up, write_queries
from ir_datasets.formats import BaseDocs

from xqg_repro.collection.records import Passage
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import Backend, EncoderConfig, GeneratorConfig, Precision, TranslatorConfig
from xqg_repro.representation.augment import augment, augment_streaming
from xqg_repro.representation.encode import encode
from xqg_repro.representation.generate import generate
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import sum_queries
from xqg_repro.representation.translate import translate

STAGES = ["encode", "generate", "translate", "sum", "augment", "augment_streaming"]
HOW = Augmentation(0.2, languages=LANGUAGES, queries=COUNT)


class Docs(BaseDocs):
    """Passages in memory, as an ir-datasets handler."""

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = passages

    def docs_iter(self) -> Iterator[Passage]:
        return iter(self._passages)

    def docs_count(self) -> int:
        return len(self._passages)

    def docs_lang(self) -> str:
        return "en"

    def fingerprint(self) -> str:
        return f"{len(self._passages)} passages"


class Few:
    """The collection ``few``, tiny models, and the stages' output folders, which are never to be written to."""

    def __init__(self, passages: list[Passage], encoder: Path, generator: Path, folder: Path) -> None:
        self.passages, self.folder = passages, folder
        self.config = EncoderConfig(str(encoder))
        # a temperature raised so that queries differ
        self.generator = GeneratorConfig(
            str(generator),
            ("fi", "ru"),
            3,
            query_max_length=8,
            temperature=4.0,
            precision=Precision.FLOAT32,
            backend=Backend.TORCH,
        )
        codes = {"fi": "ban", "ru": "der"}
        self.translator = TranslatorConfig(str(generator), "{code} {text}", codes=codes, translation_max_length=4)
        self.generated = made_up(passage.doc_id for passage in passages)
        self.queries = write_queries(self.generated, folder / "queries.jsonl")

    @cached_property
    def vectors(self) -> np.ndarray:
        """Each made-up query's embedding: (passages, languages, ranks, dimension)."""
        texts = [text for _, queries in self.generated for code in LANGUAGES for text in queries[code]]
        vectors = TextEncoder(self.config, "cpu").encode_queries(texts)
        return vectors.reshape(len(self.passages), len(LANGUAGES), COUNT, -1)

    def sum(self, queries: Path, output: Path, **options: Any) -> Manifest:
        """Sums per language, in shards of 4 unless the options differ."""
        defaults = {"languages": LANGUAGES, "count": COUNT, "per_language": True, "shard_size": 4, "device": "cpu"}
        return sum_queries(queries, options.pop("config", self.config), output, **defaults | options)

    def run(self, stage: str, output: Path, **options: Any) -> Manifest:
        """Run a stage, in shards of 4 unless the options differ."""
        if stage == "sum":
            return self.sum(self.queries, output, **options)
        if stage == "augment":
            return augment(self.output("encode"), self.output("sum"), output, HOW, **options)
        if stage == "augment_streaming":
            return augment_streaming(self.output("encode"), self.queries, output, HOW, device="cpu", **options)
        options = {"shard_size": 4, "device": "cpu"} | options
        if stage == "translate":
            return translate("few", ("fi", "ru"), self.translator, output, **options)
        return (
            generate("few", self.generator, output, **options)
            if stage == "generate"
            else encode("few", self.config, output, **options)
        )

    @cache  # noqa: B019 - there is one object per session
    def output(self, stage: str) -> Path:
        """The folder that a stage writes."""
        self.run(stage, self.folder / stage)
        return self.folder / stage


@pytest.fixture(scope="session")
def few(mini_data: Mini, tiny_model: Path, tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Few:
    passages = [Passage(*row) for row in mini_data.passages[:14]]
    for name, docs in (("few", passages), ("few-none", [])):
        ir_datasets.registry.register(name, ir_datasets.Dataset(Docs(docs)))
    return Few(passages, tiny_model, tiny_generator, tmp_path_factory.mktemp("few"))

"""All embeddings that the study needs, encoded once per encoder, language and kind of text into stage folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.collection.xquad import NAME
from xqg_repro.core.files import digest, write_array
from xqg_repro.core.languages import split_sentences
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, encoder_settings
from xqg_repro.models.untied import side_config
from xqg_repro.representation.encode import encode
from xqg_repro.study.data import ParallelData
from xqg_repro.study.made import MadeTexts
from xqg_repro.study.settings import Source, Study

if TYPE_CHECKING:
    from xqg_repro.collection.records import Passage


@dataclass(frozen=True)
class OwnedVectors:
    """Vectors that each belong to a paragraph.

    Attributes:
        vectors: float32, shape (vectors, dimension).
        owners: index of each vector's paragraph, int64, shape (vectors,).
        characters: number of characters in the encoded texts.
    """

    vectors: np.ndarray
    owners: np.ndarray
    characters: int


@dataclass(frozen=True)
class StudyVectors:
    """Embeddings of one encoder, float32, in the order of the data.

    Attributes:
        paragraphs: language → shape (paragraphs, dimension).
        questions: language → shape (questions, dimension).
        sentences: paragraph language → sentences of the paragraphs.
        generated, filtered: language → generated queries, if any, and some of these.
        translations, cut: language → machine translations of the paragraphs into it, if any, whole and cut.
    """

    paragraphs: Mapping[str, np.ndarray]
    questions: Mapping[str, np.ndarray]
    sentences: Mapping[str, OwnedVectors]
    generated: Mapping[str, OwnedVectors] = field(default_factory=dict)
    filtered: Mapping[str, OwnedVectors] = field(default_factory=dict)
    translations: Mapping[str, OwnedVectors] = field(default_factory=dict)
    cut: Mapping[str, OwnedVectors] = field(default_factory=dict)


def encode_all(
    study: Study,
    data: ParallelData,
    config: EncoderConfig,
    folder: Path,
    *,
    made: MadeTexts | None = None,
    device: str | None = None,
    force: bool = False,
) -> StudyVectors:
    """Encode all texts of the study, reusing the stage folders that match.

    Args:
        study: determines the languages and whether sentences are needed.
        folder: parent of the stage folders, one per kind and language.
        made: machine-made texts, which may be none.

    Raises:
        InputError: see :func:`~xqg_repro.representation.encode.encode`.
    """
    paragraphs = {}
    for code in study.languages:
        stage = folder / f"paragraphs.{code}"
        encode(f"{NAME}/{code}", config, stage, device=device, force=force)
        paragraphs[code] = _read_in_order(stage, data.docids)

    encoder = _StageEncoder(config, folder, device, force)
    questions = {}
    for code in study.languages:
        questions[code] = encoder.encode(f"questions.{code}", data.questions[code], language=code)
    sentence_vectors = {}
    if any(Source.SENTENCES in method.sources for method in study.methods.values()):
        sentence_vectors = {code: _encode_sentences(data.paragraphs[code], code, encoder) for code in study.passages}
    made, source = made or MadeTexts(), study.passages[0]
    titles = [doc.title for doc in data.paragraphs[source]]  # of the originals, as titles were not translated
    translations: dict[str, OwnedVectors] = {}
    cut: dict[str, OwnedVectors] = {}
    for vectors_of, name, by_language in ((translations, "translations", made.translations), (cut, "cut", made.cut)):
        for code, texts in by_language.items():
            rows = [row for row, text in enumerate(texts) if text]
            own_titles, own_texts = [titles[row] for row in rows], [texts[row] for row in rows]
            vectors = encoder.encode(f"{name}.{source}.{code}", own_texts, own_titles)
            vectors_of[code] = OwnedVectors(vectors, np.array(rows, dtype=np.int64), sum(map(len, texts)))
    generated = {code: _encode_queries(code, queries, encoder) for code, queries in made.generated.items()}
    filtered = {}
    for code, queries in made.filtered.items():
        filtered[code] = select_queries(generated[code], made.generated[code], queries)
    return StudyVectors(paragraphs, questions, sentence_vectors, generated, filtered, translations, cut)


@dataclass
class _StageEncoder:
    """Encodes lists of texts into stage folders; it loads a model, or each of two, when it first needs it."""

    config: EncoderConfig
    folder: Path
    device: str | None
    force: bool
    encoders: dict[str, TextEncoder] = field(default_factory=dict)

    def encode(
        self, name: str, texts: Sequence[str], titles: Sequence[str] | None = None, language: str = ""
    ) -> np.ndarray:
        """Embeddings of questions in a language, or of passages if there are titles; float32, (texts, dimension)."""
        config = side_config(self.config, Side.QUERY if titles is None else Side.PASSAGE)
        parameters = {"encoder": encoder_settings(config), "passages": titles is not None}
        if titles is None and config.needs_language:
            parameters["language"] = language
        inputs = {"texts": digest([titles, texts]), "model": model_fingerprint(config.model)}

        def build(partial: Path) -> dict[str, int]:
            if config.model not in self.encoders:
                self.encoders[config.model] = TextEncoder(config, self.device)
            encoder = self.encoders[config.model]
            if titles is None:
                vectors = encoder.encode_queries(texts, [language] * len(texts))
            else:
                vectors = encoder.encode_passages(titles, texts)
            write_array(partial / "vectors.npy", vectors)
            return {"texts": len(texts), "dimension": encoder.dimension}

        build_stage(self.folder / name, Manifest("study-encode", parameters, inputs), build, force=self.force)
        return np.load(self.folder / name / "vectors.npy", allow_pickle=False)


def _encode_sentences(paragraphs: Sequence[Passage], language: str, encoder: _StageEncoder) -> OwnedVectors:
    """The sentences of each paragraph, each with the paragraph's title."""
    owners, titles, texts = [], [], []
    for row, doc in enumerate(paragraphs):
        for sentence in split_sentences(doc.text, language):
            owners.append(row)
            titles.append(doc.title)
            texts.append(sentence)
    vectors = encoder.encode(f"sentences.{language}", texts, titles)
    return OwnedVectors(vectors, np.array(owners), sum(map(len, texts)))


def _encode_queries(language: str, queries: Sequence[Sequence[str]], encoder: _StageEncoder) -> OwnedVectors:
    """The generated queries of all paragraphs in one language."""
    texts = [query for by_paragraph in queries for query in by_paragraph]
    owners = np.repeat(np.arange(len(queries)), [len(by_paragraph) for by_paragraph in queries])
    vectors = encoder.encode(f"generated.{language}", texts, language=language)
    return OwnedVectors(vectors, owners, sum(map(len, texts)))


def select_queries(
    vectors: OwnedVectors, queries: Sequence[Sequence[str]], kept: Sequence[Sequence[str]]
) -> OwnedVectors:
    """The vectors of some queries, from those of all queries in the same language.

    Args:
        vectors: of all queries, paragraph by paragraph.
        queries: all queries of each paragraph.
        kept: some of them, in any order. One that is there twice may be kept once or twice.
    """
    rows, start = [], 0
    for texts, kept_texts in zip(queries, kept, strict=True):
        rows += [start + texts.index(text) for text in kept_texts]  # equal texts have equal vectors
        start += len(texts)
    characters = sum(len(text) for kept_texts in kept for text in kept_texts)
    return OwnedVectors(vectors.vectors[rows], vectors.owners[rows], characters)


def _read_in_order(folder: Path, docids: Sequence[str]) -> np.ndarray:
    """The vectors of a folder that ``encode`` wrote, in the order of these docids."""
    shards = list(read_shards(folder))
    stored_docids = [docid for ids, _ in shards for docid in ids]
    row_of = {docid: row for row, docid in enumerate(stored_docids)}
    vectors = np.concatenate([vectors for _, vectors in shards])
    return vectors[[row_of[docid] for docid in docids]]

"""All embeddings that the study needs, encoded once per encoder, language and kind of text into stage folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, write_array
from xqg_repro.core.languages import split_sentences
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encode
from xqg_repro.representation.queries import read_queries
from xqg_repro.study.data import ParallelData
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
        generated: generated questions in all languages of the study, if any.
        translations: language → machine translations of the paragraphs into it, if any.
    """

    paragraphs: Mapping[str, np.ndarray]
    questions: Mapping[str, np.ndarray]
    sentences: Mapping[str, OwnedVectors]
    generated: OwnedVectors | None = None
    translations: Mapping[str, OwnedVectors] = field(default_factory=dict)


def encode_all(
    study: Study,
    data: ParallelData,
    config: EncoderConfig,
    folder: Path,
    *,
    generated: str | Path | None = None,
    translated: Mapping[str, Sequence[str]] | None = None,
    device: str | None = None,
    force: bool = False,
) -> StudyVectors:
    """Encode all texts of the study, reusing the stage folders that match.

    Args:
        study: determines the languages and whether sentences are needed.
        folder: parent of the stage folders, one per kind and language.
        generated: generated queries for the English paragraphs, written by ``xqg-repro generate``; see
            :func:`~xqg_repro.representation.queries.query_files`.
        translated: machine translations of the paragraphs; see :func:`~xqg_repro.study.translated.read_translated`.

    Raises:
        InputError: see :func:`~xqg_repro.representation.encode.encode`; or generated queries for other paragraphs.
    """
    paragraphs = {}
    for code in study.languages:
        stage = folder / f"paragraphs.{code}"
        encode(f"{NAME}/{code}", config, stage, device=device, force=force)
        paragraphs[code] = _read_in_order(stage, data.docids)

    encoder = _StageEncoder(config, folder, device, force)
    questions = {code: encoder.encode(f"questions.{code}", data.questions[code]) for code in study.languages}
    sentence_vectors = {}
    if any(Source.SENTENCES in method.sources for method in study.methods.values()):
        sentence_vectors = {code: _encode_sentences(data.paragraphs[code], code, encoder) for code in study.passages}
    source = study.passages[0]
    titles = [doc.title for doc in data.paragraphs[source]]  # of the originals, as titles were not translated
    translations = {}
    for code, texts in (translated or {}).items():
        vectors = encoder.encode(f"translations.{source}.{code}", texts, titles)
        translations[code] = OwnedVectors(vectors, np.arange(len(texts)), sum(map(len, texts)))
    generated_vectors = None if generated is None else _encode_generated(study, data, encoder, generated)
    return StudyVectors(paragraphs, questions, sentence_vectors, generated_vectors, translations)


@dataclass
class _StageEncoder:
    """Encodes lists of texts into stage folders; it loads the model when it first needs it."""

    config: EncoderConfig
    folder: Path
    device: str | None
    force: bool
    encoder: TextEncoder | None = None

    def encode(self, name: str, texts: Sequence[str], titles: Sequence[str] | None = None) -> np.ndarray:
        """Embeddings of questions, or of passages if there are titles; float32, shape (texts, dimension)."""
        wanted = Manifest(
            "study-encode",
            {"encoder": dataclasses.asdict(self.config), "passages": titles is not None},
            {"texts": digest([titles, texts]), "model": model_fingerprint(self.config.model)},
        )

        def build(partial: Path) -> dict[str, int]:
            self.encoder = self.encoder or TextEncoder(self.config, self.device)
            if titles is None:
                vectors = self.encoder.encode_queries(texts)
            else:
                vectors = self.encoder.encode_passages(titles, texts)
            write_array(partial / "vectors.npy", vectors)
            return {"texts": len(texts), "dimension": self.encoder.dimension}

        build_stage(self.folder / name, wanted, build, force=self.force)
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


def _encode_generated(study: Study, data: ParallelData, encoder: _StageEncoder, generated: str | Path) -> OwnedVectors:
    """All generated questions in the study's languages."""
    row_of = {docid: row for row, docid in enumerate(data.docids)}
    owners: list[int] = []
    texts: list[str] = []
    for passage in read_queries(generated, study.languages, 2**31, allow_missing=True):
        if passage.docid not in row_of:
            problem = f"has queries for {passage.docid}, which is not a paragraph of {NAME}"
            raise InputError(problem, path=generated, hint=f"generate queries with --collection {NAME}/en")
        for queries in passage.queries.values():
            owners += [row_of[passage.docid]] * len(queries)
            texts += queries
    if not texts:
        raise InputError(f"has no queries in {' '.join(study.languages)}", path=generated)
    return OwnedVectors(encoder.encode("generated", texts), np.array(owners), sum(map(len, texts)))


def _read_in_order(folder: Path, docids: Sequence[str]) -> np.ndarray:
    """The vectors of a folder that ``encode`` wrote, in the order of these docids."""
    shards = list(read_shards(folder))
    stored_docids = [docid for ids, _ in shards for docid in ids]
    row_of = {docid: row for row, docid in enumerate(stored_docids)}
    vectors = np.concatenate([vectors for _, vectors in shards])
    return vectors[[row_of[docid] for docid in docids]]

"""All embeddings that the study needs, encoded once for each encoder, language and kind into stage folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True)
class Grouped:
    """Vectors of which each belongs to a paragraph.

    Attributes:
        vectors: float32, shape (vectors, dimension).
        owners: index of the paragraph, int64, shape (vectors,).
        characters: in the texts.
    """

    vectors: np.ndarray
    owners: np.ndarray
    characters: int


@dataclass(frozen=True)
class Vectors:
    """Embeddings of one encoder, float32, in the order of the data.

    Attributes:
        paragraphs: language → shape (paragraphs, dimension).
        questions: language → shape (questions, dimension).
        sentences: paragraphs' language → their sentences.
        generated: generated questions in all languages of the study, if there are any.
        translations: language → machine translations of the paragraphs into it, if there are any.
    """

    paragraphs: Mapping[str, np.ndarray]
    questions: Mapping[str, np.ndarray]
    sentences: Mapping[str, Grouped]
    generated: Grouped | None = None
    translations: Mapping[str, Grouped] = field(default_factory=dict)


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
) -> Vectors:
    """Encode what is not there yet, and read all of it.

    Args:
        study: its languages, and whether it needs sentences.
        data: of the same languages.
        config: the encoder.
        folder: holds a stage folder for each kind and language.
        generated: generated queries about the English paragraphs, as ``xqg-repro generate`` writes them; see
            :func:`~xqg_repro.representation.queries.query_files`.
        translated: machine translations of the paragraphs; see :func:`~xqg_repro.study.translated.read_translated`.
        device, force: as in :func:`~xqg_repro.representation.encode.encode`.

    Raises:
        InputError: as :func:`~xqg_repro.representation.encode.encode`; generated queries of other paragraphs.
    """
    paragraphs, sides = {}, {}
    stages = _Texts(config, device, force)
    for code in study.languages:
        place = folder / f"paragraphs.{code}"
        encode(f"{NAME}/{code}", config, place, device=device, force=force)
        paragraphs[code] = _in_order(place, data.docids)
    questions = {code: stages.encoded(folder / f"questions.{code}", data.questions[code]) for code in study.languages}
    cut = any(Source.SENTENCES in method.sources for method in study.methods.values())
    for code in study.passages if cut else ():
        pieces = [
            (i, doc.title, s) for i, doc in enumerate(data.paragraphs[code]) for s in split_sentences(doc.text, code)
        ]
        owners, titles, texts = ([row[part] for row in pieces] for part in range(3))
        vectors = stages.encoded(folder / f"sentences.{code}", texts, titles)
        sides[code] = Grouped(vectors, np.array(owners), sum(map(len, texts)))
    first, translations = study.passages[0], {}
    titles = [doc.title for doc in data.paragraphs[first]]  # a machine has translated the texts alone
    for code, texts in (translated or {}).items():
        vectors = stages.encoded(folder / f"translations.{first}.{code}", texts, titles)
        translations[code] = Grouped(vectors, np.arange(len(texts)), sum(map(len, texts)))
    return Vectors(paragraphs, questions, sides, _generated(study, data, stages, folder, generated), translations)


def _generated(
    study: Study, data: ParallelData, stages: _Texts, folder: Path, source: str | Path | None
) -> Grouped | None:
    """The generated questions in the study's languages, as many as there are."""
    if source is None:
        return None
    place = {docid: i for i, docid in enumerate(data.docids)}
    owners, texts = [], []
    for passage in read_queries(source, study.languages, 2**31, allow_missing=True):
        if passage.docid not in place:
            raise InputError(
                f"has queries for {passage.docid}, which is no paragraph of {NAME}",
                path=source,
                hint=f"generate for --collection {NAME}/en",
            )
        found = [query for queries in passage.queries.values() for query in queries]
        owners += [place[passage.docid]] * len(found)
        texts += found
    if not texts:
        raise InputError(f"holds no queries in {' '.join(study.languages)}", path=source)
    vectors = stages.encoded(folder / "generated", texts)
    return Grouped(vectors, np.array(owners), sum(map(len, texts)))


def _in_order(folder: Path, docids: Sequence[str]) -> np.ndarray:
    """The vectors of a folder that ``encode`` wrote, in the order of these docids."""
    shards = list(read_shards(folder))
    place = {docid: i for i, docid in enumerate(docid for ids, _ in shards for docid in ids)}
    return np.concatenate([vectors for _, vectors in shards])[[place[docid] for docid in docids]]


@dataclass
class _Texts:
    """Encodes lists of texts into stage folders; the model is loaded when the first is not there."""

    config: EncoderConfig
    device: str | None
    force: bool
    encoder: TextEncoder | None = None

    def encoded(self, folder: Path, texts: Sequence[str], titles: Sequence[str] | None = None) -> np.ndarray:
        """Embeddings of questions, or of passages with these titles; float32, shape (texts, dimension)."""
        wanted = Manifest(
            "study-encode",
            {"encoder": dataclasses.asdict(self.config), "passages": titles is not None},
            {"texts": digest([titles, texts]), "model": model_fingerprint(self.config.model)},
        )

        def build(place: Path) -> dict[str, int]:
            self.encoder = self.encoder or TextEncoder(self.config, self.device)
            if titles is None:
                vectors = self.encoder.encode_queries(texts)
            else:
                vectors = self.encoder.encode_passages(titles, texts)
            write_array(place / "vectors.npy", vectors)
            return {"texts": len(texts), "dimension": self.encoder.dimension}

        build_stage(folder, wanted, build, force=self.force)
        return np.load(folder / "vectors.npy", allow_pickle=False)

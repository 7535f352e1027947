"""What every search shares: the checks, a run with its manifest and metadata, and a dense search's encoder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xqg_repro.collection.topics import read_topics, topic_languages
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.ids import check_id
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import MANIFEST, Manifest, build_file, check_output, fingerprint
from xqg_repro.models.encoder import QueryEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.questions import add_suffix
from xqg_repro.models.settings import EncoderConfig, check_same_pooling, encoder_settings
from xqg_repro.models.untied import query_fingerprint, side_config
from xqg_repro.representation.encode import encoder_of
from xqg_repro.retrieval.metadata import read_measurement, write_metadata
from xqg_repro.retrieval.runfile import Run, write_run

logger = logging.getLogger(__name__)

DEPTH = 100
QUERIES_PER_BATCH = 512
"""Questions to encode together; with the same batches, all ways to search have the same vectors."""

Retrieve = Callable[[dict[str, str], int], Run]
"""The run of some questions, qid → text, with so many passages for each."""

RetrieveDense = Callable[[QueryEncoder, dict[str, str], int], Run]
"""The same with the questions' encoder."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What is searched.

    Attributes:
        kind: ``index`` or ``embeddings``.
        folder: where it is.
        passages: their number.
        dimension: that of its vectors; 0 if it has none.
        settings: further settings of the search, for the manifest.
        widening: the option that makes an approximate search find more passages; empty if none does.
    """

    kind: str
    folder: Path
    passages: int
    dimension: int = 0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    widening: str = ""


def check_search(folder: str | Path, output: str | Path, tag: str, depth: int) -> None:
    """Raise :class:`InputError` for an output, a tag or a depth that no search of the folder can have."""
    check_output(output, folder)
    if depth < 1:
        raise InputError(f"a search depth of {depth} retrieves nothing", hint="retrieve at least one passage")
    check_id(tag, output)
    if not is_stream(output):
        read_measurement(output)  # another program's file of that name is not replaced


def write_dense_search(
    source: Source,
    topics: str,
    output: Path,
    retrieve: RetrieveDense,
    *,
    tag: str,
    depth: int,
    encoder: EncoderConfig | None,
    device: str | None,
    force: bool,
) -> Path:
    """:func:`write_search` with an encoder, which must be that of the passages.

    Raises:
        InputError: another model or pooling made the vectors, or the encoder has another dimension; or the topics are
            unknown or empty, or do not say a question's language, which the encoder needs.
    """
    config, version = resolve_query_encoder(source.folder, encoder)
    languages = known_languages(topics, config)

    def encode_and_retrieve(queries: dict[str, str], depth: int) -> Run:
        # a searcher passes on the texts alone, so the suffix is put to them here
        queries = {qid: add_suffix(text, languages.get(qid, ""), config) for qid, text in queries.items()}
        query_encoder = QueryEncoder(dataclasses.replace(config, query_suffix=""), device)
        size = query_encoder.encode(next(iter(queries.values()))).size
        check_dimension(source.folder, source.dimension, config, size)
        return retrieve(query_encoder, queries, depth)

    source = dataclasses.replace(source, settings={"encoder": encoder_settings(config), **source.settings})
    inputs = {source.kind: version, "model": model_fingerprint(config.model)}
    if languages:
        inputs["languages"] = digest(languages)
    return write_search(source, inputs, topics, output, encode_and_retrieve, tag=tag, depth=depth, force=force)


def known_languages(topics: str, config: EncoderConfig) -> dict[str, str]:
    """Qid → language of a topic set, if the encoder's suffix names it; otherwise empty.

    :class:`InputError` if it does, but the topics do not say the language of each question.
    """
    if not config.needs_language:
        return {}
    languages = topic_languages(topics)
    unknown = [qid for qid, language in languages.items() if not language]
    if unknown or not languages:
        which = f"question {unknown[0]}" if unknown else "its questions"
        problem = f"does not say the language of {which}, which the encoder's suffix {config.query_suffix!r} names"
        hint = 'use JSON lines with a "lang" for each question, or name the only language: --query-suffix " [fi]"'
        raise InputError(problem, path=topics, hint=hint)
    return languages


def write_search(
    source: Source,
    inputs: dict[str, str],
    topics: str,
    output: Path,
    retrieve: Retrieve,
    *,
    tag: str,
    depth: int,
    force: bool,
) -> Path:
    """Retrieve passages for every question of a topic set and write a run, or reuse an existing run that matches.

    ``inputs`` are fingerprints of all that the run depends on besides the topics. :class:`InputError` if the topics are
    unknown or empty.
    """
    queries, topics_version = read_topics(topics)
    parameters = {"topics": topics, "depth": depth, "tag": tag, **source.settings}
    wanted = Manifest("search", parameters, {**inputs, "topics": topics_version})
    depth = min(depth, source.passages)

    def write(path: Path) -> dict[str, int]:
        run = retrieve(queries, depth)
        write_run(run, path, tag)
        if not is_stream(path):
            write_metadata(path, wanted, _manifest(source.folder))
        return {"questions": len(run), **_count_short(run, depth, source.widening)}

    build_file(output, wanted, write, force=force)
    return output


def check_dimension(folder: Path, dimension: int, config: EncoderConfig | LateConfig, size: int) -> None:
    """Raise :class:`InputError` unless a folder's vectors have the ``size`` that an encoder gives."""
    if size != dimension:
        problem = f"has vectors of {dimension} dimensions, but {config.model} gives {size}"
        raise InputError(problem, path=folder, hint="search with the model that encoded the passages")


def stored_encoder(folder: str | Path) -> EncoderConfig | None:
    """The settings of the encoder that made an index or embeddings; ``None`` for a folder without a manifest."""
    manifest = _manifest(Path(folder))
    return encoder_of(manifest) if manifest else None


def resolve_query_encoder(folder: Path, encoder: EncoderConfig | None) -> tuple[EncoderConfig, str]:
    """The encoder of questions, by default that of the folder, and the folder's fingerprint.

    Of untied encoders, it is that of the questions. :class:`InputError` if another model or pooling made the folder's
    vectors, or if its encoder is not known.
    """
    manifest = _manifest(folder)
    if manifest is None:
        if encoder is None:
            problem = "has no manifest, so its encoder is unknown"
            raise InputError(problem, path=folder, hint="add --encoder or --preset")
        return side_config(encoder, Side.QUERY), digest([file_digest(folder / name) for name in ("index", "docid")])
    made_by = encoder_of(manifest)
    config = side_config(encoder or made_by, Side.QUERY)
    if model_fingerprint(config.model) != query_fingerprint(manifest.inputs):
        hint = "search with the model that encoded the passages, or encode them again"
        raise InputError(f"was made with another model than {config.model}", path=folder, hint=hint)
    hint = "leave out the encoder's settings, which are recorded there"
    check_same_pooling(made_by, config, "the questions", folder, hint)
    return config, fingerprint(folder)


def _manifest(folder: Path) -> Manifest | None:
    """A folder's manifest; ``None`` for an index that another program wrote."""
    return Manifest.read(folder) if (folder / MANIFEST).exists() else None


def _count_short(run: Run, depth: int, option: str) -> dict[str, int]:
    """The number of questions with fewer hits than asked for, which is logged; empty if there are none."""
    hits = [len(ranking) for ranking in run.values()]
    short = sum(found < depth for found in hits)
    if not short:
        return {}
    advice = f"; raise {option}" if option else ""
    logger.info(
        f"search: warning: {short:,} of {len(run):,} questions have fewer than {depth:,} passages "
        f"({sum(hits):,} of {depth * len(run):,}){advice}"
    )
    return {"questions with fewer passages": short}

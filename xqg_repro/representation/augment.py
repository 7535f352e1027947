"""Stage ``augment``: embeddings and query sums → embeddings of the passages augmented with their queries.

``p' = (1-α)·p + α·Σq``, the paper's equation, where p is a passage's embedding and q are those of its generated
queries. The output has the same shards as ``encode``, so ``index`` reads it in place of the embeddings. Questions are
encoded as before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import cast_finite, read_shards, shard_path, write_shard
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import EncoderConfig, check_same_pooling
from xqg_repro.models.untied import pair_fingerprints, query_fingerprint, recorded_fingerprints, side_config
from xqg_repro.representation.encode import encoder_of
from xqg_repro.representation.queries import queries_fingerprint, read_queries
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.representation.sums import Layout, Sums, read_sums, sum_shard


def combine(p: np.ndarray, sums: np.ndarray, counts: np.ndarray, how: Augmentation, normalize: bool) -> np.ndarray:
    """Augmented embeddings: ``(1-α)·p + α·Σq``, or with the mean over a passage's queries instead of their sum.

    Args:
        p: passage embeddings, float, shape (n, dimension).
        sums: sums of their queries' embeddings, float32, shape (n, dimension).
        counts: the number of queries in each sum, integer, shape (n,). A passage without queries stays unchanged.
        how: α and the aggregate; its other fields are ignored.
        normalize: divide each augmented embedding by its L2 norm.

    Returns:
        float32, shape (n, dimension). With α = 0, all passages stay unchanged; they are not even normalised.

    >>> combine(np.ones((1, 2)), np.array([[8.0, 4.0]]), np.array([4]), Augmentation(0.5), normalize=False)
    array([[4.5, 2.5]], dtype=float32)
    >>> combine(np.ones((1, 2)), np.array([[8.0, 4.0]]), np.array([4]), Augmentation(0.5, "mean"), normalize=False)
    array([[1.5, 1. ]], dtype=float32)
    """
    p = p.astype(np.float32)
    if how.alpha == 0:
        return p
    queries = sums.astype(np.float32)
    if how.aggregate is Aggregate.MEAN:
        queries /= np.maximum(counts, 1)[:, None]
    augmented = (1 - how.alpha) * p + how.alpha * queries
    if normalize:
        augmented /= np.maximum(np.linalg.norm(augmented, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.where(counts[:, None] > 0, augmented, p)


def augment(
    embeddings: str | Path,
    sums: str | Path,
    output: str | Path,
    how: Augmentation,
    *,
    allow_missing: bool = False,
    force: bool = False,
) -> Manifest:
    """Add query sums to passage embeddings, or reuse an existing folder that matches.

    Sums are matched by docid. Memory holds a shard of embeddings and their sums. If the sums are in another order than
    the passages, it also holds the docids of all sums.

    Args:
        embeddings: output of ``encode``.
        sums: output of ``sum`` with the same encoder.
        output: the stage folder: the shards, docids and number format of ``embeddings``.
        allow_missing: leave passages without queries unchanged and count them.
        force: augment again even if the folder matches.

    Returns:
        the manifest, which counts the passages and those without queries.

    Raises:
        InputError: sums of another model or pooling, without a language or with too few queries; a passage without
            queries (unless ``allow_missing``).
    """
    source, added = open_embeddings(embeddings), read_sums(sums)
    check_same_encoder(source, added)
    groups, rank = added.select(how.languages, how.queries)
    how = resolve_augmentation(how, added.layout, encoder_of(source))
    wanted = Manifest(
        "augment",
        {**source.parameters, "augmentation": dataclasses.asdict(how), "allow_missing": allow_missing},
        {
            **source.inputs,
            "embeddings": fingerprint(Path(embeddings)),
            "sums": fingerprint(added.folder),
            "queries": added.manifest.inputs["queries"],
        },
    )

    def build(folder: Path) -> dict[str, int]:
        missing = 0
        aligned = align_shards(embeddings, added, groups, rank, allow_missing)
        for number, (docids, vectors, places) in enumerate(aligned):
            path = shard_path(folder, number)
            if not path.exists():
                _write(path, docids, vectors, *added.take(places, groups, rank), how)
            missing += int((places < 0).sum())
        return {**source.counts, "missing": missing}

    return build_stage(output, wanted, build, force=force)


def augment_streaming(
    embeddings: str | Path,
    generated: str | Path,
    output: str | Path,
    how: Augmentation,
    *,
    allow_missing: bool = False,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Like :func:`augment`, but from the generated queries themselves: their sums are never stored.

    This takes the least disk space, but each α encodes the queries again.

    Args:
        embeddings: output of ``encode``, whose encoder encodes the queries.
        generated: see :func:`~xqg_repro.representation.queries.query_files`; in the order of the passages.
        output, allow_missing, force: as in :func:`augment`.
        how: empty ``languages`` are XOR-TyDi's seven, and ``queries`` 0 is 5.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: as :func:`augment`; queries in another order than the passages; a model that has changed since it
            encoded the passages.
    """
    source = open_embeddings(embeddings)
    config = current_encoder(source, embeddings)
    layout = Layout(how.languages or XOR_LANGUAGES, how.queries or Layout.count, every_rank=False)
    how = resolve_augmentation(how, layout, config)
    wanted = Manifest(
        "augment",
        {**source.parameters, "augmentation": dataclasses.asdict(how), "allow_missing": allow_missing},
        {**source.inputs, "embeddings": fingerprint(Path(embeddings)), "queries": queries_fingerprint(generated)},
    )

    def build(folder: Path) -> dict[str, int]:
        encoder, missing = TextEncoder(side_config(config, Side.QUERY), device), 0
        queries = read_queries(generated, layout.languages, layout.count, allow_missing=allow_missing)
        with progress_bar(source.counts["passages"], "augment", "passages") as progress:
            for number, (docids, vectors) in enumerate(read_shards(embeddings)):
                shard = list(islice(queries, len(docids)))
                _check_order(docids, shard, generated)
                path = shard_path(folder, number)
                if not path.exists():
                    sums, counts = sum_shard(shard, encoder, layout)
                    _write(path, docids, vectors, sums[:, 0, 0], counts[:, 0, 0], how)
                missing += sum(not passage.queries for passage in shard)
                progress.update(len(docids))
        return {**source.counts, "missing": missing}

    return build_stage(output, wanted, build, force=force)


def open_embeddings(embeddings: str | Path) -> Manifest:
    """The manifest of a folder that ``encode`` wrote; :class:`InputError` if another stage did or a file is missing."""
    return open_stage(embeddings, "encode")


def current_encoder(source: Manifest, embeddings: str | Path) -> EncoderConfig:
    """The encoder that made the embeddings; :class:`InputError` if its model has changed since."""
    config = encoder_of(source)
    if pair_fingerprints(config.model) != recorded_fingerprints(source.inputs):
        problem = f"was made with other weights than {config.model} has now"
        raise InputError(problem, path=embeddings, hint="encode the passages again")
    return config


def resolve_augmentation(how: Augmentation, layout: Layout, config: EncoderConfig) -> Augmentation:
    """The settings with all defaults filled in, so that equivalent settings are equal."""
    return dataclasses.replace(
        how,
        languages=tuple(code for code in layout.languages if code in (how.languages or layout.languages)),
        queries=how.queries or layout.count,
        normalize=config.normalize if how.normalize is None else how.normalize,
    )


def _check_order(docids: Sequence[str], queries: Sequence[PassageQueries], source: str | Path) -> None:
    for i, expected in enumerate(docids):
        actual = queries[i].docid if i < len(queries) else "none"
        if actual != expected:
            raise InputError(
                f"expected queries for the passage {expected}, got {actual}",
                path=source,
                hint="if queries are in another order, or missing for some passages, run xqg-repro sum first",
            )


def _write(
    path: Path, docids: Sequence[str], vectors: np.ndarray, sums: np.ndarray, counts: np.ndarray, how: Augmentation
) -> None:
    """Write a shard in the number format of its passages; see :func:`combine`."""
    augmented = combine(vectors, sums, counts, how, bool(how.normalize))
    write_shard(path, docids, cast_finite(augmented, vectors.dtype, "the augmented embeddings"))


def check_same_encoder(source: Manifest, added: Sums) -> None:
    """Raise :class:`InputError` unless the same encoder, or two that belong together, embedded passages and queries."""
    passages, queries = encoder_of(source), encoder_of(added.manifest)
    if added.manifest.inputs["model"] != query_fingerprint(source.inputs):
        raise InputError(
            f"was made with another model ({queries.model}) than the embeddings ({passages.model})",
            path=added.folder,
            hint="sum the queries with the model that encoded the passages",
        )
    hint = "sum the queries with the settings that encoded the passages"
    check_same_pooling(queries, passages, "the embeddings", added.folder, hint)


def align_shards(
    embeddings: str | Path, sums: Sums, groups: Sequence[int], rank: int, allow_missing: bool
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """The shards of embeddings, each with the places of its passages among the sums, or -1 without queries.

    :class:`InputError` if a passage has no queries, unless ``allow_missing``.
    """
    places = _find_places(embeddings, sums, groups, rank)
    missing = np.flatnonzero(places < 0)
    if len(missing) and not allow_missing:
        first = next(islice(_docids(embeddings), int(missing[0]), None))
        raise InputError(
            f"has no queries for {len(missing):,} of the passages; the first is {first}",
            path=sums.folder,
            hint="generate them, or use --allow-missing to leave such passages unchanged",
        )
    start = 0
    for docids, vectors in read_shards(embeddings):
        yield docids, vectors, places[start : start + len(docids)]
        start += len(docids)


def _find_places(embeddings: str | Path, sums: Sums, groups: Sequence[int], rank: int) -> np.ndarray:
    """The place of each passage among the sums, or -1 if these groups have no queries for it; int64, (passages,)."""
    has_queries = sums.has_queries(groups, rank)
    if _has_same_order(embeddings, sums):
        count = Manifest.read(embeddings).counts["passages"]
        return np.where(has_queries[:count], np.arange(count), -1)
    place_of = {docid: place for place, docid in enumerate(sums.docids()) if has_queries[place]}
    return np.fromiter((place_of.get(docid, -1) for docid in _docids(embeddings)), np.int64)


def _docids(embeddings: str | Path) -> Iterator[str]:
    for docids, _ in read_shards(embeddings):
        yield from docids


def _has_same_order(embeddings: str | Path, sums: Sums) -> bool:
    """Whether the sums start with the passages of the embeddings, in their order."""
    digest = Manifest.read(embeddings).docids
    if digest and digest == sums.manifest.docids:
        return True
    # the sums may have further passages, and folders of older versions have no digest
    docids = sums.docids()
    return all(shard == list(islice(docids, len(shard))) for shard, _ in read_shards(embeddings))

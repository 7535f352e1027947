"""Stage ``augment``: embeddings and query sums → embeddings of the passages augmented with their queries.

``p' = (1-α)·p + α·Σq``, the paper's equation, where p is a passage's embedding and q are its generated queries'. The
output has the shards of ``encode``, so ``index`` reads it in place of the embeddings; questions are encoded as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, write_array
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import cast_finite, read_shards
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, check_same_pooling
from xqg_repro.representation.encode import encoder_of
from xqg_repro.representation.queries import queries_fingerprint, read_queries
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.representation.sums import Layout, Sums, read_sums, sum_shard


def combine(p: np.ndarray, sums: np.ndarray, counts: np.ndarray, how: Augmentation, normalize: bool) -> np.ndarray:
    """Augmented embeddings: ``(1-α)·p + α·Σq``, or with the mean over a passage's queries in place of their sum.

    Args:
        p: passage embeddings, float, shape (n, dimension).
        sums: sums of their queries' embeddings, float32, shape (n, dimension).
        counts: how many queries are in each sum, integer, shape (n,). A passage without any stays as it is.
        how: α and the aggregate; its other fields are not read.
        normalize: divide each augmented embedding by its L2 norm.

    Returns:
        float32, shape (n, dimension). With α = 0, all passages stay as they are: they are not normalised either.

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
    """Add query sums to passage embeddings, or reuse the folder that holds the result.

    Sums are found by docid. Memory holds a shard of embeddings and their sums; where the sums are in another order
    than the passages or some have none, the docids of all sums as well.

    Args:
        embeddings: output of ``encode``.
        sums: output of ``sum`` by the same encoder.
        output: the stage folder: the shards, docids and number format of ``embeddings``.
        how: α, the aggregate, whose queries, how many, and whether to normalise.
        allow_missing: leave a passage without queries as it is and count it.
        force: augment again even if the folder matches.

    Returns:
        the manifest, which counts the passages and those that are missing queries.

    Raises:
        InputError: another model or pooling made the sums, they lack a language or as many queries, a passage has
            none (without ``allow_missing``), a folder is of another stage or damaged, a full disk.
    """
    source, added = open_embeddings(embeddings), read_sums(sums)
    check_same_encoder(source, added)
    groups, rank = added.select(how.languages, how.queries)
    how = resolved(how, added.layout, encoder_of(source))
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
        for number, (docids, vectors, places) in enumerate(
            align_shards(embeddings, added, groups, rank, allow_missing)
        ):
            missing += int((places < 0).sum())
            if not _path(folder, number).exists():
                _write(folder, number, docids, vectors, *added.take(places, groups, rank), how)
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
    """As :func:`augment`, from the generated queries themselves: their sums are never stored.

    This takes the least room on disk, but encodes the queries for one α alone.

    Args:
        embeddings: output of ``encode``, whose encoder encodes the queries.
        generated: see :func:`~xqg_repro.representation.queries.query_files`; in the order of the passages.
        output, allow_missing, force: as in :func:`augment`.
        how: ``languages`` empty stands for XOR-TyDi's seven, and ``queries`` 0 for 5.
        device: a torch device; ``None`` takes a GPU if there is one.

    Raises:
        InputError: as :func:`augment`; queries in another order than the passages; a model that has changed since it
            encoded them.
    """
    source = open_embeddings(embeddings)
    config = current_encoder(source, embeddings)
    layout = Layout(how.languages or XOR_LANGUAGES, how.queries or Layout.count, every_rank=False)
    how = resolved(how, layout, config)
    wanted = Manifest(
        "augment",
        {**source.parameters, "augmentation": dataclasses.asdict(how), "allow_missing": allow_missing},
        {**source.inputs, "embeddings": fingerprint(Path(embeddings)), "queries": queries_fingerprint(generated)},
    )

    def build(folder: Path) -> dict[str, int]:
        encoder, missing = TextEncoder(config, device), 0
        queries = read_queries(generated, layout.languages, layout.count, allow_missing=allow_missing)
        with progress_bar(source.counts["passages"], "augment", "passages") as progress:
            for number, (docids, vectors) in enumerate(read_shards(embeddings)):
                shard = list(islice(queries, len(docids)))
                _check_order(docids, shard, generated)
                missing += sum(not passage.queries for passage in shard)
                if not _path(folder, number).exists():
                    sums, counts = sum_shard(shard, encoder, layout)
                    _write(folder, number, docids, vectors, sums[:, 0, 0], counts[:, 0, 0], how)
                progress.update(len(docids))
        return {**source.counts, "missing": missing}

    return build_stage(output, wanted, build, force=force)


def open_embeddings(embeddings: str | Path) -> Manifest:
    """The manifest of a whole folder that ``encode`` wrote; :class:`InputError` where another stage did."""
    return open_stage(embeddings, "encode")


def current_encoder(source: Manifest, embeddings: str | Path) -> EncoderConfig:
    """The encoder that made the embeddings; :class:`InputError` where its model is another one by now."""
    config = encoder_of(source)
    if model_fingerprint(config.model) != source.inputs["model"]:
        problem = f"was made with another model than {config.model} is now"
        raise InputError(problem, path=embeddings, hint="encode the passages again")
    return config


def resolved(how: Augmentation, layout: Layout, config: EncoderConfig) -> Augmentation:
    """The settings with nothing left open, so that those that mean the same are equal."""
    return dataclasses.replace(
        how,
        languages=tuple(code for code in layout.languages if code in (how.languages or layout.languages)),
        queries=how.queries or layout.count,
        normalize=config.normalize if how.normalize is None else how.normalize,
    )


def _check_order(docids: Sequence[str], queries: Sequence[PassageQueries], source: str | Path) -> None:
    found = [passage.docid for passage in queries]
    if found != docids:
        at = next((i for i, pair in enumerate(zip(found, docids, strict=False)) if pair[0] != pair[1]), len(found))
        raise InputError(
            f"has queries for {found[at] if at < len(found) else 'no further passage'} where {docids[at]} is due",
            path=source,
            hint="queries in another order, or for some of the passages only, need xqg-repro sum first",
        )


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def _write(
    folder: Path,
    number: int,
    docids: Sequence[str],
    vectors: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    how: Augmentation,
) -> None:
    """Write a shard in the number format of its passages; see :func:`combine`."""
    result = cast_finite(
        combine(vectors, sums, counts, how, bool(how.normalize)), vectors.dtype, "the augmented embeddings"
    )
    with atomic_write(_path(folder, number).with_suffix(".docid")) as ids:
        ids.writelines(f"{docid}\n" for docid in docids)
    write_array(_path(folder, number), result)  # the last, so that it tells a whole shard


def check_same_encoder(source: Manifest, added: Sums) -> None:
    """Raise :class:`InputError` unless passages and queries were embedded into the same space."""
    passages, queries = encoder_of(source), encoder_of(added.manifest)
    if added.manifest.inputs["model"] != source.inputs["model"]:
        raise InputError(
            f"holds sums by another model ({queries.model}) than the embeddings' ({passages.model})",
            path=added.folder,
            hint="sum the queries with the model that encoded the passages",
        )
    hint = "sum the queries with the settings that encoded the passages"
    check_same_pooling(queries, passages, "the embeddings", added.folder, hint)


def align_shards(
    embeddings: str | Path, sums: Sums, groups: Sequence[int], rank: int, allow_missing: bool
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """The shards of embeddings, each with its passages' places among the sums, -1 where there are no queries."""
    found: dict[str, int] | None = None
    if not _in_step(embeddings, sums, groups, rank):
        found = {docid: place for place, docid in enumerate(_summed(sums, groups, rank)) if docid is not None}
        missing = [docid for docids, _ in read_shards(embeddings) for docid in docids if docid not in found]
        if missing and not allow_missing:
            raise InputError(
                f"has no queries for {len(missing):,} of the passages, the first of which is {missing[0]}",
                path=sums.folder,
                hint="generate them, or leave such passages as they are by --allow-missing",
            )
    start = 0
    for docids, vectors in read_shards(embeddings):
        if found is None:
            places = np.arange(start, start + len(docids))
        else:
            places = np.array([found.get(docid, -1) for docid in docids])
        yield docids, vectors, places
        start += len(docids)


def _in_step(embeddings: str | Path, sums: Sums, groups: Sequence[int], rank: int) -> bool:
    """Whether the sums begin with the passages, all of them and in their order."""
    names = _summed(sums, groups, rank)
    return all(docid == next(names, None) for docids, _ in read_shards(embeddings) for docid in docids)


def _summed(sums: Sums, groups: Sequence[int], rank: int) -> Iterator[str | None]:
    """The docid of each place, ``None`` where the chosen groups have no queries."""
    for docids, _, counts in sums.shards():
        some = counts[:, groups, rank].any(axis=1)
        yield from (docid if present else None for docid, present in zip(docids, some, strict=True))

"""Stage ``encode``: a collection's passages → shards of embeddings.

A shard is ``NNNNN.npy`` (float32 or float16, shape (passages, dimension)) and ``NNNNN.docid`` (one id a line, the same
order). Shards follow the collection's order, so a killed run goes on behind its last whole shard and ends with the same
bytes.
"""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, write_array
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.settings import parse
from xqg_repro.core.shards import cast_finite, check_dtype
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig

if TYPE_CHECKING:
    pass

SHARD_SIZE = 50_000


def encode(
    dataset_id: str,
    config: EncoderConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    dtype: str = "float32",
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Embed every passage of an ir-datasets collection, or reuse the folder that holds them.

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the encoder.
        output: the stage folder.
        shard_size: passages a shard; a shard is what a killed run loses and what must fit into memory.
        dtype: ``float32`` or ``float16``, of the files alone.
        device: a torch device; ``None`` takes a GPU if there is one.
        force: encode again even if the folder matches.

    Raises:
        InputError: an unknown dataset, a collection without passages, a model folder without weights, a full disk.
    """
    if shard_size < 1:
        raise InputError(f"a shard cannot hold {shard_size} passages")
    check_dtype(dtype)
    dataset = collection.load(dataset_id, needs=["docs"])
    model = model_fingerprint(config.model)  # before the collection's files: without a model no need to download them
    wanted = Manifest(
        "encode",
        {"collection": dataset_id, "encoder": dataclasses.asdict(config), "dtype": dtype, "shard_size": shard_size},
        {"collection": collection.fingerprint(dataset, "docs"), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        encoder = TextEncoder(config, device)
        passages = _encode_shards(dataset, encoder, folder, shard_size, dtype)
        return {"passages": passages, "dimension": encoder.dimension}

    return build_stage(output, wanted, build, force=force)


def _encode_shards(dataset: Any, encoder: TextEncoder, folder: Path, shard_size: int, dtype: str) -> int:
    """Write the shards that are not there yet; return the number of passages in all."""
    docs = iter(dataset.docs_iter())
    total, number = 0, 0
    with progress_bar(dataset.docs_count(), "encode", "passages") as progress:
        while shard := list(islice(docs, shard_size)):
            vectors_path, ids_path = folder / f"{number:05d}.npy", folder / f"{number:05d}.docid"
            if not vectors_path.exists():
                vectors = encoder.encode_passages(
                    [getattr(doc, "title", None) for doc in shard], [doc.text for doc in shard]
                )
                with atomic_write(ids_path) as ids:
                    ids.writelines(f"{doc.doc_id}\n" for doc in shard)
                write_array(vectors_path, cast_finite(vectors, dtype, "the embeddings"))
            total, number = total + len(shard), number + 1
            progress.update(len(shard))
    if not total:
        raise InputError(f"{dataset.dataset_id()} has no passages")
    return total


def encoder_of(manifest: Manifest) -> EncoderConfig:
    """The encoder settings that a manifest of ``encode`` (or of a stage behind it) records."""
    return parse(EncoderConfig, dict(manifest.parameters["encoder"]), "manifest.json")

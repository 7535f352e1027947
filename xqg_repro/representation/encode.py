"""Stage ``encode``: a collection's passages → shards of embeddings (see :mod:`xqg_repro.core.shards`)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents, passage_shards
from xqg_repro.collection.records import PlainDocument
from xqg_repro.core.cluster import Distribution
from xqg_repro.core.settings import parse
from xqg_repro.core.shards import cast_finite, check_dtype, check_shard_size, write_shard
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.loading import find_model, lasting_name
from xqg_repro.models.settings import EncoderConfig, encoder_settings
from xqg_repro.models.untied import check_side, pair_fingerprints, side_config, untied_pair
from xqg_repro.representation.shards import WriteShard, vector_size, write_shards

if TYPE_CHECKING:
    from tqdm import tqdm

SHARD_SIZE = 50_000


def encode(
    dataset_id: str,
    config: EncoderConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    dtype: str = "float32",
    device: str | None = None,
    distribute: Distribution | None = None,
    force: bool = False,
) -> Manifest:
    """Embed every passage of an ir-datasets collection, or reuse an existing folder that matches.

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the encoder; of untied encoders, the folder of both or that of the passages'.
        shard_size: passages per shard. A shard must fit into memory; an interrupted run loses at most one.
        dtype: ``float32`` or ``float16``; applies to the files only.
        device: a torch device; ``None`` takes a GPU if available.
        distribute: let the workers of a Ray cluster write the shards, on their devices; the bytes stay the same.
        force: encode again even if the folder matches.

    Returns:
        the manifest. Of untied encoders, its inputs name the fingerprints of both.
    """
    check_shard_size(shard_size)
    check_dtype(dtype)
    dataset = collection.load(dataset_id, needs=["docs"])
    check_side(config.model, Side.PASSAGE)
    config = dataclasses.replace(config, model=untied_pair(config.model) or config.model)
    models = pair_fingerprints(config.model)  # before the collection, which may be a large download
    encoder = encoder_settings(config) | {"model": lasting_name(config.model)}
    wanted = Manifest(
        "encode",
        {"collection": dataset_id, "encoder": encoder, "dtype": dtype, "shard_size": shard_size},
        {"collection": collection.fingerprint(dataset, "docs"), **models},
    )

    def build(folder: Path) -> dict[str, int]:
        check_documents(dataset)
        work = EncodeWork(side_config(config, Side.PASSAGE), dtype)
        shards = passage_shards(dataset, folder, shard_size)
        counts = write_shards(
            work, shards, "encode", "passages", total=dataset.docs_count(), device=device, distribute=distribute
        )
        return {**counts, "dimension": vector_size(folder)}

    return build_stage(output, wanted, build, force=force)


@dataclass(frozen=True)
class EncodeWork:
    """Documents → a shard of embeddings."""

    config: EncoderConfig
    dtype: str
    per_item: ClassVar = 1

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PlainDocument]:
        """Load the encoder."""
        encoder = TextEncoder(self.config, device)

        def write(path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
            vectors = encoder.encode_passages([doc.title for doc in shard], [doc.text for doc in shard])
            write_shard(path, [doc.doc_id for doc in shard], cast_finite(vectors, self.dtype, "the embeddings"))
            progress.update(len(shard))
            return self.count(path, shard)

        return write

    def count(self, path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
        """The number of passages."""
        return Counter(passages=len(shard))


def encoder_of(manifest: Manifest) -> EncoderConfig:
    """The encoder settings in the manifest of ``encode`` or of a later stage, with a model that is still there."""
    config = parse(EncoderConfig, dict(manifest.parameters["encoder"]), "manifest.json")
    return dataclasses.replace(config, model=find_model(config.model, manifest.inputs["model"]))

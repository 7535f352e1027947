"""Stage ``encode``: a collection's passages → shards of embeddings (see :mod:`xqg_repro.core.shards`)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

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
from xqg_repro.representation.shards import ShardWork, WriteShard, vector_size, write_shards

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
    check_side(config.model, Side.PASSAGE)
    work = EncodeWork(side_config(config, Side.PASSAGE), dtype)
    wanted, build = plan_vectors("encode", dataset_id, work, shard_size, device=device, distribute=distribute)
    return build_stage(output, wanted, build, force=force)


class VectorWork(ShardWork[PlainDocument], Protocol):
    """Documents → a shard of vectors, of passages or of their tokens."""

    @property
    def dtype(self) -> str:
        """``float32`` or ``float16``, of the files."""

    def identify(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What a manifest records of the encoder: its settings, and the fingerprints of its model."""


def plan_vectors(
    stage: str,
    dataset_id: str,
    work: VectorWork,
    shard_size: int,
    *,
    device: str | None,
    distribute: Distribution | None = None,
    **parameters: str,
) -> tuple[Manifest, Callable[[Path], dict[str, int]]]:
    """The identity of a stage that embeds a collection, and what builds its folder.

    Args:
        stage: the stage's name.
        dataset_id, shard_size, device, distribute: as for :func:`encode`.
        work: writes a shard; the encoder's settings and the number format are its own.
        parameters: further parameters of the identity.
    """
    dataset = collection.load(dataset_id, needs=["docs"])
    encoder, models = work.identify()  # before the collection, which may be a large download
    settings = {"collection": dataset_id, "encoder": encoder, "dtype": work.dtype, "shard_size": shard_size}
    inputs = {"collection": collection.fingerprint(dataset, "docs"), **models}

    def build(folder: Path) -> dict[str, int]:
        check_documents(dataset)
        shards, total = passage_shards(dataset, folder, shard_size), dataset.docs_count()
        counts = write_shards(work, shards, stage, "passages", total=total, device=device, distribute=distribute)
        return {**counts, "dimension": vector_size(folder)}

    return Manifest(stage, settings | parameters, inputs), build


@dataclass(frozen=True)
class EncodeWork:
    """Documents → a shard of embeddings; of untied encoders, ``config`` names that of the passages."""

    config: EncoderConfig
    dtype: str
    per_item: ClassVar = 1

    def identify(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The encoder's settings and fingerprints; those of both if there are two."""
        model = untied_pair(self.config.model) or self.config.model
        return encoder_settings(self.config) | {"model": lasting_name(model)}, pair_fingerprints(model)

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

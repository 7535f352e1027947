"""Stage ``index --late``: a collection → token vectors of its passages (:mod:`xqg_repro.retrieval.token_shards`).

Late interaction needs a vector per token, so this index takes the passages themselves, as the one for BM25 does.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xqg_repro.collection.records import PlainDocument
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse
from xqg_repro.core.shards import cast_finite, check_dtype, check_shard_size
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage, open_stage
from xqg_repro.models.late import LateEncoder, TokenVectors
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import find_model, lasting_name, model_fingerprint
from xqg_repro.representation.encode import plan_vectors
from xqg_repro.representation.shards import WriteShard
from xqg_repro.retrieval.token_shards import write_token_shard

if TYPE_CHECKING:
    from tqdm import tqdm

SHARD_SIZE = 2_000
DTYPE = "float16"


def build_late_index(
    dataset_id: str,
    config: LateConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    dtype: str = DTYPE,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Embed every token of a collection's passages, or reuse an existing index that matches.

    An interrupted run resumes after the last complete shard.

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the encoder.
        output: the stage folder.
        shard_size: passages per shard. A shard must fit into memory.
        dtype: ``float16`` or ``float32``; applies to the files only.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: the collection is unknown or damaged, or the model is not a late-interaction model.
    """
    check_shard_size(shard_size)
    check_dtype(dtype, "token vectors")
    work = LateWork(config, dtype)
    wanted, build = plan_vectors("index", dataset_id, work, shard_size, device=device, interaction="late")
    return build_stage(output, wanted, build, force=force)


@dataclass(frozen=True)
class LateWork:
    """Documents → a shard of token vectors."""

    config: LateConfig
    dtype: str
    per_item: ClassVar = 1

    def identify(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The encoder's settings and fingerprint."""
        model = self.config.model
        settings = dataclasses.asdict(self.config) | {"model": lasting_name(model)}
        return settings, {"model": model_fingerprint(model)}

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PlainDocument]:
        """Load the encoder."""
        encoder = LateEncoder(self.config, device)

        def write(path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
            vectors, offsets = encoder.encode_passages([doc.title for doc in shard], [doc.text for doc in shard])
            stored = cast_finite(vectors, self.dtype, "the token vectors")
            write_token_shard(path, [doc.doc_id for doc in shard], TokenVectors(stored, offsets))
            progress.update(len(shard))
            return self.count(path, shard)

        return write

    def count(self, path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
        """The numbers of passages and of tokens."""
        return Counter(passages=len(shard), tokens=len(np.load(path, mmap_mode="r", allow_pickle=False)))


def is_late(folder: str | Path) -> bool:
    """Whether a folder is a late-interaction index, by its manifest."""
    return (Path(folder) / MANIFEST).exists() and Manifest.read(folder).parameters.get("interaction") == "late"


def open_late_index(folder: str | Path, model: str = "") -> tuple[Manifest, LateConfig]:
    """The manifest of a late-interaction index, and the encoder that made it.

    Args:
        folder: the index.
        model: another place of the encoder's model; empty for the one that the manifest names.

    Raises:
        InputError: the folder is not such an index, a file is missing or changed, or another model made it.
    """
    manifest = open_stage(folder, "index")
    if not is_late(folder):
        problem = "is not a late-interaction index"
        raise InputError(problem, path=folder, hint="index --late writes one")
    config = parse(LateConfig, dict(manifest.parameters["encoder"]), Path(folder) / MANIFEST)
    config = dataclasses.replace(config, model=model or find_model(config.model, manifest.inputs["model"]))
    if model_fingerprint(config.model) != manifest.inputs["model"]:
        hint = "search with the model that encoded the passages, or index them again"
        raise InputError(f"was made with another model than {config.model}", path=folder, hint=hint)
    return manifest, config

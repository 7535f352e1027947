"""Stage ``encode``: a collection's passages → shards of embeddings.

A shard is ``NNNNN.npy`` (float32 or float16, shape (passages, dimension)) and ``NNNNN.docid`` (one id a line, the same
order). Shards follow the collection's order, so a killed run goes on behind its last whole shard and ends with the same
bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import EncoderConfig, parse
from xqg_repro.core.stages import Manifest, atomic_write, produce, read_text, write_array
from xqg_repro.models.encoder import TextEncoder, model_fingerprint

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

SHARD_SIZE = 50_000
DTYPES = ("float32", "float16")


def encode(
    dataset_id: str,
    config: EncoderConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    dtype: str = "float32",
    device: str | None = None,
    force: bool = False,
    log: Callable[[str], None] = print,
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
        log: receives one line on what was decided.

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

    return produce(output, wanted, build, force=force, log=log)


def _encode_shards(dataset: Any, encoder: TextEncoder, folder: Path, shard_size: int, dtype: str) -> int:
    """Write the shards that are not there yet; return the number of passages in all."""
    from tqdm import tqdm

    docs = iter(dataset.docs_iter())
    total, number = 0, 0
    with tqdm(total=dataset.docs_count(), desc="encode", unit=" passages", disable=None) as progress:
        while shard := list(islice(docs, shard_size)):
            vectors_path, ids_path = folder / f"{number:05d}.npy", folder / f"{number:05d}.docid"
            if not vectors_path.exists():
                vectors = encoder.encode_passages(
                    [getattr(doc, "title", None) for doc in shard], [doc.text for doc in shard]
                )
                with atomic_write(ids_path) as ids:
                    ids.writelines(f"{doc.doc_id}\n" for doc in shard)
                write_array(vectors_path, narrowed(vectors, dtype, "the embeddings"))
            total, number = total + len(shard), number + 1
            progress.update(len(shard))
    if not total:
        raise InputError(f"{dataset.dataset_id()} has no passages")
    return total


def check_dtype(dtype: str) -> None:
    """Raise :class:`InputError` unless embeddings can be stored in this number format."""
    if dtype not in DTYPES:
        raise InputError(f"embeddings cannot be stored as {dtype!r}", mend=f"choose from: {', '.join(DTYPES)}")


def narrowed(array: np.ndarray, dtype: DTypeLike, what: str) -> np.ndarray:
    """The array in another float type; :class:`InputError` instead of infinities where numbers are too large for it."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        raise InputError(f"{what} do not fit into {np.dtype(dtype)}", mend="store them as float32") from None


def encoder_of(manifest: Manifest) -> EncoderConfig:
    """The encoder settings that a manifest of ``encode`` (or of a stage behind it) records."""
    return parse(EncoderConfig, dict(manifest.parameters["encoder"]), "manifest.json")


def read_shards(folder: str | Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """The shards of a folder of embeddings, in order: docids and memory-mapped vectors (float, (n, dimension)).

    Raises:
        InputError: there is no shard, or docids and vectors of a shard differ in number; the files are named.
    """
    paths = sorted(Path(folder).glob("*.npy"))
    if not paths:
        raise InputError("holds no embeddings", path=folder, mend="run xqg-repro encode first")
    for path in paths:
        ids_path = path.with_suffix(".docid")
        if not ids_path.exists():
            raise InputError("is missing beside its vectors", path=ids_path, mend="run the encoding again with --force")
        docids = read_text(ids_path).split("\n")[:-1]
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"cannot be read as an array: {error}", path=path, mend="run the encoding again with --force"
            ) from None
        if vectors.ndim != 2 or len(docids) != len(vectors):
            raise InputError(
                f"has {len(docids)} docids for an array of shape {vectors.shape} in {path.name}",
                path=ids_path,
                mend="run the encoding again with --force",
            )
        yield docids, vectors

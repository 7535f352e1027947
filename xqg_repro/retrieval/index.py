"""Stage ``index``: shards of embeddings → a FAISS folder that Pyserini opens (files ``index`` and ``docid``).

By default search is exact, as in the paper: a flat inner-product index scores every passage, ``score(q, p) = <q, p>``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage

if TYPE_CHECKING:
    import numpy as np

_INDEX_AGAIN = "build it again with xqg-repro index --force"


def build_index(embeddings: str | Path, output: str | Path, *, factory: str = "Flat", force: bool = False) -> Manifest:
    """Index a folder of embeddings, or reuse an existing index that matches.

    Args:
        embeddings: a folder that ``encode`` or ``augment`` wrote.
        output: the stage folder; stock Pyserini opens it.
        factory: a FAISS factory string. ``Flat`` is exact search; ``SQfp16`` stores float16 vectors in half the space.
            Factories that need training are trained on the first shard.

    Raises:
        InputError: embeddings are missing or incomplete, a docid occurs twice, or FAISS refuses the factory string.
    """
    embeddings = Path(embeddings)
    source = open_stage(embeddings, "encode", "augment")
    inputs = {**source.inputs, "embeddings": fingerprint(embeddings)}
    wanted = Manifest("index", {**source.parameters, "factory": factory}, inputs)

    return build_stage(output, wanted, partial(_build, embeddings, factory), force=force)


def _build(embeddings: Path, factory: str, folder: Path) -> dict[str, int]:
    import faiss
    import numpy as np

    index: Any = None
    seen: set[str] = set()
    hint = "docids must be unique and without white space; encode a corrected collection"
    with atomic_write(folder / "docid") as ids:
        for docids, shard in read_shards(embeddings):
            vectors = np.ascontiguousarray(shard, dtype=np.float32)
            if index is None:
                index = _create_index(vectors, factory)
            for docid in docids:
                if docid in seen:
                    raise InputError(f"the docid {docid!r} occurs twice", path=embeddings, hint=hint)
                if docid.split() != [docid]:
                    raise InputError(
                        f"the docid {docid!r} is empty or contains white space", path=embeddings, hint=hint
                    )
                seen.add(docid)
            index.add(vectors)
            ids.writelines(f"{docid}\n" for docid in docids)
    with atomic_write(folder / "index", "wb") as file:
        # FAISS's own file writer does not report a full disk
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    return {"passages": index.ntotal, "dimension": index.d}


def _create_index(vectors: np.ndarray, factory: str) -> Any:
    """An empty FAISS index for vectors of this dimension, trained on them if the factory needs training."""
    import faiss

    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot build an index {factory!r} over {len(vectors)} vectors of {vectors.shape[1]} dimensions: "
            f"{str(error).splitlines()[-1]}",
            hint="Flat is exact search; FAISS's documentation lists the factory strings",
        ) from None
    return index


def check_index(folder: str | Path) -> int:
    """Check that an index has as many docids as vectors, and return their number.

    Raises:
        InputError: a file is missing or unreadable, or the numbers differ; both are named.
    """
    import faiss

    folder = Path(folder)
    for name in ("index", "docid"):
        if not (folder / name).exists():
            raise InputError(f"is not an index: it has no file {name!r}", path=folder, hint="run xqg-repro index first")
    with open(folder / "docid", "rb") as ids:
        docids = sum(1 for _ in ids)
    # with the newer flag, FAISS memory-maps flat indexes too
    memory_mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
    try:
        vectors = faiss.read_index(str(folder / "index"), memory_mapped).ntotal
    except RuntimeError as error:
        problem = f"cannot be read as a FAISS index: {error}"
        raise InputError(problem, path=folder / "index", hint=_INDEX_AGAIN) from None
    if docids != vectors:
        raise InputError(f"has {docids} docids for {vectors} vectors", path=folder / "docid", hint=_INDEX_AGAIN)
    return docids

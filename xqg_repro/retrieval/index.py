"""Stage ``index``: shards of embeddings → a FAISS folder that Pyserini opens (files ``index`` and ``docid``).

The default is exact search, ``score(q, p) = <q, p>`` over all passages (a flat inner-product index), as in the paper.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage

if TYPE_CHECKING:
    import numpy as np


def build_index(embeddings: str | Path, output: str | Path, *, factory: str = "Flat", force: bool = False) -> Manifest:
    """Index a folder of embeddings, or reuse the index that is there.

    Args:
        embeddings: output of ``encode`` (or of a later stage that writes the same shards).
        output: the stage folder; stock Pyserini opens it.
        factory: a FAISS factory string; ``Flat`` is exact, ``SQfp16`` exact search over float16 vectors at half the
            size. Factories that need training are trained on the first shard.
        force: index again even if the folder matches.

    Raises:
        InputError: no embeddings or not all of them, docids and vectors that differ in number, a docid that occurs
            twice.
    """
    source = open_stage(embeddings, "encode", "augment")
    wanted = Manifest(
        "index",
        {**source.parameters, "factory": factory},
        {**source.inputs, "embeddings": fingerprint(Path(embeddings))},
    )

    def build(folder: Path) -> dict[str, int]:
        return _build(Path(embeddings), folder, factory)

    return build_stage(output, wanted, build, force=force)


def _build(embeddings: Path, folder: Path, factory: str) -> dict[str, int]:
    import faiss
    import numpy as np

    index, seen = None, set()
    with atomic_write(folder / "docid") as ids:
        for docids, vectors in read_shards(embeddings):
            block = np.ascontiguousarray(vectors, dtype=np.float32)
            if index is None:
                index = _empty_index(block, factory)
            for docid in docids:
                if docid in seen or docid.split() != [docid]:
                    problem = "occurs twice" if docid in seen else "is blank or holds white space"
                    raise InputError(
                        f"the docid {docid!r} {problem}",
                        path=embeddings,
                        hint="docids must be unique; encode a repaired collection",
                    )
                seen.add(docid)
            index.add(block)
            ids.writelines(f"{docid}\n" for docid in docids)
    with atomic_write(folder / "index", "wb") as file:
        # FAISS's own file writer does not report a disk that fills up
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    return {"passages": index.ntotal, "dimension": index.d}


def _empty_index(vectors: np.ndarray, factory: str) -> Any:
    """An index of that factory for vectors of this dimension, trained on them where it needs training."""
    import faiss

    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors)
    except RuntimeError as error:
        raise InputError(
            f"FAISS cannot build an index {factory!r} over {len(vectors)} vectors of {vectors.shape[1]} dimensions: "
            f"{str(error).splitlines()[-1]}",
            hint="Flat is exact search; see FAISS's guide to factory strings",
        ) from None
    return index


def check_index(folder: str | Path) -> int:
    """Check that an index folder's docids and vectors are equal in number, and return it.

    Raises:
        InputError: a file is missing or the numbers differ; both are named.
    """
    import faiss

    folder = Path(folder)
    for name in ("index", "docid"):
        if not (folder / name).exists():
            raise InputError(f"is not an index: it has no file {name!r}", path=folder, hint="run xqg-repro index first")
    with open(folder / "docid", "rb") as ids:
        docids = sum(1 for _ in ids)
    # the later flag leaves a flat index, too, on the disk
    mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
    try:
        vectors = faiss.read_index(str(folder / "index"), mapped).ntotal
    except RuntimeError as error:
        raise InputError(
            f"cannot be read as a FAISS index: {error}",
            path=folder / "index",
            hint="build it again with xqg-repro index --force",
        ) from None
    if docids != vectors:
        raise InputError(
            f"has {docids} docids for {vectors} vectors",
            path=folder / "docid",
            hint="build it again with xqg-repro index --force",
        )
    return docids

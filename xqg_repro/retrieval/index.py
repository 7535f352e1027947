"""Stage ``index``: shards of embeddings → a FAISS folder that Pyserini opens (files ``index`` and ``docid``).

By default search is exact, as in the paper: a flat inner-product index scores every passage, ``score(q, p) = <q, p>``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from xqg_repro.core.embeddings import open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.ids import check_id
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage
from xqg_repro.core.text import decode, open_bytes
from xqg_repro.retrieval.factory import create_index, explain_faiss_errors, faiss_reason, thread_limit, train_index

INDEX_AGAIN = "build it again with xqg-repro index --force"


def build_index(embeddings: str | Path, output: str | Path, *, factory: str = "Flat", force: bool = False) -> Manifest:
    """Index a folder of embeddings, or reuse an existing index that matches.

    Args:
        embeddings: a folder that ``encode`` or ``augment`` wrote.
        output: the stage folder; stock Pyserini opens it.
        factory: a FAISS factory string. ``Flat`` is exact search; ``SQfp16`` stores float16 vectors in half the space.
            Factories that need training are trained on a sample of all shards (see :mod:`xqg_repro.retrieval.factory`).

    Raises:
        InputError: embeddings are missing or incomplete, a docid occurs twice, or FAISS refuses the factory string.
    """
    embeddings = Path(embeddings)
    source = open_stage(embeddings, "encode", "augment")
    inputs = {**source.inputs, "embeddings": fingerprint(embeddings)}
    parameters = {**source.parameters, "factory": factory}
    if not create_index(next(read_shards(embeddings))[1].shape[1], factory).is_trained:
        parameters["training"] = "every n-th vector"
    wanted = Manifest("index", parameters, inputs)

    return build_stage(output, wanted, partial(_build, embeddings, factory), force=force)


def _build(embeddings: Path, factory: str, folder: Path) -> dict[str, int]:
    import faiss
    import numpy as np

    index = create_index(next(read_shards(embeddings))[1].shape[1], factory)
    open_shards(embeddings)  # checks the docids
    train_index(index, embeddings, factory)
    with atomic_write(folder / "docid") as ids:
        for docids, shard in read_shards(embeddings):
            with explain_faiss_errors(factory), thread_limit(factory):
                index.add(np.ascontiguousarray(shard, dtype=np.float32))
            ids.writelines(f"{docid}\n" for docid in docids)
    with atomic_write(folder / "index", "wb") as file, explain_faiss_errors(factory):
        # FAISS's own file writer does not report a full disk
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    return {"passages": index.ntotal, "dimension": index.d}


def _count_docids(path: Path) -> int:
    """The number of docids in an index's file; :class:`InputError` names the line that is none."""
    number = 0
    with open(path, "rb") as lines:
        if lines.peek(3).startswith(b"\xef\xbb\xbf"):  # Pyserini would take it for a part of the first docid
            raise InputError("begins with a byte order mark", path=path, hint="remove it")
        for number, line in enumerate(lines, 1):
            if not line.isascii() or len(line.split()) != 1:  # quick, as there may be millions
                check_id(decode(line, path, number).removesuffix("\n"), path, number)
    return number


def open_index(folder: str | Path) -> Any:
    """Check an index and open it, memory-mapped.

    Raises:
        InputError: a file is missing or unreadable; the numbers of docids and vectors differ; or the index ranks by
            distance instead of inner product. The file is named.
    """
    import faiss
    import numpy as np

    folder = Path(folder)
    for name in ("index", "docid"):
        if not (folder / name).exists():
            raise InputError(f"is not an index: it has no file {name!r}", path=folder, hint="run xqg-repro index first")
        with open_bytes(folder / name):  # neither a folder nor a Git LFS pointer
            pass
    docids = _count_docids(folder / "docid")
    # with the newer flag, FAISS memory-maps flat indexes too
    memory_mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
    try:
        index = faiss.read_index(str(folder / "index"), memory_mapped)
    except (RuntimeError, MemoryError) as error:
        problem = f"cannot be read as a FAISS index: {faiss_reason(error)}"
        raise InputError(problem, path=folder / "index", hint=INDEX_AGAIN) from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise InputError("ranks by distance, not by inner product", path=folder / "index", hint=INDEX_AGAIN)
    if docids != index.ntotal:
        raise InputError(f"has {docids} docids for {index.ntotal} vectors", path=folder / "docid", hint=INDEX_AGAIN)
    if isinstance(index, faiss.IndexIDMap):
        numbers = faiss.vector_to_array(index.id_map)
        if not np.array_equal(np.sort(numbers), np.arange(docids)):
            problem = "has its own ids, which are not line numbers of the file docid"
            raise InputError(problem, path=folder / "index", hint="build it again without IDMap")
    return index

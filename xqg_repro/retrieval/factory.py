"""FAISS indexes from factory strings: which ones can be used, and how they are trained.

An index must rank by inner product. Factories that need training (clusters, quantizers, projections) are trained on a
sample of all shards: every n-th vector, so that the same vectors give the same index.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import read_shards

logger = logging.getLogger(__name__)

TRAINING_VECTORS = 2**18
"""Largest number of vectors to train on; with more than 1,024 inverted lists it is 256 per list, as many as FAISS's
k-means uses at most."""

_HINT = "Flat is exact search; FAISS's documentation lists the factory strings"

_CRASHES = re.compile(r"(?<!\d)0+(?!\d)|HNSW1(?!\d)|NSG\d(?!\d)")
"""Sizes for which FAISS aborts the process, never ends, or stores nothing."""

_SERIAL = re.compile("PCA|ITQ|OPQ|RR|RQ|NSG")
"""What FAISS computes with a result that depends on the number of threads."""


def create_index(dimension: int, factory: str) -> Any:
    """An empty FAISS index for vectors of this dimension; :class:`InputError` if the factory string cannot be used."""
    import faiss

    problem = f"FAISS cannot build the index {factory!r}"
    if not (factory.isascii() and factory.isprintable()):
        raise InputError(f"{problem}: no factory string has such characters", hint=_HINT)
    if size := _CRASHES.search(factory):
        raise InputError(f"{problem}: {size[0]} is too small", hint="use a larger number")
    with explain_faiss_errors(factory):
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        problem = f"the index {factory!r} would rank by distance, not by inner product"
        raise InputError(problem, hint="choose another factory; Flat is exact search")
    return index


def train_index(index: Any, embeddings: Path, factory: str) -> None:
    """Train an index, if it needs training, on a sample of the vectors of all shards."""
    if index.is_trained:
        return
    sample = _sample(embeddings, _sample_size(index))
    with explain_faiss_errors(factory), thread_limit(factory), _log_faiss_warnings():
        index.train(sample)


def _sample_size(index: Any) -> int:
    import faiss

    inverted_file = faiss.try_extract_index_ivf(index)
    return max(TRAINING_VECTORS, 256 * inverted_file.nlist if inverted_file else 0)


def _sample(embeddings: Path, size: int) -> np.ndarray:
    """At most ``size`` vectors at equal distances over all shards; float32, shape (n, dimension)."""
    total = sum(len(shard) for _, shard in read_shards(embeddings))
    size = min(size, total)
    chosen = np.arange(size) * total // size
    parts, start = [], 0
    for _, shard in read_shards(embeddings):
        first, end = np.searchsorted(chosen, [start, start + len(shard)])
        parts.append(np.asarray(shard[chosen[first:end] - start], dtype=np.float32))
        start += len(shard)
    return np.concatenate(parts)


@contextmanager
def thread_limit(factory: str) -> Iterator[None]:
    """One FAISS thread for factories whose result would depend on their number."""
    import faiss

    before = faiss.omp_get_max_threads()
    if _SERIAL.search(factory):
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def explain_faiss_errors(factory: str) -> Iterator[None]:
    """Raise :class:`InputError` that names the factory string if FAISS fails."""
    try:
        yield
    except (RuntimeError, AssertionError, MemoryError) as error:
        hint = _HINT
        if "IDMap" in factory:
            hint = "leave out IDMap; the file docid names the passages"
        elif "number of clusters" in str(error):
            hint = "use fewer clusters; Flat is exact search"
        raise InputError(f"FAISS cannot build the index {factory!r}: {faiss_reason(error)}", hint=hint) from None


@contextmanager
def _log_faiss_warnings() -> Iterator[None]:
    """Log each different warning once: FAISS writes them to the process's standard error, one per clustering."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            for line in dict.fromkeys(file.read().decode(errors="replace").splitlines()):
                logger.info(f"index: {line.replace('WARNING', 'warning:')}")


def faiss_reason(error: BaseException) -> str:
    """What an error of FAISS says, without the place in its source code."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^Error in .* at \S+:\d+: *(?:Error: (?:'.*' failed: *(?=\S))?)?", "", text)

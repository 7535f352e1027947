"""Stage ``rerank`` by late interaction: the passages of a run, ordered by MaxSim.

This is how late interaction serves collections that are too large for exact search: a dense run's first passages are
scored again. Their token vectors come from an index, or are computed from the passages' texts, so that no index is
needed. Both give the same scores, as vectors are rounded to float16, as an index has them by default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro import collection
from xqg_repro.collection.documents import check_document
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import cast_finite, map_vectors
from xqg_repro.core.stages import Manifest, build_file, fingerprint
from xqg_repro.models.late import LateEncoder
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.retrieval.late_index import DTYPE, open_late_index
from xqg_repro.retrieval.late_search import score_passage
from xqg_repro.retrieval.metadata import write_metadata
from xqg_repro.retrieval.runfile import Hit, Run, read_run_of, write_run
from xqg_repro.retrieval.stage import DEPTH, check_search
from xqg_repro.retrieval.token_shards import open_token_shards, read_offsets

PASSAGES_PER_BLOCK = 1_000
"""Passages to embed at a time."""

Tokens = Iterator[tuple[str, np.ndarray]]
"""Docids, each with its token vectors, (tokens, dimension)."""


def rerank_late(
    run: str | Path,
    topics: str,
    output: str | Path,
    *,
    index: str | Path | None = None,
    encoder: LateConfig | None = None,
    passages: str = "",
    tag: str = "xqg_repro",
    depth: int = DEPTH,
    model: str = "",
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Order the first passages of each question of a run by MaxSim; passages beyond ``depth`` are dropped.

    Memory holds the run, the questions' token vectors and a block of passages.

    Args:
        run: a TREC run file.
        topics: ir-datasets id or file of its questions.
        output: the run file to write, with manifest and metadata beside it, as ``search`` does.
        index: a late-interaction index of the collection that was searched; or
        encoder: the encoder with which to embed the run's passages now.
        passages: with an encoder, the collection that was searched, if the topics do not have its passages.
        tag: the new run's last column.
        depth: passages per question.
        model: another place of the index's model.
        device: a torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: neither an index nor an encoder is given, or both; the run is malformed, belongs to other questions
            or has a passage that the index or collection lacks; or the topics are unknown.
    """
    run, output = Path(run), Path(output)
    check_search(run, output, tag, depth)
    if (index is None) == (encoder is None):
        raise InputError("reranking needs token vectors", hint="name either a late-interaction index or an encoder")
    if not run.exists():
        raise InputError("no such run", path=run, hint="search first")
    queries, topics_version = read_topics(topics)
    inputs = {"run": file_digest(run), "topics": topics_version}
    if index is not None:
        manifest, config = open_late_index(index, model)
        inputs |= {"index": fingerprint(Path(index)), "model": manifest.inputs["model"]}
    else:
        assert encoder is not None
        dataset, config = collection.load(topics, needs=["docs"], passages=passages), encoder
        inputs |= {"passages": collection.fingerprint(dataset, "docs"), "model": model_fingerprint(config.model)}
    how = {"depth": depth, "encoder": dataclasses.asdict(config)}
    wanted = Manifest("rerank", {"topics": topics, "tag": tag, "interaction": "late", **how}, inputs)

    def write(path: Path) -> dict[str, int]:
        hits = {qid: ranking[:depth] for qid, ranking in read_run_of(run, queries, topics).items()}
        late = LateEncoder(config, device)
        wanted_docids = {hit.docid for ranking in hits.values() for hit in ranking}
        if index is not None:
            tokens = _stored_tokens(Path(index), wanted_docids, run)
        else:
            tokens = _computed_tokens(late, collection.run_documents(dataset, wanted_docids, run))
        reranked = _score(hits, late.encode_queries([queries[qid] for qid in hits]), tokens, len(wanted_docids))
        write_run(reranked, path, tag)
        if not is_stream(path):
            write_metadata(path, wanted, retrieval={"name": "late interaction", **how, "reranks": run.name})
        return {"questions": len(reranked), "passages": len(wanted_docids)}

    build_file(output, wanted, write, force=force)
    return output


def _score(hits: Run, questions: np.ndarray, tokens: Tokens, total: int) -> Run:
    """The same passages with their MaxSim; ``questions`` are the token vectors of the run's questions, in its order."""
    asking: dict[str, list[int]] = {}
    for number, ranking in enumerate(hits.values()):
        for hit in ranking:
            asking.setdefault(hit.docid, []).append(number)
    qids = list(hits)
    reranked: Run = {qid: [] for qid in qids}
    with progress_bar(total, "rerank", "passages") as progress:
        for docid, vectors in tokens:
            numbers = np.array(asking[docid])
            for number, score in zip(numbers, score_passage(questions, numbers, vectors), strict=True):
                reranked[qids[number]].append(Hit(docid, float(score)))
            progress.update(1)
    return reranked


def _stored_tokens(index: Path, docids: set[str], run: Path) -> Tokens:
    """Token vectors of an index; :class:`InputError` if it lacks one of the passages."""
    missing = set(docids)
    for shard in open_token_shards(index):
        offsets, vectors = read_offsets(shard.path), map_vectors(shard.path)
        for position, docid in enumerate(shard.docids()):
            if docid in missing:
                missing.remove(docid)
                yield docid, vectors[offsets[position] : offsets[position + 1]]
    if missing:
        problem = f"has the passage {min(missing)!r}, which {index} lacks ({len(missing)} in all)"
        raise InputError(problem, path=run, hint="is this the run of another collection?")


def _computed_tokens(encoder: LateEncoder, documents: Mapping[str, Any]) -> Tokens:
    """Token vectors of documents, rounded as an index has them."""
    docids = sorted(documents)
    for start in range(0, len(docids), PASSAGES_PER_BLOCK):
        block: Sequence[str] = docids[start : start + PASSAGES_PER_BLOCK]
        docs = [check_document(documents[docid]) for docid in block]
        encoded = encoder.encode_passages([getattr(doc, "title", None) for doc in docs], [doc.text for doc in docs])
        for position, docid in enumerate(block):
            yield docid, cast_finite(encoded.of(position), DTYPE, "the token vectors")

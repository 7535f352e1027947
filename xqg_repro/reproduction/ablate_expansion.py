"""Stage ``ablate expansion``: how BM25's scores change with the number of queries appended to each passage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from xqg_repro import collection
from xqg_repro.collection.topics import topic_languages
from xqg_repro.core.errors import InputError
from xqg_repro.core.plots import check_matplotlib
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.representation.queries import queries_fingerprint
from xqg_repro.reproduction.ablate import Ablation, Vary, read_ablation, score_runs
from xqg_repro.retrieval.bm25 import search_sparse
from xqg_repro.retrieval.runfile import Run, read_run
from xqg_repro.retrieval.sparse import build_sparse_index
from xqg_repro.retrieval.stage import DEPTH

QUERIES = (0, 1, 2, 3, 4, 5)


def ablate_expansion(
    dataset_id: str,
    generated: str | Path,
    topics: str,
    output: str | Path,
    *,
    values: Sequence[int] = (),
    measures: Sequence[str] = ("R2kt", "R5kt"),
    depth: int = DEPTH,
    force: bool = False,
) -> Ablation:
    """Score BM25 with several numbers of appended queries, or reuse a folder that matches.

    For each number, a temporary index is built and searched.

    Args:
        dataset_id: ir-datasets id or path of the passages.
        generated: their queries, see :func:`~xqg_repro.retrieval.sparse.build_sparse_index`.
        topics: ir-datasets id or path of the questions, such as ``xor-mini/held-out``; an index is built for each of
            their languages.
        output: the stage folder; see :meth:`~xqg_repro.reproduction.ablate.Ablation.write`.
        values: numbers of queries per language, by default :data:`QUERIES`. 0 is a plain index, which searches all
            questions alike.
        measures: see :func:`~xqg_repro.evaluation.evaluate.evaluate`.
        depth: passages per question.
        force: score again even if the folder matches.

    Raises:
        InputError: anything that ``index --sparse``, ``search`` and ``evaluate`` refuse, or matplotlib is missing.
    """
    if depth < 1 or not measures:
        raise InputError("expected a depth of at least 1 and at least one measure")
    numbers = sorted({int(value) for value in values or QUERIES})
    if numbers[0] < 0:
        raise InputError(f"cannot append {numbers[0]} queries", hint="0 is a plain index")
    languages = sorted(set(topic_languages(topics).values()))
    if not languages:
        raise InputError("does not say in which languages its questions are", path=topics)
    passages, questions = collection.load(dataset_id, needs=["docs"]), collection.load(topics, needs=["queries"])
    wanted = Manifest(
        "ablate",
        {
            "vary": "expansion",
            "values": numbers,
            "collection": dataset_id,
            "topics": topics,
            "measures": list(measures),
            "depth": depth,
        },
        {
            "collection": collection.fingerprint(passages, "docs"),
            "queries": queries_fingerprint(generated),
            "topics": collection.fingerprint(questions, "queries"),
        },
    )

    def search() -> Iterator[tuple[float, Run]]:
        for number in numbers:
            with TemporaryDirectory(prefix="xqg-repro-") as folder:
                index, run = Path(folder, "index"), Path(folder, "run.txt")
                if number:
                    build_sparse_index(dataset_id, index, generated=generated, languages=languages, queries=number)
                else:
                    build_sparse_index(dataset_id, index)
                search_sparse(index, topics, run, depth=depth)
                yield number, read_run(run)

    def build(folder: Path) -> dict[str, int]:
        check_matplotlib()
        scores = score_runs(search(), topics, measures, passages=dataset_id)
        Ablation(Vary.QUERIES, topics, scores).write(folder)
        return {"values": len(numbers)}

    build_stage(output, wanted, build, force=force)
    return read_ablation(output)

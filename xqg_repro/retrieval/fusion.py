"""Stage ``fuse``: two or more TREC runs of the same questions → one run.

Pyserini's fusion computes the scores: it is kept with Pyserini, needs only pandas, starts no JVM, and fuses two runs of
700 questions in half a second. ranx gives the same scores, but would add numba and 230 MB, and compiles for half a
minute when it is first used. Runs are read and written by :mod:`xqg_repro.retrieval.runfile`, because Pyserini's reader
takes the question ``007`` for a number and the passage ``NA`` for a missing value.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import file_digest
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.retrieval.metadata import write_metadata
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run, write_run
from xqg_repro.retrieval.stage import DEPTH, check_search

logger = logging.getLogger(__name__)

RRF_K = 60
MAX_K = 1000  # six decimals cannot tell the ranks of a larger k apart: 1/1001 - 1/1002 is 0.000001


class Method(StrEnum):
    """How scores are fused; ``s_i`` is a passage's score in run i, and 0 in a run that lacks the passage.

    ``rrf`` is reciprocal rank fusion, ``Σ 1/(k + rank_i)`` over the runs that have the passage (Cormack et al. 2009).
    ``interpolation`` is ``Σ w_i·s_i``, with weights that sum to 1 and scores that are normalised per question.
    ``average`` is ``Σ s_i/n`` over n runs, with scores as they are: interpolation with equal weights, not normalised.
    """

    RRF = "rrf"
    INTERPOLATION = "interpolation"
    AVERAGE = "average"


class Normalise(StrEnum):
    """How interpolation normalises scores: ``min-max`` maps those of a run for a question to [0, 1], ``none`` does not.

    A run's last passage for a question then scores 0, as do the passages that the run lacks. If all its scores for a
    question are equal, each becomes 1, as in Pyserini (in ranx 0). Without normalisation, a missing passage counts more
    than a negative score.
    """

    MIN_MAX = "min-max"
    NONE = "none"


@dataclass(frozen=True)
class Fusion:
    """How to fuse runs. A setting that is ``None`` has its default; one that the method does not use must be ``None``.

    Attributes:
        method: how scores are fused.
        weights: of interpolation, one per run, at least 0, with the sum 1; equal by default. A run with weight 0 adds
            no passages.
        k: of rrf, from 0 to 1000; the larger it is, the less the first ranks stand out; 60 by default.
        normalise: of interpolation; min-max by default.
    """

    method: Method
    weights: tuple[float, ...] | None = None
    k: int | None = None
    normalise: Normalise | None = None

    def resolve(self, runs: int) -> Fusion:
        """The same fusion of so many runs with its defaults filled in.

        Raises:
            InputError: there are fewer than two runs; a setting is out of range or not one of the method; or the
                weights are not one per run.
        """
        if runs < 2:
            raise InputError("one run cannot be fused", hint="name at least two runs")
        method = Method(self.method)
        used = {Method.RRF: {"k"}, Method.INTERPOLATION: {"weights", "normalise"}, Method.AVERAGE: set()}[method]
        for name in ("weights", "k", "normalise"):
            if name not in used and getattr(self, name) is not None:
                raise InputError(f"--{name} has no effect with --method {method}", hint="leave it out")
        if method is Method.AVERAGE:
            return Fusion(method)
        if method is Method.RRF:
            k = RRF_K if self.k is None else self.k
            if not 0 <= k <= MAX_K:
                raise InputError(f"--k cannot be {k}", hint=f"use a number from 0 to {MAX_K}")
            return Fusion(method, k=k)
        weights = tuple(map(float, self.weights)) if self.weights else (1 / runs,) * runs
        _check_weights(weights, runs)
        return Fusion(method, weights, normalise=Normalise(self.normalise or Normalise.MIN_MAX))


def fuse(
    runs: Sequence[str | Path],
    how: Fusion,
    output: str | Path,
    *,
    tag: str = "fusion",
    depth: int = DEPTH,
    allow_missing: bool = False,
    force: bool = False,
) -> Path:
    """Fuse runs and write a TREC run, or reuse an existing run that matches.

    Args:
        runs: the run files, plain or ``.gz``.
        how: the method and its settings.
        output: the run file. Beside it are ``<output>.json``, the manifest, and ``<output>.yaml``, the metadata.
        tag: the run's last column.
        depth: passages per question that are read of each run, before scores are normalised, and that are written.
        allow_missing: accept questions that some of the runs lack, as a sparse run does where no word matches; they
            are counted.

    Raises:
        InputError: a setting is not one of the method or out of range, a run is malformed, or a run lacks a question
            and not ``allow_missing``.
    """
    output, paths = Path(output), [Path(run) for run in runs]
    how = how.resolve(len(paths))
    for path in paths:
        check_search(path, output, tag, depth)
        if not path.exists():
            raise InputError("no such run", path=path, hint="search first")
    settings = {name: value for name, value in vars(how).items() if value is not None}
    wanted = Manifest(
        "fuse",
        {**settings, "depth": depth, "tag": tag, "allow_missing": allow_missing},
        {f"run {number}": file_digest(path) for number, path in enumerate(paths, 1)},
    )

    def write(path: Path) -> dict[str, int]:
        inputs = {path: read_run(path) for path in paths}
        missing = check_questions(inputs, allow_missing)
        fused = fuse_runs([inputs[path] for path in paths], how, depth)
        write_run(fused, path, tag)
        if not is_stream(path):
            named = {"name": "fusion", **settings, "depth": depth, "interpolates": [path.name for path in paths]}
            write_metadata(path, wanted, retrieval=named)
        return {"questions": len(fused), **({"questions missing from a run": missing} if missing else {})}

    build_file(output, wanted, write, force=force)
    return output


def check_questions(runs: Mapping[Path, Run], allow_missing: bool = False) -> int:
    """The number of questions that a run lacks, which is logged; :class:`InputError` if it may not lack any."""
    for path, run in runs.items():
        if not run:
            raise InputError("the run is empty", path=path, hint="search again")
    questions = {qid: path for path, run in runs.items() for qid in run}
    missing = {path: [qid for qid in questions if qid not in run] for path, run in runs.items()}
    for path in sorted(runs, key=lambda path: len(missing[path]), reverse=True):
        if not missing[path]:
            break
        example = missing[path][0]
        problem = f"lacks {len(missing[path]):,} of {len(questions):,} questions, such as {quote(example)}"
        if not allow_missing:
            hint = "fuse runs of the same questions, or use --allow-missing if this run found nothing for them"
            raise InputError(f"{problem}, which {questions[example]} has", path=path, hint=hint)
        logger.info(f"{path}: {problem}")
    return len({qid for qids in missing.values() for qid in qids})


def fuse_runs(runs: Sequence[Run], how: Fusion, depth: int = DEPTH) -> Run:
    """Fuse the first ``depth`` passages of each question and run; keep the first ``depth`` of the result.

    Questions have the order of the first run, then of the next ones. Scores are rounded to six decimals and equal ones
    ordered by docid (:func:`~xqg_repro.retrieval.runfile.rank`).

    >>> bm25, dense = {"q": [Hit("a", 9.0), Hit("b", 5.0)]}, {"q": [Hit("b", 0.7), Hit("c", 0.6)]}
    >>> for hit in fuse_runs([bm25, dense], Fusion(Method.RRF, k=0))["q"]:
    ...     print(*hit)
    b 1.5
    a 1.0
    c 0.5
    """
    from pyserini.trectools import AggregationMethod, TrecRun

    how = how.resolve(len(runs))
    weights = how.weights or (1 / len(runs),) * len(runs)
    # summed in an order of their own, so that the order of the arguments changes no sum, not even in its last bit
    ordered = sorted(zip(weights, runs, strict=True), key=lambda pair: (pair[0], list(pair[1].items())))
    scored = [_rescore(run, how, weight, depth) for weight, run in ordered if weight > 0]
    merged = TrecRun.merge(scored, AggregationMethod.SUM) if len(scored) > 1 else scored[0]
    hits: dict[str, list[Hit]] = {qid: [] for run in runs for qid in run}
    columns = (merged.run_data[name].tolist() for name in ("topic", "docid", "score"))
    for qid, docid, score in zip(*columns, strict=True):
        hits[qid].append(Hit(docid, score))
    return {qid: rank(fused)[:depth] for qid, fused in hits.items()}


def _rescore(run: Run, how: Fusion, weight: float, depth: int) -> Any:
    """A run as Pyserini's ``TrecRun``, with what it adds to each passage's score."""
    from pyserini.trectools import RescoreMethod, TrecRun

    rows = [
        (qid, "Q0", hit.docid, position, hit.score, "")
        for qid, hits in run.items()
        for position, hit in enumerate(hits[:depth], 1)
    ]
    scored = TrecRun.from_list(rows)
    if how.method is Method.RRF:
        return scored.rescore(RescoreMethod.RRF, rrf_k=how.k)
    if how.normalise is Normalise.MIN_MAX:
        scored.rescore(RescoreMethod.NORMALIZE)
    return scored.rescore(RescoreMethod.SCALE, scale=weight)


def _check_weights(weights: Sequence[float], runs: int) -> None:
    if len(weights) != runs:
        raise InputError(f"expected {runs} weights, one per run, got {len(weights)}")
    for weight in weights:
        if not 0 <= weight <= 1:  # NaN fails, too
            raise InputError(f"a weight cannot be {weight:g}", hint="use numbers from 0 to 1")
    if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        raise InputError(f"the weights sum to {math.fsum(weights):g}", hint="use weights that sum to 1")

"""Stage ``ablate fusion``: how scores change with the weights of two interpolated runs, as a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.documents import question_texts
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.plots import check_matplotlib
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.reproduction.ablate import Ablation, Vary, read_ablation, score_runs
from xqg_repro.retrieval.fusion import Fusion, Method, Normalise, check_questions, fuse_runs
from xqg_repro.retrieval.runfile import read_run_of
from xqg_repro.retrieval.stage import DEPTH

WEIGHTS = tuple(tenth / 10 for tenth in range(11))


def ablate_fusion(
    runs: Sequence[str | Path],
    topics: str,
    output: str | Path,
    *,
    values: Sequence[float] = (),
    normalise: Normalise = Normalise.MIN_MAX,
    measures: Sequence[str] = ("R2kt", "R5kt"),
    depth: int = DEPTH,
    allow_missing: bool = False,
    force: bool = False,
) -> Ablation:
    """Score the interpolation of two runs for several weights, or reuse a folder that matches.

    Args:
        runs: two run files.
        topics: ir-datasets id of the questions, such as ``xor-mini/held-out``; others in the runs are left out.
        output: the stage folder; see :meth:`~xqg_repro.reproduction.ablate.Ablation.write`.
        values: weights of the first run, by default :data:`WEIGHTS`; the second run has the rest. They are sorted.
            With 1 or 0, the scores are those of one run alone.
        normalise, depth, allow_missing: see :mod:`xqg_repro.retrieval.fusion`.
        measures: see :func:`~xqg_repro.evaluation.evaluate.evaluate`.
        force: score again even if the folder matches.

    Raises:
        InputError: anything that ``fuse`` and ``evaluate`` refuse, or matplotlib is missing.
    """
    if depth < 1 or not measures or len(runs) != 2:
        raise InputError("expected two runs, a depth of at least 1 and at least one measure")
    paths = [Path(run) for run in runs]
    dataset = collection.load(topics, needs=["queries"])
    weights = sorted({float(value) for value in values or WEIGHTS})
    fusions = [Fusion(Method.INTERPOLATION, (w, 1 - w), normalise=normalise).resolve(2) for w in weights]
    for path in paths:
        if not path.exists():
            raise InputError("no such run", path=path, hint="search first")
    digests = {f"run {number}": file_digest(path) for number, path in enumerate(paths, 1)}
    wanted = Manifest(
        "ablate",
        {
            "vary": Vary.WEIGHT,
            "values": weights,
            "normalise": normalise,
            "topics": topics,
            "measures": list(measures),
            "depth": depth,
            "allow_missing": allow_missing,
        },
        {**digests, "topics": collection.fingerprint(dataset, "queries")},
    )

    def build(folder: Path) -> dict[str, int]:
        check_matplotlib()
        questions = question_texts(dataset)
        inputs = {path: read_run_of(path, questions, topics) for path in paths}
        check_questions(inputs, allow_missing)
        fused = (fuse_runs([inputs[path] for path in paths], how, depth) for how in fusions)
        scores = score_runs(zip(weights, fused, strict=True), topics, measures)
        Ablation(Vary.WEIGHT, topics, scores).write(folder)
        return {"questions": len(questions), "values": len(weights)}

    build_stage(output, wanted, build, force=force)
    return read_ablation(output)

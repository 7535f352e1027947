"""Stage ``ablate``: how scores change with α or with the number of queries, as a table and a plot.

Only the questions are encoded. For each value, the augmented embeddings are computed from the stored sums, shard by
shard, and searched exactly: ``score(q, p') = <q, p'>``. None of them is stored. The runs equal those of ``augment``,
``index`` and ``search``, up to float rounding of the scores.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.plots import Panel, check_matplotlib, plot_lines
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.shards import cast_finite
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, open_stage
from xqg_repro.core.tables import Table
from xqg_repro.core.text import read_text
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.printing import format_score, measure_config
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.folders import Side
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.models.untied import side_config
from xqg_repro.representation.augment import (
    align_shards,
    check_same_encoder,
    combine,
    current_encoder,
    open_embeddings,
    resolve_augmentation,
)
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import Sums, read_sums
from xqg_repro.retrieval.runfile import Hit, Run, rank
from xqg_repro.retrieval.stage import known_languages

if TYPE_CHECKING:
    import torch

ALPHAS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
QUESTIONS_PER_BLOCK = 512
_ROUNDING = 2e-6  # scores that a run prints as equal, with six decimals, differ by less


class Vary(StrEnum):
    """What is varied: a field of :class:`~xqg_repro.representation.settings.Augmentation`, or a weight of fusion."""

    ALPHA = "alpha"
    QUERIES = "queries"
    WEIGHT = "weight"


_LABELS = {Vary.ALPHA: "α", Vary.QUERIES: "queries per language", Vary.WEIGHT: "weight of the first run"}


@dataclass(frozen=True)
class Ablation:
    """Scores by value.

    Attributes:
        vary: what was varied.
        topics: ir-datasets id of the questions.
        scores: measure → value → language (and ``average``) → mean in [0, 1]; ``None`` if nothing can be scored.
    """

    vary: Vary
    topics: str
    scores: dict[str, dict[float, dict[str, float | None]]]

    def table(self, measure: str, best: str = "{}") -> Table:
        """Values × languages for one measure, R2kt and R5kt in percent; ``best`` formats the highest average."""
        rows = [
            [f"{value:g}", *(format_score(mean, measure_config(measure)) for mean in means.values())]
            for value, means in self.scores[measure].items()
        ]
        highest = max((row[-1] for row in rows if row[-1] != "–"), key=float, default="")
        for row in rows:
            row[-1] = best.format(row[-1]) if row[-1] == highest else row[-1]
        return Table([f"{measure} by {_LABELS[self.vary]}", *next(iter(self.scores[measure].values()))], rows)

    def text(self) -> str:
        """All tables, for a terminal."""
        return "\n\n".join(self.table(measure).text() for measure in self.scores)

    def write(self, folder: Path) -> None:
        """Write ``scores.json``, ``table.md`` (the best average in bold) and ``plot.svg``."""
        with atomic_write(folder / "scores.json") as file:
            json.dump(dataclasses.asdict(self), file, indent=1, allow_nan=False)
            file.write("\n")
        with atomic_write(folder / "table.md") as file:
            file.write("\n\n".join(self.table(measure, best="**{}**").markdown() for measure in self.scores) + "\n")
        panels, ticks = [], [f"{value:g}" for value in next(iter(self.scores.values()))]
        for measure, rows in self.scores.items():
            scale, columns = measure_config(measure).scale, next(iter(rows.values()))
            lines = {c: _scaled([means[c] for means in rows.values()], scale) for c in columns}
            panels.append(Panel(f"{measure} (%)" if scale == 100 else measure, lines))
        plot_lines(folder / "plot.svg", _LABELS[self.vary], ticks, panels, bold=AVERAGE)


def _scaled(means: Sequence[float | None], scale: float) -> list[float]:
    return [math.nan if mean is None else scale * mean for mean in means]


def read_ablation(folder: str | Path) -> Ablation:
    """Read a folder that ``ablate`` wrote; :class:`InputError` if it is another stage's or damaged."""
    open_stage(folder, "ablate")
    data = json.loads(read_text(Path(folder) / "scores.json"))
    scores = {m: {float(value): means for value, means in rows.items()} for m, rows in data["scores"].items()}
    return Ablation(Vary(data["vary"]), data["topics"], scores)


def ablate(
    vary: Vary,
    embeddings: str | Path,
    sums: str | Path,
    topics: str,
    output: str | Path,
    *,
    values: Sequence[float] = (),
    how: Augmentation | None = None,
    measures: Sequence[str] = ("R2kt", "R5kt"),
    depth: int = 100,
    allow_missing: bool = False,
    passages: str = "",
    device: str | None = None,
    force: bool = False,
) -> Ablation:
    """Score an augmentation for several values of α or numbers of queries, or reuse a folder that matches.

    Args:
        vary: what is varied.
        embeddings: output of ``encode``.
        sums: output of ``sum`` by the same encoder.
        topics: ir-datasets id of the questions, such as ``xor-mini/dev``.
        output: the stage folder; see :meth:`Ablation.write`.
        values: of α, by default :data:`ALPHAS`; or numbers of queries per language, by default 0 (plain passages) and
            every number that the sums hold. They are sorted.
        how: the settings that are not varied; ``None`` for the paper's.
        measures: see :func:`~xqg_repro.evaluation.evaluate.evaluate`.
        depth: passages retrieved per question.
        allow_missing: leave passages without queries as they are.
        passages: id of the collection, if the topics do not have its passages.
        device: torch device of the encoder and the search; ``None`` uses a GPU if there is one.
        force: score again even if the folder matches.

    Raises:
        InputError: a value out of range, anything that ``augment`` and ``evaluate`` refuse, a model that changed after
            it encoded the passages, or matplotlib is missing.
    """
    if depth < 1 or not measures:
        raise InputError("expected a depth of at least 1 and at least one measure")
    vary, dataset = Vary(vary), collection.load(topics, ["queries"], passages)
    source, added = open_embeddings(embeddings), read_sums(sums)
    check_same_encoder(source, added)
    config = current_encoder(source, embeddings)
    languages = known_languages(topics, config)
    variants = _variants(vary, values, how or Augmentation(), config, added)
    kept = [added.select(variant.languages, variant.queries) for variant in variants]
    fixed = {name: value for name, value in dataclasses.asdict(variants[-1]).items() if name != vary}
    wanted = Manifest(
        "ablate",
        {
            "vary": vary,
            "values": [getattr(variant, vary) for variant in variants],
            "augmentation": fixed,
            "topics": topics,
            "measures": list(measures),
            "depth": depth,
            "allow_missing": allow_missing,
        },
        {
            "embeddings": fingerprint(Path(embeddings)),
            "sums": fingerprint(added.folder),
            "topics": collection.fingerprint(dataset, "queries"),
            **({"passages": collection.fingerprint(dataset, "docs")} if passages else {}),
        },
    )

    def build(folder: Path) -> dict[str, int]:
        import torch

        check_matplotlib()
        questions = {question.query_id: question.default_text() for question in dataset.queries_iter()}
        unanswered: Run = {qid: [] for qid in questions}
        evaluate(unanswered, topics, measures, passages=passages)  # refuses bad measures before the work
        encoder = TextEncoder(side_config(config, Side.QUERY), device)
        texts, codes = list(questions.values()), [languages.get(qid, "") for qid in questions]
        vectors = torch.from_numpy(encoder.encode_queries(texts, codes)).to(encoder.device)
        hits_of = _retrieve(embeddings, added, variants, kept, vectors, depth, allow_missing)
        runs = (
            (getattr(variant, vary), dict(zip(questions, hits, strict=True)))
            for variant, hits in zip(variants, hits_of, strict=True)
        )
        scores = score_runs(runs, topics, measures, passages)
        Ablation(vary, topics, scores).write(folder)
        return {"questions": len(questions), "values": len(variants)}

    build_stage(output, wanted, build, force=force)
    return read_ablation(output)


def score_runs(
    runs: Iterable[tuple[float, Run]], topics: str, measures: Sequence[str], passages: str = ""
) -> dict[str, dict[float, dict[str, float | None]]]:
    """Score the run of each value, as :attr:`Ablation.scores`; ``passages`` as for ``evaluate``."""
    scores: dict[str, dict[float, dict[str, float | None]]] = {measure: {} for measure in measures}
    for value, run in runs:
        evaluated = evaluate(run, topics, measures, passages=passages)
        for measure, rows in scores.items():
            means = evaluated.table(measure)
            rows[value] = {column: None if math.isnan(mean) else mean for column, mean in means.items()}
    return scores


def _variants(
    vary: Vary, values: Sequence[float], how: Augmentation, config: EncoderConfig, sums: Sums
) -> list[Augmentation]:
    """One fully specified augmentation per value, in order; settings that mean the same are equal."""
    sums.select(how.languages)
    how = resolve_augmentation(how, sums.layout, config)
    if vary is Vary.ALPHA:
        return [dataclasses.replace(how, alpha=alpha) for alpha in sorted({float(alpha) for alpha in values or ALPHAS})]
    if fractions := [number for number in values if not float(number).is_integer()]:
        raise InputError(f"expected whole numbers of queries, got {fractions[0]}")
    numbers = sorted({int(number) for number in values or (0, *sums.layout.ranks)})
    # no queries means α = 0: elsewhere 0 queries stands for all of them
    return [dataclasses.replace(how, queries=n, alpha=how.alpha if n else 0.0) for n in numbers]


def _retrieve(
    embeddings: str | Path,
    sums: Sums,
    variants: Sequence[Augmentation],
    kept: Sequence[tuple[list[int], int]],
    questions: torch.Tensor,
    depth: int,
    allow_missing: bool,
) -> list[list[list[Hit]]]:
    """Variant → question → the first passages; ``kept`` are the groups and the rank of each variant's sums."""
    hits_of: list[list[list[Hit]]] = [[[] for _ in questions] for _ in variants]
    with progress_bar(None, "ablate", "passages") as progress:
        for docids, vectors, places in align_shards(embeddings, sums, *kept[0], allow_missing):
            taken: dict[int, tuple[np.ndarray, np.ndarray]] = {}
            for hits, variant, (groups, position) in zip(hits_of, variants, kept, strict=True):
                if position not in taken:  # variants with the same number of queries are adjacent
                    taken = {position: sums.take(places, groups, position)}
                augmented = combine(vectors, *taken[position], variant, bool(variant.normalize))
                # round as augment does when it stores them
                augmented = cast_finite(augmented, vectors.dtype, "the augmented embeddings").astype(np.float32)
                merge(hits, docids, augmented, questions, depth)
            progress.update(len(docids))
    return hits_of


def merge(
    hits: list[list[Hit]], docids: Sequence[str], passages: np.ndarray, questions: torch.Tensor, depth: int
) -> None:
    """Search a shard and merge its hits into those of earlier shards.

    The result does not depend on how passages are split into shards: scores that a run prints as equal are ordered by
    docid, at the last rank too.

    Args:
        hits: for each question, the first ``depth`` hits so far in run order; updated in place.
        docids: of the shard's passages.
        passages: float32, shape (n, dimension).
        questions: float32, shape (m, dimension).
        depth: hits to keep per question.
    """
    import torch

    columns = torch.from_numpy(passages).to(questions.device).T
    for start in range(0, len(questions), QUESTIONS_PER_BLOCK):
        scores = questions[start : start + QUESTIONS_PER_BLOCK] @ columns
        if not scores.isfinite().all():
            raise InputError("the augmented embeddings contain NaN or infinity", hint="encode and sum again")
        floor = scores.topk(min(depth, len(docids))).values[:, -1] - _ROUNDING
        for row, (question, lowest) in enumerate(zip(scores, floor, strict=True), start):
            places = torch.nonzero(question >= lowest)[:, 0]
            more = zip(places.tolist(), question[places].tolist(), strict=True)
            hits[row] = rank([*hits[row], *(Hit(docids[place], score) for place, score in more)])[:depth]

"""The study from end to end: encode, score, choose α on other articles, test, and write the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from xqg_repro.core.files import atomic_write, digest, file_digest, write_array
from xqg_repro.core.plots import check_matplotlib
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, verify
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig, ReaderConfig
from xqg_repro.representation.queries import queries_fingerprint
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.figures import write_figures
from xqg_repro.study.folds import cross_validate, split_articles
from xqg_repro.study.reading import SpansOf, assign_readers, read_spans, score_answers, stored_spans
from xqg_repro.study.results import Curve, Results
from xqg_repro.study.scoring import MEASURES, Scorer, Setting, setting_grid
from xqg_repro.study.settings import Method, Study
from xqg_repro.study.sources import SumsOf, cached_sums
from xqg_repro.study.summarise import summarise
from xqg_repro.study.summary import StudySummary, read_summary
from xqg_repro.study.tables import report
from xqg_repro.study.translated import read_translated
from xqg_repro.study.vectors import StudyVectors, encode_all


def run_study(
    study: Study,
    config: EncoderConfig,
    output: str | Path,
    *,
    generated: str | Path | None = None,
    translated: str | Path | None = None,
    readers: Sequence[ReaderConfig] = (),
    spans: str | Path | None = None,
    device: str | None = None,
    force: bool = False,
) -> StudySummary:
    """Run the study, reusing the stage folders that match.

    Args:
        output: folder to write. ``embeddings/KIND.LANGUAGE`` and ``results`` are stage folders; ``results`` has
            ``study.json``, ``report.md``, ``scores.csv``, ``ranks.npy`` (int16, pairs × methods × questions), the
            figures and, with a reader, ``spans.npy`` (see :data:`~xqg_repro.study.reading.SPANS`).
        generated: generated queries, for the methods that add them.
        translated: folder of machine translations, for the methods that add them.
        readers: reader, or readers trained on different parts of the data, for EM and F1.
        spans: a ``spans.npy`` of an earlier study, instead of readers.
        device: a torch device; ``None`` takes a GPU if there is one.

    Raises:
        InputError: a file is unavailable or damaged, an article is in two folds, a question leaks into its paragraph,
            every reader has seen every article, the translations are of other data, matplotlib is missing; or see
            :func:`~xqg_repro.representation.encode.encode`.
    """
    check_matplotlib()
    output = Path(output)
    data = load_data(study.languages)
    missing_spans: list[int] = []
    spans_of: SpansOf | None = None
    if spans is not None:
        spans_of = stored_spans(spans, data, missing_spans.append)
    elif readers:
        assigned = assign_readers(readers, data)
        spans_of = partial(read_spans, readers=assigned, data=data, folder=output / "spans", device=device, force=force)
    manifest = _manifest(study, config, data, generated, translated, readers, spans)
    translations = None if translated is None else read_translated(translated, study, data)
    vectors = encode_all(
        study,
        data,
        config,
        output / "embeddings",
        generated=generated,
        translated=translations,
        device=device,
        force=force,
    )

    def build(folder: Path) -> dict[str, int]:
        sums_of = cached_sums(data, vectors)
        results = score_methods(study, data, vectors, config.normalize, sums_of)
        if spans_of is not None:
            write_array(folder / "spans.npy", score_answers(study, data, results, spans_of))
        summary = summarise(study, data, results, vectors, sums_of, config.model, manifest.inputs["model"])
        _write_results(summary, results, folder)
        counts = {"pairs": len(study.pairs), "methods": len(study.methods), "questions": len(data.qids)}
        return counts | ({"unread": sum(missing_spans)} if missing_spans else {})

    build_stage(output / "results", manifest, build, force=force)
    verify(output / "results")
    return read_summary(output / "results")


def _manifest(
    study: Study,
    config: EncoderConfig,
    data: ParallelData,
    generated: str | Path | None,
    translated: str | Path | None,
    readers: Sequence[ReaderConfig],
    spans: str | Path | None,
) -> Manifest:
    """The settings and the fingerprints of everything that the results depend on."""
    parameters = {
        "study": dataclasses.asdict(study),
        "encoder": dataclasses.asdict(config),
        "readers": [dataclasses.asdict(reader) for reader in readers],
    }
    inputs = {
        "collection": data.version,
        "model": model_fingerprint(config.model),
        "queries": "" if generated is None else queries_fingerprint(generated),
        "translations": "" if translated is None else fingerprint(Path(translated)),
        "readers": digest([model_fingerprint(reader.model) for reader in readers]),
        "spans": "" if spans is None else file_digest(Path(spans)),
    }
    return Manifest("study", parameters, inputs)


def score_methods(study: Study, data: ParallelData, vectors: StudyVectors, normalize: bool, sums_of: SumsOf) -> Results:
    """Rank with every pair, method and setting; choose each question's setting on the folds without its article.

    A method's own setting of ``normalize`` takes precedence over the argument, which is the encoder's.
    """
    fold = split_articles(data.articles, study.folds, study.seed)
    questions = np.arange(len(data.qids))
    results = Results(study.pairs, list(study.methods), data.qids, data.articles)
    for pair in study.pairs:
        passages, language = pair
        for name, method in study.methods.items():
            scorer = Scorer(
                vectors.questions[language],
                vectors.paragraphs[passages],
                data.gold,
                [sums_of(source, passages, language) for source in method.sources],
                normalize if method.normalize is None else method.normalize,
            )
            settings = setting_grid(study, method)
            grid = scorer.ranks(settings)
            choice = cross_validate(MEASURES[study.chosen_by](grid), data.articles, fold)
            ranks = grid[choice.by_question, questions]

            results.chosen.setdefault(pair, {})[name] = tuple(str(settings[index]) for index in choice.by_fold)
            results.ranks.setdefault(pair, {})[name] = ranks
            if method.read:
                top = scorer.top(settings, choice.by_question, max(study.reading.depths))
                results.top.setdefault(pair, {})[name] = top
            for measure in study.measures:
                results.add(measure, pair, name, MEASURES[measure](ranks))
                curve = _curve(study, method, settings, MEASURES[measure](grid).mean(axis=1))
                results.curves.setdefault(measure, {}).setdefault(name, {})[pair] = curve
    return results


def _curve(study: Study, method: Method, settings: Sequence[Setting], means: np.ndarray) -> Curve:
    """Means by aggregate and α; without sources, they are the same for all of these."""
    if not method.sources:
        return {aggregate.value: (float(means[0]),) * len(study.alphas) for aggregate in study.aggregates}
    aggregates = np.array([setting.aggregate.value for setting in settings])
    return {name: tuple(means[aggregates == name].tolist()) for name in dict.fromkeys(aggregates.tolist())}


def _write_results(summary: StudySummary, results: Results, folder: Path) -> None:
    summary.write(folder)
    with atomic_write(folder / "report.md") as file:
        file.write(report(summary))
    with atomic_write(folder / "scores.csv") as file:
        file.write("paragraphs,questions,method,measure,mean\n")
        for measure, by_pair in results.scores.items():
            for pair in by_pair:
                for method, mean in results.means(measure, pair).items():
                    file.write(f"{pair[0]},{pair[1]},{method},{measure},{mean:.6f}\n")
    ranks = [[results.ranks[pair][method] for method in results.methods] for pair in results.pairs]
    write_array(folder / "ranks.npy", np.array(ranks, dtype=np.int16))
    write_figures(summary, folder)

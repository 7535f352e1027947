"""The study from end to end: encode, score, choose on other articles, test, and write it down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
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
from xqg_repro.study.folds import cross_validate, split
from xqg_repro.study.reading import assign, kept_spans, read_spans, score_answers, write_spans
from xqg_repro.study.results import Results
from xqg_repro.study.scoring import MEASURES, Scorer, Setting, settings_of
from xqg_repro.study.settings import Method, Source, Study
from xqg_repro.study.sources import Added, added
from xqg_repro.study.statistics import each_pair, examples, mixed_summaries, name_of
from xqg_repro.study.summary import Cost, Summary, read_summary
from xqg_repro.study.tables import report
from xqg_repro.study.translated import read_translated
from xqg_repro.study.vectors import Vectors, encode_all

SHOWN = (("queries-all", "passages-all"), ("queries-own", "passages-own"))
"""Comparisons of which examples are shown."""

AddedBy = Callable[[Source, str, str], Added]


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
) -> Summary:
    """Run the study, or reuse the folders that hold it or its parts.

    Args:
        study: see :func:`~xqg_repro.study.settings.load_study`.
        config: the encoder.
        output: a directory: ``embeddings/KIND.LANGUAGE`` are stage folders, and so is ``results``, with ``study.json``,
            ``report.md``, ``scores.csv``, ``ranks.npy`` (int16, pairs × methods × questions), the figures and, with a
            reader, ``spans.npy`` (see :data:`~xqg_repro.study.reading.SPANS`).
        generated: generated queries, for the methods that add such.
        translated: a folder of machine translations, for the methods that add such.
        readers: answer from what is found, for EM and F1: one, or several that were trained on parts of the data.
        spans: what readers marked before, a ``spans.npy``, in their place.
        device: a torch device; ``None`` takes a GPU if there is one.
        force: encode and score again even if the folders match.

    Raises:
        InputError: a language's file cannot be had, data are damaged, an article in two folds, a leak, an article that
            every reader has seen, translations that do not suit the data, matplotlib is absent, or whatever ``encode``
            refuses.
    """
    check_matplotlib()
    output = Path(output)
    data = load_data(study.languages)
    assigned = assign(readers, data) if readers else None
    wanted = Manifest(
        "study",
        {
            "study": dataclasses.asdict(study),
            "encoder": dataclasses.asdict(config),
            "readers": [dataclasses.asdict(reader) for reader in readers],
        },
        {
            "collection": data.version,
            "model": model_fingerprint(config.model),
            "queries": "" if generated is None else queries_fingerprint(generated),
            "translations": "" if translated is None else fingerprint(Path(translated)),
            "readers": digest([model_fingerprint(reader.model) for reader in readers]),
            "spans": "" if spans is None else file_digest(Path(spans)),
        },
    )
    translations = None if translated is None else read_translated(translated, study, data)
    settings = {
        "device": device,
        "force": force,
    }
    sources = {"generated": generated, "translated": translations}
    vectors = encode_all(study, data, config, output / "embeddings", **sources, **settings)

    def build(folder: Path) -> dict[str, int]:
        by = remembered(data, vectors)
        results = score(study, data, vectors, config.normalize, by)
        unread: list[int] = []
        if spans is not None:
            kept = kept_spans(spans, data, unread.append)
            write_spans(folder / "spans.npy", score_answers(study, data, results, kept))
        elif assigned:
            made = partial(read_spans, readers=assigned, data=data, folder=output / "spans", **settings)
            write_spans(folder / "spans.npy", score_answers(study, data, results, made))
        summary = summarise(study, data, results, costs(study, data, vectors, by), config.model, wanted.inputs)
        summary.write(folder)
        with atomic_write(folder / "report.md") as file:
            file.write(report(summary))
        with atomic_write(folder / "scores.csv") as file:
            file.writelines(_rows(results))
        write_array(folder / "ranks.npy", _ranks(results))
        write_figures(summary, folder)
        counts = {"pairs": len(study.pairs), "methods": len(study.methods), "questions": len(data.qids)}
        return counts | ({"unread": sum(unread)} if unread else {})

    build_stage(output / "results", wanted, build, force=force)
    verify(output / "results")
    return read_summary(output / "results")


def remembered(data: ParallelData, vectors: Vectors) -> AddedBy:
    """:func:`~xqg_repro.study.sources.added`, each source made once for the languages that it depends on."""
    held = cache(partial(added, data=data, vectors=vectors))

    def by(source: Source, paragraphs: str, asked: str) -> Added:
        return held(source, paragraphs if source.of_paragraphs else "", asked if source.own else "")

    return by


def score(study: Study, data: ParallelData, vectors: Vectors, normalize: bool, by: AddedBy) -> Results:
    """Ranks of every pair, method and setting, the setting of each question chosen on the folds that lack its article.

    Args:
        study: what is compared.
        data, vectors: of its languages.
        normalize: whether the encoder does; a method may say otherwise.
        by: gives what a source adds for a paragraphs' and a questions' language.
    """
    fold = split(data.articles, study.folds, study.seed)
    results = Results(study.pairs, list(study.methods), data.qids, data.articles)
    for paragraphs, asked in study.pairs:
        for name, method in study.methods.items():
            settings = settings_of(study, method)
            scorer = Scorer(
                vectors.questions[asked],
                vectors.paragraphs[paragraphs],
                data.own,
                [by(source, paragraphs, asked) for source in method.sources],
                normalize if method.normalize is None else method.normalize,
            )
            grid = scorer.ranks(settings)
            choice = cross_validate(MEASURES[study.chosen_by](grid), data.articles, fold)
            pair, chosen_ranks = (paragraphs, asked), grid[choice.by_question, np.arange(len(data.qids))]
            results.chosen.setdefault(pair, {})[name] = [settings[i] for i in choice.settings]
            results.ranks.setdefault(pair, {})[name] = chosen_ranks
            if method.read:
                found = scorer.first(settings, choice.by_question, max(study.reading.depths))
                results.found.setdefault(pair, {})[name] = found
            for measure in study.measures:
                results.add(measure, pair, name, MEASURES[measure](chosen_ranks))
                curves = results.curves.setdefault(measure, {}).setdefault(name, {})
                curves[pair] = _curve(study, method, settings, MEASURES[measure](grid).mean(axis=1))
    return results


def _curve(study: Study, method: Method, settings: Sequence[Setting], means: np.ndarray) -> dict[str, list[float]]:
    """Means by aggregate and α; those of the passages alone are the same for all."""
    if not method.sources:
        return {how.value: [float(means[0])] * len(study.alphas) for how in study.aggregates}
    found: dict[str, list[float]] = {}
    for (how, _), mean in zip(settings, means.tolist(), strict=True):
        found.setdefault(how.value, []).append(mean)
    return found


def costs(study: Study, data: ParallelData, vectors: Vectors, by: AddedBy) -> list[Cost]:
    """What each method has to encode and to store, for paragraphs in the first language and questions in all."""
    first = study.passages[0]
    size = 4 * vectors.paragraphs[first].size
    found = []
    for name, method in study.methods.items():
        own = any(source.own for source in method.sources)
        used = [
            by(source, first, asked)
            for source in method.sources
            for asked in (study.languages if source.own else study.languages[:1])
        ]
        indexes = len(study.languages) if own else 1
        numbers = sum(a.encoded for a in used), sum(a.characters for a in used)
        found.append(Cost(name, *numbers, indexes, indexes * size))
    return found


def summarise(
    study: Study,
    data: ParallelData,
    results: Results,
    cost: Sequence[Cost],
    model: str,
    inputs: Mapping[str, str],
) -> Summary:
    """Put what was found into its written form."""
    names = {pair: name_of(pair) for pair in study.pairs}
    alone = np.bincount(data.own)[data.own] == 1
    return Summary(
        encoder=Path(model).name,
        model=inputs["model"],
        data=inputs["collection"],
        languages=study.languages,
        passages=study.passages,
        folds=study.folds,
        seed=study.seed,
        chosen_by=study.chosen_by,
        alphas=tuple(sorted(study.alphas)),
        counts={
            "articles": len(np.unique(data.articles)),
            "paragraphs": len(data.docids),
            "questions": len(data.qids),
            "alone": int(alone.sum()),
            "same": sum(len(rows) > 1 for rows in data.same),
            "answered": results.answered,
        },
        titles={name: method.title for name, method in study.methods.items()},
        bounds={name: method.bound.value for name, method in study.methods.items()},
        means={m: {names[pair]: dict(results.means(m, pair)) for pair in study.pairs} for m in results.scores},
        chosen={
            names[pair]: {name: tuple(f"{how.value} {alpha:g}" for how, alpha in folds) for name, folds in held.items()}
            for pair, held in results.chosen.items()
        },
        read={
            names[pair]: {name: tuple(chosen) for name, chosen in held.items()} for pair, held in results.read.items()
        },
        gold={m: {names[pair]: mean for pair, mean in by_pair.items()} for m, by_pair in results.gold.items()},
        curves={
            m: {name: {names[pair]: curve for pair, curve in by_pair.items()} for name, by_pair in by_method.items()}
            for m, by_method in results.curves.items()
        },
        tests=tuple(each_pair(results, study.comparisons)),
        mixed=tuple(mixed_summaries(results, study)),
        sources={name: group.source for name, group in study.groups.items()},
        costs=tuple(cost),
        examples=tuple(examples(results, study, [c for c in SHOWN if set(c) <= study.methods.keys()])),
    )


def _rows(results: Results) -> list[str]:
    """Lines of a CSV file with the mean of each pair, method and measure."""
    lines = ["paragraphs,questions,method,measure,mean\n"]
    for measure, by_pair in results.scores.items():
        for pair in by_pair:
            for method, mean in results.means(measure, pair).items():
                lines.append(f"{pair[0]},{pair[1]},{method},{measure},{mean:.6f}\n")
    return lines


def _ranks(results: Results) -> np.ndarray:
    """Rank of each question's own paragraph, int16, shape (pairs, methods, questions)."""
    return np.array(
        [[results.ranks[pair][method] for method in results.methods] for pair in results.pairs], dtype=np.int16
    )

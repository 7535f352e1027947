"""The study from end to end: encode, score, choose α on other articles, test, and write the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, file_digest, write_array
from xqg_repro.core.plots import check_matplotlib
from xqg_repro.core.stages import Manifest, build_stage, fingerprint, verify
from xqg_repro.models.folders import Side
from xqg_repro.models.loading import model_fingerprint, open_tokenizer
from xqg_repro.models.settings import EncoderConfig, ReaderConfig, encoder_settings
from xqg_repro.models.untied import pair_fingerprints, side_model
from xqg_repro.study.budget import cut_translations, sum_counted, text_costs
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.figures import write_figures
from xqg_repro.study.fold_encoders import assign_folds, measure_fold_encoders
from xqg_repro.study.made import MadeTexts, Sources, read_made
from xqg_repro.study.rank import score_methods
from xqg_repro.study.reading import SpansOf, assign_readers, read_spans, score_answers, stored_spans
from xqg_repro.study.results import Results
from xqg_repro.study.settings import Kind, Study
from xqg_repro.study.sources import cached_sums
from xqg_repro.study.summarise import summarise
from xqg_repro.study.summary import StudySummary, read_summary
from xqg_repro.study.tables import report
from xqg_repro.study.trends import read_losses
from xqg_repro.study.vectors import encode_all

ADDED = ("filtered", "cut", "losses", "fold_encoders")
"""Inputs that older studies do not have; without them, these still match."""


@dataclass(frozen=True)
class StudyInputs:
    """What a study uses besides XQuAD and its encoder.

    Attributes:
        generated, filtered, translated: machine-made texts, for the methods that add them; see
            :func:`~xqg_repro.study.made.read_made`.
        readers: reader, or readers trained on different parts of the data, for EM and F1.
        spans: a ``spans.npy`` of an earlier study, instead of readers.
        losses: files of the generators' held-out losses; see :func:`~xqg_repro.study.trends.read_losses`.
        fold_encoders: encoders that were trained further, one for each fold of ``folds``.
        folds: the folder of ``xqg-repro train folds`` that they were trained on.
    """

    generated: Sources = ()
    filtered: Sources = ()
    translated: Sources = ()
    readers: Sequence[ReaderConfig] = ()
    spans: str | Path | None = None
    losses: Sources = ()
    fold_encoders: Sequence[EncoderConfig] = ()
    folds: str | Path | None = None

    def __post_init__(self) -> None:
        if bool(self.fold_encoders) != bool(self.folds):
            hint = "give both: the encoders, and the folder of the folds that they were trained on"
            raise InputError("--fold-encoders needs --folds, and the other way round", hint=hint)
        if self.filtered and not self.generated:
            raise InputError("--filtered needs --generated", hint="name the folders that were filtered")

    @property
    def available(self) -> dict[str, bool]:
        """Which machine-made texts there are, as :func:`~xqg_repro.study.settings.load_study` takes it."""
        return {kind.value: bool(getattr(self, kind.value)) for kind in Kind}


def run_study(
    study: Study,
    config: EncoderConfig,
    output: str | Path,
    inputs: StudyInputs | None = None,
    *,
    device: str | None = None,
    force: bool = False,
) -> StudySummary:
    """Run the study, reusing the stage folders that match.

    Args:
        output: folder to write. ``embeddings/KIND.LANGUAGE``, the same in ``embeddings.F`` for each fold encoder, and
            ``results`` are stage folders; ``results`` has ``study.json``, ``report.md``, ``scores.csv``, ``ranks.npy``
            (int16, pairs × methods × questions), the figures and, with a reader, ``spans.npy`` (see
            :data:`~xqg_repro.study.reading.SPANS`).
        inputs: what else there is; ``None`` for nothing.
        device: a torch device; ``None`` takes a GPU if there is one.

    Raises:
        InputError: a file is unavailable or damaged, an article is in two folds, a question leaks into its paragraph,
            machine-made texts are incomplete, of other data, or about articles that their writer was trained on, every
            reader has seen every article, an encoder was not trained on its fold, matplotlib is missing; or see
            :func:`~xqg_repro.representation.encode.encode`.
    """
    check_matplotlib()
    output, inputs = Path(output), inputs or StudyInputs()
    data = load_data(study.languages)
    losses = read_losses(inputs.losses)
    fold_rows = assign_folds(inputs.fold_encoders, inputs.folds, data) if inputs.folds else []
    missing_spans: list[int] = []
    spans_of = _spans_of(inputs, data, output, missing_spans, device, force)
    made = read_made(inputs.generated, inputs.filtered, inputs.translated, study, data)
    tokenizer = open_tokenizer(side_model(config.model, Side.PASSAGE)) if made.generated or made.translations else None
    if any(source.needs >= {Kind.GENERATED, Kind.TRANSLATED} for m in study.methods.values() for source in m.sources):
        made = cut_translations(made, tokenizer)
    manifest = _manifest(study, config, data, made, inputs)
    vectors = encode_all(study, data, config, output / "embeddings", made=made, device=device, force=force)
    trained = None
    if fold_rows:
        trained = measure_fold_encoders(
            study, data, made, inputs.fold_encoders, fold_rows, output, device=device, force=force
        )

    def build(folder: Path) -> dict[str, int]:
        sums_of = cached_sums(data, vectors)
        results = score_methods(study, data, vectors, config.normalize, sums_of)
        if spans_of is not None:
            write_array(folder / "spans.npy", score_answers(study, data, results, spans_of))
        summary = summarise(study, data, results, vectors, sums_of, config.model, manifest.inputs["model"], losses)
        summary = dataclasses.replace(
            summary,
            budget=tuple(text_costs(made, tokenizer)) if tokenizer else (),
            written=_written(inputs),
            fold_encoders=trained,
        )
        _write_results(summary, results, folder)
        counts = {"pairs": len(study.pairs), "methods": len(study.methods), "questions": len(data.qids)}
        return counts | ({"unread": sum(missing_spans)} if missing_spans else {})

    build_stage(output / "results", manifest, build, force=force)
    verify(output / "results")
    return read_summary(output / "results")


def _spans_of(
    inputs: StudyInputs, data: ParallelData, output: Path, missing: list[int], device: str | None, force: bool
) -> SpansOf | None:
    """Where the answers come from, if from anywhere; ``missing`` receives how many spans a file lacks."""
    if inputs.spans is not None:
        return stored_spans(inputs.spans, data, missing.append)
    if inputs.readers:
        readers = assign_readers(inputs.readers, data)
        return partial(read_spans, readers=readers, data=data, folder=output / "spans", device=device, force=force)
    return None


def _written(inputs: StudyInputs) -> dict[str, dict[str, int]]:
    """What the writers of machine-made texts have counted, by kind; the filter writes nothing."""
    counted = {kind.value: sum_counted(getattr(inputs, kind.value)) for kind in (Kind.GENERATED, Kind.TRANSLATED)}
    return {kind: counts for kind, counts in counted.items() if counts}


def _manifest(
    study: Study, config: EncoderConfig, data: ParallelData, made: MadeTexts, inputs: StudyInputs
) -> Manifest:
    """The settings and the fingerprints of everything that the results depend on."""
    settings = dataclasses.asdict(study)
    parameters: dict[str, Any] = {
        "study": {name: value for name, value in settings.items() if value or name not in ("question", "trends")},
        "encoder": encoder_settings(config),
        "readers": [dataclasses.asdict(reader) for reader in inputs.readers],
    }
    if written := _written(inputs):
        parameters["written"] = written
    fold_models = [version for fold in inputs.fold_encoders for version in pair_fingerprints(fold.model).values()]
    versions = {
        "collection": data.version,
        **pair_fingerprints(config.model),
        **made.versions(),
        "readers": digest([model_fingerprint(reader.model) for reader in inputs.readers]),
        "spans": "" if inputs.spans is None else file_digest(Path(inputs.spans)),
        "losses": digest([file_digest(Path(path)) for path in inputs.losses]) if inputs.losses else "",
        "fold_encoders": digest([fold_models, fingerprint(Path(inputs.folds))]) if inputs.folds else "",
    }
    return Manifest("study", parameters, {k: v for k, v in versions.items() if v or k not in ADDED})


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

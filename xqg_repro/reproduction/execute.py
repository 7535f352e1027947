"""Executes tasks: one function per verb, which calls the stage's function with the task's options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from xqg_repro.evaluation.scores import Scores
from xqg_repro.models.late_settings import LateConfig, load_late
from xqg_repro.models.settings import EncoderConfig, Precision, ReaderConfig, load_generator, load_preset, load_reader
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.tasks import Task


def execute(task: Task) -> Any:
    """Run a task, and return what its stage's function returns.

    Raises:
        InputError: whatever the stage refuses.
    """
    return EXECUTORS[task.verb](*task.inputs, **task.options)


def _generate(collection: str, preset: str, queries: int, output: str, force: bool = False) -> None:
    from xqg_repro.representation.generate import generate

    config = dataclasses.replace(load_generator(preset), queries=queries)
    generate(collection, config, output, force=force)


def _encode(collection: str, preset: str, output: str, encoder: str = "", force: bool = False) -> None:
    from xqg_repro.representation.encode import encode

    encode(collection, _encoder(preset, encoder), output, force=force)


def _sum(
    generated: str,
    preset: str,
    queries: int,
    output: str,
    encoder: str = "",
    per_language: bool = False,
    precision: str = "",
    force: bool = False,
) -> None:
    from xqg_repro.representation.sums import sum_queries

    config = _encoder(preset, encoder, precision)
    sum_queries(generated, config, output, count=queries, per_language=per_language, force=force)


def _filter(
    queries: str,
    embeddings: str,
    preset: str,
    keep: int,
    of: int,
    output: str,
    encoder: str = "",
    precision: str = "",
    force: bool = False,
) -> None:
    from xqg_repro.retrieval.filter import filter_queries

    filter_queries(queries, embeddings, output, keep, of=of, encoder=_encoder(preset, encoder, precision), force=force)


def _augment(
    embeddings: str,
    output: str,
    alpha: float,
    sums: str = "",
    generated: str = "",
    aggregate: str = Aggregate.SUM,
    languages: tuple[str, ...] = (),
    queries: int = 0,
    normalize: bool | None = None,
    force: bool = False,
) -> None:
    from xqg_repro.representation.augment import augment, augment_streaming

    how = Augmentation(alpha, Aggregate(aggregate), languages, queries, normalize)
    if sums:
        augment(embeddings, sums, output, how, force=force)
    else:
        augment_streaming(embeddings, generated, output, how, force=force)


def _index(
    output: str,
    embeddings: str = "",
    late: bool = False,
    sparse: bool = False,
    collection: str = "",
    preset: str = "",
    encoder: str = "",
    generated: str = "",
    queries: int = 0,
    force: bool = False,
) -> None:
    from xqg_repro.retrieval.index import build_index
    from xqg_repro.retrieval.late_index import build_late_index
    from xqg_repro.retrieval.sparse import build_sparse_index

    if late:
        build_late_index(collection, _late(preset, encoder), output, force=force)
    elif sparse:
        expansion: dict[str, Any] = {"generated": generated, "queries": queries} if generated else {}
        build_sparse_index(collection, output, **expansion, force=force)
    else:
        build_index(embeddings, output, force=force)


def _search(
    topics: str, depth: int, tag: str, output: str, index: str = "", embeddings: str = "", force: bool = False
) -> None:
    from xqg_repro.retrieval.bm25 import is_sparse, search_sparse
    from xqg_repro.retrieval.exact import search_embeddings
    from xqg_repro.retrieval.late_index import is_late
    from xqg_repro.retrieval.late_search import search_late
    from xqg_repro.retrieval.search import search

    if not index:
        search_embeddings(embeddings, topics, output, tag=tag, depth=depth, force=force)
    elif is_sparse(index):
        search_sparse(index, topics, output, tag=tag, depth=depth, force=force)
    elif is_late(index):
        search_late(index, topics, output, tag=tag, depth=depth, force=force)
    else:
        search(index, topics, output, tag=tag, depth=depth, force=force)


def _rerank(
    kind: str,
    /,
    run: str,
    topics: str,
    preset: str,
    depth: int,
    tag: str,
    output: str,
    encoder: str = "",
    collection: str = "",
    force: bool = False,
) -> None:
    from xqg_repro.retrieval.late_rerank import rerank_late

    assert kind == "late"
    how: dict[str, Any] = {"passages": collection, "tag": tag, "depth": depth, "force": force}
    rerank_late(run, topics, output, encoder=_late(preset, encoder), **how)


def _fuse(
    *runs: str,
    method: str,
    depth: int,
    tag: str,
    output: str,
    weights: tuple[float, ...] | None = None,
    k: int | None = None,
    normalise: str | None = None,
    allow_missing: bool = False,
    force: bool = False,
) -> None:
    from xqg_repro.retrieval.fusion import Fusion, Method, Normalise, fuse

    how = Fusion(Method(method), weights, k, Normalise(normalise) if normalise else None)
    fuse(runs, how, output, tag=tag, depth=depth, allow_missing=allow_missing, force=force)


def _read(
    run: str,
    topics: str,
    preset: str,
    depth: int,
    weight: float,
    output: str,
    collection: str = "",
    force: bool = False,
) -> None:
    from xqg_repro.retrieval.read import read

    how: dict[str, Any] = {"depth": depth, "weight": weight, "passages": collection, "force": force}
    read(run, topics, load_reader(preset), output, **how)


def _evaluate(
    topics: str, measures: tuple[str, ...], output: str, run: str = "", answers: str = "", collection: str = ""
) -> Scores:
    from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers

    score, path = (evaluate, run) if run else (evaluate_answers, answers)
    scores = score(path, topics, measures, passages=collection)
    scores.write(output)
    return scores


def _chance(
    topics: str, measures: tuple[str, ...], rankings: int, depth: int, output: str, collection: str = ""
) -> Scores:
    from xqg_repro.evaluation.chance import score_chance

    scores = score_chance(topics, measures, passages=collection, rankings=rankings, depth=depth)
    scores.write(output)
    return scores


def _study(
    preset: str,
    output: str,
    encoder: str = "",
    languages: tuple[str, ...] = (),
    passages: tuple[str, ...] = (),
    reader: tuple[str, ...] = (),
    spans: str = "",
    generated: tuple[str, ...] = (),
    filtered: tuple[str, ...] = (),
    translated: tuple[str, ...] = (),
    losses: tuple[str, ...] = (),
    fold_encoders: tuple[str, ...] = (),
    folds: str = "",
    force: bool = False,
) -> Any:
    from xqg_repro.study.run import StudyInputs, run_study
    from xqg_repro.study.settings import load_study

    inputs = StudyInputs(
        generated,
        filtered,
        translated,
        readers=tuple(ReaderConfig(model) for model in reader),
        spans=spans or None,
        losses=losses,
        fold_encoders=tuple(_encoder(preset, model) for model in fold_encoders),
        folds=folds or None,
    )
    study = load_study(languages, passages, (), **inputs.available)
    return run_study(study, _encoder(preset, encoder), output, inputs, force=force)


def _encoder(preset: str, model: str, precision: str = "") -> EncoderConfig:
    config = load_preset(preset)
    if precision:
        config = dataclasses.replace(config, precision=Precision(precision))
    return dataclasses.replace(config, model=model) if model else config


def _late(preset: str, model: str) -> LateConfig:
    config = load_late(preset)
    return dataclasses.replace(config, model=model) if model else config


EXECUTORS: Mapping[str, Callable[..., Any]] = {
    "generate": _generate,
    "encode": _encode,
    "filter": _filter,
    "sum": _sum,
    "augment": _augment,
    "index": _index,
    "search": _search,
    "rerank": _rerank,
    "fuse": _fuse,
    "read": _read,
    "evaluate": _evaluate,
    "chance": _chance,
    "study": _study,
}
"""Verb → the function that runs it; its parameters are the options that tasks may have."""

"""What is checked before the first task of a reproduction, and by a dry run. Nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from xqg_repro import collection
from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.stages import check_output
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS
from xqg_repro.models.late_settings import load_late
from xqg_repro.models.loading import PACKAGED, resolve_model
from xqg_repro.models.settings import load_generator, load_preset, load_reader
from xqg_repro.models.untied import resolve_encoder
from xqg_repro.representation.queries import query_files
from xqg_repro.reproduction.benchmark import Benchmark, Condition
from xqg_repro.reproduction.tasks import Step, Task

_FILES = ("search", "rerank", "fuse", "read", "evaluate", "chance")
"""The verbs whose output is a file."""


def check_plan(
    benchmark: Benchmark,
    conditions: Sequence[Condition],
    tasks: Iterable[Task],
    *,
    languages: tuple[str, ...] = (),
    model: str = "",
    steps: Collection[Step] = tuple(Step),
) -> None:
    """Check what conditions need; the arguments are those of :func:`~xqg_repro.reproduction.run.run_condition`.

    Raises:
        InputError: a dataset is unknown, or lacks what a measure needs; a local model or folder of queries is missing
            or damaged; or an output of the ``tasks`` cannot be written.
    """
    if Step.INDEX in steps:
        collection.load(benchmark.collection, needs=["docs"])
        for part in (part for condition in conditions for part in benchmark.parts(condition)):
            if part.encoder:
                check_encoder(model or load_preset(part.encoder).model)
            if part.late:
                check_model(model or load_late(part.late).model)
            if part.generator:
                check_model(load_generator(part.generator).model)
            if part.corpus:
                _check_local(part.corpus, query_files)
    if Step.READ in steps and benchmark.reading:
        check_model(load_reader(benchmark.reading.reader).model)
    for topics, asked in benchmark.topic_sets(languages).items():
        _check_topics(benchmark, topics, collection.load(topics, needs=["queries"]))
        _check_languages(topics, asked)
    for task in tasks:
        check_output(task.options["output"], folder=task.verb not in _FILES)


def check_encoder(name: str) -> None:
    """Like :func:`check_model`, for an encoder, or a folder of two."""
    _check_local(name, resolve_encoder)


def check_model(name: str) -> None:
    """Raise :class:`InputError` for a local or packaged model that cannot be used; the hub is not asked."""
    _check_local(name, resolve_model)


def _check_local(name: str, check: Callable[[str], Any]) -> None:
    """Check what is not the name of something on the hub (``owner/name``)."""
    on_hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not name.startswith(("./", "../"))
    if name.startswith(PACKAGED) or Path(name).exists() or not on_hub:
        check(name)


def _check_topics(benchmark: Benchmark, topics: str, dataset: Any) -> None:
    """Raise :class:`InputError` if the questions lack the judgements or answers that the measures need."""
    needs_answers = [name for name in benchmark.measures if name in (*TOKEN_LIMITS, *benchmark.answer_measures)]
    needs_judgements = [name for name in benchmark.measures if name not in needs_answers]
    if needs_judgements and not dataset.has_qrels():
        problem = f"{topics} has no relevance judgements, which {', '.join(needs_judgements)} need"
        raise InputError(problem, hint="measure R2kt and R5kt instead")
    if needs_answers and "answers" not in getattr(dataset.queries_cls(), "_fields", ("answers",)):
        raise InputError(f"{topics} has no answers, which {', '.join(needs_answers)} need")


def _check_languages(topics: str, languages: Iterable[str]) -> None:
    """Raise :class:`InputError` if topics that have a subset for each language have none for one of these."""
    known = [name for name in collection.subsets(topics) if name in LANGUAGE_NAMES]
    if known and (unknown := [code for code in languages if code not in known]):
        raise InputError(f"{topics} has no questions in {unknown[0]!r}", hint=nearest(unknown[0], known))

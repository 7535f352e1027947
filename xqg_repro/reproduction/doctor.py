"""What is installed and what is missing: software, data, models, and what each condition and recipe still needs.

Nothing is downloaded, changed or started. Checksums are computed for files up to a gigabyte; larger files are checked
by the stage that reads them.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xqg_repro import collection
from xqg_repro.collection.home import describe_home
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.tables import Table
from xqg_repro.models.late_settings import load_late
from xqg_repro.models.loading import PACKAGED, choose_device
from xqg_repro.models.settings import GeneratorConfig, Precision, load_generator, load_preset, load_reader
from xqg_repro.models.untied import resolve_encoder
from xqg_repro.representation.queries import query_files
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.data_files import FileState, FileStatus, data_files, files_of
from xqg_repro.reproduction.needs import PresetNeeds, needs_table, preset_needs
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.metadata import PACKAGES

EMBEDDED = "xor-mini"
"""The benchmark that must be ready: it needs nothing but the package."""
HUB_SECONDS = 5.0


@dataclass(frozen=True)
class Fact:
    """A line about the machine; ``problem`` is empty if nothing is wrong with it."""

    name: str
    value: str
    problem: str = ""


@dataclass(frozen=True)
class ModelStatus:
    """A model, or a data set of queries; ``path`` is empty if it is neither local nor in the hub's cache."""

    name: str
    path: str = ""

    @property
    def state(self) -> str:
        """Where it is, in words."""
        if not self.path:
            return "not cached"
        return "ships with the package" if self.name.startswith(PACKAGED) else self.path


@dataclass(frozen=True)
class Readiness:
    """A condition or a recipe and what it still needs, in words; nothing if it is ready.

    Attributes:
        group: the benchmark, or the kind of model that is trained.
        name: of the condition or recipe.
        needs: what is missing.
    """

    group: str
    name: str
    needs: tuple[str, ...]

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of a table, one per need."""
        first, *others = self.needs or ("nothing: ready",)
        return [(self.group, self.name, first), *(("", "", need) for need in others)]


@dataclass(frozen=True)
class Diagnosis:
    """Everything that :func:`examine` found."""

    system: tuple[Fact, ...]
    files: tuple[FileStatus, ...]
    models: tuple[ModelStatus, ...]
    conditions: tuple[Readiness, ...]
    recipes: tuple[Readiness, ...]
    generators: tuple[PresetNeeds, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the embedded benchmark can run."""
        return not any(condition.needs for condition in self.conditions if condition.group == EMBEDDED)

    def text(self) -> str:
        """The diagnosis as plain tables."""
        facts = [(fact.name, fact.value, fact.problem or "ok") for fact in self.system]
        files = [(file.collection, file.name, str(file.state), file.path) for file in self.files]
        models = [(model.name, model.state) for model in self.models]
        tables = [
            Table(("system", "found", "verdict"), facts, left=3),
            Table(("collection", "file", "state", "path"), files, left=4),
            Table(("model or queries", "state"), models, left=2),
            Table(("benchmark", "condition", "needs"), [row for c in self.conditions for row in c.rows()], left=3),
            Table(("trains", "recipe", "needs"), [row for recipe in self.recipes for row in recipe.rows()], left=3),
            needs_table(self.generators),
        ]
        summary = f"{EMBEDDED} is ready: make reproduce" if self.ready else f"{EMBEDDED} is not ready: see its needs"
        return "\n\n".join([*(table.text() for table in tables), summary])


def examine(directory: str | Path = "out", *, online: bool = False) -> Diagnosis:
    """Look at the machine, the data and the models.

    Args:
        directory: where conditions would write; it need not exist.
        online: try to reach the Hugging Face hub; otherwise nothing is sent anywhere.

    Raises:
        InputError: a resource of the package is damaged. Whatever else is missing is in the diagnosis.
    """
    directory = Path(directory).absolute()
    parent = next(path for path in (directory, *directory.parents) if path.exists())
    system = (
        *_software(),
        _java(),
        _device(),
        Fact("memory", _memory()),
        Fact("data home", describe_home()),
        Fact("disk", f"{shutil.disk_usage(parent).free / 1e9:,.0f} GB free in {parent}"),
        _hub(online),
    )
    files = tuple(data_files())
    benchmarks = [load_benchmark(path.stem) for path in sorted(resource("conditions").glob("*.yaml"))]
    pairs = [(benchmark, condition) for benchmark in benchmarks for condition in benchmark.conditions]
    kinds = {name: kind for pair in pairs for name, kind in _models_of(*pair)}
    models = {name: _local_model(name, kind) for name, kind in kinds.items()}
    broken = [f"{fact.name}: {fact.problem}" for fact in system if fact.problem]
    conditions = tuple(_condition_readiness(*pair, broken, files, models) for pair in pairs)
    generators = tuple(preset_needs(lambda name: _local_model(name, "model").state))
    return Diagnosis(system, files, tuple(models.values()), conditions, tuple(_recipes(files)), generators)


def _software() -> Iterator[Fact]:
    """Python and the main packages, and any other package that is missing or too old."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        required, python = installed.requires("xqg_repro") or [], installed.metadata("xqg_repro")["Requires-Python"]
    except installed.PackageNotFoundError:  # run from a checkout that is not installed
        required, python = list(PACKAGES), ""
    version = platform.python_version()
    supported = SpecifierSet(python).contains(version, prereleases=True)
    yield Fact("Python", version, "" if supported else f"{python} is supported")
    for requirement in map(Requirement, required):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = installed.version(requirement.name)
            fits = requirement.specifier.contains(version, prereleases=True)
        except installed.PackageNotFoundError:
            version, fits = "missing", False
        if not fits or requirement.name in PACKAGES:
            yield Fact(requirement.name, version, "" if fits else f"pip install '{requirement}'")


def _java() -> Fact:
    """The Java that Pyserini would use; no JVM is started in this process."""
    try:
        runtime = jvm.find_runtime()
    except InputError as error:
        return Fact("Java", "none", str(error))
    return Fact("Java", f"{runtime.version}, {runtime.home}")


def _device() -> Fact:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Fact("device", "none", f"torch cannot be imported: {error}")
    from xqg_repro.models.generator import resolve_precision

    device = choose_device(None)
    name = f"{device} ({torch.cuda.get_device_name()})" if device == "cuda" else device
    native = resolve_precision(GeneratorConfig()).precision is Precision.BFLOAT16
    return Fact("device", f"{name}, {'with' if native else 'without'} bfloat16, threads: {torch.get_num_threads()}")


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:,.0f} GB"


def _hub(online: bool) -> Fact:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Fact("hub", "not tried, as HF_HUB_OFFLINE is set")
    if not online:
        return Fact("hub", "not tried (--online tries)")
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS).close()
        answer = "reached"
    except HTTPError as error:
        answer = f"reached, status {error.code}"
    except (OSError, ValueError) as error:
        answer = f"not reached ({getattr(error, 'reason', error)})"
    return Fact("hub", f"{constants.ENDPOINT}: {answer}")


def _models_of(benchmark: Benchmark, condition: Condition) -> list[tuple[str, str]]:
    """Name and kind (``model`` or ``dataset``) of the models and query sets that a condition needs."""
    names = []
    for part in benchmark.parts(condition):
        presets: Any = ((load_preset, part.encoder), (load_late, part.late), (load_generator, part.generator))
        names += [(load(name).model, "model") for load, name in presets if name]
        if part.corpus:
            names.append((part.corpus, "dataset"))
    if benchmark.reading:
        names.append((load_reader(benchmark.reading.reader).model, "model"))
    return names


def _local_model(name: str, kind: str) -> ModelStatus:
    """Where a model or a data set of queries is, without asking the hub."""
    from huggingface_hub import snapshot_download

    try:
        local = name.startswith(PACKAGED) or Path(name).is_dir()
        folder = name if local else snapshot_download(name, repo_type=kind, local_files_only=True)
        return ModelStatus(name, str(resolve_encoder(folder) if kind == "model" else query_files(folder)[0].parent))
    except Exception:  # not cached, or only in part: unusable for whatever reason
        return ModelStatus(name)


def _condition_readiness(
    benchmark: Benchmark,
    condition: Condition,
    broken: Sequence[str],
    files: Sequence[FileStatus],
    models: dict[str, ModelStatus],
) -> Readiness:
    datasets = [(benchmark.collection, "docs"), *((topics, "queries") for topics in benchmark.topic_sets())]
    names = {file for dataset_id, _ in datasets for file in files_of(dataset_id)}
    needs = list(broken)
    for dataset_id, part in datasets:
        try:
            collection.load(dataset_id, needs=[part])
        except InputError as error:  # a path that does not exist, or of a variable that is not set
            needs.append(str(error))
    for state in (FileState.MISSING, FileState.WRONG):
        if unusable := [file.name for file in files if file.name in names and file.state is state]:
            needs.append(f"{_short_list(unusable)} ({state})")
    needs += [f"{name} (not cached)" for name, _ in _models_of(benchmark, condition) if not models[name].path]
    return Readiness(benchmark.name, condition.name, tuple(needs))


def _short_list(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more files"


DATA_SETTINGS = ("data", "held_out_data", "translations", "held_out_translations", "twins")
"""Settings of recipes that name data."""


def _recipes(files: Sequence[FileStatus]) -> Iterator[Readiness]:
    """The recipes that ship with the package, by name."""
    from xqg_repro.train.data import TRAINING
    from xqg_repro.train.parallel_data import find_folder
    from xqg_repro.train.rounds_recipe import trainings

    training_files = {file.name: file for file in files if file.collection == TRAINING}
    install = [] if find_spec("accelerate") else ["pip install 'xqg_repro[train]'"]
    for path in sorted(resource("recipes").glob("*.yaml")):
        kind = read_yaml(path)["train"]
        recipes = trainings(path.stem, kind)
        needs = list(install)
        for data in filter(None, (getattr(recipe, name, "") for recipe in recipes for name in DATA_SETTINGS)):
            if Path(data).exists():
                continue
            if data in training_files:
                needs += [] if training_files[data].usable else [f"{data} ({training_files[data].state})"]
            elif data.endswith((".json", ".jsonl", ".tsv")) or (kind == "xdr-parallel" and not find_folder(data)):
                needs.append(f"{data} (missing)")
        models = (recipe.model for recipe in recipes)
        needs += [f"{model} (not cached)" for model in models if model and not _local_model(model, "model").path]
        yield Readiness(kind, path.stem, tuple(dict.fromkeys(needs)))

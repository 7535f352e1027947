"""What is there and what is missing: software, data, models, and what each condition and recipe still needs.

Nothing is downloaded, changed or started. Checksums of files up to a gigabyte are computed; the others are checked by
the stage that reads them. Disk and time are estimates, see :mod:`xqg_repro.reproduction.estimates`.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata as installed
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import input_digest, read_json
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.tables import Table
from xqg_repro.models.loading import PACKAGED, chosen_device, resolve_model
from xqg_repro.models.settings import GeneratorConfig, Precision, load_generator, load_preset, load_reader
from xqg_repro.representation.queries import query_files
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.estimates import (
    Figures,
    array_size,
    arrays_kept,
    explained,
    load_figures,
    measured,
    size,
    time_of,
)
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.metadata import PACKAGES

EMBEDDED = "xor-mini"
"""The benchmark that must be ready: it needs nothing but the package and Java."""
LARGEST_CHECKED = 1_000_000_000
HUB_SECONDS = 5.0


@dataclass(frozen=True)
class Fact:
    """A line about the machine; ``problem`` says what is wrong with it, if anything is."""

    name: str
    value: str
    problem: str = ""


class FileState(StrEnum):
    """A data file's state; ``UNCHECKED`` is there, but too large or without a known checksum."""

    RIGHT = "right"
    WRONG = "wrong checksum"
    MISSING = "missing"
    UNCHECKED = "there, not checked"


@dataclass(frozen=True)
class FoundFile:
    """A data file of a collection; ``path`` is empty where it is missing."""

    collection: str
    name: str
    state: FileState
    path: str = ""

    @property
    def usable(self) -> bool:
        """Whether a stage can go on with it."""
        return self.state in (FileState.RIGHT, FileState.UNCHECKED)


@dataclass(frozen=True)
class FoundModel:
    """A model, or a data set of queries; ``path`` is empty where it is neither here nor in the hub's cache."""

    name: str
    path: str = ""


@dataclass(frozen=True)
class Readiness:
    """A condition of a benchmark.

    Attributes:
        benchmark, condition: their names.
        needs: what is missing, in words; empty if the condition is ready.
        fetched: gigabytes to fetch for that; ``None`` where a size is not known.
        disk: bytes of what it leaves on the disk; ``None`` where the encoder's dimension is not known.
        time: what it takes by measured rates, and what was not measured, in words.
    """

    benchmark: str
    condition: str
    needs: tuple[str, ...]
    fetched: float | None
    disk: float | None
    time: str


@dataclass(frozen=True)
class Trainable:
    """A recipe, what is trained by it, and what is missing, in words; nothing if it can be followed."""

    recipe: str
    trains: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    system: tuple[Fact, ...]
    files: tuple[FoundFile, ...]
    models: tuple[FoundModel, ...]
    conditions: tuple[Readiness, ...]
    recipes: tuple[Trainable, ...]
    figures: Figures

    @property
    def ready(self) -> bool:
        """Whether the embedded benchmark can run."""
        return not any(condition.needs for condition in self.conditions if condition.benchmark == EMBEDDED)

    def text(self) -> str:
        """The report as plain tables."""
        facts = [(fact.name, fact.value, fact.problem or "ok") for fact in self.system]
        files = [(file.collection, file.name, str(file.state), file.path) for file in self.files]
        models = [(model.name, _model_state(model)) for model in self.models]
        rows = [row for condition in self.conditions for row in _rows(condition)]
        recipes = [(found.recipe, found.trains, _needed(found)) for found in self.recipes]
        blocks = [
            Table(("system", "found", "verdict"), facts, left=3).text(),
            Table(("collection", "file", "state", "where"), files, left=4).text(),
            Table(("model or queries", "state"), models, left=2).text(),
            Table(("benchmark", "condition", "to fetch", "disk", "time", "needs"), rows, left=6).text(),
            explained(self.figures),
            Table(("recipe", "trains", "needs"), recipes, left=3).text(),
            f"{EMBEDDED} is ready: make reproduce" if self.ready else f"{EMBEDDED} is not ready: see what it needs",
        ]
        return "\n\n".join(blocks)


def examine(
    directory: str | Path = "out", *, online: bool = False, measure: bool = False, device: str | None = None
) -> Report:
    """Look at what is there.

    Args:
        directory: where conditions would write; it need not exist.
        online: try whether the hub answers; without it, nothing is sent anywhere.
        measure: estimate times from rates measured here and now, see
            :func:`~xqg_repro.reproduction.estimates.measured`.
        device: torch device to measure on.

    Raises:
        InputError: a resource of the package is damaged. Whatever else is missing stands in the report.
    """
    free = _free(Path(directory))
    system = (
        *_software(),
        _java(),
        _device(),
        Fact("memory", size(_memory())),
        Fact("disk", f"{size(free)} free at {directory}"),
        _hub(online),
    )
    files = tuple(_data_files())
    benchmarks = [load_benchmark(path.stem) for path in sorted(resource("conditions").glob("*.yaml"))]
    named = {name: kind for b in benchmarks for condition in b.conditions for name, kind in _models_of(b, condition)}
    models = tuple(_found_model(name, kind) for name, kind in named.items())
    missing = [f"{fact.name}: {fact.problem}" for fact in system if fact.problem]
    figures = measured(load_figures(), device) if measure else load_figures()
    conditions = tuple(
        _readiness(benchmark, condition, missing, files, models, free, figures)
        for benchmark in benchmarks
        for condition in benchmark.conditions
    )
    return Report(system, files, models, conditions, tuple(_recipes(files)), figures)


# the machine


def _software() -> Iterator[Fact]:
    """Python and the packages: the main ones, and any other that is absent or too old."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        wanted, python = installed.requires("xqg_repro") or [], installed.metadata("xqg_repro")["Requires-Python"]
    except installed.PackageNotFoundError:  # run from a checkout that is not installed
        wanted, python = list(PACKAGES), ""
    version = platform.python_version()
    fits = SpecifierSet(python).contains(version, prereleases=True)
    yield Fact("Python", version, "" if fits else f"{python} is supported")
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found, fits = installed.version(requirement.name), True
            fits = requirement.specifier.contains(found, prereleases=True)
        except installed.PackageNotFoundError:
            found, fits = "absent", False
        if not fits or requirement.name in PACKAGES:
            yield Fact(requirement.name, found, "" if fits else f"pip install '{requirement}'")


def _java() -> Fact:
    """The Java that Pyserini would get; it is asked for its version, and no JVM is started in this process."""
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
    from xqg_repro.models.generator import resolved

    device = chosen_device(None)
    name = f"{device} ({torch.cuda.get_device_name()})" if device == "cuda" else device
    native = resolved(GeneratorConfig()).precision is Precision.BFLOAT16
    return Fact("device", f"{name}, {'with' if native else 'without'} bfloat16, threads: {torch.get_num_threads()}")


def _memory() -> int | None:
    """Bytes of memory that the machine has; ``None`` where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


def _free(directory: Path) -> int:
    """Free bytes where a directory is or would be."""
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _hub(online: bool) -> Fact:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Fact("hub", "not tried, as HF_HUB_OFFLINE is set")
    if not online:
        return Fact("hub", "not tried (--online tries)")
    return Fact("hub", f"{constants.ENDPOINT}: {_answer(constants.ENDPOINT, HUB_SECONDS)}")


def _answer(address: str, seconds: float) -> str:
    """What comes of asking an address; asked in a thread, as looking a name up knows no time-out."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    answers: list[str] = []

    def ask() -> None:
        try:
            urlopen(Request(address, method="HEAD"), timeout=seconds).close()
            answers.append("reached")
        except HTTPError as error:
            answers.append(f"reached, with the status {error.code}")
        except (OSError, ValueError) as error:
            answers.append(f"not reached ({getattr(error, 'reason', error)})")

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer in {seconds:g} seconds"


# data and models


def _data_files() -> Iterator[FoundFile]:
    """Every file that ``resources/collections/files.yaml`` lists, where it lies and whether it is the right one."""
    import ir_datasets

    from xqg_repro.collection.files import DataFile, data_files

    class LocalFile(DataFile):
        """A data file whose ``path`` neither fetches nor checks it."""

        def _download(self, target: Path) -> None:
            raise FileNotFoundError(target)

        def _check(self, path: Path) -> None:
            pass

    record = ir_datasets.util.home_path() / "xqg_repro" / "checksums.json"
    seen = read_json(record) if record.exists() else {}
    for collection in read_yaml(resource("collections", "files.yaml")):
        for name, file in data_files(collection).items():
            try:
                path = LocalFile(collection, name, file.url).path()
            except FileNotFoundError:
                yield FoundFile(collection, name, FileState.MISSING)
                continue
            expected, state = file.md5 or seen.get(file.url), FileState.UNCHECKED
            if expected and path.stat().st_size <= LARGEST_CHECKED:
                state = FileState.RIGHT if input_digest(path, "md5") == expected else FileState.WRONG
            yield FoundFile(collection, name, state, str(path))


def _files_of(dataset_id: str) -> list[str]:
    """Names of the data files behind an ir-datasets id of this package."""
    from xqg_repro.collection import xor_tydi, xquad

    name, *parts = dataset_id.split("/")
    if name == xor_tydi.NAME:
        return ["enwiki_20190201_w100.tsv", *(xor_tydi.SPLITS[split] for split in parts[:1])]
    return [f"{name}.{language}.json" for language in parts] if name == xquad.NAME else []


def _absent_resources(dataset_id: str) -> list[str]:
    """What the embedded collection lacks of its own files, if the id is one of its."""
    from xqg_repro.collection import xor_mini

    name, *parts = dataset_id.split("/")
    files = ["passages.tsv", *(f for split in parts[:1] for f in (f"questions.{split}.jsonl", f"qrels.{split}.tsv"))]
    return [file for file in files if name == xor_mini.NAME and not resource(xor_mini.FOLDER, file).exists()]


def _models_of(benchmark: Benchmark, condition: Condition) -> list[tuple[str, str]]:
    """Name and kind (``model`` or ``dataset``) of a condition's encoder; then of generator, corpus, reader, if any."""
    named = [(load_preset(condition.encoder).model, "model")]
    if condition.generator:
        named.append((load_generator(condition.generator).model, "model"))
    if condition.corpus:
        named.append((condition.corpus, "dataset"))
    if benchmark.reading:
        named.append((load_reader(benchmark.reading.reader).model, "model"))
    return named


def _found_model(name: str, kind: str) -> FoundModel:
    """Where a model or a corpus of queries is, without asking the hub."""
    from huggingface_hub import snapshot_download

    try:
        here = name.startswith(PACKAGED) or Path(name).is_dir()
        folder = name if here else snapshot_download(name, repo_type=kind, local_files_only=True)
        return FoundModel(name, str(resolve_model(folder) if kind == "model" else query_files(folder)[0].parent))
    except Exception:  # not cached, or in part only: whatever it is, it cannot be used
        return FoundModel(name)


def _model_state(model: FoundModel) -> str:
    if not model.path:
        return "not cached"
    return "ships with the package" if model.name.startswith(PACKAGED) else model.path


# recipes


def _recipes(files: Sequence[FoundFile]) -> Iterator[Trainable]:
    """The recipes that ship, by name."""
    from xqg_repro.train.data import TRAINING
    from xqg_repro.train.recipe import KINDS, load_recipe

    trained = {name: kind for kind, name in KINDS.items()}
    there = {file.name: file for file in files if file.collection == TRAINING}
    needed = [] if find_spec("accelerate") else ["pip install 'xqg_repro[train]'"]
    for path in sorted(resource("recipes").glob("*.yaml")):
        trains = read_yaml(path)["train"]
        recipe = load_recipe(path.stem, trained[trains])
        needs = [*needed]
        for data in filter(None, (recipe.data, recipe.held_out_data)):
            if data in there and not Path(data).exists():
                needs += [] if there[data].usable else [f"{data} ({there[data].state})"]
            elif data.endswith((".json", ".jsonl")) and not Path(data).exists():
                needs.append(f"{data} (missing)")
        if recipe.model and not _found_model(recipe.model, "model").path:
            needs.append(f"{recipe.model} (not cached)")
        yield Trainable(recipe.name, trains, tuple(needs))


def _needed(found: Trainable) -> str:
    return "; ".join(found.needs) or "nothing: ready"


# conditions


def _readiness(
    benchmark: Benchmark,
    condition: Condition,
    missing: Sequence[str],
    files: Sequence[FoundFile],
    models: Sequence[FoundModel],
    free: int,
    figures: Figures,
) -> Readiness:
    sets = [benchmark.collection, *benchmark.topic_sets()]
    wanted = {file for dataset_id in sets for file in _files_of(dataset_id)}
    bad = [file for file in files if file.name in wanted and not file.usable]
    own = [model for name, _ in _models_of(benchmark, condition) for model in models if model.name == name]
    absent = [model.name for model in own if not model.path]
    lost = sorted({file for dataset_id in sets for file in _absent_resources(dataset_id)})
    needs = [*missing, *(f"{file}, which should ship with the package" for file in lost)]
    for state in (FileState.MISSING, FileState.WRONG):
        if names := [file.name for file in bad if file.state is state]:
            needs.append(f"{_listed(names)} ({state})")
    needs += [f"{name} (not cached)" for name in absent]
    sizes = [figures.gigabytes.get(name) for name in (*(file.name for file in bad), *absent)]
    fetched = None if None in sizes else sum(size.value for size in sizes if size)
    array, memory = array_size(benchmark, condition, own[0].path), _memory()
    disk = array and array * arrays_kept(benchmark, condition)
    if (disk or 0) + (fetched or 0) * 1e9 > free:
        needs.append(f"more disk than the {size(free)} that are free")
    if memory and (array or 0) > memory:
        needs.append(f"more memory than {size(memory)}: the index takes {size(array)} of it")
    return Readiness(
        benchmark.name, condition.name, tuple(needs), fetched, disk, time_of(benchmark, condition, figures)
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more files"


def _rows(condition: Readiness) -> list[tuple[str, ...]]:
    """A condition's rows of the table: one for each thing that it needs."""
    first, *more = condition.needs or ("nothing: ready",)
    numbers = (_fetched(condition), size(condition.disk), condition.time)
    return [(condition.benchmark, condition.condition, *numbers, first), *(("",) * 5 + (need,) for need in more)]


def _fetched(condition: Readiness) -> str:
    if condition.fetched is None:
        return "not known"
    return size(condition.fetched * 1e9) if condition.fetched else "nothing"

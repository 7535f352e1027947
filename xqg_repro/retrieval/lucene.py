"""Lucene through Pyserini: analyzers by language, searchers, and errors of Java as errors of input."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.index import INDEX_AGAIN

ENGLISH = "en"
"""The analyzer that Pyserini takes unless told otherwise."""


def load_lucene(module: str, name: str) -> Any:
    """A class of Pyserini, as :func:`~xqg_repro.retrieval.jvm.load`, without their log below errors."""
    loaded = jvm.load(module, name)
    _log_errors_only()
    return loaded


@cache
def _log_errors_only() -> None:
    from jnius import autoclass

    level = autoclass("org.apache.logging.log4j.Level").ERROR
    autoclass("org.apache.logging.log4j.core.config.Configurator").setLevel("io.anserini", level)
    autoclass("java.util.logging.Logger").getLogger("").setLevel(autoclass("java.util.logging.Level").SEVERE)


def java_path(path: Path) -> str:
    """A path for Java, which takes relative ones from the directory where the process was when Java started."""
    return os.path.abspath(path)


def open_lucene(index: Path, analyzer: str = ENGLISH) -> Any:
    """Pyserini's ``LuceneSearcher`` with the analyzer of a language; starts the JVM that it needs."""
    with explain_java(index):
        searcher = load_lucene("pyserini.search.lucene", "LuceneSearcher")(java_path(index))
        if analyzer != ENGLISH:
            # not set_language, which knows other analyzers than Anserini's indexer for some languages
            searcher.set_analyzer(_analyzer_map().getLanguageSpecificAnalyzer(analyzer))
    return searcher


def check_analyzers(analyzers: Iterable[str]) -> None:
    """Raise :class:`InputError` for a language without an analyzer; Anserini would index it as if it were English."""
    known = {ENGLISH, *(str(language) for language in _analyzer_map().analyzerMap.keySet().toArray())}
    for analyzer in analyzers:
        if analyzer not in known:
            hint = f"--analyzer names one for all languages: {' '.join(sorted(known))}"
            raise InputError(f"Lucene has no analyzer for {LANGUAGE_NAMES.get(analyzer, analyzer)}", hint=hint)


def _analyzer_map() -> Any:
    """Anserini's table of Lucene's analyzers by language."""
    return load_lucene("pyserini.pyclass", "autoclass")("io.anserini.analysis.AnalyzerMap")


@contextmanager
def explain_java(index: Path) -> Iterator[None]:
    """Raise :class:`InputError` if Lucene cannot read or write an index."""
    jvm.ready()
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Lucene failed: {reason}", path=index, hint=INDEX_AGAIN) from None

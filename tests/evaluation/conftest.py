"""Fixtures of the evaluation's tests: small collections by name, and the official script's scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import ir_datasets
import pytest

from xqg_repro.collection.handlers import ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.evaluation.measures.recall import word_tokenize


@pytest.fixture(scope="session")
def register() -> Callable[[str, Iterable[Passage], Iterable[Question]], str]:
    """``register("name", passages, questions)`` makes a collection of that name known to ir-datasets."""

    def make(name: str, passages: Iterable[Passage], questions: Iterable[Question]) -> str:
        docs, asked = list(passages), list(questions)
        handlers = ListedDocs(lambda: (docs, "docs"), name, "en"), Questions(lambda: (asked, "asked"), name)
        if name in ir_datasets.registry._registered:
            del ir_datasets.registry._registered[name]
        ir_datasets.registry.register(name, dataset("xor-tydi", *handlers))
        return name

    return make


@pytest.fixture(scope="session")
def golden(shared: Path) -> dict[str, Any]:
    """300 predictions, their passages and questions, and the scores that the official script gives them."""
    folder = shared / "golden" / "xor_retrieve"
    found = {n: json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("passages", "predictions", "expected")}
    lines = (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return {**found, "data": {item["id"]: item for item in map(json.loads, lines)}}


@pytest.fixture(scope="session")
def plain_recall() -> Callable[[Iterable[str], Iterable[str], int], int]:
    """R@kt as it is defined: tokenise everything, cut, join, search."""
    tokenize = cache(word_tokenize)

    def score(texts: Iterable[str], answers: Iterable[str], limit: int) -> int:
        tokens = [token for text in texts for token in tokenize(text)][:limit]
        read = " ".join(tokens)
        return int(any(answer in read for answer in answers))

    return score


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``verb("submit", …)``: exit status, stdout and stderr."""
    from xqg_repro import cli

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return run

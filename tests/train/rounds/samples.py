"""What the tests of rounds share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xqg_repro.collection.records import Passage
from xqg_repro.train.rounds_recipe import RoundsRecipe

Make = Callable[..., RoundsRecipe]


@dataclasses.dataclass(frozen=True)
class Data:
    """A collection in BEIR's layout with three splits, and what is in it."""

    folder: Path
    passages: dict[str, Passage]
    questions: dict[str, dict[str, Any]]
    gold: dict[str, str]

    def of(self, split: str) -> dict[str, dict[str, Any]]:
        return {qid: item for qid, item in self.questions.items() if qid.startswith(split)}


def lines(path: Path) -> dict[str, dict[str, Any]]:
    items = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {item["query_id"]: item for item in items}


def ids(item: dict[str, Any], kind: str = "positive") -> list[str]:
    return [passage["docid"] for passage in item[f"{kind}_passages"]]


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "rounds.json").read_text(encoding="utf-8"))


def results(folder: Path) -> dict[str, str]:
    """The checksum of each file of rounds, without those that name the folder or the time."""
    suffixes = (".jsonl", ".safetensors", ".csv", ".svg", ".npy")
    kept = [path for path in folder.rglob("*") if path.suffix in suffixes or path.name in ("rounds.json", "index")]
    kept += [path.with_suffix("") for path in folder.rglob("*.txt.json")]
    files = [path for path in kept if path.is_file() and "bm25" not in path.parts]
    assert {"rounds.json", "rounds.svg", "model.safetensors", "data.jsonl"} <= {path.name for path in files}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

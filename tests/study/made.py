"""Made-up texts about the made-up paragraphs, in stage folders as a generator, a filter and a translator write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from xqg_repro import collection
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.reader import SEEN
from xqg_repro.study.data import ParallelData
from xqg_repro.study.reading import SPANS

from .conftest import CODES

DOCIDS = tuple(f"{article}-{p}" for article in range(6) for p in range(2))


def query(docid: str, code: str, rank: int) -> str:
    """A query in the words of the paragraph, such as ``which arba1?``."""
    article, p = docid.split("-")
    return f"which {code}{'bdkmnr'[int(article)]}{'aeiou'[rank % 5]}{p}?"


def translation(docid: str, code: str) -> str:
    return " ".join(query(docid, code, rank) for rank in range(4, -1, -1))


def write_generated(
    folder: Path,
    docids: Iterable[str] = DOCIDS,
    ranks: Sequence[int] = (0, 1, 2),
    *,
    seen: Sequence[str] = (),
    stage: str = "generate",
    tokens: int = 0,
) -> Path:
    """Queries of some ranks in all languages."""
    lines = [
        {"docid": docid, "generated_queries": {code: [query(docid, code, rank) for rank in ranks] for code in CODES}}
        for docid in docids
    ]
    return _write(folder, Manifest(stage, {"generator": {"model": "writer"}}, {"model": "m"}), lines, seen, tokens)


def write_translated(
    folder: Path, docids: Iterable[str] = DOCIDS, *, seen: Sequence[str] = (), name: str = "xquad/en", tokens: int = 0
) -> Path:
    """Translations into all languages but English."""
    lines = [
        {"docid": d, "translations": {code: translation(d, code) for code in CODES if code != "en"}} for d in docids
    ]
    parameters = {"collection": name, "languages": [c for c in CODES if c != "en"], "translator": {"model": "writer"}}
    version = "gone"
    if name.startswith("xquad/") or Path(name).exists():
        version = collection.fingerprint(collection.load(name, needs=["docs"]), "docs")
    return _write(folder, Manifest("translate", parameters, {"collection": version, "model": "m"}), lines, seen, tokens)


def _write(folder: Path, manifest: Manifest, lines: Sequence[object], seen: Sequence[str], tokens: int) -> Path:
    def build(partial: Path) -> dict[str, int]:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        (partial / "00000.jsonl").write_text(text, encoding="utf-8")
        if seen:
            (partial / SEEN).write_text("".join(f"{name}\n" for name in seen), encoding="utf-8")
        return {"tokens": tokens, "seconds": 2 * tokens} if tokens else {}

    build_stage(folder, manifest, build)
    return folder


def make_all_spans(data: ParallelData) -> np.ndarray:
    """A span of a reader for every question, in whatever language, in every English paragraph."""
    draw = np.random.default_rng(5)
    parts = []
    for code in CODES:
        rows = np.zeros(len(data.qids) * len(data.docids), dtype=SPANS)
        rows["passages"], rows["questions"] = "en", code
        rows["question"], rows["paragraph"] = np.divmod(np.arange(len(rows)), len(data.docids))
        rows["start"] = 5 * draw.integers(5, size=len(rows))
        rows["end"] = rows["start"] + 5
        rows["score"] = draw.normal(size=len(rows))
        parts.append(rows)
    return np.concatenate(parts)

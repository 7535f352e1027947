from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import contents

from xqg_repro.core.settings import parse
from xqg_repro.core.stages import Manifest
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.settings import Backend, GeneratorConfig, Precision
from xqg_repro.representation.generate import generate
from xqg_repro.representation.queries import read_queries

from .conftest import Few


def test_shards_hold_the_collection_in_order(few: Few) -> None:
    folder = few.output("generate")
    shards = sorted(folder.glob("*.jsonl"))
    assert [path.name for path in shards] == [f"0000{number}.jsonl" for number in range(4)]
    assert [len(path.read_text().splitlines()) for path in shards] == [4, 4, 4, 2]
    expected = QueryGenerator(few.generator, "cpu").generate(few.passages)
    assert list(read_queries(folder, few.generator.languages, 3)) == expected
    manifest = Manifest.read(folder)
    assert (manifest.stage, manifest.parameters["collection"]) == ("generate", "few")
    assert parse(GeneratorConfig, manifest.parameters["generator"], "manifest") == few.generator
    assert set(manifest.inputs) == {"collection", "model"}
    assert (manifest.counts["passages"], manifest.counts["queries"]) == (14, 14 * 2 * 3)
    assert 0 < manifest.counts["wrong_script"] < 84


def test_queries_are_rebuilt_when_a_setting_changes(few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = shutil.copytree(few.output("generate"), tmp_path / "copy")
    caplog.clear()
    shorter = dataclasses.replace(few.generator, queries=1, query_max_length=2)
    generate("few", shorter, copy, shard_size=4, device="cpu")
    assert caplog.messages[0].endswith("is rebuilt (changed: generator)")
    assert len(list(read_queries(copy, shorter.languages, 1))) == 14


def test_counts_cover_all_shards_of_an_interrupted_run(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def write(self: QueryGenerator, docs: list[Any], report: Any) -> list[PassageQueries]:
        made.append(len(docs))
        if len(made) == 3:
            raise KeyboardInterrupt
        queries = {"fi": ("a", "", "a"), "ru": ("", "", "1?")} if len(made) == 1 else {"fi": ("a", "я", "b")}
        return [PassageQueries(doc.doc_id, {"ru": ("я", "a", "ю"), **queries}) for doc in docs]

    monkeypatch.setattr(QueryGenerator, "generate", write)
    with pytest.raises(KeyboardInterrupt):
        few.run("generate", tmp_path / "q", shard_size=5)
    manifest = few.run("generate", tmp_path / "q", shard_size=5)
    assert made == [5, 5, 4, 4]
    expected = {"passages": 14, "queries": 84, "empty": 5 * 3, "duplicate": 5, "wrong_script": 5 + 2 * 9}
    assert manifest.counts == expected


def test_an_open_precision_follows_the_hardware_or_existing_queries(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    config = dataclasses.replace(few.generator, precision=None, queries=1, query_max_length=1)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    generate("few", config, tmp_path / "q", device="cpu")
    assert Manifest.read(tmp_path / "q").parameters["generator"]["precision"] == "bfloat16"
    before = contents(tmp_path / "q")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    generate("few", config, tmp_path / "q", device="cpu")
    assert contents(tmp_path / "q") == before


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, ("ctranslate2", "int8")),
        ({"backend": Backend.CTRANSLATE2}, ("ctranslate2", "int8")),
        ({"precision": Precision.INT8}, ("ctranslate2", "int8")),
        ({"backend": Backend.TORCH}, ("torch", "float32")),
        ({"precision": Precision.FLOAT32}, ("torch", "float32")),
    ],
)
def test_the_backend_and_precision_of_existing_queries_are_kept_together_or_not_at_all(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any], expected: tuple[str, str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    config = dataclasses.replace(few.generator, backend=None, precision=None, queries=1, query_max_length=1)
    generate("few", dataclasses.replace(config, precision=Precision.INT8), tmp_path / "q", device="cpu")
    generate("few", dataclasses.replace(config, **named), tmp_path / "q", device="cpu")
    generator = Manifest.read(tmp_path / "q").parameters["generator"]
    assert (generator["backend"] or "torch", generator["precision"]) == expected

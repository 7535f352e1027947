from __future__ import annotations

import dataclasses
import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import TranslatorConfig, load_translator
from xqg_repro.models.translator import PassageTranslations, Translator
from xqg_repro.representation.translate import read_translations, translate

from .conftest import Few


def test_shards_hold_the_collection_in_order(few: Few) -> None:
    folder = few.output("translate")
    lines = [path.read_text(encoding="utf-8").splitlines() for path in sorted(folder.glob("*.jsonl"))]
    assert [len(shard) for shard in lines] == [4, 4, 4, 2]
    results = list(read_translations(folder))
    assert results == Translator(few.translator, ("fi", "ru"), "cpu").translate(few.passages)
    assert [passage.line() for passage in results] == [line for shard in lines for line in shard]
    manifest = Manifest.read(folder)
    assert (manifest.stage, manifest.parameters["collection"]) == ("translate", "few")
    assert manifest.parameters["languages"] == ["fi", "ru"]
    assert parse(TranslatorConfig, manifest.parameters["translator"], "manifest") == few.translator
    assert set(manifest.inputs) == {"collection", "model"}
    assert (manifest.counts["passages"], manifest.counts["translations"]) == (14, 28)
    assert manifest.counts["unfinished"] == sum(len(passage.unfinished) for passage in results) > 0


def test_translations_are_rebuilt_when_a_setting_changes(
    few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(few.output("translate"), tmp_path / "copy")
    beams = dataclasses.replace(few.translator, beams=2)
    for config, changed in ((few.translator, "languages"), (beams, "translator")):
        translate("few", ("ru",), config, copy, shard_size=4, device="cpu")
        assert caplog.messages[-2].endswith(f"is rebuilt (changed: {changed})")


def test_counts_cover_all_shards_of_an_interrupted_run(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def write(self: Translator, docs: list[Passage], report: Any) -> list[PassageTranslations]:
        made.append(len(docs))
        if len(made) == 2:
            raise KeyboardInterrupt
        texts = [{"fi": "", "ru": "a" if doc.doc_id == "3" else "я"} for doc in docs]
        return [PassageTranslations(doc.doc_id, text, []) for doc, text in zip(docs, texts, strict=True)]

    monkeypatch.setattr(Translator, "translate", write)
    with pytest.raises(KeyboardInterrupt):
        few.run("translate", tmp_path / "t", shard_size=8)
    manifest = few.run("translate", tmp_path / "t", shard_size=8)
    assert made == [8, 6, 6]
    expected = {"passages": 14, "translations": 28, "empty": 14, "unfinished": 0, "wrong_script": 1}
    assert manifest.counts == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"docid": "1", "transl', "the line is truncated"),
        ('{"docid": "1", "translations": ["a"]}\n', "not a mapping"),
        ('{"docid": "1", "translations": {"ru": ["a"]}}\n', "not a string"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    good = PassageTranslations("0", {"ru": "я"}, ["ru"])
    (tmp_path / "00000.jsonl").write_text(f"{good.line()}\n{line}", encoding="utf-8")
    read = read_translations(tmp_path)
    assert next(read) == good
    with pytest.raises(InputError, match=problem) as caught:
        next(read)
    assert (caught.value.path, caught.value.line) == (tmp_path / "00000.jsonl", 2)


def test_a_collection_in_another_language_is_refused(few: Few, tmp_path: Path) -> None:
    arabic = dataclasses.replace(few.translator, source="ar")
    with pytest.raises(InputError, match=r"few is in 'en', not in 'ar' \(--source en"):
        translate("few", ("fi",), arabic, tmp_path / "t", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_preset_and_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    module = importlib.import_module("xqg_repro.representation.translate")  # the folder's public name is the function
    monkeypatch.setattr(module, "translate", lambda *args, **options: calls.append(args))
    line = "translate --collection xquad/en --preset madlad400-3b --languages ar th --beams 4 --output o --codes"
    assert cli.main([*line.split(), "ar=arb_Arab"]) == 0
    config = dataclasses.replace(load_translator("madlad400-3b"), beams=4, codes={"ar": "arb_Arab"})
    assert calls == [("xquad/en", ["ar", "th"], config, "o")]
    assert cli.main([*line.split(), "ar"]) == 2

"""Packed texts are read as the folders they were made from."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest, verify
from xqg_repro.study.data import load_data
from xqg_repro.study.made import read_made
from xqg_repro.study.packed import find_packed, pack_folder
from xqg_repro.study.settings import Kind, load_study

from .conftest import CODES
from .made import DOCIDS, write_generated, write_translated

FIRST, SECOND = DOCIDS[:6], DOCIDS[6:]


def test_packed_texts_are_the_same_texts(
    shared_xquad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    pack_texts = importlib.import_module("pack_texts")
    losses = tmp_path / "l.json"
    losses.write_text('{"question": {"ar": {"loss": 1.5, "tokens": 3}}}')
    folders = {
        Kind.GENERATED: [
            write_generated(tmp_path / "g0", FIRST, seen=["5-0"]),
            write_generated(tmp_path / "g1", SECOND),
        ],
        Kind.FILTERED: [write_generated(tmp_path / "f", ranks=(1,), stage="filter")],
        Kind.TRANSLATED: [write_translated(tmp_path / "t0", SECOND), write_translated(tmp_path / "t1", FIRST)],
    }
    options = [part for kind, paths in folders.items() for part in (f"--{kind}", *map(str, paths))]
    command = ["pack_texts", *options, "--losses", str(losses), "--languages", *CODES]
    monkeypatch.setattr(sys, "argv", command)
    pack_texts.main()
    packed = find_packed()
    assert capsys.readouterr().out.splitlines() == [path for paths in packed.values() for path in paths]
    assert {kind: len(paths) for kind, paths in packed.items()} == {
        "generated": 2,
        "filtered": 1,
        "translated": 2,
        "losses": 1,
    }
    assert packed["generated"][1] == "docs/study/generated/generated.1"
    assert [path.name for path in sorted(Path(packed["generated"][0]).iterdir())] == [
        "00000.jsonl.gz",
        "manifest.json",
        "questions.txt",
    ]
    assert "CC BY-SA 4.0" in Path("docs/study/generated/README.md").read_text()

    study, data = load_study(CODES, generated=True, filtered=True, translated=True), load_data(CODES)
    before, after = (
        read_made(*sources, study, data) for sources in (folders.values(), [packed[kind] for kind in folders])
    )
    assert before == after and before.versions() == after.versions()
    with pytest.raises(InputError, match="is not empty"):
        pack_texts.main()


def test_texts_with_a_leak_are_not_packed(shared_xquad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    pack_texts = importlib.import_module("pack_texts")
    source = write_generated(tmp_path / "g", seen=["5-0"])
    options = ["--generated", str(source), "--languages", *CODES, "--output", str(tmp_path / "packed")]
    monkeypatch.setattr(sys, "argv", ["pack_texts", *options])
    with pytest.raises(InputError, match="trained on article 5"):
        pack_texts.main()


def test_manifests_keep_no_places_of_the_machine(tmp_path: Path, shared_xquad: Path) -> None:
    folder = write_generated(tmp_path / "g")
    manifest = Manifest.read(folder)
    manifest.parameters.update(
        generator={"model": "/home/me/models/writer-0", "languages": ["ar"]}, collection="~/x.jsonl"
    )
    manifest.write(folder)
    pack_folder(folder, "generate", tmp_path / "packed")
    packed = verify(tmp_path / "packed", checksums=True)
    assert packed.parameters["generator"] == {"model": "writer-0", "languages": ["ar"]}
    assert packed.parameters["collection"] == "x.jsonl"
    assert "/home" not in json.dumps(packed.parameters)
    with pytest.raises(InputError, match="is the output of generate, not of translate"):
        pack_folder(folder, "translate", tmp_path / "other")

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import contents

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage, fingerprint, open_stage, verify

FILES = {"00.txt": "first\n", "01.txt": "second\n", "02.txt": "third\n"}
WANTED = Manifest("stage", {"size": 2, "pooling": "cls"}, {"source": "abc"})
OTHER = Manifest("stage", {"size": 1})


class Build:
    """Writes files one by one, as a stage does; skips complete ones, and may be interrupted before one of them."""

    def __init__(self, files: dict[str, str] = FILES, interrupt_before: str = "") -> None:
        self.files, self.interrupt_before = files, interrupt_before
        self.written: list[str] = []

    def __call__(self, folder: Path) -> dict[str, int]:
        for name, text in self.files.items():
            if name == self.interrupt_before:
                raise KeyboardInterrupt
            if not (folder / name).exists():
                with atomic_write(folder / name) as file:
                    file.write(text)
                self.written.append(name)
        return {"files": len(self.files)}


def rebuild(folder: Path, wanted: Manifest = WANTED, **options: Any) -> list[str]:
    """Build the stage, and return the names of the files that were written."""
    build = Build()
    build_stage(folder, wanted, build, **options)
    return build.written


def interrupt(folder: Path, wanted: Manifest = WANTED, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_stage(folder, wanted, Build(interrupt_before="02.txt"), **options)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished stage folder."""
    rebuild(tmp_path / "out")
    return tmp_path / "out"


# manifests


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest("stage", {"ü": None}, {"source": "abc"}, {"n": 1}, {"a": {"bytes": 1, "sha256": "0"}})
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    Manifest("stage", {"languages": ("ar", "fi"), "size": 1}).write(tmp_path)  # JSON makes a list of the tuple
    assert Manifest.read(tmp_path).differences(Manifest("stage", {"languages": ("ar", "fi"), "size": 2})) == ["size"]


def test_the_identity_covers_stage_parameters_and_inputs() -> None:
    same = Manifest("s", counts={"n": 1}, files={"a": {}}, docids="1")
    different = [Manifest("t"), Manifest("s", {"a": 1}), Manifest("s", inputs={"a": "1"})]
    assert same.identity == Manifest("s").identity
    assert len({manifest.identity for manifest in (same, *different)}) == 4


def test_files_in_subfolders_are_described_and_verified(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    files = {"a.txt": "1\n", "fi/b.txt": "22\n", "fi/.c.txt": "3\n", ".d/e.txt": "4\n"}
    manifest = build_stage(folder, WANTED, Build(files))
    assert {name: file["bytes"] for name, file in manifest.files.items()} == {"a.txt": 2, "fi/b.txt": 3}
    (folder / "fi" / "b.txt").unlink()
    with pytest.raises(InputError, match=r"fi/b.txt: is missing"):
        verify(folder)


def test_a_models_name_is_not_part_of_the_identity() -> None:
    def manifest(name: str, pooling: str, **inputs: str) -> Manifest:
        return Manifest("s", {"readers": ({"model": name, "pooling": pooling},)}, inputs)

    a = manifest("a", "cls", model="1")
    assert a.identity == manifest("b", "cls", model="1").identity
    assert a.differences(manifest("b", "cls", model="1")) == []
    assert a.identity != manifest("a", "mean", model="1").identity
    assert a.identity != manifest("a", "cls", model="2").identity
    assert manifest("a", "cls").identity != manifest("b", "cls").identity  # nothing else distinguishes the models


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"stage": "s", "surprise": 1}', b"\xff"])
def test_a_bad_manifest_is_named_and_nothing_is_built(out: Path, text: bytes) -> None:
    (out / MANIFEST).write_bytes(text)
    for read in (lambda: Manifest.read(out), lambda: rebuild(out)):
        with pytest.raises(InputError, match="cannot be read as a manifest") as caught:
            read()
        assert caught.value.path == out / MANIFEST


def test_a_manifest_contains_no_time_and_no_host(out: Path) -> None:
    stored = json.loads((out / MANIFEST).read_text())
    assert set(stored) == {"stage", "parameters", "inputs", "counts", "files", "format", "digest"}
    assert all(set(entry) == {"bytes", "sha256"} for entry in stored["files"].values())


def test_a_changed_manifest_is_refused(out: Path) -> None:
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(text.replace('"counts": {', '"counts": {\n  "more": 1,'))
    with pytest.raises(InputError, match="changed after it had been written") as caught:
        Manifest.read(out)
    assert caught.value.path == out / MANIFEST


def test_the_digest_of_the_docids_is_that_of_all_shards_in_order(tmp_path: Path) -> None:
    whole = build_stage(tmp_path / "a", WANTED, Build({"0.docid": "1\n2\n"}))
    split = build_stage(tmp_path / "b", WANTED, Build({"0.docid": "1\n", "1.docid": "2\n"}))
    other = build_stage(tmp_path / "c", WANTED, Build({"0.docid": "2\n1\n"}))
    assert whole.docids == split.docids != other.docids
    assert Manifest.read(tmp_path / "a").docids == whole.docids != ""


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    for name in "ab":
        build_stage(tmp_path / name, WANTED, Build({"f": name}))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


# reuse


def test_a_stage_folder_contains_the_files_and_their_manifest(tmp_path: Path) -> None:
    manifest = build_stage(tmp_path / "out", WANTED, Build())
    assert set(contents(tmp_path / "out")) == {*FILES, MANIFEST}
    assert manifest == Manifest.read(tmp_path / "out") == open_stage(tmp_path / "out", "other", "stage")
    assert {name: entry["bytes"] for name, entry in manifest.files.items()} == {n: len(t) for n, t in FILES.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_matching_folder_is_reused(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert rebuild(out) == []
    assert caplog.messages == [f"stage: {out} is up to date"]


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (Manifest("stage", {"size": 3, "pooling": "cls"}, {"source": "abc"}), "size"),
        (Manifest("stage", {"size": 2}, {"source": "abc"}), "pooling"),
        (Manifest("stage", {"size": 1, "pooling": "cls"}, {"source": "x"}), "size, source"),
    ],
)
def test_a_changed_parameter_or_input_is_logged_and_the_folder_rebuilt(
    out: Path, caplog: pytest.LogCaptureFixture, changed: Manifest, names: str
) -> None:
    build_stage(out, changed, Build({"new.txt": "new"}))
    assert set(contents(out)) == {"new.txt", MANIFEST}
    assert f"stage: {out} is rebuilt (changed: {names})" in caplog.messages


def test_force_rebuilds_a_matching_and_even_a_damaged_folder(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    (out / "01.txt").unlink()
    assert rebuild(out, force=True) == [*FILES]
    assert f"stage: {out} is rebuilt (--force)" in caplog.messages
    assert verify(out, checksums=True).identity == WANTED.identity


def test_other_folders_are_never_replaced(tmp_path: Path) -> None:
    thesis = {"thesis.tex": b"years of work"}
    for name in ("out", "free.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_bytes(thesis["thesis.tex"])
    (tmp_path / "file").write_text("a file")
    rebuild(tmp_path / "index", Manifest("index"))
    before = contents(tmp_path / "index")
    for name, problem in (
        ("out", "out: is not the output of a stage"),
        ("free", "free.partial: is in the way"),
        ("file", "file: is a file, expected a folder"),
        ("index", "index: holds the output of index, which stage does not replace"),
    ):
        for force in (False, True):
            with pytest.raises(InputError, match=problem):
                rebuild(tmp_path / name, force=force)
    assert contents(tmp_path / "out") == contents(tmp_path / "free.partial") == thesis
    assert (tmp_path / "file").read_text() == "a file"
    assert contents(tmp_path / "index") == before


def test_an_empty_folder_and_a_linked_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large_disk")
    rebuild(tmp_path / "out")
    assert verify(tmp_path / "large_disk", checksums=True).counts == {"files": 3}
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(("text", "problem"), [(None, "is missing"), ("sec", "is not the file")])
def test_a_damaged_file_of_a_reused_folder_is_named(out: Path, text: str | None, problem: str) -> None:
    (out / "01.txt").unlink() if text is None else (out / "01.txt").write_text(text)
    for use in (lambda: rebuild(out), lambda: open_stage(out, "stage")):
        with pytest.raises(InputError, match=f"{problem}.*--force") as caught:
            use()
        assert caught.value.path == out / "01.txt"


def test_a_changed_file_of_the_same_size_and_another_stage_are_refused(out: Path) -> None:
    with pytest.raises(InputError, match="is the output of stage, not of encode or augment"):
        open_stage(out, "encode", "augment")
    (out / "01.txt").write_text("Second\n")
    with pytest.raises(InputError, match="is not the file"):
        verify(out, checksums=True)


# resuming


def test_an_interrupted_run_resumes_with_the_bytes_of_an_undisturbed_one(tmp_path: Path, out: Path) -> None:
    interrupt(tmp_path / "again")
    assert not (tmp_path / "again").exists()
    (tmp_path / "again.partial" / ".02.txt.123.tmp").write_text("thi")
    assert rebuild(tmp_path / "again") == ["02.txt"]
    assert contents(tmp_path / "again") == contents(out)


def test_an_interrupted_run_leaves_the_old_folder(out: Path) -> None:
    before = contents(out)
    interrupt(out, OTHER)
    assert contents(out) == before
    assert rebuild(out, Manifest("stage", {"size": 5})) == [*FILES]  # another identity does not resume it


def test_a_forced_run_resumes_only_a_forced_one(tmp_path: Path) -> None:
    interrupt(tmp_path / "out")
    interrupt(tmp_path / "out", force=True)
    assert sorted(path.name for path in (tmp_path / "out.partial").glob("*.txt")) == ["00.txt", "01.txt"]
    assert rebuild(tmp_path / "out", force=True) == ["02.txt"]
    interrupt(tmp_path / "out", force=True)
    assert rebuild(tmp_path / "out") == []  # the finished folder is reused
    interrupt(tmp_path / "new")
    assert rebuild(tmp_path / "new", force=True) == [*FILES]


def test_a_folder_that_another_process_is_building_is_left_alone(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, int]:
        before = contents(folder)
        for force in (False, True):
            with pytest.raises(InputError, match="out: is being built by another process"):
                rebuild(tmp_path / "out", force=force)
        assert contents(folder) == before
        return Build()(folder)

    build_stage(tmp_path / "out", WANTED, build)
    assert set(contents(tmp_path / "out")) == {*FILES, MANIFEST}


def test_a_run_killed_before_the_last_rename_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.replace

    def kill(source: Path, target: Path) -> None:
        if Path(source).is_dir():
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", kill)
        rebuild(tmp_path / "out")
    assert rebuild(tmp_path / "out") == []
    assert verify(tmp_path / "out", checksums=True).identity == WANTED.identity


def test_a_run_killed_while_removing_the_stale_folder_can_be_repeated(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(folder: Path, **_: object) -> None:
        if Path(folder).exists():
            (Path(folder) / MANIFEST).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", kill)
        rebuild(out, OTHER)
    rebuild(out, OTHER)
    assert verify(out).identity == OTHER.identity
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_stage_resumes_when_the_disk_has_space_again(tmp_path: Path, disk_of: Callable[[int], Any]) -> None:
    files = {"a.txt": "x" * 99, "b.txt": "x" * 101}
    for size in (0, 100):
        with pytest.raises(InputError, match="could not be written"), disk_of(size):
            build_stage(tmp_path / "out", WANTED, Build(files))
        assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*.tmp"))
    build = Build(files)
    build_stage(tmp_path / "out", WANTED, build)
    assert build.written == ["b.txt"]


def test_a_stage_that_fails_before_its_first_file_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> dict[str, int]:
        raise InputError("no model")

    with pytest.raises(InputError, match="no model"):
        build_stage(tmp_path / "out", WANTED, refuse)
    assert list(tmp_path.iterdir()) == []

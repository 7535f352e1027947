import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from xqg_repro.core import stages as artifacts
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage, check_output, fingerprint, matching_manifest, verify

FILES = {"00.txt": "first\n", "01.txt": "second\n", "02.txt": "third\n"}
WANTED = Manifest("stage", {"size": 2, "pooling": "cls"}, {"source": "abc"})


class Build:
    """Writes files one by one, as a stage does; skips whole ones, and may be cut off before one of them."""

    def __init__(self, files: dict[str, str] = FILES, cut_before: str = "") -> None:
        self.files, self.cut_before = files, cut_before
        self.calls, self.written = 0, []

    def __call__(self, folder: Path) -> dict[str, int]:
        self.calls += 1
        for name, text in self.files.items():
            if name == self.cut_before:
                raise KeyboardInterrupt
            if not (folder / name).exists():
                with atomic_write(folder / name) as file:
                    file.write(text)
                self.written.append(name)
        return {"files": len(self.files)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Lets no file grow beyond ``size`` bytes: writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- single files


def test_atomic_write_replaces_the_file_and_makes_its_folder(tmp_path: Path) -> None:
    for text in ("old", "neu\n"):
        with atomic_write(tmp_path / "sub" / "file") as file:
            file.write(text)
    assert contents(tmp_path / "sub") == {"file": b"neu\n"}


def test_nothing_stands_under_the_final_name_before_the_block_ends(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as file:
        file.write("x")
        file.flush()
        assert not (tmp_path / "file").exists()


def test_an_exception_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "file") as file:
        file.write("new")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_sync_is_an_input_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="could not be written") as caught, atomic_write(tmp_path / "file") as file:
        file.write("new")
    assert caught.value.path == tmp_path / "file"
    assert contents(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("write", [lambda f: f.write(b"x" * 5000), lambda f: np.save(f, np.zeros(5000))])
def test_a_file_that_cannot_grow_is_an_input_error_and_leaves_nothing(tmp_path: Path, write) -> None:
    with (
        pytest.raises(InputError, match="could not be written"),
        file_size_limit(1000),
        atomic_write(tmp_path / "file", "wb") as file,
    ):
        write(file)
    assert contents(tmp_path) == {}


def test_trouble_with_another_file_in_the_block_names_that_file(tmp_path: Path) -> None:
    with pytest.raises((InputError, OSError), match="source"), atomic_write(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source"))


@pytest.mark.parametrize("place", ["folder", "plain/file"])
def test_an_impossible_output_path_is_an_input_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match=place), atomic_write(tmp_path / place) as file:
        file.write("x")


# --- manifests


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest("stage", {"ü": None}, {"source": "abc"}, {"n": 1}, {"a": {"bytes": 1, "sha256": "0"}})
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


def test_counts_and_files_are_no_part_of_the_identity() -> None:
    assert Manifest("s", counts={"n": 1}, files={"a": {}}).identity == Manifest("s").identity


@pytest.mark.parametrize("other", [Manifest("t"), Manifest("s", {"a": 1}), Manifest("s", inputs={"a": "1"})])
def test_stage_parameters_and_inputs_are_part_of_the_identity(other: Manifest) -> None:
    assert other.identity != Manifest("s").identity


def test_where_a_model_lies_is_no_part_of_the_identity() -> None:
    def made(name: str, pooling: str, **inputs: str) -> Manifest:
        return Manifest("s", {"readers": ({"model": name, "pooling": pooling},)}, inputs)

    assert made("a", "cls", model="1").identity == made("b", "cls", model="1").identity
    assert made("a", "cls", model="1").differences(made("b", "cls", model="1")) == []
    assert made("a", "cls", model="1").identity != made("a", "mean", model="1").identity
    assert made("a", "cls", model="1").identity != made("a", "cls", model="2").identity
    assert made("a", "cls").identity != made("b", "cls").identity  # nothing else tells the models apart


@pytest.mark.parametrize("name", ["run.txt.gz", "run.txt", "run.txt.json"])
def test_outputs_that_would_replace_something_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.txt").write_text("")
    with pytest.raises(InputError, match=name):
        check_output(tmp_path / name, tmp_path / "run.txt")
    check_output(tmp_path / "scores.json", tmp_path / "run.txt")


def test_a_note_that_cannot_be_read_says_what_to_delete(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("")
    (tmp_path / "run.txt.json").write_text("{}")
    with pytest.raises(InputError, match=r"run.txt.json: cannot be read as a manifest.*delete this file"):
        matching_manifest(tmp_path / "run.txt", WANTED)


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"stage": "s", "surprise": 1}', b"\xff"])
def test_a_manifest_that_cannot_be_understood_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(InputError, match="cannot be read as a manifest") as caught:
        Manifest.read(tmp_path)
    assert caught.value.path == tmp_path / MANIFEST


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json") as caught:
        Manifest.read(tmp_path)
    assert caught.value.path == tmp_path


def test_the_fingerprint_follows_the_files_of_equal_identity(tmp_path: Path) -> None:
    build_stage(tmp_path / "a", WANTED, Build({"f": "1"}))
    build_stage(tmp_path / "b", WANTED, Build({"f": "2"}))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


# --- reuse


def test_a_produced_folder_holds_the_files_and_a_manifest_of_them(tmp_path: Path) -> None:
    manifest = build_stage(tmp_path / "out", WANTED, Build())
    assert set(contents(tmp_path / "out")) == {*FILES, MANIFEST}
    assert manifest == Manifest.read(tmp_path / "out")
    assert {name: entry["bytes"] for name, entry in manifest.files.items()} == {n: len(t) for n, t in FILES.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_matching_folder_is_reused_without_building(tmp_path: Path) -> None:
    first = build_stage(tmp_path / "out", WANTED, Build())
    again, log = Build(), []
    assert build_stage(tmp_path / "out", WANTED, again) == first
    assert again.calls == 0
    assert len(log) == 1 and "there already" in log[0]


@pytest.mark.parametrize(
    ("changed", "name", "unchanged"),
    [
        (Manifest("stage", {"size": 3, "pooling": "cls"}, {"source": "abc"}), "size", ["pooling", "source"]),
        (Manifest("stage", {"size": 2}, {"source": "abc"}), "pooling", ["size", "source"]),
        (Manifest("stage", {"size": 2, "pooling": "cls"}, {"source": "x"}), "source", ["size", "pooling"]),
    ],
)
def test_a_changed_parameter_or_input_is_logged_and_the_folder_made_anew(
    tmp_path: Path, changed: Manifest, name: str, unchanged: list[str]
) -> None:
    build_stage(tmp_path / "out", WANTED, Build({"old.txt": "old"}))
    again, log = Build({"new.txt": "new"}), []
    build_stage(tmp_path / "out", changed, again)
    assert again.calls == 1
    assert set(contents(tmp_path / "out")) == {"new.txt", MANIFEST}
    reason = log[0].partition("made anew")[2]
    assert name in reason
    assert not any(other in reason for other in unchanged)


def test_a_parameter_that_json_stores_in_another_type_does_not_count_as_changed(tmp_path: Path) -> None:
    log: list[str] = []
    build_stage(tmp_path / "out", Manifest("stage", {"languages": ("ar", "fi"), "size": 1}), Build())
    build_stage(tmp_path / "out", Manifest("stage", {"languages": ("ar", "fi"), "size": 2}), Build())
    assert "size" in log[0] and "languages" not in log[0]


def test_force_makes_a_matching_folder_anew(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    again, log = Build(), []
    build_stage(tmp_path / "out", WANTED, again, force=True)
    assert again.written == [*FILES]
    assert "--force" in log[0]


def test_force_mends_a_damaged_folder(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    (tmp_path / "out" / "01.txt").unlink()
    build_stage(tmp_path / "out", WANTED, Build(), force=True)
    assert (tmp_path / "out" / "01.txt").read_text() == FILES["01.txt"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_stage_folder_is_never_deleted(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError) as caught:
        build_stage(tmp_path, WANTED, Build(), force=force)
    assert caught.value.path == tmp_path
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_partial_folder_that_no_stage_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"out\.partial"):
        build_stage(tmp_path / "out", WANTED, Build())
    assert contents(tmp_path / "out.partial") == {"thesis.tex": b"years of work"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    build_stage(tmp_path / "out", WANTED, Build())
    assert verify(tmp_path / "out", checksums=True).counts == {"files": 3}


def test_a_file_in_the_place_of_the_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out"):
        build_stage(tmp_path / "out", WANTED, Build())
    assert (tmp_path / "out").read_text() == "a file"


def test_a_linked_output_folder_can_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large_disk")
    build_stage(tmp_path / "out", WANTED, Build())
    assert verify(tmp_path / "out").identity == WANTED.identity


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("sec"), "is not the file"),
        (lambda path: path.write_text(""), "is not the file"),
    ],
)
def test_a_damaged_file_of_a_reused_folder_is_named(tmp_path: Path, damage, problem: str) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    damage(tmp_path / "out" / "01.txt")
    with pytest.raises(InputError, match=problem) as caught:
        build_stage(tmp_path / "out", WANTED, Build())
    assert caught.value.path == tmp_path / "out" / "01.txt"
    assert "--force" in caught.value.hint


def test_checksums_find_a_change_that_keeps_the_size(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    (tmp_path / "out" / "01.txt").write_text("Second\n")
    with pytest.raises(InputError, match="is not the file"):
        verify(tmp_path / "out", checksums=True)


def test_a_manifest_that_is_not_json_stops_the_reuse(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    (tmp_path / "out" / MANIFEST).write_text("{")
    again = Build()
    with pytest.raises(InputError, match="cannot be read as a manifest"):
        build_stage(tmp_path / "out", WANTED, again)
    assert again.calls == 0


def test_equal_stages_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_stage(tmp_path / name, WANTED, Build())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_manifest_holds_neither_time_nor_host(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    stored = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert set(stored) == {"stage", "parameters", "inputs", "counts", "files", "format"}
    assert all(set(entry) == {"bytes", "sha256"} for entry in stored["files"].values())


# --- resuming


def interrupted(folder: Path, wanted: Manifest = WANTED, cut_before: str = "02.txt") -> None:
    with pytest.raises(KeyboardInterrupt):
        build_stage(folder, wanted, Build(cut_before=cut_before))


def test_a_killed_run_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_run_leaves_the_old_folder(tmp_path: Path) -> None:
    before = build_stage(tmp_path / "out", Manifest("stage", {"size": 1}), Build())
    interrupted(tmp_path / "out")
    assert verify(tmp_path / "out", checksums=True) == before


def test_a_killed_run_resumes_behind_its_last_whole_file(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    again = Build()
    build_stage(tmp_path / "out", WANTED, again)
    assert again.written == ["02.txt"]


def test_a_resumed_run_ends_with_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    build_stage(tmp_path / "undisturbed", WANTED, Build())
    interrupted(tmp_path / "out")
    build_stage(tmp_path / "out", WANTED, Build())
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_whole_files_of_another_identity_are_not_resumed(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", Manifest("stage", {"size": 1}))
    again = Build()
    build_stage(tmp_path / "out", WANTED, again)
    assert again.written == [*FILES]


def test_force_does_not_resume_what_was_not_forced(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    again = Build()
    build_stage(tmp_path / "out", WANTED, again, force=True)
    assert again.written == [*FILES]


@pytest.mark.parametrize("force", [True, False])
def test_a_forced_run_that_was_killed_is_resumed(tmp_path: Path, force: bool) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    with pytest.raises(KeyboardInterrupt):
        build_stage(tmp_path / "out", WANTED, Build(cut_before="02.txt"), force=True)
    again = Build()
    build_stage(tmp_path / "out", WANTED, again, force=force)
    assert again.written == (["02.txt"] if force else [])  # without force, the whole folder is reused


def test_a_folder_that_another_process_makes_is_left_to_it(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, int]:
        before = contents(folder)
        for force in (False, True):
            with pytest.raises(InputError, match="out: is being made by another process"):
                build_stage(tmp_path / "out", WANTED, Build(), force=force)
        assert contents(folder) == before
        return Build()(folder)

    build_stage(tmp_path / "out", WANTED, build)
    assert set(contents(tmp_path / "out")) == {*FILES, MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_of_the_stale_folder_is_removed(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    (tmp_path / "out.stale").mkdir()
    build_stage(tmp_path / "out", WANTED, Build())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    (tmp_path / "out.partial" / ".02.txt.123.tmp").write_text("thi")
    build_stage(tmp_path / "out", WANTED, Build())
    assert set(contents(tmp_path / "out")) == {*FILES, MANIFEST}


def test_a_run_killed_before_the_last_rename_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(source).is_dir():
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(artifacts.os, "replace", killed)
        build_stage(tmp_path / "out", WANTED, Build())
    again = Build()
    build_stage(tmp_path / "out", WANTED, again)
    assert again.written == []


def test_a_run_killed_while_the_stale_folder_is_removed_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, **_: object) -> None:
        if Path(folder).exists():
            (Path(folder) / MANIFEST).unlink()
            raise KeyboardInterrupt

    build_stage(tmp_path / "out", Manifest("stage", {"size": 1}), Build())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        build_stage(tmp_path / "out", WANTED, Build())
    build_stage(tmp_path / "out", WANTED, Build())
    assert verify(tmp_path / "out").identity == WANTED.identity


# --- full disk


@pytest.mark.parametrize("size", [0, 100])
def test_a_full_disk_is_an_input_error_and_leaves_nothing_under_the_final_name(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError, match="could not be written"), file_size_limit(size):
        build_stage(tmp_path / "out", WANTED, Build({"a.txt": "x" * 99, "b.txt": "x" * 101}))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_stage_goes_on_when_the_disk_has_space_again(tmp_path: Path) -> None:
    files = {"a.txt": "x" * 99, "b.txt": "x" * 101}
    with pytest.raises(InputError), file_size_limit(100):
        build_stage(tmp_path / "out", WANTED, Build(files))
    again = Build(files)
    build_stage(tmp_path / "out", WANTED, again)
    assert again.written == ["b.txt"]


def test_the_output_of_another_stage_is_never_replaced(tmp_path: Path) -> None:
    build_stage(tmp_path / "out", WANTED, Build())
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match="holds the output of stage, which index does not replace"):
        build_stage(tmp_path / "out", Manifest("index"), Build(), force=True)
    assert contents(tmp_path / "out") == before


def test_a_stage_that_fails_before_its_first_file_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> dict[str, int]:
        raise InputError("no model")

    with pytest.raises(InputError, match="no model"):
        build_stage(tmp_path / "out", WANTED, refuse)
    assert list(tmp_path.iterdir()) == []

"""Files that are built once and reused, and outputs that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest, build_file, check_output, manifest_path

WANTED, OTHER = Manifest("stage", {"size": 2}), Manifest("stage", {"size": 1})


def test_a_file_is_reused_while_it_matches(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "run.txt"

    def write(path: Path) -> dict[str, int]:
        path.write_text("a")
        return {"lines": 1}

    first = build_file(file, WANTED, write)
    assert (first.counts, Manifest.read_as(manifest_path(file))) == ({"lines": 1}, first)
    assert build_file(file, WANTED, write) == first
    file.write_text("changed")
    build_file(file, WANTED, write)
    build_file(file, OTHER, write)
    build_file(file, OTHER, write, force=True)
    wrote, reused = f"stage: wrote {file} (lines 1)", f"stage: {file} is up to date"
    assert caplog.messages == [wrote, reused, wrote, wrote, wrote]

    manifest_path(file).write_text("{}")
    for force in (False, True):  # it may be another program's file
        with pytest.raises(InputError, match=r"run.txt.json: cannot be read as a manifest.*move this file"):
            build_file(file, WANTED, write, force=force)
    manifest_path(file).unlink()
    with pytest.raises(ZeroDivisionError):
        build_file(file, OTHER, lambda path: {"lines": 1 // 0}, force=True)
    assert not manifest_path(file).exists()


@pytest.mark.parametrize("name", ["run.txt", "run.txt.json", "run.txt.yaml", "run.txt.zip"])
def test_outputs_that_would_replace_their_source_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.txt").write_text("")
    with pytest.raises(InputError, match=name):
        check_output(tmp_path / name, tmp_path / "run.txt")
    check_output(tmp_path / "scores.json", tmp_path / "run.txt")

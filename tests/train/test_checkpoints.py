from __future__ import annotations

from pathlib import Path

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.train import checkpoints


def test_only_complete_checkpoints_count_and_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    def save(step: int) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder

    def names() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    assert checkpoints.last_complete(tmp_path / "none") is None
    first = save(8)
    assert checkpoints.last_complete(tmp_path) is None
    checkpoints.complete(first, None)
    assert names() == {"checkpoint-8"}
    second = save(9)
    checkpoints.complete(second, "/elsewhere/checkpoint-8")
    third = save(10)
    assert checkpoints.last_complete(tmp_path) == second
    checkpoints.drop_incomplete(tmp_path)
    assert names() == {"checkpoint-8", "checkpoint-9"}
    third = save(10)
    checkpoints.complete(third, str(second))
    assert checkpoints.last_complete(tmp_path) == third and names() == {"checkpoint-9", "checkpoint-10"}


def test_another_number_of_processes_cannot_resume(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    checkpoints.complete(folder, None, processes=2)
    checkpoints.check_processes(folder, 2)
    with pytest.raises(InputError, match="saved by 2 processes; 1 cannot resume") as caught:
        checkpoints.check_processes(folder, 1)
    assert caught.value.path == folder

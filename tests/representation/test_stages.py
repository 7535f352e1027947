"""What all stages that write shards have in common: resuming, reuse, a full disk, what they refuse."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import contents

from xqg_repro import collection
from xqg_repro.core.errors import InputError

from .conftest import STAGES, Few


def run_in_child(action: Callable[[], object], die_at: int = 0) -> int:
    """The exit status of an action in a forked process, which kills itself while it writes file number ``die_at``."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        import torch

        torch.set_num_threads(1)  # a forked process lacks the other threads
        written, sync = [], os.fsync

        def sync_or_die(file: int) -> None:
            written.append(file)
            if len(written) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)

        os.fsync = sync_or_die
        signal.alarm(60)
        action()
        status = 0
    finally:
        os._exit(status)


def modification_times(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_resumes_and_writes_the_same_bytes(few: Few, tmp_path: Path, stage: str) -> None:
    whole, killed, partial = (tmp_path / name for name in ("whole", "killed", "killed.partial"))
    assert run_in_child(lambda: few.run(stage, whole)) == 0
    # each run first writes a file of its own: one dies in the last file of shard 1, one in the first file of shard 2
    files = len(list(whole.glob("00001.*")))
    for complete, die_at in ((1, 1 + 2 * files), (2, 1 + files + 1)):
        assert run_in_child(lambda: few.run(stage, killed), die_at) == -signal.SIGKILL
        assert not killed.exists()
        assert len([*partial.glob("?????.npy"), *partial.glob("?????.jsonl")]) == complete
    before = modification_times(partial, "0000[01].*")
    assert run_in_child(lambda: few.run(stage, killed)) == 0
    assert contents(killed) == contents(whole)
    assert modification_times(killed, "0000[01].*") == before
    assert not partial.exists()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("share", [0.1, 0.999])
def test_a_full_disk_leaves_nothing_half_written(
    few: Few, tmp_path: Path, disk_of: Callable[[int], Any], stage: str, share: float
) -> None:
    whole = contents(few.output(stage))
    largest = max(len(data) for file, data in whole.items() if file != "manifest.json")
    with disk_of(int(largest * share)), pytest.raises(InputError, match=r"could not be written.*free some space"):
        few.run(stage, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    written = contents(tmp_path / "out.partial") if (tmp_path / "out.partial").exists() else {}
    assert all(data == whole[file] for file, data in written.items() if file != ".identity")


@pytest.mark.parametrize("stage", STAGES)
def test_a_matching_folder_is_reused(few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture, stage: str) -> None:
    folder = shutil.copytree(few.output(stage), tmp_path / "out")
    before = modification_times(folder, "*")
    few.run(stage, folder)
    assert caplog.messages[-1].endswith("is up to date")
    assert modification_times(folder, "*") == before


@pytest.mark.parametrize("stage", STAGES[:4])
def test_a_shard_without_passages_is_refused(few: Few, tmp_path: Path, stage: str) -> None:
    with pytest.raises(InputError, match="cannot hold 0 passages"):
        few.run(stage, tmp_path / "out", shard_size=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", STAGES[:3])
def test_a_collection_without_passages_is_refused(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    load = collection.load
    monkeypatch.setattr(collection, "load", lambda _, needs: load("few-none", needs))
    with pytest.raises(InputError, match="has no passages"):
        few.run(stage, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

"""Rounds that are interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interrupts import interrupted_at

from train.rounds.samples import Make, results
from xqg_repro.train import rounds
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.rounds import train
from xqg_repro.train.rounds_recipe import RoundsRecipe

STEPS = ("mine", "join_files", "encode", "build_index", "search", "evaluate", "label")


class Stop:
    """Lets the rounds stop before a step: the first one is 0."""

    def __init__(self, at: int | None) -> None:
        self.at, self.names = at, list[str]()

    def train(self, recipe: RoundsRecipe, folder: Path) -> bool:
        """Train; whether all steps were done."""
        with pytest.MonkeyPatch.context() as patch:
            for name in STEPS:
                patch.setattr(rounds, name, self._counted(name, getattr(rounds, name)))
            for module in (rounds.xdr, rounds.answerer):
                patch.setattr(module, "train", self._counted(module.__name__.rpartition(".")[2], module.train))
            try:
                train(recipe, folder, device="cpu")
            except KeyboardInterrupt:
                return False
        return True

    def _counted(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **settings: Any) -> Any:
            if len(self.names) == self.at:
                raise KeyboardInterrupt
            self.names.append(name)
            return step(*args, **settings)

        return run


STOPS = (*range(13), *range(19, 26))
"""The steps before and in the first round, and those of labelling in the second; the others are alike."""


def test_rounds_that_stop_at_every_step_end_with_the_bytes_of_those_that_do_not(
    make: Make, generated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each run stops before another step: those before are done, and only looked at."""
    recipe, folder, before = make(JudgeKind.GENERATOR), tmp_path / "out", 0
    for at in STOPS:
        assert not Stop(at).train(recipe, folder)
        written = [message for message in caplog.messages if ": wrote " in message]
        assert len(written) <= at - before + (at == 1), written  # the first step also builds the BM25 index
        caplog.clear()
        before = at
    last = Stop(None)
    assert last.train(recipe, folder) and len(last.names) == 32
    counts = {"mine": 2, "join_files": 4, "xdr": 3, "encode": 3, "build_index": 3, "search": 7, "evaluate": 3}
    assert {name: last.names.count(name) for name in last.names} == {**counts, "label": 5, "answerer": 2}
    stopped_at = {last.names[at] for at in STOPS}
    assert stopped_at == {*last.names} and results(folder) == results(generated)


def test_rounds_resume_inside_a_training(
    make: Make, strings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_at("train: step 3 of 3"):
        train(make(), tmp_path / "out", device="cpu")
    train(make(), tmp_path / "out", device="cpu")
    assert "train: resumes from step 2 of 3" in caplog.messages
    assert results(tmp_path / "out") == results(strings)

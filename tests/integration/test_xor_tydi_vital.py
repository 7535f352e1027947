"""XOR-TyDi's questions in a small Wikipedia, with a real encoder, against scores that were measured independently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro.core.languages import AVERAGE
from xqg_repro.evaluation.scores import read_scores

pytestmark = pytest.mark.integration

R2KT = {"ar": 23.9, "bn": 27.0, "fi": 19.4, "ja": 16.6, "ko": 25.6, "ru": 13.1, "te": 47.9, AVERAGE: 24.8}
R5KT = 30.2


def test_the_two_click_command_gives_the_independent_scores(e5: Path, shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xqg_repro.2cr.xor_tydi_vital", "--all", "--encoder", str(e5)]
    environment = {**os.environ, "XQG_REPRO_DATA": str(shared / "data")}
    process = subprocess.run([*command, "--directory", tmp_path], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    assert "Chance level (20 random rankings)" in process.stdout and "[FAIL]" not in process.stdout

    def tables(condition: str) -> dict[str, dict[str, float]]:
        name = f"scores.xor-tydi-vital.{condition}.xor-tydi.dev.json"
        scores, reference = read_scores(tmp_path / "scores" / name), read_scores(REPOSITORY / "runs" / f"{name}.gz")
        found = {measure: scores.table(measure) for measure in scores.per_query}
        for measure, means in found.items():
            assert means == pytest.approx(reference.table(measure), abs=0.005)
        return found

    scores = {condition: tables(condition) for condition in ("e5-small", "bm25", "chance")}
    assert {code: 100 * mean for code, mean in scores["e5-small"]["R2kt"].items()} == pytest.approx(R2KT, abs=0.5)
    assert 100 * scores["e5-small"]["R5kt"][AVERAGE] == pytest.approx(R5KT, abs=0.5)
    for measure in ("R2kt", "R5kt"):
        assert all(scores["e5-small"][measure][code] > chance for code, chance in scores["chance"][measure].items())

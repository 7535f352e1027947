"""The chance level: scores of random rankings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.chance import score_chance
from xqg_repro.evaluation.scores import read_scores

TOPICS, PASSAGES = "xor-mini/held-out/fi", 2279
RELEVANT = 1 / PASSAGES  # each question has one relevant passage or a few; the share found does not depend on it


def test_a_random_ranking_finds_its_share_of_the_relevant_passages() -> None:
    scores = score_chance(TOPICS, ["R@100", "R@500"], rankings=20, depth=500)
    for measure, depth in (("R@100", 100), ("R@500", 500)):
        share, questions = depth * RELEVANT, 20 * scores.count(measure, "fi")
        deviation = (share * (1 - share) / questions) ** 0.5  # of one relevant passage each; of more, it is smaller
        assert scores.mean(measure, "fi") == pytest.approx(share, abs=4 * deviation)


def test_every_passage_is_found_once_in_a_ranking_of_all() -> None:
    scores = score_chance(TOPICS, ["R@2279", "P@2279"], rankings=1, depth=10 * PASSAGES)
    assert scores.mean("R@2279", "fi") == 1
    assert 0 < scores.mean("P@2279", "fi") < 10 * RELEVANT


def test_a_score_is_the_mean_over_rankings_and_depends_on_the_seed_alone() -> None:
    one, other, both, again = (
        score_chance(TOPICS, ["R2kt"], rankings=rankings, seed=seed).flatten("R2kt")
        for rankings, seed in ((1, 0), (1, 1), (2, 0), (2, 0))
    )
    assert one != other
    assert both == again
    assert {*one.values()} == {0, 1} and {*both.values()} == {0, 0.5, 1}
    assert all(both[qid] in (one[qid] / 2, one[qid] / 2 + 0.5) for qid in one)


@pytest.mark.parametrize("option", [{"rankings": 0}, {"depth": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(option: dict[str, Any]) -> None:
    name, value = next(iter(option.items()))
    with pytest.raises(InputError, match=f"--{name} cannot be {value} .it must be {int(name != 'seed')} or more"):
        score_chance(TOPICS, ["R2kt"], **option)


def test_the_chance_level_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scores.json"
    words = ["--topics", TOPICS, "--measures", "R2kt", "--rankings", "2", "--output", str(output)]
    assert cli.main(["chance", *words]) == 0
    expected = score_chance(TOPICS, ["R2kt"], rankings=2)
    assert read_scores(output) == expected
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["R2kt", f"{expected.mean('R2kt', 'fi'):.4f}"]

"""Settings of rounds, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.rounds.samples import Data, Make, report, results
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.train import rounds
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.rounds import train
from xqg_repro.train.rounds_recipe import Part


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"labelled": 1.5}, "share of labelled questions is 1.5"),
        ({"hidden_languages": ("xx",)}, "hidden language 'xx'"),
        ({"held_out_data": "xor-mini/dev"}, "systems are compared on xor-mini/dev"),
        ({"questions": "xor-mini/dev/fi"}, "systems are compared on xor-mini/dev/fi"),
        ({"held_out_data": "nothing.jsonl"}, "nothing.jsonl: no such file"),
        ({"held_out_data": "{folder}/train"}, "train-0 of .*/train is held out"),
        ({"gold": ("{folder}/train",)}, "named twice"),
        ({"held_out_data": "", "stop_early": True}, "stop_early needs"),
        ({"kind": JudgeKind.READER}, "the judge reader needs a reader"),
        ({"answerer": Part(recipe="answerer-mini")}, "the judge string has no answerer"),
        ({"kind": JudgeKind.GENERATOR, "answerer": None}, "the judge generator needs an answerer"),
        ({"encoder": Part(recipe="quick-mini")}, "quick-mini learns a teacher's scores"),
        ({"encoder": Part(recipe="xdr-mini", settings={"step": 3})}, "no key 'step'"),
        ({"encoder": Part(recipe="xdr-mini"), "labelled": 0.0, "gold": ()}, "trained from scratch"),
    ],
)
def test_bad_settings_are_refused_before_the_first_round(
    data: Data, make: Make, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    def fill(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(fill, value))
        return value.replace("{folder}", str(data.folder)) if isinstance(value, str) else value

    with pytest.raises(InputError, match=message):
        train(make(**{name: fill(value) for name, value in changes.items()}), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_other_output_is_not_replaced(make: Make, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    with pytest.raises(InputError, match="other output than rounds"):
        train(make(), tmp_path)


def test_forced_rounds_do_every_step_again(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = make(rounds=1)
    train(recipe, tmp_path / "out", device="cpu")
    before, messages = results(tmp_path / "out"), []
    for force in (False, True):
        caplog.clear()
        train(recipe, tmp_path / "out", device="cpu", force=force)
        messages.append([m.partition(":")[0] for m in caplog.messages if ": wrote " in m])
    assert messages == [[], ["mine", "mine", "join", "train-xdr", "encode", "index", "search"]]
    assert results(tmp_path / "out") == before


def test_rounds_need_one_process(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="rounds train in one process"):
        train(make(), tmp_path / "out")


def test_the_command_replaces_settings_and_prints_a_row_per_round(
    data: Data, make: Make, strings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"train": "rounds", **make().settings()}
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    words = f"train rounds --recipe {path} --rounds 2 --judge qrels --seed 6 --steps 2 --labelled 0.25 --hide-languages"
    assert cli.main([*words.split(), "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[2:]] == [["0", "15"], ["1", rows[3][1]]] and "100.0%" in rows[3]
    content = report(tmp_path / "out")
    changed = {"judge": {**recipe["judge"], "kind": "qrels"}, "hidden_languages": [], "labelled": 0.25, "seed": 6}
    assert {name: content["recipe"][name] for name in changed} == changed
    assert [own["encoder"]["steps"] for own in content["rounds"]] == [2, 2]

"""The commands that write the study's machine-made texts."""

from __future__ import annotations

import shlex
from pathlib import Path

import machine_texts
import pytest

from xqg_repro import cli
from xqg_repro.core.languages import LANGUAGE_NAMES


@pytest.mark.parametrize(("fold", "first", "count"), [(0, 10_000, 7), (1, 0, 6)])
def test_the_command_line_understands_each_command(fold: int, first: int, count: int) -> None:
    line = f"--model m --encoder e --fold {fold} --first {first} --steps 7 --output out/texts"
    commands = list(machine_texts.commands(machine_texts.parser().parse_args(line.split())))
    assert len(commands) == count
    for command in commands:
        assert cli.parser().parse_args(shlex.split(command)).output
    model = "out/texts/trimmed.0" if first else "m"
    assert f"--model {model} " in next(command for command in commands if command.startswith("train xqg"))
    assert sum(f"passages.{fold}.jsonl" in command for command in commands) == count - 4


def test_a_trimmed_vocabulary_keeps_the_words_of_the_prompts(tmp_path: Path) -> None:
    machine_texts.write_prompts(tmp_path / "new" / machine_texts.PROMPTS)
    lines = (tmp_path / "new" / machine_texts.PROMPTS).read_text().splitlines()
    assert len(lines) == 24 and f"Question in {LANGUAGE_NAMES['th']}:" in lines

"""Faults of people who do this job, tried through the public verbs: an error names the file and exits with status 2."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import Mini, together
from train.samples import tevatron_items, write_lines

from xqg_repro.cli import main
from xqg_repro.core import settings

UNLIMITED = ("T5", "mT5", "UMT5")
"""Kinds of models whose positions are relative, which read texts of any length."""


class Outcome(NamedTuple):
    """What a verb did."""

    status: int
    stdout: str
    stderr: str

    def refused(self, *patterns: str) -> None:
        """Check for exit status 2 and one line on standard error that matches each pattern."""
        error = [line for line in self.stderr.splitlines() if line.startswith("xqg-repro: error: ")]
        assert self.status == 2, self
        assert len(error) == 1, self
        assert "Traceback" not in self.stderr, self
        for pattern in patterns:
            assert re.search(pattern, error[0]), (pattern, error[0])


Verb = Callable[..., Outcome]


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Verb:
    """``verb("evaluate", "--run", path, …)`` runs a verb in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # how argparse ends
            status = int(error.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def faults(shared: Path) -> Path:
    """The folder of inputs that failed once."""
    folder = shared / "faults"
    if not folder.is_dir():
        pytest.skip(f"needs the inputs of {folder}")
    return folder


@pytest.fixture(scope="session")
def faulty_models(faults: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folders that the script ``make_models.py`` of the folder of faults writes. Never to be written to."""
    folder = tmp_path_factory.mktemp("models")
    run_script(faults / "make_models.py", folder)
    return folder


def run_script(script: Path, *arguments: object) -> None:
    """Run a script that imports settings under the name of an older version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "xqg_repro.config", settings)
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")


Encode = Callable[..., Any]


@pytest.fixture
def encode(verb: Verb, mini_data: Mini, tmp_path: Path) -> Encode:
    """``encode(folder, *options)``: the vectors, or how it failed."""

    def run(folder: Path, *options: object) -> Any:
        outcome = verb(
            *("encode", "--collection", mini_data.docs, "--encoder", folder, "--device", "cpu"),
            *("--output", tmp_path / "embeddings", "--force", *options),
        )
        return together(tmp_path / "embeddings")[1] if outcome.status == 0 else outcome

    return run


def edit(path: Path, **changes: Any) -> None:
    """Change a JSON object; ``None`` removes a key."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def two_step_recipe(trains: str, model: Path, mini: Mini, **settings: Any) -> Path:
    """A recipe of two steps from a model, for long texts."""
    folder = model.parent
    items = [item | {"query": item["query"] + " ban" * 200, "lang": "fi"} for item in tevatron_items(mini, 4)]
    data = write_lines(folder / "train.jsonl", *items)
    if trains == "reader":
        answer = {"text": "ban", "answer_start": 0}
        paragraph = {"context": "ban der " * 300, "qas": [{"id": "q", "question": "ban", "answers": [answer]}]}
        data = folder / "train.json"
        data.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}))
        settings = {"stride": 16, **settings}
    values = {"name": "tiny", "data": str(data), "model": str(model), "steps": 2, "batch_size": 2, "held_out": 0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | settings))
    return folder / "recipe.yaml"

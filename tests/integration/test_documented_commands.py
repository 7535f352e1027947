"""Every command that the documentation shows for xor-mini runs, in a scratch directory, in the pages' order."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY
from documented import COMMANDS

from xqg_repro import cli
from xqg_repro.cli import two_click
from xqg_repro.core.settings import resource
from xqg_repro.retrieval.runfile import read_run

pytestmark = pytest.mark.integration


def for_xor_mini(command: str) -> bool:
    """Whether a command needs nothing but the package: no other collection, no training."""
    words = shlex.split(command)
    if any(name in command.replace("_", "-") for name in ("xor-tydi", "xquad", "mr-tydi")):
        return False
    if words[1] == "study" or (words[1] == "train" and words[2] != "mine"):
        return False
    return "--all" not in words or "xqg_repro.2cr.xor_mini" in words or "--dry-run" in words


RUN = [command for command in COMMANDS if for_xor_mini(command)]


def test_there_are_commands_to_run() -> None:
    assert len(RUN) > 40


@pytest.fixture(scope="module")
def scratch(reproduction) -> Path:
    """The reproduction's directory, with what the documentation takes to be there."""
    folder = reproduction.folder
    for name, shipped in (("encoder", "xdr-mini"), ("generator", "xqg-mini")):
        shutil.copytree(resource("models", shipped), folder / "path" / "to" / name)
    (folder / "runs").symlink_to(REPOSITORY / "runs")
    run = read_run(REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz")
    with open(folder / "theirs.tsv", "w", encoding="utf-8") as theirs:
        theirs.writelines(f"{qid}\t{hit.docid}\t{hit.score}\n" for qid, hits in run.items() for hit in hits)
    return folder


@pytest.mark.parametrize("command", RUN)
def test_command_runs(scratch: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(scratch)
    words = shlex.split(command)
    if words[0] == "xqg-repro":
        assert cli.main(words[1:]) == 0
    else:
        benchmark = words[2].rpartition(".")[2].replace("_", "-")
        assert two_click.main(benchmark, words[3:]) == 0


def test_the_notebook_code_runs(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scratch)
    for code in re.findall(r"(?s)```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8")):
        exec(compile(code, "README.md", "exec"), {})
    assert "average" in capsys.readouterr().out

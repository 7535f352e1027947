"""Every command that the documentation shows for xor-mini runs.

Commands that verify reference runs work in the directory of the reproduction and reuse its output. All others run on a
slice of xor-mini, its first passages and the questions about them, in a scratch directory and in the pages' order.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import REPOSITORY, Reproduction
from documented import COMMANDS, preparation_of, shell_blocks
from tiny_models import write_model

from xqg_repro import cli, collection
from xqg_repro.cli import two_click
from xqg_repro.collection import files, xor_mini
from xqg_repro.core.settings import resource
from xqg_repro.retrieval.runfile import read_run, write_run

pytestmark = pytest.mark.integration

PASSAGES = 60
GUIDE = REPOSITORY / "docs" / "guides" / "add-a-collection.md"


def needs_xor_mini_only(command: str) -> bool:
    """Whether a command needs nothing but the package: no other collection, no training."""
    words = shlex.split(command)
    if any(name in command.replace("_", "-") for name in ("xor-tydi", "wiki-vital", "xquad", "mr-tydi")):
        return False
    if words[1] == "study" or (words[1] == "train" and words[2] != "mine"):
        return False
    return "--all" not in words or "xqg_repro.2cr.xor_mini" in words or "--dry-run" in words


RUNNABLE = [command for command in COMMANDS if needs_xor_mini_only(command)]


def test_there_are_commands_to_run() -> None:
    assert len(RUNNABLE) > 40


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the sliced collection."""
    source, folder = resource(xor_mini.FOLDER), tmp_path_factory.mktemp("slice")
    lines = (source / "passages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "passages.tsv").write_text("".join(lines[: PASSAGES + 1]), encoding="utf-8")
    for split in xor_mini.SPLITS:
        pairs = xor_mini.read_qrels(source / f"qrels.{split}.tsv")
        outside = {qid for qid, docid in pairs if int(docid) > PASSAGES}
        qrels = [f"{qid}\t{docid}\n" for qid, docid in pairs if qid not in outside]
        qids = {line.partition("\t")[0] for line in qrels}
        questions = (source / f"questions.{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        questions = [line for line in questions if json.loads(line)["id"] in qids]
        (folder / f"questions.{split}.jsonl").write_text("".join(questions), encoding="utf-8")
        (folder / f"qrels.{split}.tsv").write_text("".join(qrels), encoding="utf-8")
    return folder


@contextmanager
def datasets_of(resources: Path) -> Iterator[None]:
    """Let xor-mini's datasets read the sliced files."""
    import ir_datasets

    collection.register()
    registered = ir_datasets.registry._registered
    whole = {name: dataset for name, dataset in registered.items() if name.split("/")[0] == xor_mini.NAME}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "resource", lambda *parts: resources.joinpath(*parts[1:]))
        for name, dataset in xor_mini.datasets().items():
            del registered[name]
            ir_datasets.registry.register(name, dataset)
    try:
        yield
    finally:
        registered.update(whole)


@pytest.fixture
def sliced(resources: Path) -> Iterator[None]:
    with datasets_of(resources):
        yield


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory, resources: Path) -> Path:
    """A directory with what the documentation assumes: models, runs, and another tool's results."""
    folder = tmp_path_factory.mktemp("documented")
    for name, shipped in (("encoder", "xdr-mini"), ("generator", "xqg-mini")):
        shutil.copytree(resource("models", shipped), folder / "path" / "to" / name)
    subprocess.run(["bash", "-e", "-c", preparation_of(GUIDE)], cwd=folder, check=True)
    write_model("sentence-transformers, Dense", folder / "path" / "to" / "sentence-transformer")
    with datasets_of(resources), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert two_click.main("xor-mini", ["--condition", "xdr-mini", "xdr-mini-xqg", "--skip-eval"]) == 0
    dev = (resources / "questions.dev.jsonl").read_text(encoding="utf-8").splitlines()
    reference = read_run(REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz")
    run = {
        qid: [hit for hit in reference[qid] if int(hit.docid) <= PASSAGES]
        for qid in (json.loads(line)["id"] for line in dev)
    }
    plain = folder / "runs" / "run.xor-mini.xdr-mini.dev.txt"
    write_run(run, plain, "xdr-mini")
    plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with open(folder / "theirs.tsv", "w", encoding="utf-8") as theirs:
        theirs.writelines(f"{qid}\t{hit.docid}\t{hit.score}\n" for qid, hits in run.items() for hit in hits)
    return folder


@pytest.fixture(scope="module")
def reproduced(reproduction: Reproduction) -> Path:
    """The directory of the reproduction, beside the reference runs."""
    (reproduction.folder / "runs").symlink_to(REPOSITORY / "runs")
    return reproduction.folder


def run(command: str) -> int:
    words = shlex.split(command)
    if words[0] == "xqg-repro":
        return cli.main(words[1:])
    return two_click.main(words[2].rpartition(".")[2].replace("_", "-"), words[3:])


@pytest.mark.parametrize("command", [command for command in RUNNABLE if "--verify" not in command])
def test_command_runs(scratch: Path, sliced: None, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(scratch)
    status = run(command)
    scores_fail = "--condition" in command and status == 1  # a slice does not have the expected scores
    assert status == 0 or scores_fail


def test_the_notebook_code_runs(
    scratch: Path, sliced: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scratch)
    for code in re.findall(r"(?s)```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8")):
        exec(compile(code, "README.md", "exec"), {})
    assert "average" in capsys.readouterr().out


def test_a_new_users_path_runs_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty directory: files by heredoc, encode, index, search, evaluate."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "xqg-repro"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xqg_repro "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "empty").mkdir()
    script = "".join(shell_blocks(GUIDE)[:3])
    ran = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path / "empty", capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rows = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines() if line.startswith("R")}
    assert rows["R2kt"] == rows["R5kt"] == ["1.0000", "1.0000", "1.0000", "2"]
    assert float(rows["RR@10"][2]) > 0


@pytest.mark.parametrize("command", [command for command in RUNNABLE if "--verify" in command])
def test_verifying_command_runs(reproduced: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(reproduced)
    assert run(command) == 0

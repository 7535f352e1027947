"""Outputs: devices, pipes, links, standard output, compressed files, and names that are refused before any work."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.conftest import Verb
from xqg_repro.core.stages import Manifest
from xqg_repro.retrieval.runfile import Hit, write_run

TOPICS = "xor-mini/held-out/fi"


@pytest.fixture(scope="session")
def qid() -> str:
    """The first question of the topics."""
    from xqg_repro.collection.topics import read_topics

    return next(iter(read_topics(TOPICS)[0]))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qid: str) -> Path:
    """A working directory with two runs, a file ``file`` and a folder ``folder``."""
    monkeypatch.chdir(tmp_path)
    for name in ("run.txt", "other.txt"):
        write_run({qid: [Hit("1", 2.0), Hit("2", 1.0)]}, name, "t")
    Path("file").write_text("precious\n")
    Path("folder").mkdir()
    Path("folder", "file").write_text("precious\n")
    return tmp_path


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, config: object, mini_data: object) -> Path:
    """A folder of embeddings."""
    from xqg_repro.representation import encode

    encode("xor-tydi", config, folder := tmp_path_factory.mktemp("stage") / "embeddings", shard_size=50)  # type: ignore[arg-type]
    return folder


# every verb that writes one file, without its --output
FILE_VERBS = {
    "evaluate": ("evaluate", "--run", "run.txt", "--topics", TOPICS),
    "compare": ("compare", "run.txt", "other.txt", "--topics", TOPICS, "--format", "json"),
    "topics": ("topics", "--topics", TOPICS),
    "convert": ("runfile", "convert", "run.txt", "--from", "trec", "--tag", "t"),
    "submit": ("submit", "--run", "run.txt", "--topics", TOPICS),
    "search": ("search", "--index", "index", "--topics", TOPICS),
    "read": ("read", "--run", "run.txt", "--topics", TOPICS, "--preset", "reader-mini"),
    "mine": ("train", "mine", "--data", "xor-mini/train", "--index", "index"),
    "label": ("train", "label", "--data", "xor-mini/train", "--index", "index", "--judge", "string"),
}
QUICK = ("evaluate", "compare", "topics", "convert")


def snapshot(folder: Path) -> dict[str, object]:
    """Contents of the files, modes of all else."""
    modes = {path: path.lstat().st_mode for path in folder.rglob("*")}
    return {str(path): path.read_bytes() if stat.S_ISREG(mode) else mode for path, mode in modes.items()}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        (".", "is a folder"),
        ("/", "is a folder"),
        ("..", "is a folder"),
        ("folder", "is a folder"),
        ("folder/../folder", "is a folder"),
        ("new/", "ends like a folder"),
        ("file/below.txt", "is not a folder"),
        ("run.bz2", "would not be compressed"),
        ("run.ZIP", "would not be compressed"),
        ("loop", "leads back to itself"),
        ("socket", "is a socket"),
        ("~no-such-user/run.txt", "no such home"),
        ("/dev/fd/99", "is not open"),
    ],
)
def test_what_is_no_file_is_refused(workplace: Path, verb: Verb, name: str, problem: str) -> None:
    Path("loop").symlink_to("loop")
    os.mknod("socket", stat.S_IFSOCK | 0o600)
    before = snapshot(workplace)
    for words in FILE_VERBS.values():
        verb(*words, "--output", name).refused(problem)
    assert snapshot(workplace) == before


@pytest.mark.parametrize("verb_name", ["evaluate", "compare", "convert", "submit", "read"])
@pytest.mark.parametrize(
    "name", ["run.txt", "soft", "hard", "folder/../run.txt", "run.txt.json", "run.txt.yaml", "ABSOLUTE"]
)
def test_an_input_is_not_replaced(workplace: Path, verb: Verb, verb_name: str, name: str) -> None:
    Path("soft").symlink_to("run.txt")
    os.link("run.txt", "hard")
    before = snapshot(workplace)
    output = workplace / "run.txt" if name == "ABSOLUTE" else name
    verb(*FILE_VERBS[verb_name], "--output", output).refused("own output|belongs to the input")
    assert snapshot(workplace) == before


def test_a_run_of_two_is_not_replaced(faults: Path, workplace: Path, verb: Verb) -> None:
    run = Path(shutil.copy(faults / "run_ok.txt", "a.txt"))
    before = run.read_bytes()
    verb("compare", faults / "run_ok2.txt", "a.txt", "--topics", "xor-mini/dev", "--output", "a.txt").refused("a.txt")
    assert run.read_bytes() == before


def test_topics_and_data_files_are_not_replaced(workplace: Path, verb: Verb) -> None:
    Path("questions.tsv").write_text("q1\twhat\n")
    verb("topics", "--topics", "questions.tsv", "--output", "questions.tsv").refused("own output")
    data = Path("xor_dev_retrieve_eng_span_v1_1.jsonl")
    data.write_text("")
    verb("topics", "--topics", TOPICS, "--output", data).refused("data file")


def test_another_programs_files_beside_a_run_are_kept(workplace: Path, verb: Verb, stage: Path) -> None:
    assert verb("index", "--embeddings", stage, "--output", "index").status == 0
    Path("settings.yaml").write_text("mine: 1\n")
    Path("answers.json").write_text("{}\n")
    for name in ("settings", "answers"):
        for force in ((), ("--force",)):
            outcome = verb("search", "--index", "index", "--topics", TOPICS, "--output", name, *force)
            outcome.refused(f"{name}.(json|yaml): ", "move this file")
    assert (Path("settings.yaml").read_text(), Path("answers.json").read_text()) == ("mine: 1\n", "{}\n")
    verb("search", "--index", "index", "--topics", TOPICS, "--output", "index/docid").refused("is inside the input")


# written into, or through


@pytest.mark.parametrize("verb_name", QUICK)
@pytest.mark.parametrize("link", [False, True])
def test_devices_are_written_into(workplace: Path, verb: Verb, verb_name: str, link: bool) -> None:
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    Path("link").symlink_to("null")
    assert verb(*FILE_VERBS[verb_name], "--output", "link" if link else "null").status == 0
    assert stat.S_ISCHR(Path("null").stat().st_mode) and Path("link").is_symlink()
    assert not [path.name for path in workplace.iterdir() if path.name.startswith((".", "null."))]


@pytest.mark.parametrize("verb_name", QUICK)
def test_pipes_standard_output_and_compressed_files_get_the_same(workplace: Path, verb: Verb, verb_name: str) -> None:
    words = FILE_VERBS[verb_name]
    assert verb(*words, "--output", "deep/er/plain").status == 0
    plain = Path("deep/er/plain").read_bytes()

    outcome = verb(*words, "--output", "-")
    assert (outcome.status, outcome.stdout.encode()) == (0, plain)
    assert verb(*words, "--output", "/dev/stdout").stdout.encode() == plain

    os.mkfifo("fifo")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(Path("fifo").read_bytes()))
    reader.start()
    assert verb(*words, "--output", "fifo").status == 0
    reader.join()
    assert received == [plain] and stat.S_ISFIFO(Path("fifo").stat().st_mode)

    for name in ("first.gz", "second.gz"):
        assert verb(*words, "--output", name).status == 0
    assert Path("first.gz").read_bytes() == Path("second.gz").read_bytes() == gzip.compress(plain, 9, mtime=0)


@pytest.mark.parametrize("verb_name", QUICK)
@pytest.mark.parametrize("exists", [False, True])
def test_links_are_written_through(workplace: Path, verb: Verb, verb_name: str, exists: bool) -> None:
    Path("link").symlink_to("middle")
    Path("middle").symlink_to(workplace / "folder" / "target")
    if exists:
        Path("folder/target").write_text("old\n")
    assert verb(*FILE_VERBS[verb_name], "--output", "link").status == 0
    assert Path("link").is_symlink() and Path("middle").is_symlink()
    assert len(Path("folder/target").read_text()) > 4 and not Path("folder/target").is_symlink()


def test_a_process_substitution_gets_the_scores(workplace: Path) -> None:
    words = " ".join(FILE_VERBS["evaluate"])
    script = f"{sys.executable} -m xqg_repro {words} --output >(cat > got.json) > table.txt; wait $!"
    subprocess.run(["bash", "-c", script], check=True, timeout=120)
    assert json.loads(Path("got.json").read_text())["topics"] == TOPICS
    assert Path("table.txt").read_text().startswith("measure")


def test_answers_on_standard_output_have_no_manifest(workplace: Path, verb: Verb, qid: str) -> None:
    outcome = verb(*FILE_VERBS["read"], "--output", "-")
    assert outcome.status == 0 and qid in json.loads(outcome.stdout)
    assert sorted(path.name for path in workplace.iterdir()) == ["file", "folder", "other.txt", "run.txt"]


def test_home_is_expanded(workplace: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workplace))
    assert verb("evaluate", "--run", "~/run.txt", "--topics", TOPICS, "--output", "~/new/scores.json").status == 0
    assert verb("compare", "~/run.txt", "~/other.txt", "--topics", TOPICS, "--output=~/table.txt").status == 0
    assert verb("topics", "--topics", TOPICS, "--output", "~/q.tsv").status == 0
    assert verb("topics", "--topics", "~/q.tsv", "--output", "again.tsv").status == 0
    assert Path("q.tsv").read_bytes() == Path("again.tsv").read_bytes()
    assert Path("new/scores.json").exists() and Path("table.txt").exists() and not Path("~").exists()
    for words in (("index", "--embeddings", "~/nowhere"), ("augment", "--sums", "~/x", "--embeddings", "~/nowhere")):
        verb(*words, "--output", "o").refused(f"{workplace}/nowhere")


# stage folders


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        (".", "current folder"),
        ("..", "current folder"),
        ("/", "current folder"),
        ("-", "standard output"),
        ("file", "is a file"),
        ("file/below", "is not a folder"),
        ("fifo", "is a file"),
        ("loop", "leads back to itself"),
        ("e", "contains the input"),
        ("e/x", "own output"),
        ("e/x/", "own output"),
        ("e/../e/x", "own output"),
        ("link", "own output"),
        ("e/x/below", "is inside the input"),
        ("folder", "folder: is not the output of a stage"),
    ],
)
def test_what_is_no_stage_folder_is_refused(workplace: Path, verb: Verb, stage: Path, name: str, problem: str) -> None:
    shutil.copytree(stage, "e/x")
    Path("loop").symlink_to("loop")
    Path("link").symlink_to("e/x")
    os.mkfifo("fifo")
    before = snapshot(workplace)
    verb("index", "--embeddings", "e/x", "--output", name).refused(problem)
    assert snapshot(workplace) == before


@pytest.mark.parametrize(
    "words",
    [
        ("encode", "--collection", "xor-mini", "--preset", "xdr-mini"),
        ("generate", "--collection", "xor-mini", "--preset", "xqg-mini"),
        ("sum", "--generated", "queries", "--preset", "xdr-mini"),
        ("augment", "--embeddings", "e", "--sums", "s"),
        ("ablate", "alpha", "--embeddings", "e", "--sums", "s", "--topics", TOPICS),
        ("train", "xdr"),
        ("train", "folds", "--languages", "de"),
        ("study", "--preset", "xdr-mini"),
    ],
)
def test_every_stage_refuses_the_current_folder(workplace: Path, verb: Verb, words: tuple[str, ...]) -> None:
    for name, problem in (("", "empty"), (".", "current folder"), ("file", "is a file")):
        verb(*words, "--output", name).refused(problem)


def test_stage_folders_are_written_through_links(workplace: Path, verb: Verb, stage: Path) -> None:
    Path("link").symlink_to("new/target")
    assert verb("index", "--embeddings", stage, "--output", "link").status == 0
    assert Path("link").is_symlink() and Manifest.read("new/target").stage == "index"


def test_read_only_places_are_refused(
    workplace: Path, verb: Verb, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access: Callable[..., bool] = os.access

    def refuse(path: str | Path, mode: int) -> bool:  # permissions do not bind root
        return not str(path).endswith(("folder", "file")) and access(path, mode)

    monkeypatch.setattr(os, "access", refuse)
    verb("topics", "--topics", TOPICS, "--output", "folder/new.tsv").refused("folder is read-only")
    verb("topics", "--topics", TOPICS, "--output", "file").refused("file: may not be written")
    verb("index", "--embeddings", stage, "--output", "folder/new/index").refused("folder is read-only")

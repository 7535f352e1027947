"""Shared fixtures: a small collection in XOR-TyDi's formats, its vectors, a reproduction, ir-datasets' own home."""

from __future__ import annotations

import atexit
import csv
import dataclasses
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
import pytest

if TYPE_CHECKING:
    import numpy as np

    from xqg_repro.models.generator import PassageQueries

pytest_plugins = ["model_fixtures"]

# ir-datasets must never see the user's own home, so this stands before anything can import it
HOME = Path(tempfile.mkdtemp(prefix="xqg-repro-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["IR_DATASETS_HOME"] = str(HOME)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("XQG_REPRO_DATA", None)
# float sums depend on the number of threads, and threads that spin while they wait slow down a busy machine
os.environ["OMP_NUM_THREADS"] = "2"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Ray must not write into the user's home either, or send anything
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["RAY_TMPDIR"] = str(HOME)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"
PASSAGES_FILE = "enwiki_20190201_w100.tsv"
LANGUAGES, COUNT = ("ru", "fi", "te"), 3  # of made-up queries
QUOTED = 'The sign read "Keep out", and a second\tone "Private".'


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data folder {SHARED}")
    return SHARED


@pytest.fixture
def shared_data(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where the package looks for its data files."""
    monkeypatch.setenv("XQG_REPRO_DATA", str(shared / "data"))
    return shared / "data"


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ir-datasets home, for tests of files seen for the first time."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_passages(path: Path, count: int, seed: int = 7) -> list[tuple[str, str, str]]:
    """Write a DPR-style file of random passages; return (id, title, text) of each. Passage 5 needs quotes."""
    draw = random.Random(seed)
    words = [f"{a}{b}{c}" for a in "bdkst" for b in ("a", "er", "ó", "и") for c in ("n", "lo", "miš")]
    rows = []
    for number in range(1, count + 1):
        text = QUOTED if number == 5 else " ".join(draw.choices(words, k=draw.randint(3, 40))) + "."
        rows.append((str(number), f"Place {(number - 1) // 3}", text))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "text", "title"))
        writer.writerows((docid, text, title) for docid, title, text in rows)
    return rows


@dataclass(frozen=True)
class Mini:
    """A small collection: its files, and the ids under which ir-datasets knows it."""

    passages_path: Path
    questions_path: Path
    passages: list[tuple[str, str, str]]
    questions: list[dict[str, Any]]
    qrels: list[tuple[str, str]]
    docs: str = "xor-tydi"
    topics: str = "test-mini/dev"


@pytest.fixture(scope="session")
def mini_data() -> Mini:
    """60 passages and 14 questions (one answered by yes), found by this process and its children as ``xor-tydi``."""
    import ir_datasets

    from xqg_repro import collection
    from xqg_repro.collection.files import DataFile
    from xqg_repro.collection.handlers import Judgements, Questions, dataset
    from xqg_repro.collection.passages import TsvPassages
    from xqg_repro.collection.records import read_questions
    from xqg_repro.core.languages import XOR_LANGUAGES

    folder = HOME / "xqg_repro" / "xor-tydi"
    passages = write_passages(folder / PASSAGES_FILE, 60)
    questions, qrels = [], []
    for number, language in enumerate(XOR_LANGUAGES * 2):
        docid, _, text = passages[4 * number]
        words = text.split()
        answers = ["yes"] if number == 6 else [words[0]]
        item = {"id": f"q{number}", "question": " ".join(words[:6]), "answers": answers, "lang": language}
        questions.append({**item, "split": "dev"})
        qrels.append((f"q{number}", docid))
    questions_path = folder / "questions.jsonl"
    questions_path.write_text("".join(f"{json.dumps(q, ensure_ascii=False)}\n" for q in questions), encoding="utf-8")

    docs = TsvPassages(DataFile("xor-tydi", PASSAGES_FILE, "https://example.org/passages"), "test-mini")
    file = DataFile("xor-tydi", questions_path.name, "https://example.org/questions")
    asked = Questions(lambda: read_questions(file), "test-mini")
    collection.register()
    if "test-mini/dev" not in ir_datasets.registry._registered:
        ir_datasets.registry.register(
            "test-mini/dev", dataset("xor-tydi", docs, asked, Judgements(lambda: qrels, asked))
        )
    return Mini(folder / PASSAGES_FILE, questions_path, passages, questions, qrels)


def described_anew(folder: Path) -> Path:
    """The stage folder, whose manifest now describes the files as a test has changed them."""
    from xqg_repro.core.files import file_digest
    from xqg_repro.core.stages import Manifest

    found = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in found}
    dataclasses.replace(Manifest.read(folder), files=files).write(folder)
    return folder


@pytest.fixture(scope="session")
def config(tiny_model: Path) -> Any:
    """The paper's settings for the tiny BERT."""
    from xqg_repro.models.settings import EncoderConfig

    return EncoderConfig(str(tiny_model))


@pytest.fixture(scope="session")
def embeddings(mini_data: Mini, config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection in shards of 16, 16, 16 and 12. Never to be written to."""
    from xqg_repro.representation.encode import encode

    folder = tmp_path_factory.mktemp("encoded") / "embeddings"
    encode(mini_data.docs, config, folder, shard_size=16, device="cpu")
    return folder


@pytest.fixture(scope="session")
def dense_index(embeddings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the small collection. Never to be written to."""
    from xqg_repro.retrieval.index import build_index

    folder = tmp_path_factory.mktemp("indexed") / "index"
    build_index(embeddings, folder)
    return folder


def together(folder: Path) -> tuple[list[str], np.ndarray]:
    """Docids and vectors of all shards of a folder of embeddings."""
    import numpy as np

    from xqg_repro.core.shards import read_shards

    shards = list(read_shards(folder))
    return [docid for ids, _ in shards for docid in ids], np.concatenate([vectors for _, vectors in shards])


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def made_up(docids: Iterable[str], languages: Sequence[str] = LANGUAGES, count: int = COUNT) -> list[PassageQueries]:
    """Queries that differ by passage, language and rank; the second in each language is the same for all passages."""
    from xqg_repro.models.generator import PassageQueries

    def text(docid: str, language: str, rank: int) -> str:
        return f"{language} ban" if rank == 1 else f"{language} {'ker' * (rank + 1)} dón {docid}"

    return [
        PassageQueries(d, {code: tuple(text(d, code, rank) for rank in range(count)) for code in languages})
        for d in docids
    ]


def write_queries(passages: Iterable[PassageQueries], path: Path) -> Path:
    """Write generated queries as JSON lines."""
    path.write_text("".join(f"{passage.line()}\n" for passage in passages), encoding="utf-8")
    return path


def summed(passages: Sequence[PassageQueries], config: Any, folder: Path, **settings: Any) -> Path:
    """Sums of these queries, per language unless told otherwise, in shards of 7."""
    from xqg_repro.representation.sums import sum_queries

    queries = write_queries(passages, folder.with_name(f"{folder.name}.jsonl"))
    settings = {"languages": LANGUAGES, "count": COUNT, "per_language": True, "shard_size": 7} | settings
    sum_queries(queries, config, folder, device="cpu", **settings)
    return folder


@pytest.fixture
def disk_of() -> Callable[[int], Any]:
    """``with disk_of(n):`` no file grows beyond n bytes, as on a disk that fills up."""
    import resource

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


class Reproduction(NamedTuple):
    """A directory in which the two-click command ran, and what it printed."""

    folder: Path
    process: subprocess.CompletedProcess

    def again(self, *more: str) -> subprocess.CompletedProcess:
        return reproduce(self.folder, *more)


def reproduce(folder: Path, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "xqg_repro.2cr.xor_mini", "--all", "--display-commands", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="session")
def reproduction(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    folder = tmp_path_factory.mktemp("reproduce")
    return Reproduction(folder, reproduce(folder, "--output", "report.md"))

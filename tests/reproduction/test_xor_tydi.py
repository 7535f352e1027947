"""The conditions of the real benchmark, end to end, on stand-ins for its data and model in the same file formats."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import ir_datasets
import numpy as np
import pytest
from conftest import PASSAGES_FILE, write_passages
from model_fixtures import small_tokenizer

from xqg_repro.cli import two_click
from xqg_repro.collection import xor_tydi
from xqg_repro.collection.files import DataFile
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import load_claims
from xqg_repro.retrieval.runfile import read_run

pytestmark = pytest.mark.integration  # half a minute

CORPUS = "ielab/xor-tydi-xqg-augmented"
QUESTIONS_FILE = "xor_dev_retrieve_eng_span_v1_1.jsonl"
BENCHMARK = load_benchmark("xor-tydi")
PASSAGES, SHARD, EACH = 40, 25, 4  # passages, those in the corpus's first shard, questions per language
LETTERS = {"ar": "ابتدرس", "bn": "কখগতনম", "fi": "aeiknsä", "ja": "かさたのひ東", "ko": "가나다라마"}
LETTERS |= {"ru": "авеинт", "te": "కగతనమల"}


class StandIn(NamedTuple):
    """What the files contain, and where the published corpus and the model are."""

    passages: list[tuple[str, str, str]]  # id, title, text
    questions: list[dict[str, Any]]
    generated: list[dict[str, list[str]]]
    corpus: Path
    model: Path


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def stand_in(model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-ins, where the package looks for the real files; checksums are not checked."""
    folder, draw = tmp_path_factory.mktemp("xor-tydi"), random.Random(3)

    def text(letters: str, count: int) -> str:
        return " ".join("".join(draw.choices(letters, k=draw.randint(2, 5))) for _ in range(count)) + " ?"

    passages = write_passages(folder / PASSAGES_FILE, PASSAGES)
    questions = []
    for number, (language, letters) in enumerate(list(LETTERS.items()) * EACH):
        answers = ["yes", draw.choice(passages)[2].split()[0]]
        question = {"id": f"{language}-{number}", "question": text(letters, 5), "answers": answers}
        questions.append({**question, "lang": language, "split": "dev"})
    generated, lines = [], []
    for docid, title, passage in passages:
        queries = {code: [text(letters, draw.randint(4, 20)) for _ in range(5)] for code, letters in LETTERS.items()}
        generated.append(queries)
        lines.append({"docid": docid, "title": title, "text": passage, "generated_queries": queries})
    shards = {"shard_0.jsonl": lines[:SHARD], "shard_1.jsonl": lines[SHARD:]}
    for name, rows in {QUESTIONS_FILE: questions, **{f"corpus/data/{n}": rows for n, rows in shards.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
    texts = [" ".join(row) for row in passages] + [question["question"] for question in questions]
    texts += [query for queries in generated for few in queries.values() for query in few]
    model = model_folder("bert", name="mbert", tokenizer=small_tokenizer(texts))

    def without_checksums(collection: str) -> dict[str, DataFile]:
        names = (PASSAGES_FILE, *xor_tydi.SPLITS.values())
        return {name: DataFile(collection, name, f"https://example.org/stand-in/{name}") for name in names}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XQG_REPRO_DATA", str(folder))
        patch.setenv("IR_DATASETS_HOME", str(folder / "home"))
        patch.setattr(xor_tydi, "data_files", without_checksums)
        # other tests have the datasets' files open under these names
        others = {k: v for k, v in ir_datasets.registry._registered.items() if not k.startswith("xor-tydi")}
        patch.setattr(ir_datasets.registry, "_registered", others)
        yield StandIn(passages, questions, generated, folder / "corpus", model)


def two_clicks(stand_in: StandIn, directory: Path, line: str, corpus: Path | None = None) -> Ended:
    """``python -m xqg_repro.2cr.xor_tydi …`` when the hub has this corpus and nothing else."""

    def snapshot_download(repo_id: str, *, repo_type: str, allow_patterns: str) -> str:
        assert (repo_id, repo_type, allow_patterns) == (CORPUS, "dataset", "data/*.jsonl")
        return str(corpus or stand_in.corpus)

    output, errors = io.StringIO(), io.StringIO()
    words = shlex.split(f"{line} --encoder {stand_in.model} --directory {directory}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = two_click.main("xor-tydi", words)
    return Ended(status, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def reproduced(stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """Both conditions have run in the folder."""
    out = tmp_path_factory.mktemp("reproduced")
    line = f"--condition mbert mbert-xqg --display-commands --output {out}/report.md"
    return two_clicks(stand_in, out, line), out


def test_passages_are_encoded_once_and_augmented_from_the_published_corpus(reproduced: tuple[Ended, Path]) -> None:
    ended, out = reproduced
    assert ended.status == 1, ended.errors  # a random model does not have the paper's scores
    assert not re.search(r"\[OK\]|Traceback|Error", ended.output + ended.errors)
    shown = re.findall(r"^\$ (xqg-repro .*)$", ended.errors, re.MULTILINE)
    chain = ["encode", "search", "evaluate", "encode", "augment", "search", "evaluate"]
    assert [line.split()[1] for line in shown] == chain
    assert f" --generated {CORPUS} " in shown[4]
    assert ended.errors.count(f"encode: wrote {out}/embeddings/xor-tydi.mbert ") == 1
    assert f"encode: {out}/embeddings/xor-tydi.mbert is up to date" in ended.errors
    report = (out / "report.md").read_text(encoding="utf-8")
    assert all(line in report for line in shown)
    assert "[FAIL] mbert R2kt: 0 of 8 scores as expected\n" in ended.output


def test_runs_are_by_inner_product_with_the_papers_vectors(stand_in: StandIn, reproduced: tuple[Ended, Path]) -> None:
    encoder = TextEncoder(EncoderConfig(str(stand_in.model)), "cpu")
    docids, titles, texts = zip(*stand_in.passages, strict=True)
    passages = encoder.encode_passages(titles, texts).astype(float)
    questions = encoder.encode_queries([question["question"] for question in stand_in.questions]).astype(float)
    queries = [query for by_language in stand_in.generated for few in by_language.values() for query in few]
    vectors = encoder.encode_queries(queries).astype(float).reshape(PASSAGES, 35, -1)
    augmented = (1 - 0.01) * passages + 0.01 * vectors.sum(1)
    # a query's own share of a score is far above the rounding that is allowed
    assert np.abs(0.01 * questions @ vectors[0].T).max(0).min() > 1e-2
    for condition, expected in (("mbert", passages), ("mbert-xqg", augmented)):
        run = read_run(reproduced[1] / "runs" / f"run.xor-tydi.{condition}.dev.txt")
        assert list(run) == [question["id"] for question in stand_in.questions]
        for qid, scores in zip(run, questions @ expected.T, strict=True):
            found = {hit.docid: hit.score for hit in run[qid]}
            assert found == pytest.approx(dict(zip(docids, scores, strict=True)), abs=1e-4)  # the depth is 500


def test_expected_scores_are_nowhere_reported_as_measured(reproduced: tuple[Ended, Path]) -> None:
    ended, out = reproduced
    report = (out / "report.md").read_text(encoding="utf-8")
    reported = "\n".join(re.sub(r"expected \d+\.\d", "", page) for page in (ended.output, report))
    for claim in load_claims():  # their figures are marked as the paper's
        reported = reported.replace(f"| {claim.paper} |", "")
    papers = {f"{x:.1f}" for c in BENCHMARK.conditions for means in c.expected.values() for x in means.values()}
    assert len(papers) > 20
    possible = {f"{100 * n / EACH / 7:.1f}" for n in range(7 * EACH + 1)}
    assert not {number for number in re.findall(r"\d+\.\d+", reported) if number in papers - possible}


def test_truncated_corpus_and_one_of_other_passages_are_refused(stand_in: StandIn, tmp_path: Path) -> None:
    corpus = shutil.copytree(stand_in.corpus, tmp_path / "corpus")
    path = corpus / "data" / "shard_1.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    status, output, errors = two_clicks(stand_in, tmp_path, "--condition mbert-xqg", corpus)
    assert (status, output) == (2, "")
    assert errors.splitlines()[-1].startswith(f"xqg-repro: error: {path}:{PASSAGES - SHARD}: ")
    assert [folder.name for folder in (tmp_path / "embeddings").iterdir()] == ["xor-tydi.mbert"]
    assert not (tmp_path / "runs").exists()
    path.unlink()  # now passages have no queries
    status, _, errors = two_clicks(stand_in, tmp_path, "--condition mbert-xqg", corpus)
    last = errors.splitlines()[-1]
    assert status == 2 and CORPUS in last and str(SHARD + 1) in last

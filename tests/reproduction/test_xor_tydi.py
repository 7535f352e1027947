"""The conditions of the real benchmark, end to end, on stand-ins for its data and model in the same file formats."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import ir_datasets
import numpy as np
import pytest
from conftest import PASSAGES_FILE, small_tokenizer

from xqg_repro.collection import xor_tydi
from xqg_repro.collection.files import DataFile
from xqg_repro.core.languages import AVERAGE, XOR_LANGUAGES
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import load_claims
from xqg_repro.reproduction.verdict import judge
from xqg_repro.retrieval.runfile import Run, read_run

pytestmark = pytest.mark.integration  # half a minute

CORPUS = "ielab/xor-tydi-xqg-augmented"
QUESTIONS_FILE = "xor_dev_retrieve_eng_span_v1_1.jsonl"
CONDITIONS = ("mbert", "mbert-xqg")
BENCHMARK = load_benchmark("xor-tydi")
PASSAGES, EACH, WORDS = 100, 4, 100  # passages, questions a language, words a passage
LETTERS = {
    "ar": "ابتدرس",
    "bn": "কখগতনম",
    "fi": "aeiknsä",
    "ja": "かさたのひ東",
    "ko": "가나다라마",
    "ru": "авеинт",
    "te": "కగతనమల",
}


@dataclass(frozen=True)
class StandIn:
    """What the files hold, and where the published corpus and the model lie."""

    passages: list[tuple[str, str, str]]  # id, title, text
    questions: list[dict[str, Any]]
    generated: list[dict[str, list[str]]]
    corpus: Path
    model: Path


def words(draw: random.Random, letters: str, count: int) -> str:
    return " ".join("".join(draw.choices(letters, k=draw.randint(2, 5))) for _ in range(count))


@pytest.fixture(scope="module")
def stand_in(model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-ins, where the package looks for the real files. It takes them for these, whatever their checksums."""
    folder, draw = tmp_path_factory.mktemp("xor-tydi"), random.Random(3)
    passages = [(str(n), f'Place "{n // 3}"', words(draw, "bdkstaeo", WORDS)) for n in range(1, PASSAGES + 1)]
    with open(folder / PASSAGES_FILE, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "text", "title"))
        writer.writerows((docid, text, title) for docid, title, text in passages)
    questions = [
        {
            "id": f"{language}-{number}",
            "question": f"{words(draw, letters, 5)} ?",
            # two words of a passage: as good as nowhere else
            "answers": ["yes", " ".join(draw.choice(passages)[2].split()[40:42])],
            "lang": language,
            "split": "dev",
        }
        for language, letters in LETTERS.items()
        for number in range(EACH)
    ]
    generated = [
        {code: [f"{words(draw, letters, draw.randint(4, 20))}?" for _ in range(5)] for code, letters in LETTERS.items()}
        for _ in passages
    ]
    write_lines(folder / QUESTIONS_FILE, questions)
    corpus = folder / "corpus"
    lines = [
        {"docid": docid, "title": title, "text": text, "generated_queries": queries}
        for (docid, title, text), queries in zip(passages, generated, strict=True)
    ]
    write_lines(corpus / "data" / "shard_0.jsonl", lines[:60])
    write_lines(corpus / "data" / "shard_1.jsonl", lines[60:])
    texts = [" ".join(row) for row in passages] + [question["question"] for question in questions]
    texts += [query for queries in generated for few in queries.values() for query in few]
    model = model_folder("bert", name="mbert", tokenizer=small_tokenizer(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XQG_REPRO_DATA", str(folder))
        patch.setenv("IR_DATASETS_HOME", str(folder / "home"))
        patch.setattr(xor_tydi, "data_files", without_checksums)
        # other tests have the datasets' files open under these names
        others = {k: v for k, v in ir_datasets.registry._registered.items() if not k.startswith("xor-tydi")}
        patch.setattr(ir_datasets.registry, "_registered", others)
        yield StandIn(passages, questions, generated, corpus, model)


def without_checksums(collection: str) -> dict[str, DataFile]:
    names = (PASSAGES_FILE, *xor_tydi.SPLITS.values())
    return {name: DataFile(collection, name, f"https://example.org/stand-in/{name}") for name in names}


def write_lines(path: Path, items: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items), encoding="utf-8")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    output: str
    errors: str


def two_clicks(patch: pytest.MonkeyPatch, corpus: Path, line: str) -> Ended:
    """``python -m xqg_repro.2cr.xor_tydi …`` where the hub has this corpus and nothing else."""

    def snapshot_download(repo_id: str, *, repo_type: str, allow_patterns: str) -> str:
        assert (repo_id, repo_type, allow_patterns) == (CORPUS, "dataset", "data/*.jsonl")
        return str(corpus)

    patch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    patch.setattr(sys, "argv", ["xor_tydi", *shlex.split(line)])
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        runpy.run_module("xqg_repro.2cr.xor_tydi", run_name="__main__")
    return Ended(ended.value.code, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="module")
def ended(stand_in: StandIn, out: Path) -> Ended:
    """Both conditions have run."""
    line = f"--condition mbert mbert-xqg --encoder {stand_in.model} --directory {out} --display-commands"
    with pytest.MonkeyPatch.context() as patch:
        return two_clicks(patch, stand_in.corpus, f"{line} --output {out}/report.md")


@pytest.fixture(scope="module")
def vectors(stand_in: StandIn) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Condition → questions' and passages' vectors, float64, by the paper's equation from the encoder's vectors."""
    encoder = TextEncoder(EncoderConfig(str(stand_in.model)), "cpu")
    _, titles, texts = zip(*stand_in.passages, strict=True)
    passages = encoder.encode_passages(titles, texts).astype(float)
    questions = encoder.encode_queries([question["question"] for question in stand_in.questions]).astype(float)
    queries = [query for found in stand_in.generated for few in found.values() for query in few]
    sums = encoder.encode_queries(queries).astype(float).reshape(PASSAGES, 35, -1).sum(1)
    return {"mbert": (questions, passages), "mbert-xqg": (questions, (1 - 0.01) * passages + 0.01 * sums)}


def run_of(out: Path, condition: str) -> Run:
    return read_run(out / "runs" / f"run.xor-tydi.{condition}.dev.txt")


def measured(stand_in: StandIn, run: Run, tokens: int) -> dict[str, float]:
    """Language or average → share of questions whose answer is within so many words of the ranking."""
    texts, hits = {docid: text for docid, _, text in stand_in.passages}, dict.fromkeys(XOR_LANGUAGES, 0)
    for question in stand_in.questions:
        ranking = " ".join(texts[hit.docid] for hit in run[question["id"]]).split()
        hits[question["lang"]] += question["answers"][1] in " ".join(ranking[:tokens])
    shares = {language: found / EACH for language, found in hits.items()}
    return {**shares, AVERAGE: sum(shares.values()) / len(shares)}


# what runs


def test_texts_are_longer_than_the_model_reads(stand_in: StandIn) -> None:
    encoder = TextEncoder(EncoderConfig(str(stand_in.model)), "cpu")
    lengths = [len(encoder._tokenizer(text)["input_ids"]) for *_, text in stand_in.passages]
    queries = [len(encoder._tokenizer(queries["ko"][0])["input_ids"]) for queries in stand_in.generated]
    assert min(lengths) > 128 and min(queries) < 20 and max(queries) > 40


def test_random_model_does_not_have_the_papers_scores(ended: Ended) -> None:
    assert ended.status == 1, ended.errors
    assert not re.search(r"\[OK\]|Traceback|Error", ended.output + ended.errors)


def test_passages_are_encoded_once_and_augmented_from_the_published_corpus(ended: Ended, out: Path) -> None:
    shown = [shlex.split(line)[1:] for line in re.findall(r"^\$ (xqg-repro .*)$", ended.errors, re.MULTILINE)]
    chain = ["encode", "index", "search", "evaluate", "encode", "augment", "index", "search", "evaluate"]
    assert [words[0] for words in shown] == chain
    (augment,) = [words for words in shown if words[0] == "augment"]
    assert augment[augment.index("--generated") + 1] == CORPUS
    assert ended.errors.count(f"encode: wrote {out}/embeddings/xor-tydi.mbert ") == 1
    assert f"encode: {out}/embeddings/xor-tydi.mbert is up to date" in ended.errors
    report = (out / "report.md").read_text(encoding="utf-8")
    assert all(shlex.join(["xqg-repro", *words]) in report for words in shown)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_run_is_by_inner_product_with_the_papers_vectors(
    ended: Ended, stand_in: StandIn, out: Path, vectors: dict[str, tuple[np.ndarray, np.ndarray]], condition: str
) -> None:
    run, (questions, passages) = run_of(out, condition), vectors[condition]
    assert list(run) == [question["id"] for question in stand_in.questions]
    for qid, scores in zip(run, questions @ passages.T, strict=True):
        expected = {docid: score for (docid, *_), score in zip(stand_in.passages, scores, strict=True)}
        found = {hit.docid: hit.score for hit in run[qid]}
        assert found == pytest.approx(expected, abs=1e-4)  # all 100 passages, as the depth is 500


def test_augmentation_changes_the_ranking_and_every_query_counts(
    ended: Ended, stand_in: StandIn, out: Path, vectors: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    plain, augmented = (run_of(out, condition) for condition in CONDITIONS)
    assert all([hit.docid for hit in plain[qid]] != [hit.docid for hit in augmented[qid]] for qid in plain)
    # a query's own share of a score is far above the rounding that the comparison allows
    encoder = TextEncoder(EncoderConfig(str(stand_in.model)), "cpu")
    one = encoder.encode_queries([few[-1] for few in stand_in.generated[0].values()])
    assert np.abs(0.01 * vectors["mbert"][0] @ one.T).max(0).min() > 1e-2


# what is told


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(("measure", "tokens"), [("R2kt", 2000), ("R5kt", 5000)])
def test_measured_scores_stand_beside_the_expected_ones(
    ended: Ended, stand_in: StandIn, out: Path, condition: str, measure: str, tokens: int
) -> None:
    named = BENCHMARK.condition(condition)
    scores, expected = measured(stand_in, run_of(out, condition), tokens), named.expected[measure]
    assert len(set(scores.values())) > 2  # neither all nor nothing
    table = ended.output.split(f"\n{measure} ")[1].split("\n\n")[0]
    (row,) = [line for line in table.splitlines() if re.match(rf"{re.escape(named.title)}ᵃ?  +[\d.]", line)]
    shown = [f"{100 * scores[column]:.1f}" for column in (*XOR_LANGUAGES, AVERAGE)]
    assert [cell.rstrip("ᵃ⁻") for cell in row.split()[-8:]] == shown
    lines = ended.output.splitlines()
    start = next(i for i, line in enumerate(lines) if f" {condition} {measure}: " in line)
    assert lines[start] == f"[FAIL] {condition} {measure}: 0 of 8 scores as expected"
    verdicts = {c: judge(scores[c], expected[c], BENCHMARK.measures[measure]) for c in expected}
    assert lines[start + 1 : start + 9] == [
        f"    {verdicts[c]} {c}: measured {100 * scores[c]:.1f}, expected {value:.1f}" for c, value in expected.items()
    ]


def test_expected_scores_are_nowhere_told_as_measured(ended: Ended, out: Path) -> None:
    report = (out / "report.md").read_text(encoding="utf-8")
    told = "\n".join(re.sub(r"expected \d+\.\d", "", page) for page in (ended.output, report))
    for claim in load_claims():  # whose figures are said to be the paper's
        told = told.replace(f"(paper: {claim.paper})", "").replace(f"| {claim.paper} |", "")
    papers = {f"{x:.1f}" for c in BENCHMARK.conditions for means in c.expected.values() for x in means.values()}
    assert len(papers) > 20
    possible = {f"{100 * n / EACH / 7:.1f}" for n in range(7 * EACH + 1)}
    assert not {number for number in re.findall(r"\d+\.\d+", told) if number in papers - possible}


# what goes wrong


def test_truncated_corpus_is_named_with_its_line(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = shutil.copytree(stand_in.corpus, tmp_path / "corpus")
    path = corpus / "data" / "shard_1.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    line = f"--condition mbert-xqg --encoder {stand_in.model} --directory {tmp_path / 'out'}"
    ended = two_clicks(monkeypatch, corpus, line)
    assert (ended.status, ended.output) == (2, "")
    last = ended.errors.splitlines()[-1]
    assert last.startswith(f"xqg-repro: error: {path}:40: is not a line of generated queries: the line is truncated")
    assert [folder.name for folder in (tmp_path / "out" / "embeddings").iterdir()] == ["xor-tydi.mbert"]
    assert not (tmp_path / "out" / "runs").exists()


def test_corpus_of_other_passages_is_refused(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = shutil.copytree(stand_in.corpus, tmp_path / "corpus")
    (corpus / "data" / "shard_1.jsonl").unlink()
    line = f"--condition mbert-xqg --encoder {stand_in.model} --directory {tmp_path / 'out'}"
    ended = two_clicks(monkeypatch, corpus, line)
    assert ended.status == 2
    assert f"{CORPUS}: expected queries for the passage 61, got none" in ended.errors.splitlines()[-1]

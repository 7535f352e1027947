"""A workspace with a good copy of every kind of input, and the commands that read them."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from xqg_repro.core.settings import resource

REPOSITORY = Path(__file__).parents[2]


class Target(NamedTuple):
    """A file to damage and a command that reads it, both relative to the workspace."""

    file: str
    command: tuple[str, ...]


def _passages() -> list[tuple[str, str, str]]:
    with open(resource("xor_mini", "passages.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:41]
    return [(str(number), row[1], row[2]) for number, row in enumerate(rows, 1)]


def prepare(folder: Path, run_verb: Callable[[Sequence[str]], Any]) -> None:
    """Write a good copy of every input into the current directory; ``run_verb`` makes the stage folders."""
    passages = _passages()
    data = folder / "data"
    data.mkdir()
    rows = "".join(f"{number}\t{text}\t{title}\n" for number, text, title in passages)
    (data / "enwiki_20190201_w100.tsv").write_text(f"id\ttext\ttitle\n{rows}")
    questions = [json.loads(line) for line in resource("xor_mini", "questions.dev.jsonl").read_text().splitlines()]
    finnish = [question for question in questions if question["lang"] == "fi"][:30]
    _write_lines(data / "xor_test_retrieve_eng_span_q_only_v1_1.jsonl", finnish)
    (folder / "topics.tsv").write_text("".join(f"{q['id']}\t{q['question']}\n" for q in finnish))
    (folder / "answers.json").write_text(json.dumps({q["id"]: q["answers"][0] for q in questions if q["lang"] == "fi"}))
    (folder / "own" / "qrels").mkdir(parents=True)
    _write_lines(
        folder / "own" / "corpus.jsonl", [{"_id": n, "title": title, "text": text} for n, text, title in passages]
    )
    own_questions = [{"_id": q["id"], "text": q["question"], "metadata": {"lang": q["lang"]}} for q in finnish]
    _write_lines(folder / "own" / "queries.jsonl", own_questions)
    judged = "".join(f"{q['id']}\t{i % len(passages) + 1}\t1\n" for i, q in enumerate(finnish))
    (folder / "own" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    languages = ("ar", "fi")
    generated = [
        {"docid": number, "generated_queries": {language: [f"{title}?", f"{text[:20]}?"] for language in languages}}
        for number, text, title in passages
    ]
    _write_lines(folder / "generated.jsonl", generated)
    docs = [{"docid": number, "title": title, "text": text} for number, text, title in passages]
    training = [
        {
            "query_id": f"t{i}",
            "query": question["question"],
            "lang": "fi",
            "answers": question["answers"],
            "positive_passages": docs[i : i + 1],
            "negative_passages": docs[i + 1 : i + 3],
        }
        for i, question in enumerate(finnish)
    ]
    _write_lines(folder / "training.jsonl", training)
    paragraphs = [
        {"context": text, "qas": [{"id": f"s{number}", "question": f"{title}?", "answers": [_answer(text)]}]}
        for number, text, title in passages
    ]
    squad = {"version": "1", "data": [{"title": "T", "paragraphs": paragraphs[i : i + 4]} for i in range(0, 40, 4)]}
    (folder / "squad.json").write_text(json.dumps(squad))

    for name in ("xdr-mini", "xqg-mini", "reader-mini"):
        shutil.copytree(resource("models", name), folder / name)
    for name, model in {"xdr-mini": "xdr-mini", "xqg-mini": "xqg-mini", "reader-mini": "xdr-mini"}.items():
        recipe = yaml.safe_load(resource("recipes", f"{name}.yaml").read_text())
        slow = ("architecture", "names_steps", "held_out_data", "evaluation_steps", "vocabulary_languages")
        quick = {key: value for key, value in recipe.items() if key not in slow} | {"model": model, "batch_size": 4}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(quick))
    shutil.copy(resource("conditions", "xor-mini.yaml"), folder / "benchmark.yaml")
    (folder / "runs").mkdir()
    source = REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz"
    kept = [line for line in gzip.decompress(source.read_bytes()).decode().splitlines() if int(line.split()[3]) <= 10]
    ids = {question["id"] for question in questions if question["lang"] == "fi"}
    (folder / "run.txt").write_text("".join(f"{line}\n" for line in kept if line.split()[0] in ids))
    shutil.copy(folder / "run.txt", folder / "other.txt")

    for command in (
        "encode --collection xor-tydi --preset xdr-mini --shard-size 16 --output embeddings",
        "sum --generated generated.jsonl --languages ar fi --queries 2 --preset xdr-mini --output sums",
        "index --embeddings embeddings --output index",
        "submit --run run.txt --topics xor-mini/dev/fi --output submission.json",
    ):
        run_verb(command.split())
    hits = [line.split() for line in (folder / "run.txt").read_text().splitlines()]
    (folder / "tevatron.tsv").write_text("".join(f"{q}\t{d}\t{s}\n" for q, _, d, _, s, _ in hits))
    (folder / "msmarco.tsv").write_text("".join(f"{q}\t{d}\t{r}\n" for q, _, d, r, _, _ in hits))
    dpr = [
        {"question": q["question"], "answers": q["answers"], "ctxs": [{"id": d, "score": s} for d, s in _hits(hits, q)]}
        for q in finnish
    ]
    (folder / "dpr.json").write_text(json.dumps(dpr))


def _output(command: str) -> str:
    return " --output output.jsonl" if command.startswith("train mine") else " --output output"


def _answer(text: str) -> dict[str, Any]:
    return {"text": text.split()[0], "answer_start": 0}


def _hits(hits: list[list[str]], question: dict[str, Any]) -> list[tuple[str, float]]:
    return [(docid, float(score)) for qid, _, docid, _, score, _ in hits if qid == question["id"]]


def _write_lines(path: Path, items: Sequence[Any]) -> None:
    path.write_text("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items), encoding="utf-8")


def targets() -> list[Target]:
    """Every kind of file with the commands that read it."""
    topics = "--topics xor-mini/dev/fi"
    encode = (
        "encode --collection xor-tydi --passage-max-length 32 --query-max-length 32 --pooling mean --encoder xdr-mini"
    )
    generate = "generate --collection xor-tydi --generator xqg-mini --languages fi --queries 1 --query-max-length 8"
    read = f"read --run run.txt {topics} --max-length 128 --stride 32 --question-max-length 40 --reader reader-mini"
    augment = "augment --embeddings embeddings --alpha 0.1"
    table = [
        ("run.txt", f"evaluate --run run.txt {topics}"),
        ("run.txt", "runfile check run.txt"),
        ("run.txt", f"compare run.txt other.txt {topics} --test t"),
        ("run.txt", f"submit --run run.txt {topics}"),
        ("run.txt", "runfile convert run.txt --from trec --tag t"),
        ("tevatron.tsv", "runfile convert tevatron.tsv --from tevatron --tag t"),
        ("msmarco.tsv", "runfile convert msmarco.tsv --from msmarco --tag t"),
        ("dpr.json", "runfile convert dpr.json --from dpr --tag t --topics topics.tsv"),
        ("answers.json", f"evaluate --answers answers.json {topics}"),
        ("submission.json", f"submit --check submission.json {topics}"),
        ("submission.json", f"submit --convert submission.json {topics}"),
        ("topics.tsv", "topics --topics topics.tsv"),
        ("own/corpus.jsonl", encode.replace("xor-tydi", "own")),
        ("own/queries.jsonl", "topics --topics own/test/fi"),
        ("own/qrels/test.tsv", "evaluate --run run.txt --measures RR@10 --topics own/test"),
        ("topics.tsv", "search --index index --depth 5 --topics topics.tsv"),
        ("data/xor_test_retrieve_eng_span_q_only_v1_1.jsonl", "topics --topics xor-tydi/test"),
        ("data/enwiki_20190201_w100.tsv", encode),
        ("generated.jsonl", "sum --generated generated.jsonl --languages ar fi --queries 2 --preset xdr-mini"),
        ("generated.jsonl", f"{augment} --generated generated.jsonl --languages ar fi --queries 2"),
        (
            "training.jsonl",
            "train mine --data training.jsonl --collection xor-tydi --index index --depth 5 --negatives 2",
        ),
        ("training.jsonl", "train xdr --data training.jsonl --recipe xdr-mini.yaml --steps 1"),
        ("squad.json", "train reader --data squad.json --recipe reader-mini.yaml --steps 1"),
        ("xdr-mini.yaml", "train xdr --data training.jsonl --recipe xdr-mini.yaml --steps 1"),
        ("xqg-mini.yaml", "train xqg --data training.jsonl --recipe xqg-mini.yaml --steps 1"),
        ("benchmark.yaml", "2cr benchmark.yaml --all --dry-run"),
        ("benchmark.yaml", "claims --benchmark benchmark.yaml --runs runs"),
        ("embeddings/manifest.json", "index --embeddings embeddings"),
        ("embeddings/00001.docid", "index --embeddings embeddings"),
        ("embeddings/00001.docid", f"{augment} --sums sums"),
        ("sums/manifest.json", f"{augment} --sums sums"),
        ("index/manifest.json", "search --index index --depth 5 --topics topics.tsv"),
        ("index/docid", "search --index index --depth 5 --topics topics.tsv"),
    ]
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        table += [(f"xdr-mini/{file}", encode), (f"xqg-mini/{file}", generate), (f"reader-mini/{file}", read)]
    table += [(f"xdr-mini/{file}", encode) for file in FOLDER_FILES]
    printing = ("2cr", "claims", "compare", "evaluate", "runfile check", "submit --check")
    return [
        Target(file, tuple(f"{command}{'' if command.startswith(printing) else _output(command)}".split()))
        for file, command in table
    ]


FOLDER_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 128, "pooling_mode_mean_tokens": True},
    "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
}
"""Sentence-transformers' files, which are laid over the encoder's folder where one of them is damaged."""


def lay_over(model: Path) -> None:
    """Write sentence-transformers' files into a model folder."""
    for name, content in FOLDER_FILES.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(json.dumps(content))

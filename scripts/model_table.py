"""Prints which kinds of models each verb takes, as a Markdown table: tries tiny random models of every kind.

``make docs`` runs it for docs/guides/add-a-model.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from ir_datasets import registry
from tiny_models import CODES, KINDS, MBART_CODES, TEXTS, write_model

from xqg_repro import cli
from xqg_repro.collection.handlers import ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.tables import Table

COLLECTION = "model-table"
QUESTION = "Where is the city of Turku?"
_SEQ2SEQ, _READER = "AutoModelForSeq2SeqLM", "AutoModelForQuestionAnswering"
_TRAINING = {"steps": 1, "batch_size": 2, "negatives": 1, "held_out": 0}


class Verb(NamedTuple):
    """A verb: the class that its models are made with, and its options besides model and output."""

    name: str
    made_by: str
    options: str


VERBS = (
    Verb("encode", "AutoModel", f"encode --collection {COLLECTION} --encoder MODEL"),
    Verb("train xdr", "AutoModel", "train xdr --recipe RECIPE"),
    Verb("generate", _SEQ2SEQ, f"generate --collection {COLLECTION} --generator MODEL --languages fi --queries 1"),
    Verb("train xqg", _SEQ2SEQ, "train xqg --recipe RECIPE"),
    Verb("translate", _SEQ2SEQ, f"translate --collection {COLLECTION} --translator MODEL --languages fi"),
    Verb("read", _READER, f"read --topics {COLLECTION} --run RUN --reader MODEL"),
    Verb("train reader", "AutoModel", "train reader --recipe RECIPE"),
)


def register_collection() -> None:
    """Let ir-datasets know three passages and a question."""
    if COLLECTION in registry._registered:
        return
    passages = [Passage(str(number), "Finland", text) for number, text in enumerate(TEXTS)]
    questions = Questions(lambda: ([Question("q", QUESTION, "en", ("Finland",))], "1"), COLLECTION)
    registry.register(COLLECTION, dataset("xor-mini", ListedDocs(lambda: (passages, "1"), COLLECTION, "en"), questions))


def outcome(kind: str, verb: Verb, folder: Path) -> str:
    """What a verb does with a model of a kind: ``works``, or its message without the folder's name."""
    place = folder / re.sub(r"\W+", "-", f"{kind} {verb.made_by}")
    if not place.exists():
        write_model(kind, place, verb.made_by)
    options = [{"MODEL": str(place), "RUN": str(_run(folder))}.get(word, word) for word in verb.options.split()]
    if "RECIPE" in options:
        options[options.index("RECIPE")] = str(_recipe(verb.name, place, folder))
    options += _settings(kind, verb.name)
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main([*options, "--output", str(folder / f"{len(list(folder.iterdir()))}.json")])
    if status == 0:
        return "works"
    lines = [line for line in error.getvalue().splitlines() if line.startswith("xqg-repro: error: ")]
    message = lines[-1].removeprefix("xqg-repro: error: ").replace(f"{place}/", "").removeprefix(f"{place}: ")
    return re.sub(r"the architecture '\S+'", "its architecture", message)


def _settings(kind: str, verb: str) -> list[str]:
    """The options that a verb needs for a kind."""
    if verb == "encode":
        says_pooling = kind.startswith(("sentence", "Tevatron", "DPR"))
        return [] if says_pooling else ["--pooling", "last" if KINDS[kind].tokenizer == "eos" else "mean"]
    if verb == "generate":
        return ["--prompt-max-length", "64", "--query-max-length", "8"]
    if verb == "read":
        return ["--max-length", "128", "--stride", "16", "--answer-max-length", "8"]
    if verb == "translate":
        codes = {"nllb": CODES, "mbart": MBART_CODES}.get(KINDS[kind].tokenizer, {})
        named = ["--codes", *(f"{language}={code}" for language, code in codes.items())] if codes else []
        return [*named, "--text-max-length", "100", "--translation-max-length", "8"]
    return []


def _run(folder: Path) -> Path:
    path = folder / "run.txt"
    path.write_text("q Q0 0 1 1.0 tag\n")
    return path


def _recipe(verb: str, model: Path, folder: Path) -> Path:
    """A recipe of one step that starts from a model."""
    if verb == "train reader":
        data = folder / "squad.json"
        answers = [{"text": "Finland", "answer_start": TEXTS[0].index("Finland")}]
        paragraph = {"context": TEXTS[0], "qas": [{"id": "q", "question": QUESTION, "answers": answers}]}
        data.write_text(json.dumps({"data": [{"title": "Turku", "paragraphs": [paragraph]}]}))
        settings = {"max_length": 128, "stride": 16, "negatives": 0}
    else:
        data = folder / "train.jsonl"
        passages = [{"docid": str(number), "title": "Finland", "text": text} for number, text in enumerate(TEXTS)]
        line = {"query_id": "q", "query": QUESTION, "lang": "en"}
        lines = [{**line, "positive_passages": [p], "negative_passages": passages[2:]} for p in passages[:2]]
        data.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        settings = {"pooling": "cls"} if verb == "train xdr" else {"prompt_max_length": 64, "query_max_length": 32}
    training = {**_TRAINING, **settings}
    if verb == "train xqg":
        del training["negatives"]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "tiny", "data": str(data), "model": str(model), **training}))
    return path


def row(kind: str, verbs: Iterable[Verb] = VERBS) -> list[str]:
    """What each verb does with a kind."""
    register_collection()
    with tempfile.TemporaryDirectory() as folder:
        return [outcome(kind, verb, Path(folder)) for verb in verbs]


def model_table(kinds: Iterable[str] = KINDS, verbs: Sequence[Verb] = VERBS) -> str:
    """The table of kinds and verbs, with the messages numbered below it."""
    numbers: dict[str, int] = {}
    rows = []
    for kind in kinds:
        results = row(kind, verbs)
        for result in results:
            if result != "works":
                numbers.setdefault(result, len(numbers) + 1)
        rows.append([kind, *(f"({numbers[result]})" if result in numbers else result for result in results)])
    notes = [f"{number}. {message}" for message, number in numbers.items()]
    table = Table(["model", *(verb.name for verb in verbs)], rows, left=1 + len(verbs))
    return "\n".join([table.markdown(), "", *notes])


if __name__ == "__main__":
    sys.stdout.write(model_table() + "\n")

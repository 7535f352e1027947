"""The longest text that a message names can be encoded, read or trained on, with models of any architecture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini
from tiny_models import CODES, POSITIONS, SIZE, write_model

from faults.conftest import UNLIMITED, Encode, Outcome, Verb, edit, two_step_recipe

USABLE = {"RoBERTa": 2, "XLM-R": 2, "MPNet": 2, "Longformer": 2}
"""Kinds that never use the first positions of their table, and how many."""


def advice(outcome: Outcome) -> str:
    """The number of tokens that a message says a model can read."""
    outcome.refused(r"reads at most \d+ tokens, but the maximum length is")
    return re.findall(r"reads at most (\d+) tokens", outcome.stderr)[0]


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        *((kind, None) for kind in (*USABLE, "BERT", "BART", "GPT-2", "Marian", "DPR context encoder")),
        *(("XLM-R", limit) for limit in (10**30, 512, "null")),
    ],
)
def test_the_longest_text_that_encode_names_can_be_encoded(
    encode: Encode, tmp_path: Path, kind: str, limit: Any
) -> None:
    folder = write_model(kind, tmp_path / "model")
    path = folder / "tokenizer_config.json"
    edit(path, model_max_length=limit)
    path.write_text(path.read_text().replace('"null"', "null"))
    options = ("--pooling", "cls", "--passage-prefix", "Turku " * 300, "--passage-max-length")
    usable = advice(encode(folder, *options, 1000))
    assert int(usable) == POSITIONS - USABLE.get(kind, 0)
    assert len(encode(folder, *options, usable))


@pytest.mark.parametrize("kind", UNLIMITED)
def test_relative_positions_have_no_limit(encode: Encode, tmp_path: Path, kind: str) -> None:
    folder = write_model(kind, tmp_path / "model")
    options = ("--pooling", "mean", "--passage-prefix", "Turku " * 300, "--passage-max-length", 700)
    assert encode(folder, *options).shape[1] == SIZE


@pytest.mark.parametrize(
    ("kind", "made_by", "options", "length"),
    [
        ("XLM-R", "ForQuestionAnswering", "read --topics TOPICS --run RUN --stride 16 --reader", "--max-length"),
        ("MPNet", "ForQuestionAnswering", "read --topics TOPICS --run RUN --stride 16 --reader", "--max-length"),
        ("BART", "ForQuestionAnswering", "read --topics TOPICS --run RUN --stride 16 --reader", "--max-length"),
        (
            "BART",
            "ForSeq2SeqLM",
            "generate --collection DOCS --languages fi --queries 1 --generator",
            "--prompt-max-length",
        ),
        (
            "Marian",
            "ForSeq2SeqLM",
            "generate --collection DOCS --languages fi --queries 1 --generator",
            "--prompt-max-length",
        ),
        ("Marian", "ForSeq2SeqLM", "translate --collection DOCS --languages fi --translator", "--text-max-length"),
        (
            "M2M100, NLLB",
            "ForSeq2SeqLM",
            "translate --collection DOCS --languages fi --translator",
            "--text-max-length",
        ),
    ],
)
def test_the_longest_text_that_other_verbs_name_can_be_read(
    verb: Verb, mini_data: Mini, tmp_path: Path, kind: str, made_by: str, options: str, length: str
) -> None:
    folder = write_model(kind, tmp_path / "model", f"AutoModel{made_by}")
    (tmp_path / "run.txt").write_text("q0 Q0 1 1 1.0 tag\n")
    words = {"TOPICS": mini_data.topics, "DOCS": mini_data.docs, "RUN": tmp_path / "run.txt"}
    command = [*(words.get(word, word) for word in options.split()), folder, "--output", tmp_path / "output.json"]
    if "NLLB" in kind:
        command += ["--codes", *(f"{language}={code}" for language, code in CODES.items())]
    command += {"generate": ["--query-max-length", 4], "translate": ["--translation-max-length", 4]}.get(command[0], [])
    usable = advice(verb(*command, length, 1000))
    assert int(usable) == POSITIONS - USABLE.get(kind, 0)
    assert verb(*command, length, usable).status == 0


@pytest.mark.parametrize(
    ("trains", "kind", "lengths"),
    [
        ("xdr", "XLM-R", ["passage_max_length"]),
        ("xdr", "BART", ["passage_max_length"]),
        ("xqg", "BART", ["prompt_max_length"]),
        ("reader", "MPNet", ["max_length"]),
    ],
)
def test_the_longest_text_that_training_names_can_be_trained(
    verb: Verb, mini_data: Mini, tmp_path: Path, trains: str, kind: str, lengths: list[str]
) -> None:
    made_by = "AutoModelForSeq2SeqLM" if trains == "xqg" else "AutoModel"
    folder = write_model(kind, tmp_path / "model", made_by)

    def train(**settings: Any) -> Outcome:
        return verb(
            "train",
            trains,
            "--recipe",
            two_step_recipe(trains, folder, mini_data, **settings),
            "--output",
            tmp_path / "t",
        )

    usable = advice(train(**dict.fromkeys(lengths, 1000)))
    assert int(usable) == POSITIONS - USABLE.get(kind, 0)
    assert train(**dict.fromkeys(lengths, int(usable))).status == 0

"""Alignment with two encoders, and with a suffix that names the language of each query."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Mini

from train.samples import ENCODER, example, tevatron_items, weights, write_lines
from train.test_contrastive import random_batch
from train.test_untied import gradients, side_weights, two_networks
from xqg_repro.train.contrastive import contrastive_loss
from xqg_repro.train.encoder_recipe import Alignment
from xqg_repro.train.generated import QueryPool
from xqg_repro.train.xdr import ContrastiveCollator, train

HOW = Alignment(queries="generated.jsonl", share=1.0, weight=5.0, temperature=2.0, unseen=())
ALIGNED = dataclasses.replace(ENCODER, tied=False, alignment=HOW)


def aligned_batch() -> dict[str, Any]:
    """Five questions with two passages of their own each, and a generated query; the last one does not count."""
    batch, other = random_batch(), random_batch(7)
    generated = {name: tensor[2:] for name, tensor in other["query"].items()}
    lists = [[number, 5 + number, 10 + number] for number in range(5)]
    return batch | {"lists": lists, "generated": generated, "draws": [0.1, 0.2, 0.3, 0.4, 1.0]}


def log_softmax(row: np.ndarray) -> np.ndarray:
    return row - np.log(np.exp(row).sum())


def test_generated_queries_are_embedded_by_the_encoder_of_questions() -> None:
    model, inputs = two_networks(), aligned_batch()
    vectors = {}
    for name, network in {"query": model.query, "generated": model.query, "passage": model.passage}.items():
        with torch.no_grad():
            vectors[name] = network(**inputs[name]).last_hidden_state[:, 0].double().numpy()
    terms = []
    for row, own in enumerate(inputs["lists"][:4]):
        passages = vectors["passage"][own]
        target, learnt = (log_softmax(passages @ vectors[name][row] / 2.0) for name in ("query", "generated"))
        terms.append((np.exp(target) * (target - learnt)).sum())
    plain = contrastive_loss(model, random_batch(), dataclasses.replace(ALIGNED, alignment=None)).item()
    loss = contrastive_loss(model, inputs, ALIGNED, 1.0).item()
    assert loss == pytest.approx(plain + 5.0 * sum(terms) / 5, rel=1e-5) and loss > plain + 0.01


@pytest.mark.parametrize("size", [1, 2, 100])
def test_gradients_of_an_alignment_are_the_same_in_chunks(size: int) -> None:
    model, inputs = two_networks(), aligned_batch()

    def gradients_of(chunk_size: int) -> dict[str, torch.Tensor]:
        model.zero_grad()
        contrastive_loss(model, inputs, dataclasses.replace(ALIGNED, chunk_size=chunk_size), 1.0).backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    whole, chunked = gradients_of(0), gradients_of(size)
    without = gradients(model, random_batch(), dataclasses.replace(ALIGNED, alignment=None))
    assert whole.keys() == chunked.keys() == without.keys()
    for name, part in whole.items():
        torch.testing.assert_close(chunked[name], part, rtol=1e-4, atol=1e-5)
    for side in ("query", "passage"):
        assert max((whole[n] - without[n]).abs().max() for n in whole if n.startswith(f"{side}.")) > 1e-3


def test_a_generated_query_ends_with_its_own_language(tiny_model: Path) -> None:
    recipe = dataclasses.replace(ALIGNED, query_prefix="ban: ", query_suffix=" {lang}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    pool = QueryPool({"1": {"ru": ["der"]}}, {})
    examples = [example("ban", "1", "3", lang="fi"), example("kon", "2", "3", lang="te")]
    batch = ContrastiveCollator(recipe, tokenizer, pool)(examples)
    texts = tokenizer(["ban: der ru", "ban: kon te"], padding=True)["input_ids"]
    assert batch["generated"]["input_ids"].tolist() == texts and batch["draws"][1] == 1.0


def test_two_encoders_are_trained_with_an_alignment(mini_data: Mini, tiny_untied: Path, tmp_path: Path) -> None:
    items = [item | {"lang": "fi"} for item in tevatron_items(mini_data)]
    lines = [
        json.dumps({"docid": docid, "generated_queries": {"de": [" ".join(text.split()[:2])]}})
        for docid, _, text in mini_data.passages
    ]
    recipe = dataclasses.replace(
        ALIGNED,
        data=str(write_lines(tmp_path / "train.jsonl", *items)),
        model=str(tiny_untied),
        architecture=None,
        query_suffix=" {lang}",
        held_out=0.2,
        steps=2,
        alignment=dataclasses.replace(HOW, queries=str(write_lines(tmp_path / "generated.jsonl", *lines))),
    )
    manifest = train(recipe, tmp_path / "aligned")
    assert {"model", "query_model", "queries"} <= {*manifest.inputs}
    train(dataclasses.replace(recipe, alignment=None), tmp_path / "control")
    name = "encoder.layer.0.output.dense.weight"
    for one, other in zip(side_weights(tmp_path / "aligned"), side_weights(tmp_path / "control"), strict=True):
        assert np.abs(one[name] - other[name]).max() > 1e-6
    assert not np.array_equal(weights(tmp_path / "aligned" / "query")[name], weights(tiny_untied / "query")[name])

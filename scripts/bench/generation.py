"""Generating queries: batches with one encoder pass per prompt against one call per passage and language."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from common import Section, describe_rounds, time_in_turns

from xqg_repro import collection
from xqg_repro.core.tables import Table
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import GeneratorConfig, Precision, load_generator

NAME = "xqg-mini"


def settings(length: int) -> GeneratorConfig:
    """The embedded generator's settings, with this maximum length of a query in tokens."""
    return dataclasses.replace(load_generator(NAME), query_max_length=length)


def passages(count: int) -> list[Any]:
    """Passages of xor-mini, evenly spread over the collection."""
    docs = list(collection.load("xor-mini", needs=["docs"]).docs_iter())
    return docs[:: max(len(docs) // count, 1)][:count]


def queries(count: int, config: GeneratorConfig) -> list[PassageQueries]:
    """Generated queries for some passages."""
    return QueryGenerator(config, "cpu").generate(passages(count))


def measure(config: GeneratorConfig, count: int, reference_count: int, rounds: int) -> Section:
    """Measure queries per second.

    Args:
        config: the generator and its settings.
        count: passages for our way; enough for full batches.
        reference_count: passages for the reference's way, whose rate does not depend on their number.
        rounds: how often each way is timed.
    """
    docs, per_passage = passages(count), len(config.languages) * config.queries
    one_by_one = _reference(config)
    generators = {
        f"ours, {precision}": QueryGenerator(dataclasses.replace(config, precision=precision), "cpu")
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    }
    one_by_one(docs[:1])  # warm up
    for generator in generators.values():
        generator.generate(docs[:1])

    few, reference = docs[:reference_count], "one call per passage and language, float32"
    ways: dict[str, tuple[int, Callable[[], object]]] = {reference: (per_passage * len(few), partial(one_by_one, few))}
    for name, generator in generators.items():
        ways[name] = (per_passage * len(docs), partial(generator.generate, docs))
    timings = time_in_turns(ways, rounds)
    rows = [
        (name, f"{timing.count:,}", f"{timing.rate:,.1f}", f"{timing.ratio_to(timings[reference]):.2f}×")
        for name, timing in timings.items()
    ]
    text = f"""Generator: `{config.model}`, for passages of xor-mini. It writes {config.queries} queries in each of
{len(config.languages)} languages, with at most {config.query_max_length} tokens, sampled from the {config.top_k}
likeliest; {describe_rounds(rounds)}. Transformers 5 has no text-to-text pipeline, so the reference method is one call
of `generate` per passage and language, with {config.queries} samples.

{Table(("way", "queries", "queries per second", "ratio"), rows).markdown()}
"""
    return Section("Generating queries", text)


def _reference(config: GeneratorConfig) -> Callable[[Sequence[Any]], None]:
    """The reference's way, in plain transformers and float32."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = resolve_model(config.model)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=False).eval()

    def generate_one(passage: Any, language: str) -> None:
        prompt = config.prompt_for(language, passage.title, passage.text)
        inputs = tokenizer(prompt, truncation=True, max_length=config.prompt_max_length, return_tensors="pt")
        rows = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            top_k=config.top_k,
            num_return_sequences=config.queries,
            max_new_tokens=config.query_max_length,
        )
        tokenizer.batch_decode(rows, skip_special_tokens=True)

    def one_by_one(docs: Sequence[Any]) -> None:
        with torch.inference_mode():
            for passage in docs:
                for language in config.languages:
                    generate_one(passage, language)

    return one_by_one

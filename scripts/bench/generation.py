"""Generating queries: batches with one encoder pass a prompt against one call a passage and language."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from common import Section, interleaved, times

from xqg_repro import collection
from xqg_repro.core.tables import Table
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import GeneratorConfig, Precision, load_generator

NAME = "xqg-mini"


def settings(length: int) -> GeneratorConfig:
    """The embedded generator's settings, for queries of at most so many tokens."""
    return dataclasses.replace(load_generator(NAME), query_max_length=length)


def passages(count: int) -> list[Any]:
    """Passages of xor-mini, evenly spread over the collection."""
    docs = list(collection.load("xor-mini", needs=["docs"]).docs_iter())
    return docs[:: max(len(docs) // count, 1)][:count]


def queries(count: int, config: GeneratorConfig) -> list[PassageQueries]:
    """Queries to encode, for some passages."""
    return QueryGenerator(config, "cpu").generate(passages(count))


def measure(config: GeneratorConfig, count: int, reference_count: int, rounds: int) -> Section:
    """Measure queries a second.

    Args:
        config: the generator and its settings.
        count: passages of ours; enough for full batches.
        reference_count: passages of the reference's way, whose rate does not depend on it.
        rounds: how often each way is timed.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    config = dataclasses.replace(config, precision=Precision.FLOAT32)
    folder, docs = resolve_model(config.model), passages(count)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

    def one_by_one(some: Sequence[Any]) -> None:
        with torch.inference_mode():
            for passage in some:
                for language in config.languages:
                    prompt = config.prompt_for(language, passage.title, passage.text)
                    inputs = tokenizer(
                        prompt, truncation=True, max_length=config.prompt_max_length, return_tensors="pt"
                    )
                    rows = model.generate(
                        input_ids=inputs["input_ids"],
                        attention_mask=inputs["attention_mask"],
                        do_sample=True,
                        top_k=config.top_k,
                        num_return_sequences=config.queries,
                        max_new_tokens=config.query_max_length,
                    )
                    tokenizer.batch_decode(rows, skip_special_tokens=True)

    generators = {
        f"ours, {precision}": QueryGenerator(dataclasses.replace(config, precision=precision), "cpu")
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    }
    each, chosen = len(config.languages) * config.queries, docs[:reference_count]
    one_by_one(docs[:1])
    for mine in generators.values():
        mine.generate(docs[:1])
    reference = "one call a passage and language, float32"
    ways = {reference: (each * len(chosen), lambda: one_by_one(chosen))}
    for name, mine in generators.items():
        ways[name] = (each * len(docs), lambda mine=mine: mine.generate(docs))
    timings = interleaved(ways, rounds)
    rows = [
        (name, f"{timing.count:,}", f"{timing.rate:,.1f}", f"{timing.against(timings[reference]):.2f}×")
        for name, timing in timings.items()
    ]
    text = f"""Generator: `{config.model}`. {config.queries} queries in each of {len(config.languages)} languages, of
at most {config.query_max_length} tokens, sampled among the {config.top_k} likeliest, for passages of xor-mini;
{times(rounds)}. Transformers 5 has no text-to-text pipeline, so the reference's way is one call of `generate` for
each passage and language, with {config.queries} samples.

{Table(("way", "queries", "queries a second", "ratio"), rows).markdown()}
"""
    return Section("Generating queries", text)

"""Generating queries: batches with one encoder pass a prompt against one call a passage and language."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import Section, interleaved, times

from xqg_repro import collection
from xqg_repro.config import GeneratorConfig, Precision, load_generator, resource
from xqg_repro.encoders import PACKAGED, resolve_model
from xqg_repro.generate import QueryGenerator
from xqg_repro.queries import PassageQueries
from xqg_repro.tables import Table

NAME = "xqg-mini"
TOKENIZER = "package:xdr-mini"


@dataclasses.dataclass(frozen=True)
class Generator:
    """What generates: its settings, and what to say of it."""

    config: GeneratorConfig
    title: str


def generator(folder: Path, length: int) -> Generator:
    """The generator that ships with the package, or, as long as none does, a random T5 written to ``folder``.

    Args:
        folder: where to write a model if need be.
        length: tokens of a query at most.
    """
    if resource("models", NAME).exists():
        return Generator(dataclasses.replace(load_generator(NAME), query_max_length=length), f"`{PACKAGED}{NAME}`")
    import torch
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(TOKENIZER))
    torch.manual_seed(1)
    settings = T5Config(
        vocab_size=len(tokenizer),
        d_model=160,
        d_kv=32,
        d_ff=320,
        num_layers=3,
        num_heads=5,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.sep_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(settings)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = sum(weights.numel() for weights in model.parameters()) / 1e6
    title = f"a T5 of {size:.1f} million random weights, which never stops early"
    return Generator(GeneratorConfig(str(folder), query_max_length=length), title)


def passages(count: int) -> list[Any]:
    """Passages of xor-mini, evenly spread over the collection."""
    docs = list(collection.load("xor-mini", needs=["docs"]).docs_iter())
    return docs[:: max(len(docs) // count, 1)][:count]


def queries(count: int, found: Generator) -> tuple[str, list[PassageQueries]]:
    """Queries to encode for some passages, and where they are from."""
    if resource("models", NAME).exists():
        return f"queries that {found.title} generated", QueryGenerator(found.config, "cpu").generate(passages(count))
    asked: dict[str, list[str]] = {}
    for question in collection.load("xor-mini/train", needs=["queries"]).queries_iter():
        asked.setdefault(question.lang, []).append(question.text)
    groups = [{code: tuple(texts[5 * i : 5 * i + 5]) for code, texts in asked.items()} for i in range(count)]
    return "training questions of xor-mini", [PassageQueries(str(i), group) for i, group in enumerate(groups)]


def measure(found: Generator, count: int, reference_count: int, rounds: int) -> Section:
    """Measure queries a second.

    Args:
        found: the generator.
        count: passages of ours; enough for full batches.
        reference_count: passages of the reference's way, whose rate does not depend on it.
        rounds: how often each way is timed.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    config = dataclasses.replace(found.config, precision=Precision.FLOAT32)
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
    text = f"""Generator: {found.title}. {config.queries} queries in each of {len(config.languages)} languages, of
at most {config.query_max_length} tokens, sampled among the {config.top_k} likeliest, for passages of xor-mini;
{times(rounds)}. Transformers 5 has no text-to-text pipeline, so the reference's way is one call of `generate` for
each passage and language, with {config.queries} samples.

{Table(("way", "queries", "queries a second", "ratio"), rows).markdown()}
"""
    return Section("Generating queries", text)

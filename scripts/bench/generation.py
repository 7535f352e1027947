"""Generating queries: our ways against one call per passage and language, and against CTranslate2 called bare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from common import Section, describe_rounds, ratio_target, time_in_turns

from xqg_repro import collection
from xqg_repro.core.tables import Table
from xqg_repro.models.backends import open_generator
from xqg_repro.models.ct2_generator import _SLICE as SLICE, CTranslate2Generator
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import Backend, GeneratorConfig, Precision, load_generator

NAME = "xqg-mini"
WAYS = (
    (Backend.TORCH, Precision.FLOAT32),
    (Backend.TORCH, Precision.BFLOAT16),
    (Backend.CTRANSLATE2, Precision.FLOAT32),
    (Backend.CTRANSLATE2, Precision.INT8),
)
SHARE_OF_BARE = 0.9
BARE_BATCHES = (16, 32)


def settings(length: int | None = None) -> GeneratorConfig:
    """The embedded generator's settings; ``length`` replaces the maximum length of a query in tokens."""
    config = load_generator(NAME)
    return dataclasses.replace(config, query_max_length=length) if length else config


def passages(count: int) -> list[Any]:
    """Passages of xor-mini, evenly spread over the collection."""
    docs = list(collection.load("xor-mini", needs=["docs"]).docs_iter())
    return docs[:: max(len(docs) // count, 1)][:count]


def queries(count: int, config: GeneratorConfig) -> list[PassageQueries]:
    """Generated queries for some passages."""
    return open_generator(config, "cpu").generate(passages(count))


def measure(config: GeneratorConfig, count: int, more: int, reference_count: int, rounds: int) -> Section:
    """Measure queries per second.

    Args:
        config: the generator and its settings, except for backend and precision.
        count: passages for all ways but the reference; enough for full batches.
        more: passages for the ways in int8, once again; enough for several slices per thread.
        reference_count: passages for the reference's way, whose rate does not depend on their number.
        rounds: how often each way is timed.
    """
    docs, many, per_passage = passages(count), passages(more), len(config.languages) * config.queries
    generators = {
        way: open_generator(dataclasses.replace(config, backend=way[0], precision=way[1]), "cpu") for way in WAYS
    }
    one_by_one = _reference(config)
    one_by_one(docs[:1])  # warm up

    few, reference = docs[:reference_count], "one call per passage and language, float32"
    ways: dict[str, tuple[int, Callable[[], object]]] = {reference: (per_passage * len(few), partial(one_by_one, few))}
    bare: dict[str, list[str]] = {}
    for (backend, precision), generator in generators.items():
        name = f"ours, {backend}, {precision}"
        generator.generate(docs[:1])
        for some in (docs, many) if precision is Precision.INT8 else (docs,):
            suffix = "" if some is docs else f", {len(some)} passages"
            ways[name + suffix] = (per_passage * len(some), partial(generator.generate, some))
            if isinstance(generator, CTranslate2Generator):
                bare[name + suffix] = []
                for size in BARE_BATCHES:
                    other = f"CTranslate2 called bare, {precision}{suffix}, batches of {size}"
                    bare[name + suffix].append(other)
                    ways[other] = (per_passage * len(some), _bare(generator, some, size))
    timings = time_in_turns(ways, rounds)

    rows, torch_rate = [], timings[f"ours, {Backend.TORCH}, {Precision.FLOAT32}"]
    for name, timing in timings.items():
        ratios = (timing.ratio_to(torch_rate), timing.ratio_to(timings[reference]))
        rows.append((name, f"{timing.count:,}", f"{timing.rate:,.1f}", *(f"{ratio:.2f}×" for ratio in ratios)))
    header = ("way", "queries", "queries per second", "to ours in torch, float32", "ratio")
    targets = []
    for name, others in bare.items():
        what = f"generating, {name.removeprefix('ours, ')}, to the faster CTranslate2 called bare"
        fastest = max((timings[other] for other in others), key=lambda timing: timing.rate)
        targets.append(ratio_target(what, SHARE_OF_BARE, timings[name].ratio_to(fastest)))
    text = _text(config, len(docs), len(few), rounds)
    return Section("Generating queries", f"{text}\n{Table(header, rows).markdown()}\n", targets)


def _text(config: GeneratorConfig, count: int, reference_count: int, rounds: int) -> str:
    slices = len(config.languages) * -(-count // SLICE)
    return f"""Generator: `{config.model}`, for {count} passages of xor-mini unless a row has another number, and
{reference_count} in the reference's way. It writes {config.queries} queries in each of {len(config.languages)}
languages, with at most {config.query_max_length} tokens, sampled from the {config.top_k} likeliest;
{describe_rounds(rounds)}.

- *one call per passage and language*: the reference's way. Transformers 5 has no text-to-text pipeline, so this is one
  call of `generate` for {config.queries} samples.
- *ours*: what the stage `generate` calls for a shard. In CTranslate2, it opens a translator with its own seed for each
  language and slice of up to {SLICE} passages, so that the same command gives the same queries. A thread writes one
  slice at a time: {count} passages are {slices} slices, of which two threads write {slices - slices // 2} and
  {slices // 2}.
- *CTranslate2 called bare*: one translator that works on as many batches side by side as torch has threads, opened
  before the clock starts; one call of `translate_batch` for all prompts, sorted by their length, and the tokenizer
  before and after it. Two runs give different queries.
"""


def _bare(generator: CTranslate2Generator, docs: Sequence[Any], batch: int) -> Callable[[], list[str]]:
    """CTranslate2 without this package around it; only the converted model and the prompts are ours."""
    import torch

    config, tokenizer = generator.config, generator._tokenizer
    translator = generator._engine.open(inter_threads=torch.get_num_threads())

    def generate() -> list[str]:
        prompts = []
        for language in config.languages:
            prompts += [tokenizer.convert_ids_to_tokens(ids) for ids in generator._tokenize(docs, language)]
        results = translator.translate_batch(
            prompts,
            max_batch_size=batch,
            beam_size=1,
            num_hypotheses=config.queries,
            sampling_topk=config.top_k,
            max_decoding_length=config.query_max_length,
        )
        hypotheses = [tokens for result in results for tokens in result.hypotheses]
        return [tokenizer.convert_tokens_to_string(tokens) for tokens in hypotheses]

    generate()  # warm up
    return generate


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

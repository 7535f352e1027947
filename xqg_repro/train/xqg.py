"""Trains a query generator (xQG): text to text, from ``prompt(language, passage)`` to a question in that language.

The loss is the cross-entropy of the question's tokens, as in DSI-QG, which the paper uses. A model from scratch knows
no names in other scripts, as mT5 does from its pre-training; so it may first learn multilingual names, and see them
again between the questions lest it forget them.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.artifacts import Manifest, atomic_write, digest, produce
from xqg_repro.config import LANGUAGE_NAMES, XOR_LANGUAGES, GeneratorConfig, Precision
from xqg_repro.encoders import load_model, model_fingerprint, resolve_model
from xqg_repro.errors import InputError
from xqg_repro.generate import QueryGenerator
from xqg_repro.languages import is_in_script
from xqg_repro.search import read_topics
from xqg_repro.train.data import Example, held_out_split, load_examples, load_names, load_passages
from xqg_repro.train.fit import arguments, check_installed, fit, prepare, save
from xqg_repro.train.names import Names
from xqg_repro.train.recipe import GeneratorRecipe, model_card


class Pair(NamedTuple):
    """What the model reads and what it is to write."""

    source: str
    target: str


def train(
    recipe: GeneratorRecipe, output: str | Path, *, force: bool = False, log: Callable[[str], None] = print
) -> Manifest:
    """Train a generator and write a model folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused.

    Raises:
        InputError: unknown data, a training file with a bad line, a question whose language cannot be told, or a model
            that cannot be had.
    """
    check_installed()
    examples, wanted = plan(recipe)

    def build(folder: Path) -> dict[str, int]:
        return _build(recipe, examples, folder, log)

    return produce(output, wanted, build, force=force, log=log)


def plan(recipe: GeneratorRecipe) -> tuple[Sequence[Example], Manifest]:
    """The training examples of a recipe, and the identity of the model folder that it makes of them."""
    examples, version = load_examples(recipe.data)
    inputs = {
        "data": version,
        "model": model_fingerprint(recipe.model) if recipe.model else "",
        "names": digest(load_names(held_out=True)) if _needs_names(recipe) else "",
        "reserved": read_topics(recipe.reserved)[1] if recipe.reserved else "",
    }
    return examples, Manifest("train-xqg", {"recipe": dataclasses.asdict(recipe)}, inputs)


def _build(
    recipe: GeneratorRecipe, examples: Sequence[Example], folder: Path, log: Callable[[str], None]
) -> dict[str, int]:
    prepare(recipe.seed)
    kept, held_out = held_out_split(examples, recipe.held_out)
    if not kept:
        raise InputError(f"{recipe.data} leaves no question to train on", mend="hold out fewer, or name other data")
    known = _names(recipe) if _needs_names(recipe) else None
    names = [Pair(*pair) for pair in known.pairs()] if known else []
    tokenizer, model = _start(recipe, kept, names)
    collator = Collator(recipe, tokenizer, [*kept, *held_out] if held_out else kept, known)
    if recipe.names_steps:
        log(f"train: {recipe.names_steps} steps on multilingual names")
        first = islice(batches(0, names, recipe, 1), recipe.names_steps * recipe.accumulation)
        _fit(recipe, model, collator, list(first), [], folder, log)
    log(f"train: {len(kept)} questions, {len(held_out)} held out")
    epoch = ceil(len(kept) / recipe.batch_size) + recipe.names_epochs * ceil(len(names) / recipe.names_batch_size)
    steps = recipe.steps or ceil(recipe.epochs * epoch / recipe.accumulation)
    chosen = list(islice(batches(len(kept), names, recipe, recipe.names_epochs), steps * recipe.accumulation))
    evaluated = [Row(position, None) for position in range(len(kept), len(kept) + len(held_out))]
    _fit(recipe, model, collator, chosen, evaluated, folder, log)
    save(model, tokenizer, folder, recipe)
    found = quality(recipe, folder, held_out) if held_out else {}
    for what, share in found.items():
        log(f"train: {what}: {share:.3f}")
    with atomic_write(folder / "README.md") as card:
        facts = {"parameters": model.num_parameters(), "trained": len(kept), "held_out": len(held_out)}
        card.write(model_card("generator_card.md", recipe, quality=found, names=len(names), **facts))
    return {"parameters": model.num_parameters(), "questions": len(kept), "held_out": len(held_out), "steps": steps}


def question_pair(example: Example, prompt: str) -> Pair:
    """A training question as the generator sees it.

    Where the data does not name the question's language, the script tells which of the seven it is: no two share one.
    """
    language = example.lang or next((code for code in XOR_LANGUAGES if is_in_script(example.query, code)), "")
    if language not in LANGUAGE_NAMES:
        raise InputError(
            f"the language of the question {example.query!r} is not known", mend='give each training question a "lang"'
        )
    passage = example.positive
    return Pair(GeneratorConfig(prompt=prompt).prompt_for(language, passage.title, passage.text), example.query)


def _names(recipe: GeneratorRecipe) -> Names:
    reserved = read_topics(recipe.reserved)[0].values() if recipe.reserved else ()
    return Names(load_names(held_out=True), load_passages(recipe.data), list(reserved))


def _needs_names(recipe: GeneratorRecipe) -> bool:
    return bool(recipe.names_steps or recipe.names_epochs or recipe.exchanged)


class Row(NamedTuple):
    """A question by its position, and the epoch of training; ``None`` leaves the question as it is."""

    example: int
    epoch: int | None


def batches(
    examples: int, names: Sequence[Pair], recipe: GeneratorRecipe, names_epochs: int
) -> Iterator[Sequence[Row] | Sequence[Pair]]:
    """Batches without end: each epoch holds every example once and every name ``names_epochs`` times.

    A batch holds questions or names, and names of similar length go together, so that little is spent on padding.
    """
    for epoch in count():
        draw = random.Random(f"{recipe.seed}|{epoch}")
        rows = [Row(position, epoch) for position in draw.sample(range(examples), examples)]
        found = _split(rows, recipe.batch_size)
        for _ in range(names_epochs):
            shuffled = draw.sample(names, len(names))
            found += _split(sorted(shuffled, key=lambda pair: len(pair.target)), recipe.names_batch_size)
        yield from draw.sample(found, len(found))


def _split(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


class Collator:
    """A batch of :func:`batches` → token ids: ``input_ids``, ``attention_mask`` and ``labels`` (-100 is padding)."""

    def __init__(
        self, recipe: GeneratorRecipe, tokenizer: Any, examples: Sequence[Example], names: Names | None = None
    ) -> None:
        self.recipe, self.tokenizer, self.examples, self.names = recipe, tokenizer, examples, names

    def __call__(self, batch: Sequence[Sequence[Row] | Sequence[Pair]]) -> dict[str, Any]:
        """Tokenise the rows of one batch; the ``Trainer`` hands it over in a list of one."""
        pairs = [row if isinstance(row, Pair) else self._pair(row) for rows in batch for row in rows]
        sources = self._tokenize([pair.source for pair in pairs], self.recipe.prompt_max_length)
        targets = self._tokenize([pair.target for pair in pairs], self.recipe.query_max_length)
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100)
        return {"input_ids": sources["input_ids"], "attention_mask": sources["attention_mask"], "labels": labels}

    def _pair(self, row: Row) -> Pair:
        example, draw = self.examples[row.example], random.Random(f"{self.recipe.seed}|{row.epoch}|{row.example}")
        if self.names and row.epoch is not None and draw.random() < self.recipe.exchanged:
            example = self.names.exchange(example, draw)
        return question_pair(example, self.recipe.prompt)

    def _tokenize(self, texts: list[str], max_length: int) -> Any:
        return self.tokenizer(texts, truncation=True, max_length=max_length, padding=True, return_tensors="pt")


def _fit(
    recipe: GeneratorRecipe,
    model: Any,
    collator: Collator,
    chosen: list[Any],
    held_out: Sequence[Row],
    folder: Path,
    log: Callable[[str], None],
) -> None:
    """Train ``model`` in place on batches, one after the other; with evaluation, end with the best checkpoint."""
    import torch
    import transformers

    settings = arguments(recipe, folder, steps=len(chosen) // recipe.accumulation, drop_last=False)
    settings |= {
        "per_device_train_batch_size": 1,  # an item is a whole batch
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": recipe.accumulation,
        "train_sampling_strategy": "sequential",
        "bf16": recipe.precision is Precision.BFLOAT16,
        "use_cpu": not torch.cuda.is_available(),
    }
    if recipe.evaluation_steps and held_out:
        every = {"eval_steps": recipe.evaluation_steps, "save_steps": recipe.evaluation_steps, "save_total_limit": 1}
        settings |= {"eval_strategy": "steps", "save_strategy": "steps", "load_best_model_at_end": True, **every}
    trainer = transformers.Seq2SeqTrainer(
        model=model,
        args=transformers.Seq2SeqTrainingArguments(**settings),
        train_dataset=chosen,
        eval_dataset=_split(held_out, recipe.batch_size),
        data_collator=collator,
        optimizers=_adafactor(model, recipe, settings["max_steps"]) if recipe.adafactor else (None, None),
    )
    fit(trainer, log)


def _adafactor(model: Any, recipe: GeneratorRecipe, steps: int) -> tuple[Any, Any]:
    """T5's own optimiser: a step is relative to a weight's size, and T5's weights start at very different sizes."""
    import transformers

    optimizer = transformers.Adafactor(
        model.parameters(), lr=recipe.learning_rate, scale_parameter=True, relative_step=False
    )
    return optimizer, transformers.get_linear_schedule_with_warmup(optimizer, recipe.warmup_steps, steps)


def _start(recipe: GeneratorRecipe, examples: Sequence[Example], names: Sequence[Pair]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    import torch
    import transformers

    if recipe.model:
        return load_model(
            resolve_model(recipe.model), torch.float32, "AutoModelForSeq2SeqLM", "a sequence-to-sequence model"
        )
    shape = recipe.architecture
    assert shape is not None
    pairs = [*(question_pair(example, recipe.prompt) for example in examples), *names]
    tokenizer = train_tokenizer(list(dict.fromkeys(text for pair in pairs for text in pair)), shape.vocabulary)
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=shape.hidden_size,
        d_kv=shape.hidden_size // shape.heads,
        d_ff=shape.intermediate_size,
        num_layers=shape.layers,
        num_decoder_layers=shape.decoder_layers,
        num_heads=shape.heads,
        dropout_rate=shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, transformers.T5ForConditionalGeneration(config)


def train_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A fast byte-pair tokenizer of about ``size`` pieces that gives back every text in NFC as it was.

    Characters that the training texts lack fall back to their UTF-8 bytes; 256 of the pieces are for these.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=size - 256, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # the bytes come last: the trainer would mark them as special, and decoding would leave them out
    parts = json.loads(tokenizer.to_str())
    vocabulary = parts["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def quality(recipe: GeneratorRecipe, model: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """How good the trained generator's queries are, as shares of those that it writes.

    It writes for the held-out passages, and for the passages of entities that no training question asks about, whose
    names it knows from the list of names alone. An entity is the longest name of the list that a passage's title
    holds. Only the name that the list has counts; another right one does not.

    Returns:
        what → share in [0, 1]: of queries in the language asked for (by script), and of queries naming their passage's
        entity, for each of the two kinds of passages. Kinds without passages are left out.
    """
    config = GeneratorConfig(
        str(model), queries=2, prompt=recipe.prompt, query_max_length=64, precision=Precision.FLOAT32
    )
    generator = QueryGenerator(config)
    kinds = {"of held-out passages": list({example.positive: None for example in held_out})}
    passages = load_passages(recipe.data)
    known, asked = Names(load_names(held_out=True), passages), {name.positive.title for name in load_names()}
    if _needs_names(recipe):
        kinds["of entities without training questions"] = [
            passage for passage in passages if known.find(passage.title) not in ("", *asked)
        ]
    names = defaultdict(set)
    for entity, by_language in known.names.items():
        for language, name in by_language.items():
            names[entity.english, language].add(name)
    shares = {}
    for kind, passages in kinds.items():
        written = [
            (known.find(passage.title), language, query)
            for passage, found in zip(passages, generator.generate(passages), strict=True)
            for language, queries in found.queries.items()
            for query in queries
        ]
        named = [any(name in query for name in names[e, language]) for e, language, query in written if e]
        in_language = [is_in_script(query, language) for _, language, query in written]
        for what, right in (("in the language asked for", in_language), ("naming the entity", named)):
            if right:
                shares[f"{what}, {kind}"] = sum(right) / len(right)
    return shares

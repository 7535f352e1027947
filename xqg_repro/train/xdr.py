"""Trains a dual encoder (xDR) contrastively: one shared encoder for questions and passages.

For a batch of questions ``q_i`` with passages ``p_j`` (each question's positive and its given negatives, shared by the
whole batch), ``loss = mean_i -log( exp(<q_i, p_i>/τ) / Σ_j exp(<q_i, p_j>/τ) )``, as in Tevatron, which the paper uses.
A copy of a question's own positive elsewhere in the batch is left out of the sum: it is not a negative.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.artifacts import Manifest, atomic_write, digest, produce
from xqg_repro.encoders import TextEncoder, load_model, model_fingerprint, passage_text, pool, resolve_model
from xqg_repro.train.data import Example, Split, load_names, load_split
from xqg_repro.train.fit import arguments, check_installed, fit, prepare, save
from xqg_repro.train.recipe import EncoderRecipe, model_card

if TYPE_CHECKING:
    import torch


def train(
    recipe: EncoderRecipe, output: str | Path, *, force: bool = False, log: Callable[[str], None] = print
) -> Manifest:
    """Train an encoder and write a model folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused.

    Raises:
        InputError: unknown data, a training file with a bad line, or a model that cannot be had.
    """
    check_installed()
    split, wanted = plan(recipe)

    def build(folder: Path) -> dict[str, int]:
        return _build(recipe, split, folder, log)

    return produce(output, wanted, build, force=force, log=log)


def plan(recipe: EncoderRecipe) -> tuple[Split, Manifest]:
    """The training examples of a recipe, and the identity of the model folder that it makes of them."""
    split = load_split(recipe)
    inputs = {
        "data": split.version,
        "model": model_fingerprint(recipe.model) if recipe.model else "",
        "names": digest([name[:3] for name in load_names()]) if recipe.names_steps else "",  # languages are not read
    }
    return split, Manifest("train-xdr", {"recipe": dataclasses.asdict(recipe)}, inputs)


def _build(recipe: EncoderRecipe, split: Split, folder: Path, log: Callable[[str], None]) -> dict[str, int]:
    prepare(recipe.seed)
    kept, held_out, _ = split
    tokenizer, model = _start(recipe, kept)
    if recipe.names_steps:
        log(f"train: {recipe.names_steps} steps on multilingual names")
        _fit(recipe, model, tokenizer, load_names(), recipe.names_steps, folder, log)
    log(f"train: {len(kept)} questions, {len(held_out)} held out")
    steps = _fit(recipe, model, tokenizer, kept, recipe.steps, folder, log)
    save(model, tokenizer, folder, recipe)
    score = held_out_accuracy(recipe, folder, split) if held_out else None
    if score is not None:
        log(f"train: held-out questions that rank their own passage first: {score:.3f}")
    with atomic_write(folder / "README.md") as card:
        facts = {"parameters": model.num_parameters(), "trained": len(kept), "held_out": len(held_out), "score": score}
        card.write(model_card("encoder_card.md", recipe, **facts))
    return {"parameters": model.num_parameters(), "questions": len(kept), "held_out": len(held_out), "steps": steps}


def _start(recipe: EncoderRecipe, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    import torch
    import transformers

    if recipe.model:
        return load_model(resolve_model(recipe.model), torch.float32)
    shape = recipe.architecture
    assert shape is not None
    sources = [*examples, *(load_names() if recipe.names_steps else ())]
    texts = dict.fromkeys(
        text for e in sources for text in (e.query, *(f"{p.title} {p.text}" for p in (e.positive, *e.negatives)))
    )
    tokenizer = train_tokenizer(list(texts), shape.vocabulary)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        type_vocab_size=1,
        max_position_embeddings=max(recipe.query_max_length, recipe.passage_max_length),
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, transformers.BertModel(config, add_pooling_layer=False)


def train_tokenizer(texts: Sequence[str], size: int) -> Any:
    """A fast byte-pair tokenizer (lower-cased NFKC, SentencePiece's word marks) of at most ``size`` pieces.

    Byte-pair and not Unigram, because ``tokenizers``' Unigram trainer gives other pieces each time.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        bos_token="<s>",
        eos_token="</s>",
    )


def _fit(
    recipe: EncoderRecipe,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    steps: int,
    folder: Path,
    log: Callable[[str], None],
) -> int:
    """Train ``model`` in place; return the number of optimiser steps."""
    import transformers

    class ContrastiveTrainer(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: dict, return_outputs: bool = False, **_: Any) -> Any:
            return contrastive_loss(model, inputs, recipe)

    collator = Collator(recipe, tokenizer)
    settings = arguments(recipe, folder, steps=steps, drop_last=len(examples) >= recipe.batch_size)
    trainer = ContrastiveTrainer(
        model=model, args=transformers.TrainingArguments(**settings), train_dataset=examples, data_collator=collator
    )
    collator.epoch = lambda: int(trainer.state.epoch or 0)
    return fit(trainer, log)


def contrastive_loss(model: Any, inputs: dict[str, Any], recipe: EncoderRecipe) -> torch.Tensor:
    """The loss of a collated batch, see the module's head. ``inputs`` holds ``query``, ``passage`` and ``same``.

    ``query`` and ``passage`` are tokenised texts, (B, T) and (B·(1+negatives), T'); row i's positive is passage i.
    ``same`` is a boolean (B, B·(1+negatives)) that marks copies of a question's positive.
    """
    import torch

    settings = recipe.encoder("")
    queries, passages = (
        pool(model(**inputs[kind]).last_hidden_state, inputs[kind]["attention_mask"], settings)
        for kind in ("query", "passage")
    )
    scores = (queries @ passages.T / recipe.temperature).masked_fill(inputs["same"], float("-inf"))
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


class Collator:
    """Examples → one batch of token ids: all positives first, then the negatives drawn for this epoch."""

    def __init__(self, recipe: EncoderRecipe, tokenizer: Any) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.epoch: Callable[[], int] = lambda: 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tokenise a batch; see :func:`contrastive_loss` for what is returned."""
        import torch

        passages = [e.positive for e in examples] + [p for e in examples for p in self._negatives(e)]
        positives = [e.positive.doc_id for e in examples]
        same = torch.tensor(
            [[p.doc_id == own and i != j for j, p in enumerate(passages)] for i, own in enumerate(positives)]
        )
        settings = self.recipe.encoder("")
        return {
            "query": self._tokenize([e.query for e in examples], settings.query_max_length),
            "passage": self._tokenize(
                [passage_text(p.title, p.text, settings) for p in passages], settings.passage_max_length
            ),
            "same": same,
        }

    def _negatives(self, example: Example) -> Sequence[Any]:
        count = min(self.recipe.negatives, len(example.negatives))
        return random.Random(f"{self.recipe.seed}|{self.epoch()}|{example.query}").sample(example.negatives, count)

    def _tokenize(self, texts: Sequence[str], max_length: int) -> dict[str, torch.Tensor]:
        found = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=max_length,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}


def held_out_accuracy(recipe: EncoderRecipe, model: str | Path, split: Split) -> float:
    """Share of held-out questions whose own passage scores highest among all passages of the examples."""
    import numpy as np

    encoder = TextEncoder(recipe.encoder(str(model)))
    passages = {p.doc_id: p for e in (*split.kept, *split.held_out) for p in (e.positive, *e.negatives)}
    vectors = encoder.encode_passages([p.title for p in passages.values()], [p.text for p in passages.values()])
    scores = encoder.encode_queries([e.query for e in split.held_out]) @ vectors.T
    first = np.array(list(passages))[scores.argmax(1)]
    return float(np.mean(first == np.array([e.positive.doc_id for e in split.held_out])))

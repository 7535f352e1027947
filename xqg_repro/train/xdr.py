"""Trains a dual encoder (xDR) contrastively: one shared encoder for questions and passages.

The loss is that of :mod:`xqg_repro.train.contrastive`.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.files import digest
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder, passage_text
from xqg_repro.models.loading import check_length, load_model, model_fingerprint, resolve_model
from xqg_repro.train import distributed
from xqg_repro.train.checks import counted
from xqg_repro.train.curve import Point
from xqg_repro.train.data import Chosen, Example, Split, TevatronFile, TrainingPassage, load_names, load_split
from xqg_repro.train.loop import arguments, check_installed, curve_of, finish, fit, freeze, save, train_folder
from xqg_repro.train.mini import scratch
from xqg_repro.train.recipe import EncoderRecipe

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def train(recipe: EncoderRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train an encoder and write a model folder: weights (safetensors), tokenizer, configuration and model card.

    The same recipe on the same machine gives the same bytes. A folder that matches is reused. A training that was
    killed goes on from its last checkpoint, if the recipe has any.

    Raises:
        InputError: unknown data, a training file with a bad line, a model that cannot be had, or a loss that is no
            number.
    """
    check_installed()
    return train_folder(recipe, plan(recipe), _build, output, force=force)


def plan(recipe: EncoderRecipe) -> tuple[Split, Manifest]:
    """The training examples of a recipe, and the identity of the model folder that it makes of them."""
    split = load_split(recipe)
    inputs = {
        "data": split.version,
        "model": model_fingerprint(recipe.model) if recipe.model else "",
        "names": digest([name[:3] for name in load_names()]) if recipe.names_steps else "",  # languages are not read
    }
    return split, Manifest("train-xdr", {"recipe": dataclasses.asdict(recipe)}, inputs)


def _build(recipe: EncoderRecipe, split: Split, inputs: dict[str, str], folder: Path) -> dict[str, int]:
    kept, held_out = split.kept, split.held_out
    tokenizer, model = _start(recipe, kept)
    freeze(model, recipe)

    def read(example: Example) -> tuple[str, str]:
        settings = recipe.encoder("")
        passage = passage_text(example.positive.title, example.positive.text, settings)
        return settings.query_prefix + example.query, passage

    found = counted(recipe, split, tokenizer, read, (recipe.query_max_length, recipe.passage_max_length))
    curve: list[Point] = []
    if recipe.names_steps:
        logger.info(f"train: {recipe.names_steps} steps on multilingual names")
        names = dataclasses.replace(recipe, steps=recipe.names_steps)
        curve += _fit(names, "names", model, tokenizer, load_names(), (), folder)[1]
    logger.info(f"train: {len(kept)} questions, {len(held_out)} held out")
    steps, losses = _fit(recipe, "questions", model, tokenizer, kept, held_out, folder)
    if distributed.get_rank():
        return {}
    save(model, tokenizer, folder, recipe, [*curve, *losses])
    score = held_out_accuracy(recipe, folder, split) if held_out else None
    if score is not None:
        logger.info(f"train: held-out questions that rank their own passage first: {score:.3f}")
    facts = {"parameters": model.num_parameters(), "trained": len(kept), "held_out": len(held_out), "score": score}
    finish(folder, "encoder_card.md", recipe, inputs, found=found, **facts)
    counts = {"parameters": model.num_parameters(), "questions": len(kept), "held_out": len(held_out), "steps": steps}
    return counts | found


def _start(recipe: EncoderRecipe, examples: Sequence[Example]) -> tuple[Any, Any]:
    """Tokenizer and model before the first step."""
    import torch

    longest = max(recipe.query_max_length, recipe.passage_max_length)
    if recipe.model:
        folder = resolve_model(recipe.model)
        tokenizer, model = load_model(folder, torch.float32)
        check_length(tokenizer, model, longest, folder)
        return tokenizer, model
    shape = recipe.architecture
    assert shape is not None
    sources = [*examples, *(load_names() if recipe.names_steps else ())]
    texts = dict.fromkeys(
        text for e in sources for text in (e.query, *(f"{p.title} {p.text}" for p in (e.positive, *e.negatives)))
    )
    return scratch.encoder(shape, list(texts), longest)


def _fit(
    recipe: EncoderRecipe,
    stage: str,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    folder: Path,
) -> tuple[int, list[Point]]:
    """Train ``model`` in place; with evaluation, end with the best checkpoint. Returns steps and losses."""
    from xqg_repro.train.contrastive import contrastive_loss
    from xqg_repro.train.trainer import RecipeTrainer

    class ContrastiveTrainer(RecipeTrainer):
        def compute_loss(self, model: Any, inputs: dict, *_: Any, **__: Any) -> torch.Tensor:
            return contrastive_loss(model, inputs, recipe)

    collator = Collator(recipe, tokenizer)
    size = distributed.per_process(recipe.batch_size, "batch_size")
    sizes = {
        "per_device_train_batch_size": size,
        "per_device_eval_batch_size": size,
        "gradient_accumulation_steps": recipe.accumulation,
        "dataloader_drop_last": len(examples) >= recipe.batch_size,
    }
    trainer = ContrastiveTrainer(
        model=model,
        args=arguments(recipe, folder, stage, steps=recipe.steps, evaluated=bool(held_out), **sizes),
        train_dataset=examples,
        eval_dataset=shuffled(held_out, recipe.seed),
        data_collator=collator,
        eval_collator=Collator(recipe, tokenizer),  # with the same negatives each time
    )
    collator.epoch = lambda: int(trainer.state.epoch or 0)
    return fit(trainer, recipe.checkpoint_steps), curve_of(trainer)


def shuffled(examples: Sequence[Example], seed: int) -> Sequence[Example]:
    """The examples in an order that depends on ``seed`` alone.

    A file's neighbours are often about one passage. In a batch of such there would be nothing to tell apart, and the
    loss would be next to 0.
    """
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    return Chosen([(examples, position) for position in order])


class Collator:
    """Examples → one batch of token ids: all positives first, then the negatives drawn for this epoch.

    Of the positives that a training file gives a question, each epoch takes the next, from one that the seed decides,
    as in Tevatron.
    """

    def __init__(self, recipe: EncoderRecipe, tokenizer: Any) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.epoch: Callable[[], int] = lambda: 0

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tokenise a batch; see :func:`~xqg_repro.train.contrastive.contrastive_loss` for what is returned."""
        passages = [self._positive(e) for e in examples] + [p for e in examples for p in self._negatives(e)]
        docids = [p.doc_id for p in passages]
        settings = self.recipe.encoder("")
        return {
            "query": self._tokenize([settings.query_prefix + e.query for e in examples], settings.query_max_length),
            "passage": self._tokenize(
                [passage_text(p.title, p.text, settings) for p in passages], settings.passage_max_length
            ),
            "docids": docids,
            "questions": [e.label for e in examples],
        }

    def _positive(self, example: Example) -> TrainingPassage:
        positives = (example.positive, *example.other_positives)
        first = random.Random(f"{self.recipe.seed}|{example.query}").randrange(len(positives))
        return positives[(first + self.epoch()) % len(positives)]

    def _negatives(self, example: Example) -> Sequence[TrainingPassage]:
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
    """Share of held-out questions whose own passage scores highest among all passages of the examples.

    Of a training file, which may hold millions of passages, only those of the held-out questions compete.
    """
    import numpy as np

    encoder = TextEncoder(recipe.encoder(str(model)))
    competing = split.held_out if isinstance(split.examples, TevatronFile) else (*split.kept, *split.held_out)
    passages = {p.doc_id: p for e in competing for p in (e.positive, *e.negatives)}
    vectors = encoder.encode_passages([p.title for p in passages.values()], [p.text for p in passages.values()])
    scores = encoder.encode_queries([e.query for e in split.held_out]) @ vectors.T
    first = np.array(list(passages))[scores.argmax(1)]
    return float(np.mean(first == np.array([e.positive.doc_id for e in split.held_out])))

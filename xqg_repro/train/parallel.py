"""Trains an encoder to give a question in any language the vector that a teacher gives its English translation.

The teacher is an encoder that is good at English: the one that the training starts from, or another. Its vectors are
computed once, before the first step; the student learns the question and, so that it does not forget, the English
translation as well. The loss is :func:`~xqg_repro.train.distil.vector_loss`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.stages import Manifest, check_output
from xqg_repro.models.architectures import check_encoder
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint, resolve_model
from xqg_repro.models.questions import question_text
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.train.data import Example, Split
from xqg_repro.train.encoder_recipe import ParallelRecipe
from xqg_repro.train.encoder_start import load_start
from xqg_repro.train.loop import Trained, folder_identity, in_parts, take_batches, train_folder
from xqg_repro.train.parallel_data import Pairs, load_pairs, question_keys, split_pairs
from xqg_repro.train.xdr import tokenize

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

ENGLISH = "en"
ALL = "all"
"""The row of all languages together."""


def train(recipe: ParallelRecipe, output: str | Path, *, force: bool = False) -> Manifest:
    """Train an encoder on parallel questions, and write its folder as :func:`~xqg_repro.train.loop.train_folder` does.

    Raises:
        InputError: also if the recipe names no model, the vectors of teacher and student have different sizes, or as
            :func:`~xqg_repro.train.parallel_data.load_pairs`.
    """
    check_output(output, *filter(None, (recipe.teacher,)), folder=True)
    return train_folder(recipe, plan, _train, "parallel_card.md", output, force=force)


def plan(recipe: ParallelRecipe) -> tuple[Split, Manifest]:
    """The pairs of a recipe, and the identity of the model folder that it makes from them."""
    if not recipe.model:
        raise InputError(f"the recipe {recipe.name} names no encoder to start from", hint="give it a model")
    pairs, unseen = _load(recipe)
    kept, held_out = split_pairs(pairs.examples, recipe.held_out)
    if not kept:
        raise InputError(f"{recipe.data} leaves no pair to train on", hint="hold out fewer")
    split = Split(kept, held_out, digest([pairs.version, unseen]), pairs.examples)
    return split, folder_identity(recipe, split, teacher=model_fingerprint(recipe.teacher or recipe.model))


def _load(recipe: ParallelRecipe) -> tuple[Pairs, str]:
    """The pairs of a recipe, and the fingerprint of the questions that are left out."""
    keys, version = question_keys(recipe.unseen)
    return load_pairs(recipe.data, recipe.languages, keys), version


def _train(recipe: ParallelRecipe, split: Split, folder: Path) -> Trained:
    from xqg_repro.train.parallel_trainer import ParallelTrainer

    pairs, _ = _load(recipe)
    by_language = ", ".join(f"{code} {number}" for code, number in sorted(pairs.left_out.items()))
    logger.info(
        f"train: {len(split.kept):,} pairs, {len(split.held_out):,} held out; {pairs.left_out.total()} left out that "
        f"have a question of {' or '.join(recipe.unseen) or 'no data set'} ({by_language or 'none'})"
    )
    batches = take_batches(recipe, draw_batches(split.kept, recipe), per_epoch=_per_epoch(split.kept, recipe))
    used = [example for batch in batches for example in batch]
    measured = list(split.held_out) if recipe.evaluation_steps else []
    teacher = TeacherVectors(recipe, [*used, *measured])
    tokenizer, model = load_start(recipe)
    if recipe.teacher:
        teacher.check_size(check_encoder(tokenizer, model, resolve_model(recipe.model)))

    languages = sorted({example.lang for example in split.examples})
    trainer = ParallelTrainer(
        recipe,
        folder,
        "pairs",
        model=model,
        train_dataset=batches,
        eval_dataset=[
            batch
            for code in languages
            for batch in in_parts([example for example in measured if example.lang == code], recipe.batch_size)
        ],
        data_collator=ParallelCollator(recipe, tokenizer, teacher),
        steps=len(batches) // recipe.accumulation,
    )
    steps, curve = trainer.train_or_resume()
    return Trained(
        tokenizer,
        model,
        steps,
        curve,
        questions=len(split.kept),
        held_out=len(split.held_out),
        measure=lambda saved: measure(recipe, saved, split.held_out),
        counts={
            "left_out": pairs.left_out.total(),
            "blank": pairs.blank,
            **{f"left_out.{code}": number for code, number in sorted(pairs.left_out.items())},
        },
        facts={"languages": languages},
    )


def _per_epoch(examples: Sequence[Example], recipe: ParallelRecipe) -> int:
    return max(len(examples) // recipe.batch_size, 1)


def draw_batches(examples: Sequence[Example], recipe: ParallelRecipe) -> Iterator[list[Example]]:
    """Endless batches: all pairs in random order, in each epoch; what does not fill a batch is left for another one."""
    for epoch in count():
        order = random.Random(f"{recipe.seed}|{epoch}").sample(range(len(examples)), len(examples))
        for positions in in_parts(order, recipe.batch_size)[: _per_epoch(examples, recipe)]:
            yield [examples[position] for position in positions]


class TeacherVectors:
    """The teacher's vectors of the English questions of some pairs, computed once; float32."""

    def __init__(self, recipe: ParallelRecipe, examples: Sequence[Example]) -> None:
        texts = list(dict.fromkeys(example.positive.text for example in examples))
        logger.info(f"train: the teacher reads {len(texts):,} English questions")
        self._rows = {text: row for row, text in enumerate(texts)}
        teacher = TextEncoder(recipe.encoder(recipe.teacher or recipe.model))
        self._vectors = teacher.encode_queries(texts, [ENGLISH] * len(texts))
        self._teacher = recipe.teacher

    def check_size(self, size: int) -> None:
        """Raise :class:`InputError` unless the student's vectors have as many dimensions as the teacher's."""
        if size != self._vectors.shape[1]:
            problem = f"has vectors of {self._vectors.shape[1]} dimensions, but those of the student have {size}"
            raise InputError(problem, path=self._teacher, hint="choose another teacher")

    def take(self, examples: Sequence[Example]) -> torch.Tensor:
        """The vectors of the pairs, (len(examples), D)."""
        import torch

        return torch.from_numpy(self._vectors[[self._rows[example.positive.text] for example in examples]])


class ParallelCollator:
    """Collates a batch of pairs into token ids and the teacher's vectors."""

    def __init__(self, recipe: ParallelRecipe, tokenizer: Any, teacher: TeacherVectors) -> None:
        self.settings, self.tokenizer, self.teacher = recipe.encoder(""), tokenizer, teacher

    def __call__(self, batches: Sequence[Sequence[Example]]) -> dict[str, Any]:
        """Tokenise one batch, which ``Trainer`` passes as a list of one."""
        examples = [example for batch in batches for example in batch]
        settings = self.settings
        sides = (
            [question_text(example.query, example.lang, settings) for example in examples],
            [question_text(example.positive.text, ENGLISH, settings) for example in examples],
        )
        questions, english = (tokenize(self.tokenizer, texts, settings.query_max_length) for texts in sides)
        return {
            "query": questions,
            "english": english,
            "teacher": self.teacher.take(examples),
            "docids": [example.positive.doc_id for example in examples],
            "questions": [example.label for example in examples],
        }


def measure(recipe: ParallelRecipe, saved: Path, held_out: Sequence[Example]) -> dict[str, float]:
    """How often a held-out question's own translation ranks first, before and after: :func:`quality_name` → share."""
    quality: dict[str, float] = {}
    for when, model in (("before", recipe.model), ("after", str(saved))):
        for code, share in rank_translations(recipe.encoder(model), held_out).items():
            quality[quality_name(code, when)] = share
    return quality


def quality_name(language: str, when: str) -> str:
    """The name of a share in the log and for the model card."""
    return f"{language}: their own translation ranks first {when} training"


def rank_translations(config: EncoderConfig, examples: Sequence[Example]) -> dict[str, float]:
    """Language, or all → share of the questions whose own translation scores highest among all translations."""
    encoder = TextEncoder(config)
    english = {example.positive.doc_id: example.positive.text for example in examples}
    questions = encoder.encode_queries([example.query for example in examples], [e.lang for e in examples])
    translations = encoder.encode_queries(list(english.values()), [ENGLISH] * len(english))
    best = (questions @ translations.T).argmax(1)
    own = np.array([example.positive.doc_id for example in examples])
    is_first = np.array(list(english))[best] == own
    codes = np.array([example.lang for example in examples])
    shares = {ALL: float(is_first.mean())}
    return shares | {str(code): float(is_first[codes == code].mean()) for code in np.unique(codes)}

"""The trainer of parallel questions: it measures held-out losses by language.

Import this module only when a training starts, as transformers takes seconds to import.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from xqg_repro.train.contrastive import embed_texts, find_copies
from xqg_repro.train.curve import BY_LANGUAGE
from xqg_repro.train.distil import vector_loss
from xqg_repro.train.encoder_recipe import ParallelRecipe
from xqg_repro.train.trainer import QUESTIONS, RecipeTrainer


class ParallelTrainer(RecipeTrainer):
    """A :class:`~xqg_repro.train.trainer.RecipeTrainer` of whole batches of parallel questions."""

    def __init__(self, recipe: ParallelRecipe, folder: Path, stage: str, **settings: Any) -> None:
        super().__init__(recipe, folder, stage, **settings)
        self.recipe = recipe

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """The loss of a batch that :class:`~xqg_repro.train.parallel.ParallelCollator` made."""
        return parallel_loss(model, inputs, self.recipe)

    def measure(self) -> tuple[float, dict[str, float]]:
        """The mean held-out loss of all pairs, and that of each language; a batch has one language."""
        sums: dict[str, float] = defaultdict(float)
        pairs: dict[str, int] = defaultdict(int)
        self.model.eval()
        for batch in self.eval_dataset:
            inputs = self.held_out_collator([batch])
            inputs.pop(QUESTIONS)
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = self.compute_loss(self.model, self._prepare_inputs(inputs)).item()
            sums[batch[0].lang] += loss * len(batch)
            pairs[batch[0].lang] += len(batch)
        mean = sum(sums.values()) / sum(pairs.values())
        return mean, {code: sums[code] / pairs[code] for code in sums}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Log the held-out losses."""
        mean, by_language = self.measure()
        metrics = {"eval_loss": mean, **{f"{BY_LANGUAGE}{code}": loss for code, loss in by_language.items()}}
        self.log(metrics)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def parallel_loss(model: Any, inputs: dict[str, Any], recipe: ParallelRecipe) -> torch.Tensor:
    """The loss of a collated batch, in float32.

    Args:
        inputs: ``query`` and ``english``, tokenised texts, (B, T) and (B, T'); ``teacher``, its vectors of the English
            texts, (B, D); ``docids`` of these texts.
    """
    questions = embed_texts(model, inputs["query"], recipe)
    english = embed_texts(model, inputs["english"], recipe) if recipe.english_weight else questions
    copies = find_copies(range(len(questions)), inputs["docids"]).to(questions.device)
    with torch.autocast(questions.device.type, enabled=False):
        return vector_loss(questions.float(), english.float(), inputs["teacher"], recipe, copies)

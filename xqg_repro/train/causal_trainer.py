"""The trainer of causal models: it measures held-out losses by task and language.

Import this module only when a training starts, as transformers takes seconds to import.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from xqg_repro.train.lessons import Packer
from xqg_repro.train.trainer import RecipeTrainer


class CausalTrainer(RecipeTrainer):
    """A :class:`~xqg_repro.train.trainer.RecipeTrainer` of batches of :class:`~xqg_repro.train.lessons.Lesson`."""

    def measure(self) -> dict[str, tuple[float, int]]:
        """Held-out losses in nats per token, and the number of tokens: by task, and by ``<task>.<language>``."""
        packer = self.held_out_collator
        assert isinstance(packer, Packer)
        sums: dict[str, float] = defaultdict(float)
        tokens: dict[str, int] = defaultdict(int)
        self.model.eval()
        autocast = torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self.args.bf16)
        for batch in self.eval_dataset:
            inputs = packer([batch])
            inputs.pop("questions")
            with torch.no_grad(), autocast:
                losses = self.model(**self._prepare_inputs(inputs))["losses"].tolist()
            start = 0
            for lesson in batch:
                text = packer.texts[lesson.text]
                for number, (_, target) in zip(lesson.targets, packer.encode(lesson).blocks, strict=True):
                    loss = sum(losses[start : start + len(target)])
                    start += len(target)
                    for name in (str(text.task), f"{text.task}.{text.targets[number].language}"):
                        sums[name] += loss
                        tokens[name] += len(target)
        return {name: (sums[name] / tokens[name], tokens[name]) for name in sorted(sums)}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Log the held-out losses; ``eval_loss`` is the mean over all tokens."""
        losses = self.measure()
        tasks = [value for name, value in losses.items() if "." not in name]
        mean = sum(loss * tokens for loss, tokens in tasks) / sum(tokens for _, tokens in tasks)
        metrics = {"eval_loss": mean}
        self.log(metrics)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

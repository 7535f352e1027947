"""transformers' ``Trainer`` as all trainings use it: it stops at a loss that is no number, and keeps checkpoints whole.

Imported only where a training starts, as transformers takes seconds to import.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from xqg_repro.core.errors import InputError
from xqg_repro.train import checkpoints, distributed

logger = logging.getLogger(__name__)

QUESTIONS = "questions"
"""Key of a collated batch: its questions as messages name them; the model does not see them."""


class RecipeTrainer(transformers.Trainer):
    """Trains on batches that name their questions, with a collator and a batch size of its own for evaluation."""

    def __init__(self, *, eval_collator: Callable[[Any], dict[str, Any]] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        # T5 takes Trainer's number of tokens and ignores it: left to itself, Trainer would add up the losses of
        # accumulated batches where their mean is meant
        self.model_accepts_loss_kwargs = False
        self.eval_collator = eval_collator or settings["data_collator"]
        self.asked: list[str] = []  # since the last step

    def training_step(self, model: Any, inputs: dict[str, Any], *more: Any, **others: Any) -> torch.Tensor:
        """Loss and gradient of a batch.

        Raises:
            InputError: the loss is infinite or no number.
        """
        self.asked += inputs.pop(QUESTIONS)
        loss = super().training_step(model, inputs, *more, **others)
        if not torch.isfinite(loss):
            self.stop(f"the loss is {loss.item()}", self.state.global_step + 1)
        return loss

    def stop(self, problem: str, step: int) -> None:
        """Raise :class:`InputError` with the step and its questions, and say where the last good state is."""
        kept = checkpoints.last_whole(Path(self.args.output_dir))
        raise InputError(
            f"{problem} at step {step} of {self.state.max_steps}, with these questions: " + ", ".join(self.asked),
            hint="mend the questions, or lower the learning rate"
            + (
                f" and choose another --output, which leaves the last good checkpoint, {kept}, where it is"
                if kept
                else "; no checkpoint was saved before"
            ),
        )

    def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Held-out loss of a batch; nothing else is measured."""
        inputs.pop(QUESTIONS)
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of the held-out questions, all of them, in their order."""
        return self.accelerator.prepare(
            torch.utils.data.DataLoader(
                self.eval_dataset,
                batch_size=self.args.eval_batch_size,
                collate_fn=self.eval_collator,
                generator=torch.Generator(),  # a loader draws a number when it starts: not one that dropout would draw
            )
        )


class Progress(transformers.TrainerCallback):
    """Logs losses, asks for checkpoints and marks them, and looks for numbers that are none."""

    def __init__(self, trainer: RecipeTrainer, checkpoint_steps: int) -> None:
        self.trainer, self.checkpoint_steps = trainer, checkpoint_steps

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Forget the last step's questions."""
        self.trainer.asked.clear()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Pass the losses on."""
        for name, what in (("loss", "loss"), ("eval_loss", "held-out loss")):
            if name in logs:
                logger.info(f"train: step {state.global_step} of {state.max_steps}, {what} {float(logs[name]):.3f}")

    def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Stop before a gradient that is infinite or no number goes into the weights."""
        gradients = [weight.grad for weight in self.trainer.model.parameters() if weight.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self.trainer.stop("the gradient is infinite or not a number", state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for what is due; behind a checkpoint the mean of the loss starts anew, as in a training that resumes."""
        if self.checkpoint_steps and state.global_step % self.checkpoint_steps == 0:
            control.should_save = True
        if control.should_save or control.should_training_stop:
            control.should_log = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole, unless its weights are spoilt."""
        if not all(torch.isfinite(weight).all() for weight in self.trainer.model.parameters()):
            self.trainer.stop("weights became infinite or not a number", state.global_step)
        distributed.barrier()  # each process has written its part
        if distributed.get_rank() == 0:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            checkpoints.finish(checkpoint, state.best_model_checkpoint, distributed.world_size())


def run(trainer: RecipeTrainer, checkpoint_steps: int) -> int:
    """Train, from the last whole checkpoint on; return the number of optimiser steps, those before it included."""
    folder = Path(trainer.args.output_dir)
    if distributed.get_rank() == 0:
        checkpoints.drop_broken(folder)
    distributed.barrier()
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(Progress(trainer, checkpoint_steps))
    start = checkpoints.last_whole(folder)
    if start:
        checkpoints.check_processes(start, distributed.world_size())
        state = transformers.TrainerState.load_from_json(str(start / "trainer_state.json"))
        logger.info(f"train: goes on from step {state.global_step} of {state.max_steps}")
        if state.global_step >= state.max_steps:
            trainer.state = state
            best = state.best_model_checkpoint
            trainer._load_from_checkpoint(str(folder / Path(best).name if best else start))
            distributed.barrier()
            return int(state.global_step)
    try:
        steps = int(trainer.train(resume_from_checkpoint=str(start) if start else None).global_step)
    except InputError:
        if distributed.get_rank() == 0 and checkpoints.last_whole(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        raise
    distributed.barrier()  # until each process has read the best checkpoint
    return steps

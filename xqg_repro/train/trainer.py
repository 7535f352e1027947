"""transformers' ``Trainer`` as all trainings use it: it stops at infinite or NaN losses and keeps checkpoints complete.

Import this module only when a training starts, as transformers takes seconds to import.
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
from xqg_repro.models.settings import Precision
from xqg_repro.train import checkpoints, distributed
from xqg_repro.train.base_recipe import Schedule
from xqg_repro.train.curve import Point, curve_points
from xqg_repro.train.loop import CHECKPOINTS
from xqg_repro.train.recipe import Recipe
from xqg_repro.train.untied import split_networks

logger = logging.getLogger(__name__)

QUESTIONS = "questions"
"""Key of a collated batch: labels of its questions, for messages. The model does not get them."""

_SCHEDULERS = {Schedule.LINEAR: "linear", Schedule.CONSTANT: "constant_with_warmup"}
"""transformers' names of the schedules; its ``constant`` has no warm-up."""


class RecipeTrainer(transformers.Trainer):
    """A trainer with a recipe's settings, for one stage of a training.

    Args:
        folder: the unfinished model folder.
        stage: name of the stage, and of the folder of its checkpoints.
        steps: optimiser steps; 0 uses the recipe's epochs.
        sizes: batch sizes, accumulation and what differs from :func:`training_arguments`, as arguments of
            ``TrainingArguments``; ``None`` for :func:`whole_batches`.
        held_out_collator: for the held-out data; ``None`` uses ``data_collator``.
        settings: ``Trainer``'s arguments: model, datasets, collator, optimizers.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        stage: str,
        *,
        steps: int,
        sizes: dict[str, Any] | None = None,
        held_out_collator: Callable[[Any], dict[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        if recipe.frozen_embeddings:
            for network in split_networks(settings["model"]).values():
                network.get_input_embeddings().weight.requires_grad_(False)
        evaluate = len(settings["eval_dataset"]) > 0
        sizes = sizes or whole_batches(recipe)
        arguments = training_arguments(recipe, folder, stage, steps=steps, evaluate=evaluate, **sizes)
        super().__init__(args=arguments, **settings)
        # T5's forward takes the number of tokens and ignores it; Trainer would then add up the losses of accumulated
        # batches instead of averaging them
        self.model_accepts_loss_kwargs = False
        self.held_out_collator = held_out_collator or settings["data_collator"]
        self.checkpoint_steps = recipe.checkpoint_steps
        self.stage, self.folder = stage, folder / CHECKPOINTS / stage
        self.step_questions: list[str] = []  # labels of the questions since the last step

    def train_or_resume(self) -> tuple[int, list[Point]]:
        """Train from the last complete checkpoint on; return all optimiser steps and losses, the earlier ones included.

        An interrupted training ends with the same weights as one that was not interrupted.

        Raises:
            InputError: a loss, gradient or weight is infinite or NaN.
        """
        if distributed.get_rank() == 0:
            checkpoints.drop_incomplete(self.folder)
        distributed.barrier()
        self.remove_callback(transformers.PrinterCallback)
        self.add_callback(Progress(self))
        start = checkpoints.last_complete(self.folder)
        if start:
            checkpoints.check_processes(start, distributed.world_size())
            state = transformers.TrainerState.load_from_json(str(start / "trainer_state.json"))
            logger.info(f"train: resumes from step {state.global_step} of {state.max_steps}")
            if state.global_step >= state.max_steps:
                self.state = state
                best = state.best_model_checkpoint
                self._load_from_checkpoint(str(start.with_name(Path(best).name) if best else start))
                distributed.barrier()
                return state.global_step, curve_points(self.stage, state.log_history)
        try:
            steps = self.train(resume_from_checkpoint=str(start) if start else None).global_step
        except InputError:
            if distributed.get_rank() == 0 and checkpoints.last_complete(self.folder) is None:
                shutil.rmtree(self.folder, ignore_errors=True)
                if not any(self.folder.parent.iterdir()):
                    self.folder.parent.rmdir()
            raise
        distributed.barrier()  # until every process has read the best checkpoint
        return steps, curve_points(self.stage, self.state.log_history)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Loss and gradient of a batch; stops if the loss is infinite or NaN."""
        self.step_questions += inputs.pop(QUESTIONS)
        loss = super().training_step(model, inputs, *args, **kwargs)
        if not torch.isfinite(loss):
            self.stop(f"the loss is {loss.item()}", self.state.global_step + 1)
        return loss

    def stop(self, problem: str, step: int) -> None:
        """Raise :class:`InputError` with the step, its questions and the last good checkpoint."""
        checkpoint = checkpoints.last_complete(self.folder)
        questions = ", ".join(self.step_questions)
        keep = f" and choose another --output to keep the last good checkpoint, {checkpoint}"
        hint = "correct the questions, or lower the learning rate"
        hint += keep if checkpoint else "; no checkpoint was saved before"
        raise InputError(f"{problem} at step {step} of {self.state.max_steps}, on the questions {questions}", hint=hint)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Held-out loss of a batch; nothing else is measured."""
        inputs.pop(QUESTIONS)
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of all held-out questions, in order."""
        loader = torch.utils.data.DataLoader(
            self.eval_dataset,
            batch_size=self.args.eval_batch_size,
            collate_fn=self.held_out_collator,
            generator=torch.Generator(),  # a starting loader draws a number, which must not be one of dropout's
        )
        return self.accelerator.prepare(loader)


def whole_batches(recipe: Recipe) -> dict[str, Any]:
    """The sizes of a training in which each item of the data is a whole batch, used in order."""
    return {
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": distributed.per_process(recipe.accumulation, "accumulation"),
        "train_sampling_strategy": "sequential",
    }


def training_arguments(
    recipe: Recipe, folder: Path, stage: str, *, steps: int, evaluate: bool, **sizes: Any
) -> transformers.TrainingArguments:
    """transformers' arguments for a stage: no reports, one device per process.

    Raises:
        InputError: the GPU does not support the recipe's precision.
    """
    bfloat16 = recipe.precision is Precision.BFLOAT16
    if bfloat16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("this GPU does not support bfloat16", hint="set precision: float32 in the recipe")
    settings: dict[str, Any] = {
        "output_dir": str(folder / CHECKPOINTS / stage),
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": _SCHEDULERS[recipe.schedule],
        "max_grad_norm": recipe.max_grad_norm,
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_steps": steps or -1,
        "num_train_epochs": recipe.epochs,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": bfloat16,
        "use_cpu": not torch.cuda.is_available(),
        "ddp_broadcast_buffers": False,  # it would change them between the passes over questions and passages
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    evaluate = evaluate and recipe.evaluation_steps > 0
    if evaluate:
        settings |= {"eval_strategy": "steps", "eval_steps": recipe.evaluation_steps}
    keep_best = evaluate and recipe.keep_best
    save_steps = recipe.evaluation_steps if keep_best else recipe.checkpoint_steps
    if save_steps:
        settings |= {"save_strategy": "steps", "save_steps": save_steps, "load_best_model_at_end": keep_best}
    arguments = transformers.TrainingArguments(**(settings | sizes))
    # a single process uses one GPU even if there are several: transformers would multiply the batch by their number
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class Progress(transformers.TrainerCallback):
    """Logs losses, schedules and marks checkpoints, and stops at infinite or NaN gradients and weights."""

    def __init__(self, trainer: RecipeTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Forget the last step's questions."""
        self.trainer.step_questions.clear()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the losses."""
        for key, name in (("loss", "loss"), ("eval_loss", "held-out loss")):
            if key in kwargs["logs"]:
                value = float(kwargs["logs"][key])
                logger.info(f"train: step {state.global_step} of {state.max_steps}, {name} {value:.3f}")

    def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Stop before an infinite or NaN gradient changes the weights."""
        gradients = [weight.grad for weight in self.trainer.model.parameters() if weight.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self.trainer.stop("the gradient is infinite or NaN", state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Schedule a checkpoint and, with it, a log entry, so that the mean loss restarts where a resumed run would."""
        every = self.trainer.checkpoint_steps
        if every and state.global_step % every == 0:
            control.should_save = True
        if control.should_save or control.should_training_stop:
            control.should_log = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as complete, unless its weights are infinite or NaN."""
        if not all(torch.isfinite(weight).all() for weight in self.trainer.model.parameters()):
            self.trainer.stop("weights became infinite or NaN", state.global_step)
        distributed.barrier()  # every process has written its part
        if distributed.get_rank() == 0:
            checkpoint = self.trainer.folder / f"checkpoint-{state.global_step}"
            checkpoints.complete(checkpoint, state.best_model_checkpoint, distributed.world_size())

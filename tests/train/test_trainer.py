"""Steps, checkpoints and faults of a training, mostly on stand-ins for the paper's models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini, contents
from interrupts import interrupt_call, interrupted_at

from train.resuming import check_killed
from train.samples import ENCODER, GENERATOR, cosine, tevatron_item, weights, without_dropout, write_lines
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import Precision
from xqg_repro.train import checkpoints, contrastive, trainer, xdr, xqg
from xqg_repro.train.base_recipe import Schedule
from xqg_repro.train.data import Example, load_split
from xqg_repro.train.recipe import EncoderRecipe, Recipe

pytestmark = pytest.mark.usefixtures("quick")


def train(recipe: Recipe, output: Path) -> Manifest:
    return xdr.train(recipe, output) if isinstance(recipe, EncoderRecipe) else xqg.train(recipe, output)


def losses(folder: Path) -> list[tuple[str, str]]:
    """(loss, held-out loss) of each measured step."""
    rows = [line.split(",") for line in (folder / "loss.csv").read_text().splitlines()[1:]]
    return [(loss, held_out) for _, _, loss, held_out in rows]


@pytest.mark.parametrize("name", ["zs-mbert", "xdr-xlmr", "xqg-mt5-large"])
def test_three_steps_of_the_papers_recipes(stand_in: Callable[..., Recipe], tmp_path: Path, name: str) -> None:
    manifest = train(stand_in(name), tmp_path / "model")
    assert manifest.counts["steps"] == 3 and manifest.parameters["recipe"]["name"] == name
    assert {"model.safetensors", "README.md", "loss.csv"} <= set(contents(tmp_path / "model"))


# resuming


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that ``torch.load`` reads; each must be read as weights only."""
    names: list[str] = []
    original = torch.load

    def load(file: Any, *args: Any, **settings: Any) -> Any:
        names.append(Path(file).name)
        assert settings["weights_only"] is True
        return original(file, *args, **settings)

    monkeypatch.setattr(torch, "load", load)
    return names


def test_an_interrupted_training_ends_as_if_it_was_not(
    stand_in: Callable[..., Recipe],
    loaded: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = stand_in("xqg-mt5-base")
    with interrupted_at("step 3 of"):
        train(recipe, tmp_path / "stopped")
    states = tmp_path / "stopped.partial" / ".trainer" / "questions"
    assert (states / "checkpoint-2" / checkpoints.MARK).exists()
    half = states / "checkpoint-3"  # as a kill during saving leaves it
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert train(recipe, tmp_path / "stopped").counts["steps"] == 3
    assert "train: resumes from step 2 of 3" in caplog.messages
    assert set(loaded) == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    train(recipe, tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"stopped", "whole"}


@pytest.mark.integration
def test_a_killed_training_ends_as_if_it_was_not(
    stand_in: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = stand_in("xdr-mbert")
    check_killed(train, recipe, tmp_path, caplog)


def test_each_stage_resumes_where_it_stopped(
    mini_data: Mini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [Example(f"имя {i}", Passage(f"name {i}", f"Name {i}", "")) for i in range(9)]
    monkeypatch.setattr(xdr, "load_names", lambda: names)
    recipe = dataclasses.replace(ENCODER, names_steps=3, steps=7, accumulation=2, checkpoint_steps=2)
    train(recipe, tmp_path / "whole")
    # an epoch is 2 batches of names or 3 of questions; two batches are a step, a rest too
    interrupt_call(monkeypatch, contrastive, "contrastive_loss", 14)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "model")
    train(recipe, tmp_path / "model")
    resumed = [line.removeprefix("train: resumes from step ") for line in caplog.messages if "resumes from" in line]
    assert resumed == ["3 of 3", "4 of 7"]
    assert contents(tmp_path / "model") == contents(tmp_path / "whole")


# which weights are kept


def test_the_best_or_the_last_weights_are_kept_and_measuring_changes_neither(mini_data: Mini, tmp_path: Path) -> None:
    import transformers

    best = dataclasses.replace(ENCODER, held_out=0.4, evaluation_steps=1, steps=2, learning_rate=0.3, seed=2)
    last = dataclasses.replace(best, keep_best=False)
    unmeasured = dataclasses.replace(last, evaluation_steps=0)
    for name, recipe in {"best": best, "last": last, "unmeasured": unmeasured}.items():
        train(recipe, tmp_path / name)
    held_out_losses = [[held_out for _, held_out in losses(tmp_path / name)] for name in ("best", "last", "unmeasured")]
    assert held_out_losses[0] == held_out_losses[1] and held_out_losses[2] == [""]
    measured = [float(held_out) for held_out in held_out_losses[0]]
    assert measured[0] < measured[1] - 0.01  # the learning rate is far too high
    files = {name: contents(tmp_path / name)["model.safetensors"] for name in ("best", "last", "unmeasured")}
    assert files["best"] != files["last"] == files["unmeasured"]

    held_out = xdr.shuffle(load_split(best).held_out, best.seed)
    assert len(held_out) % best.batch_size  # a last batch that is not full counts too
    model = transformers.AutoModel.from_pretrained(tmp_path / "best").eval()
    collator = xdr.ContrastiveCollator(best, transformers.AutoTokenizer.from_pretrained(tmp_path / "best"))
    total = 0.0
    for at in range(0, len(held_out), best.batch_size):
        part = list(held_out[at : at + best.batch_size])
        with torch.no_grad():
            total += len(part) * contrastive.contrastive_loss(model, collator(part), best).item()
    assert total / len(held_out) == pytest.approx(min(measured), rel=1e-3)


@pytest.mark.parametrize(("schedule", "shares"), [(Schedule.LINEAR, (0, 1, 0.5)), (Schedule.CONSTANT, (0, 1, 1))])
def test_the_learning_rate_falls_or_stays_after_the_warm_up(
    mini_data: Mini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, schedule: Schedule, shares: tuple[float, ...]
) -> None:
    rates: list[float] = []

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **settings: Any) -> None:
        rates.append(settings["lr_scheduler"].get_last_lr()[0])

    monkeypatch.setattr(trainer.Progress, "on_step_begin", on_step_begin)
    train(dataclasses.replace(ENCODER, warmup_steps=1, schedule=schedule), tmp_path / "model")
    assert rates == pytest.approx([share * ENCODER.learning_rate for share in shares])


def test_a_gradient_is_cut_to_the_recipes_length(mini_data: Mini, tmp_path: Path) -> None:
    short = dataclasses.replace(
        ENCODER, steps=1, max_grad_norm=1e-12
    )  # far below what Adam adds to a gradient's length
    whole = dataclasses.replace(short, max_grad_norm=0)
    before, *after = (
        weights(tmp_path / str(number))
        for number, recipe in enumerate((dataclasses.replace(short, learning_rate=1e-30), short, whole))
        if train(recipe, tmp_path / str(number))
    )
    moved = [max(np.abs(weight - before[name]).max() for name, weight in part.items()) for part in after]
    assert moved[0] < 0.1 * ENCODER.learning_rate < moved[1]


def test_frozen_word_embeddings_are_not_trained(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(ENCODER, model=str(tiny_model), architecture=None, steps=1, frozen_embeddings=True)
    train(recipe, tmp_path / "model")
    before, after = weights(tiny_model), weights(tmp_path / "model")
    unchanged = {name for name, weight in before.items() if np.array_equal(weight, after[name])}
    assert "embeddings.word_embeddings.weight" in unchanged and "encoder.layer.0.output.dense.weight" not in unchanged


def test_accumulated_batches_are_as_one_large_batch(tiny_generator: Path, tmp_path: Path) -> None:
    # as many tokens in each question, so that the mean over batches is the mean over all
    items = [tevatron_item(query, lang="fi") for query in ("ban der", "kon ban", "der kon", "ban ban")]
    start, data = without_dropout(tiny_generator, tmp_path / "start"), write_lines(tmp_path / "four.jsonl", *items)
    recipe = dataclasses.replace(GENERATOR, data=str(data), model=str(start), architecture=None, steps=1)
    after, first = [], []
    for size, accumulation in ((4, 1), (2, 2), (2, 1)):
        train(dataclasses.replace(recipe, batch_size=size, accumulation=accumulation), tmp_path / "model")
        after.append(weights(tmp_path / "model"))
        first.append(float(losses(tmp_path / "model")[0][0]))
    one, accumulated, half = after
    assert cosine(one, accumulated, weights(start)) > 0.99 > 0.95 > cosine(one, half, weights(start)) > 0
    assert first[0] == pytest.approx(first[1], rel=1e-4)  # averaged, not added up


# numbers that are infinite or NaN


def test_a_nan_loss_stops_the_training_and_leaves_the_last_checkpoint(
    stand_in: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import transformers

    recipe = stand_in("xdr-mbert", evaluation_steps=0)
    original = transformers.Trainer.training_step

    def spoilt(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = original(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step == 2 else loss

    monkeypatch.setattr(transformers.Trainer, "training_step", spoilt)
    with pytest.raises(InputError, match="the loss is nan at step 3 of 3, on the questions ") as caught:
        train(recipe, tmp_path / "model")
    kept = tmp_path / "model.partial" / ".trainer" / "questions" / "checkpoint-2"
    assert str(kept) in caught.value.hint and (kept / checkpoints.MARK).exists()
    named = caught.value.problem.partition("questions ")[2].split(", ")
    assert len(named) == 4 and {*named} <= {found.label for found in load_split(recipe).kept}


def test_weights_that_a_step_spoils_are_not_kept(stand_in: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = stand_in("xdr-xlmr", learning_rate=1e39, precision=Precision.FLOAT32)
    with pytest.raises(InputError, match=r"(gradient|weights|loss) .* at step 1 of 3.* no checkpoint was saved"):
        train(recipe, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_infinite_gradient_stops_the_training(
    stand_in: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = contrastive.contrastive_loss

    def steep(*inputs: Any) -> torch.Tensor:  # its value is 0, its gradient infinite
        return (original(*inputs) * 0 + 1e-30).sub(1e-30).clamp(min=0).sqrt()

    monkeypatch.setattr(contrastive, "contrastive_loss", steep)
    with pytest.raises(InputError, match="the gradient is infinite or NaN at step 1 of 3"):
        train(stand_in("xdr-mbert"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# hardware

SIZES = {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 32}


def test_a_process_uses_one_of_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    class FourGpus(transformers.TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 4

    monkeypatch.setattr(transformers, "TrainingArguments", FourGpus)
    recipe = dataclasses.replace(ENCODER, weight_decay=0.5)
    arguments = trainer.training_arguments(recipe, Path("folder"), "questions", steps=1, evaluate=False, **SIZES)
    assert (arguments.train_batch_size, arguments.eval_batch_size, arguments.weight_decay) == (32, 32, 0.5)
    assert (arguments.lr_scheduler_type, arguments.max_grad_norm) == ("linear", 1.0)
    assert FourGpus("folder", use_cpu=True, **SIZES).train_batch_size == 128  # what transformers would do


def test_a_gpu_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    recipe = dataclasses.replace(ENCODER, precision=Precision.BFLOAT16)
    with pytest.raises(InputError, match="does not support bfloat16"):
        trainer.training_arguments(recipe, Path("folder"), "questions", steps=1, evaluate=False)

"""The recipes of the paper's models, on stand-ins: files in the published formats, small models of the same kinds."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Mini, contents, interrupted_at

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.settings import Precision
from xqg_repro.train import checkpoints, checks, contrastive, curve, xdr, xqg
from xqg_repro.train.data import Example, Selection, TevatronFile, concatenate, load_split
from xqg_repro.train.recipe import EncoderArchitecture, EncoderRecipe, GeneratorRecipe, Recipe, load_recipe

ENCODERS = {"xdr-mbert": "bert", "xdr-xlmr": "xlmr", "zs-mbert": "bert"}
GENERATORS = {"xqg-mt5-base": "mt5", "xqg-mt5-large": "mt5"}
STAGES = {EncoderRecipe: xdr, GeneratorRecipe: xqg}


def write_lines(path: Path, *items: Any) -> Path:
    shown = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    path.write_text("".join(f"{line}\n" for line in shown), encoding="utf-8")
    return path


def passages(mini: Mini, *numbers: int) -> list[dict[str, str]]:
    rows = (mini.passages[number % len(mini.passages)] for number in numbers)
    return [{"docid": docid, "title": title, "text": text} for docid, title, text in rows]


def tevatron_lines(mini: Mini, count: int = 12) -> list[dict[str, Any]]:
    """Lines as in the files of Tevatron's data sets."""
    return [
        {
            "query_id": str(number),
            "query": " ".join(mini.passages[number][2].split()[:5]),
            "answers": ["ban"],
            "positive_passages": passages(mini, number),
            "negative_passages": passages(mini, *range(number + 1, number + 10)),
        }
        for number in range(count)
    ]


def gold_paragraphs(mini: Mini, count: int = 12) -> dict[str, Any]:
    """XOR-TyDi's gold paragraphs: SQuAD's format, in which questions have a language."""
    return {
        "version": "v",
        "data": [
            {
                "title": title,
                "paragraphs": [
                    {
                        "context": text,
                        "qas": [{"id": docid, "question": " ".join(text.split()[:4]), "lang": "fi", "answers": []}],
                    }
                ],
            }
            for docid, title, text in mini.passages[:count]
        ],
    }


@pytest.fixture(scope="module")
def stand_in(
    mini_data: Mini,
    model_folder: Callable[..., Path],
    generator_folder: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Recipe]:
    """``stand_in(recipe)``: three steps of the recipe, from a small model, on a small file, a checkpoint each step."""
    folder = tmp_path_factory.mktemp("data")
    lines = write_lines(folder / "train.jsonl", *tevatron_lines(mini_data))
    squad = write_lines(folder / "train.json", gold_paragraphs(mini_data))
    models: dict[str, Path] = {}

    def make(name: str, **changes: Any) -> Recipe:
        kind = (ENCODERS | GENERATORS)[name]
        if kind not in models:
            models[kind] = generator_folder(kind, untied=True) if kind == "mt5" else model_folder(kind)
        recipe = load_recipe(name, GeneratorRecipe if kind == "mt5" else EncoderRecipe, steps=3)
        small: dict[str, Any] = {"model": str(models[kind]), "checkpoint_steps": 1, "batch_size": 4}
        if kind == "mt5":
            small |= {"data": str(squad), "batch_size": 2, "accumulation": 2, "evaluation_steps": 1, "held_out": 0.4}
        else:
            small |= {"data": str(lines), "negatives": 1, "chunk_size": 5}
        return dataclasses.replace(recipe, **small | changes)

    return make


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the measurement of a generator's quality, and the plot, which take longer than such a training."""
    monkeypatch.setattr(xqg, "measure_queries", lambda *_: {})
    monkeypatch.setattr(curve, "plot_curve", lambda _: "")


def train(recipe: Recipe, output: Path) -> Manifest:
    return STAGES[type(recipe)].train(recipe, output)


def write_recipe(recipe: Recipe, path: Path) -> Path:
    settings = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


# the recipes


@pytest.mark.parametrize("name", [*ENCODERS, *GENERATORS])
def test_recipe_has_the_references_settings(name: str) -> None:
    recipe = load_recipe(name, GeneratorRecipe if name in GENERATORS else EncoderRecipe)
    assert recipe.name == name and recipe.batch_size * recipe.accumulation == 128 and recipe.warmup_steps == 0
    if name in ENCODERS:
        assert (recipe.learning_rate, recipe.epochs, recipe.negatives, recipe.temperature) == (1e-5, 40, 7, 1)
        assert not (recipe.normalize or recipe.keep_best)
        assert (recipe.held_out, recipe.evaluation_steps) == (0.01, 200)  # to measure the loss; the last step is kept
    else:
        assert (recipe.learning_rate, recipe.steps, recipe.evaluation_steps) == (1e-4, 2000, 100)
        assert recipe.held_out > 0 and recipe.prompt_max_length == recipe.query_max_length == 128
    assert recipe.checkpoint_steps and recipe.precision is Precision.BFLOAT16


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that ``torch.load`` reads; each must be read as weights only."""
    names: list[str] = []
    original = torch.load

    def load(file: Any, *more: Any, **settings: Any) -> Any:
        names.append(Path(file).name)
        assert settings["weights_only"] is True
        return original(file, *more, **settings)

    monkeypatch.setattr(torch, "load", load)
    return names


@pytest.mark.parametrize("name", ["zs-mbert", "xqg-mt5-large"])
def test_three_steps_of_the_other_recipes(stand_in: Callable[..., Recipe], tmp_path: Path, name: str) -> None:
    manifest = train(stand_in(name), tmp_path / "model")
    assert manifest.counts["steps"] == 3 and manifest.parameters["recipe"]["name"] == name
    assert {"model.safetensors", "README.md", "loss.csv"} <= set(contents(tmp_path / "model"))


@pytest.mark.parametrize("name", ["xdr-mbert", "xdr-xlmr", "xqg-mt5-base"])
def test_three_steps_interrupted_behind_a_checkpoint_end_as_if_they_were_not(
    stand_in: Callable[..., Recipe], loaded: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    recipe = stand_in(name)
    with interrupted_at("step 3 of"):
        train(recipe, tmp_path / "stopped")
    states = tmp_path / "stopped.partial" / ".trainer" / "questions"
    assert (states / "checkpoint-2" / checkpoints.MARK).exists()
    half = states / "checkpoint-3"  # as a kill leaves it behind that saves it
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert train(recipe, tmp_path / "stopped").counts["steps"] == 3
    assert "train: resumes from step 2 of 3" in caplog.messages
    assert set(loaded) == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    train(recipe, tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    steps = [line.split(",")[0] for line in (tmp_path / "whole" / "loss.csv").read_text().splitlines()]
    assert steps == ["step", "1", "2", "3"]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["xdr-mbert", "xdr-xlmr", "xqg-mt5-base"])
def test_training_killed_between_checkpoints_ends_as_if_it_was_not(
    stand_in: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    recipe = stand_in(name)
    path = write_recipe(recipe, tmp_path / "recipe.yaml")
    program = f"""
import logging, os, signal, sys, torch
from xqg_repro.train import curve, recipe, {STAGES[type(recipe)].__name__.rpartition(".")[2]} as stage

class Killer(logging.Handler):
    def emit(self, record):
        if "step 3 of" in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("xqg_repro").addHandler(Killer())
logging.getLogger("xqg_repro").setLevel(logging.INFO)
torch.set_num_threads({torch.get_num_threads()})
stage.train(recipe.load_recipe({str(path)!r}, recipe.{type(recipe).__name__}), sys.argv[1])
"""
    process = subprocess.run([sys.executable, "-c", program, tmp_path / "killed"], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    train(recipe, tmp_path / "killed")
    assert "train: resumes from step 2 of 3" in caplog.messages
    train(recipe, tmp_path / "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


# checkpoints and resuming

SMALL = EncoderRecipe(
    name="small",
    data="test-mini/dev",
    architecture=EncoderArchitecture(
        vocabulary=120, hidden_size=16, layers=1, heads=2, intermediate_size=32, dropout=0.2
    ),
    batch_size=4,
    negatives=2,
    accumulation=2,
    learning_rate=1e-2,
    seed=5,
    checkpoint_steps=2,
)


def few_names() -> list[Example]:
    return [Example(f"имя {i}", Passage(f"name {i}", f"Name {i}", "")) for i in range(9)]


@pytest.fixture(scope="module")
def whole(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a training in two stages, over several epochs, that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xdr, "load_names", few_names)
        patch.setattr(curve, "plot_curve", lambda _: "")
        train(dataclasses.replace(SMALL, names_steps=3, steps=7), folder)
    return contents(folder)


@pytest.mark.parametrize(
    # an epoch of names is 2 batches, one of questions 3; two batches are a step, and so is the third
    ("batch", "expected"),
    [
        (6, ["resumes from step 2 of 3"]),
        (14, ["resumes from step 3 of 3", "resumes from step 4 of 7"]),
    ],
)
def test_each_stage_goes_on_where_it_stopped(
    mini_data: Mini,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    batch: int,
    expected: list[str],
) -> None:
    monkeypatch.setattr(xdr, "load_names", few_names)
    recipe = dataclasses.replace(SMALL, names_steps=3, steps=7)
    original, calls = contrastive.contrastive_loss, []

    def stopping(*inputs: Any) -> Any:
        calls.append(0)
        if len(calls) == batch:
            raise KeyboardInterrupt
        return original(*inputs)

    monkeypatch.setattr(contrastive, "contrastive_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "model")
    calls.clear()
    monkeypatch.setattr(contrastive, "contrastive_loss", original)
    train(recipe, tmp_path / "model")
    assert [line.removeprefix("train: ") for line in caplog.messages if "resumes" in line] == expected
    assert contents(tmp_path / "model") == whole


def test_only_whole_checkpoints_count_and_only_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    def saved(step: int) -> Path:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder

    def kept() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    assert checkpoints.last_complete(tmp_path / "none") is None
    first, second = saved(8), saved(9)
    assert checkpoints.last_complete(tmp_path) is None
    checkpoints.complete(first, None)
    assert kept() == {"checkpoint-8"}
    second = saved(9)
    checkpoints.complete(second, "/elsewhere/checkpoint-8")
    third = saved(10)
    assert checkpoints.last_complete(tmp_path) == second
    checkpoints.drop_incomplete(tmp_path)
    assert kept() == {"checkpoint-8", "checkpoint-9"}
    third = saved(10)
    checkpoints.complete(third, str(second))
    assert checkpoints.last_complete(tmp_path) == third and kept() == {"checkpoint-9", "checkpoint-10"}


# the loss in chunks, accumulation, mixed precision


def small_bert(dropout: float) -> Any:
    import transformers

    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    chances = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = transformers.BertConfig(vocab_size=50, initializer_range=0.5, **sizes, **chances)
    return transformers.BertModel(config, add_pooling_layer=False).train()


def batch(questions: int = 5) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(3)

    def texts(count: int, length: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(5, 50, (count, length), generator=draw)
        mask = (torch.arange(length) < torch.randint(2, length + 1, (count, 1), generator=draw)).long()
        return {"input_ids": ids * mask, "attention_mask": mask}

    docids = [str(number % (3 * questions - 1)) for number in range(3 * questions)]
    return {"query": texts(questions, 6), "passage": texts(3 * questions, 9), "docids": docids}


def gradient(model: Any, loss: Callable[[], torch.Tensor], seed: int = 7) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(seed)
    value = loss()
    value.backward()
    return value.item(), torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_batch_in_chunks_has_the_same_loss_and_gradient(size: int) -> None:
    model, inputs = small_bert(0.0), batch()
    plain, chunked = (
        gradient(
            model, lambda s=s: contrastive.contrastive_loss(model, inputs, dataclasses.replace(SMALL, chunk_size=s))
        )
        for s in (0, size)
    )
    assert plain[0] == pytest.approx(chunked[0], rel=1e-5)
    assert plain[1].abs().max() > 0.1
    torch.testing.assert_close(chunked[1], plain[1], rtol=1e-4, atol=1e-5)


def test_dropout_draws_the_same_in_both_passes_over_a_chunk() -> None:
    model, texts = small_bert(0.3), batch()["passage"]

    def embed(texts: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**texts).last_hidden_state[:, 0]

    def with_a_graph(size: int) -> torch.Tensor:
        rows = range(0, 15, size)
        return torch.cat([embed({name: part[at : at + size] for name, part in texts.items()}) for at in rows])

    after = []
    for found in (lambda: with_a_graph(4), lambda: contrastive.embed_in_chunks(embed, texts, 4)):
        value, own = gradient(model, lambda found=found: found().pow(3).sum())
        after.append((value, own, torch.rand(3)))
    (one, other) = after
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    torch.testing.assert_close(other[1], one[1], rtol=1e-4, atol=1e-5)
    assert one[2].tolist() == other[2].tolist()  # the second pass leaves the random numbers that follow as they are
    assert gradient(model, lambda: with_a_graph(4).pow(3).sum(), seed=8)[0] != pytest.approx(one[0], rel=1e-3)


def test_a_chunk_leaves_no_graph_where_no_gradient_is_wanted() -> None:
    model, inputs = small_bert(0.0), batch()
    with torch.no_grad():
        loss = contrastive.contrastive_loss(model, inputs, dataclasses.replace(SMALL, chunk_size=2))
    assert not loss.requires_grad


def losses_of(folder: Path) -> list[tuple[str, str]]:
    rows = [line.split(",") for line in (folder / "loss.csv").read_text().splitlines()[1:]]
    return [(loss, held_out) for _, _, loss, held_out in rows]


def test_the_losses_of_accumulated_batches_are_averaged(stand_in: Callable[..., Recipe], tmp_path: Path) -> None:
    first = []
    for accumulation in (1, 2):
        recipe = stand_in(
            "xqg-mt5-base", accumulation=accumulation, evaluation_steps=0, held_out=0.0, learning_rate=1e-9
        )
        train(recipe, tmp_path / str(accumulation))
        first += [float(loss) for loss, _ in losses_of(tmp_path / str(accumulation))]
    assert max(first) < 1.3 * min(first)


def test_mixed_precision_changes_an_encoder_but_little(mini_data: Mini, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = []
    for precision in (Precision.FLOAT32, Precision.BFLOAT16):
        recipe = dataclasses.replace(SMALL, steps=2, learning_rate=1e-3, precision=precision)
        train(recipe, tmp_path / precision)
        found.append(torch.cat([w.flatten() for w in load_file(tmp_path / precision / "model.safetensors").values()]))
    assert 0 < (found[0] - found[1]).abs().max() < 0.05


def test_the_best_encoder_on_the_held_out_questions_is_kept(mini_data: Mini, tmp_path: Path) -> None:
    import transformers

    recipe = dataclasses.replace(
        SMALL, held_out=0.4, evaluation_steps=1, accumulation=1, steps=2, learning_rate=0.3, checkpoint_steps=0
    )
    train(recipe, tmp_path / "model")
    measured = [float(held_out) for _, held_out in losses_of(tmp_path / "model")]
    assert len(measured) == 2 and min(measured) < measured[-1] - 0.01  # the learning rate is far too high
    held_out = xdr.shuffle(load_split(recipe).held_out, recipe.seed)
    assert len(held_out) > 0 and len(held_out) % recipe.batch_size  # a last batch that is not full counts too
    model = transformers.AutoModel.from_pretrained(tmp_path / "model").eval()
    collator = xdr.ContrastiveCollator(recipe, transformers.AutoTokenizer.from_pretrained(tmp_path / "model"))
    total = 0.0
    for at in range(0, len(held_out), recipe.batch_size):
        part = list(held_out[at : at + recipe.batch_size])
        with torch.no_grad():
            total += len(part) * contrastive.contrastive_loss(model, collator(part), recipe).item()
    assert total / len(held_out) == pytest.approx(min(measured), rel=1e-3)


def test_measuring_the_held_out_loss_changes_nothing_that_is_trained(mini_data: Mini, tmp_path: Path) -> None:
    found = {}
    for steps in (0, 1, 2):
        recipe = dataclasses.replace(SMALL, held_out=0.4, evaluation_steps=steps, keep_best=False, steps=5)
        train(recipe, tmp_path / str(steps))
        found[steps] = [held_out for _, held_out in losses_of(tmp_path / str(steps))]
    weights = {(tmp_path / str(steps) / "model.safetensors").read_bytes() for steps in found}
    assert len(weights) == 1
    assert {steps: sum(map(bool, losses)) for steps, losses in found.items()} == {0: 0, 1: 5, 2: 3}  # and at the end


def test_the_last_weights_are_kept_where_the_best_are_not_asked_for(mini_data: Mini, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        SMALL, held_out=0.4, evaluation_steps=1, accumulation=1, steps=2, learning_rate=0.3, checkpoint_steps=0
    )
    for keep_best in (False, True):
        train(dataclasses.replace(recipe, keep_best=keep_best), tmp_path / str(keep_best))
    measured = [[float(held_out) for _, held_out in losses_of(tmp_path / kept)] for kept in ("False", "True")]
    assert measured[0] == measured[1] and min(measured[0]) < measured[0][-1]
    train(dataclasses.replace(recipe, evaluation_steps=0), tmp_path / "unmeasured")
    last, best, unmeasured = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("False", "True", "unmeasured")
    )
    assert last == unmeasured != best


def test_held_out_questions_are_measured_in_an_order_of_their_own() -> None:
    examples = [Example(f"q {i}", Passage(str(i // 8), "", "")) for i in range(64)]
    order = xdr.shuffle(examples, 1)
    assert list(order) == list(xdr.shuffle(examples, 1)) != list(xdr.shuffle(examples, 2))
    assert sorted(order) == sorted(examples)
    assert len({example.positive for example in order[:8]}) > 3  # a file has eight in a row on one passage


# faults of the data


def passage(docid: str, text: str = "") -> dict[str, str]:
    return {"docid": docid, "title": "T", "text": text or f"text {docid}"}


def line(negatives: list[dict[str, str]], query: str = "q", positive: str = "1") -> dict[str, Any]:
    return {"query": query, "positive_passages": [passage(positive)], "negative_passages": negatives}


class Words:
    """A make-believe tokenizer: a token a word, and two more."""

    def __call__(self, texts: list[str], **settings: Any) -> dict[str, list[list[int]]]:
        assert settings == {"truncation": False, "padding": False}
        return {"input_ids": [[0] * (len(text.split()) + 2) for text in texts]}


@pytest.fixture
def faulty(tmp_path: Path) -> TevatronFile:
    return TevatronFile(
        write_lines(
            tmp_path / "train.jsonl",
            line([passage("2"), passage("3")]),
            "",
            line([passage("2"), passage("3"), passage("2"), passage("9", "text 3"), passage("4")]),
            line([passage("1"), passage("2"), passage("8", "text 1")], query="one two three four"),
            line([passage("2", "a b c d e f g h")], query="one two three"),
            {**line([]), "positive_passages": [passage("1", "a b c d e"), passage("5", "other words")]},
        )
    )


def test_repeated_negatives_and_positives_among_them_are_left_out(faulty: TevatronFile) -> None:
    assert [[p.doc_id for p in example.negatives] for example in faulty] == [
        ["2", "3"],
        ["2", "3", "4"],
        ["2"],
        ["2"],
        [],
    ]


def test_what_is_left_out_or_cut_is_counted_with_its_lines(faulty: TevatronFile) -> None:
    findings = checks.examine(faulty, Words(), lambda e: (e.query, e.positive.text), (5, 6))
    assert findings.counts == {
        "repeated_negatives": 2,
        "positives_among_negatives": 2,
        "cut_questions": 1,
        "cut_passages": 1,
    }
    assert list(findings.lines.values()) == [[3], [4], [4], [6]]
    told = "2 repeated negatives (line 3); 2 positives among negatives (line 4); "
    assert str(findings) == told + "1 cut questions (line 4); 1 cut passages (line 6)"


def test_the_first_lines_of_many_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", *[line([passage("1")], query=f"q {i}") for i in range(1200)])
    findings = checks.examine(TevatronFile(path), Words(), lambda e: (e.query, e.positive.text), (32, 128))
    assert str(findings) == "1,200 positives among negatives (line 1, 2, 3, 4, 5, …)"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({**line([]), "positive_passages": []}, "the query has no positive passage"),
        ({**line([]), "query": 5}, "a text is not a string"),
        (line([{"docid": "1", "title": "T", "text": None}]), "a text is not a string"),  # type: ignore[dict-item]
        ('{"query": ', "JSONDecodeError"),
    ],
)
def test_a_bad_line_stops_the_training_before_its_first_step(
    stand_in: Callable[..., Recipe],
    mini_data: Mini,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    bad: Any,
    problem: str,
) -> None:
    path = write_lines(tmp_path / "train.jsonl", *tevatron_lines(mini_data), "", bad)
    with pytest.raises(InputError, match=problem) as caught:
        train(stand_in("xdr-mbert", data=str(path)), tmp_path / "model")
    assert (caught.value.path, caught.value.line) == (path, 14)
    assert not any("step" in told for told in caplog.messages)
    assert list(tmp_path.iterdir()) == [path]


def test_the_counts_are_in_the_log_the_manifest_and_the_card(
    stand_in: Callable[..., Recipe], mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = tevatron_lines(mini_data)
    items[2]["negative_passages"] += items[2]["negative_passages"][:3] + items[2]["positive_passages"]
    items[4]["query"] *= 20
    items[5]["positive_passages"][0]["text"] *= 40
    path = write_lines(tmp_path / "train.jsonl", *items)
    recipe = stand_in("xdr-mbert", data=str(path), checkpoint_steps=0)
    counts = train(dataclasses.replace(recipe, steps=1), tmp_path / "model").counts
    found = [counts[what] for what in ("repeated_negatives", "positives_among_negatives", "cut_questions")]
    assert found == [3, 1, 1] and counts["cut_passages"] == 1
    (told,) = [told for told in caplog.messages if "(line" in told]
    assert told.startswith(
        f"train: {path}: 3 repeated negatives (line 3); 1 positives among negatives (line 3); 1 cut "
    )
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    assert "3 repeated negatives and 1 positives among the negatives were dropped" in card
    inputs = Manifest.read(tmp_path / "model").inputs
    assert f"`{recipe.model}`, fingerprint `{inputs['model'][:16]}`" in card
    assert f"`{path}`, fingerprint `{inputs['data'][:16]}`" in card


def test_examples_are_read_when_they_are_asked_for(faulty: TevatronFile) -> None:
    both = concatenate(Selection([(faulty, 4), (faulty, 0)]), faulty)
    assert len(both) == 7 and both[1] == both[2] == both[-5] == faulty[0]
    assert list(both[:2]) == [faulty[4], faulty[0]]
    faulty.path.write_text("changed\n" * 99)
    with pytest.raises(InputError, match="not a training example"):
        both[0]


# losses that are no numbers


@pytest.mark.parametrize("name", ["xdr-mbert", "xqg-mt5-base"])
def test_a_loss_that_is_no_number_stops_the_training_and_leaves_the_last_checkpoint(
    stand_in: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    import transformers

    recipe = stand_in(name, evaluation_steps=0)
    original = transformers.Trainer.training_step

    def spoilt(self: Any, *inputs: Any, **more: Any) -> torch.Tensor:
        loss = original(self, *inputs, **more)
        return loss * float("nan") if self.state.global_step == 2 else loss

    monkeypatch.setattr(transformers.Trainer, "training_step", spoilt)
    with pytest.raises(InputError, match="the loss is nan at step 3 of 3, on the questions ") as caught:
        train(recipe, tmp_path / "model")
    kept = tmp_path / "model.partial" / ".trainer" / "questions" / "checkpoint-2"
    assert str(kept) in caught.value.hint and (kept / checkpoints.MARK).exists()
    known = [example.label for example in load_split(recipe).kept]
    asked = caught.value.problem.partition("questions ")[2].split(", ")
    assert len(asked) == (4 if name == "xdr-mbert" else 2) and {*asked} <= {*known}
    assert all(label.split()[0].isdigit() for label in asked)  # ids


def test_a_learning_rate_far_too_high_stops_before_spoilt_weights_are_kept(
    stand_in: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = stand_in("xdr-xlmr", learning_rate=1e39, precision=Precision.FLOAT32)
    with pytest.raises(InputError, match=r"(gradient|weights|loss) .* at step 1 of 3.* no checkpoint was saved"):
        train(recipe, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_infinite_gradient_does_not_go_into_the_weights(
    stand_in: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = contrastive.contrastive_loss
    # its value is 0, its gradient infinite
    monkeypatch.setattr(
        contrastive, "contrastive_loss", lambda *inputs: (original(*inputs) * 0 + 1e-30).sub(1e-30).clamp(min=0).sqrt()
    )
    with pytest.raises(InputError, match="the gradient is infinite or NaN at step 1 of 3"):
        train(stand_in("xdr-mbert"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# the curve


def test_the_curve_has_a_point_for_each_step_measured() -> None:
    history = [
        {"step": 50, "loss": 2.0, "epoch": 0.5},
        {"step": 60, "loss": 1.5},
        {"step": 60, "eval_loss": 1.25},
        {"step": 60, "train_runtime": 3.0},
        {"step": 61, "eval_loss": 1.0},
    ]
    found = curve.curve_points("names", history)
    assert found == [
        curve.Point("names", 50, 2.0, None),
        curve.Point("names", 60, 1.5, 1.25),
        curve.Point("names", 61, None, 1.0),
    ]


def test_the_curve_is_a_table_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = [curve.Point("names", 3, 1 / 3, None), curve.Point("questions", 2, None, 0.5)]
    curve.write_curve(found, tmp_path)
    assert (tmp_path / "loss.csv").read_text() == "step,stage,loss,held_out_loss\n3,names,0.333333,\n2,questions,,0.5\n"
    svg = (tmp_path / "loss.svg").read_text()
    assert (
        svg.startswith("<?xml") and "loss (names)" in svg and "loss (questions)" in svg and svg.count("held-out") == 1
    )
    curve.write_curve(found, tmp_path / "again")
    assert (tmp_path / "again" / "loss.svg").read_text() == svg


def test_without_matplotlib_there_is_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve.importlib.util, "find_spec", lambda name: None)
    curve.write_curve([], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.csv"]


# several processes


def torchrun(kind: str, recipe: Path, output: Path) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher = [*launcher, "--standalone", "-m", "xqg_repro"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "train", kind, "--recipe", recipe, "--output", output],
        capture_output=True,
        text=True,
        env=environment,
    )


def without_dropout(model: str, folder: Path) -> str:
    shutil.copytree(model, folder)
    settings = json.loads((folder / "config.json").read_text())
    changed = {key: 0.0 if "dropout" in key and value else value for key, value in settings.items()}
    (folder / "config.json").write_text(json.dumps(changed))
    return str(folder)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("xdr", "xdr-mbert", {"chunk_size": 4}),
        ("xdr", "xdr-xlmr", {"chunk_size": 2, "data": "uneven"}),
        ("xqg", "xqg-mt5-base", {"evaluation_steps": 0, "held_out": 0.0}),
    ],
)
def test_two_processes_train_as_one_does(
    stand_in: Callable[..., Recipe], mini_data: Mini, tmp_path: Path, kind: str, name: str, changes: dict[str, Any]
) -> None:
    from safetensors.torch import load_file

    lines = enumerate(tevatron_lines(mini_data))

    if changes.get("data") == "uneven":  # the processes have other numbers of passages
        items = [{**item, "negative_passages": item["negative_passages"][: number % 3]} for number, item in lines]
        changes = {**changes, "data": str(write_lines(tmp_path / "train.jsonl", *items)), "negatives": 2}
    recipe = stand_in(name, precision=Precision.FLOAT32, learning_rate=1e-3, checkpoint_steps=2, **changes)
    recipe = dataclasses.replace(recipe, model=without_dropout(recipe.model, tmp_path / "start"))
    process = torchrun(kind, write_recipe(recipe, tmp_path / "recipe.yaml"), tmp_path / "two")
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("step 3 of 3") + process.stdout.count("step 3 of 3") == 1
    assert not (tmp_path / "two.partial").exists()
    train(recipe, tmp_path / "one")
    moved = []
    for output in ("one", "two"):
        before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("start", output))
        moved.append(torch.cat([(after[key] - before[key]).flatten() for key in sorted(before)]))
    assert torch.cosine_similarity(*moved, dim=0) > 0.99
    losses = [[float(loss) for loss, _ in losses_of(tmp_path / output)] for output in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


TWO_RANKS = """
import dataclasses, os, sys, torch
import torch.distributed as dist
from types import SimpleNamespace
from xqg_repro.models.settings import Pooling
from xqg_repro.train import contrastive
from xqg_repro.train.recipe import EncoderRecipe

recipe = EncoderRecipe(name="a", data="b", pooling=Pooling.MEAN)
table = torch.nn.Embedding(20, 4, _weight=torch.arange(80.0).reshape(20, 4).sin())
model = lambda input_ids, attention_mask: SimpleNamespace(last_hidden_state=table(input_ids))
texts = lambda ids: {"input_ids": torch.tensor(ids)[:, None], "attention_mask": torch.ones(len(ids), 1).long()}

def gradient(queries, passages):  # a passage's docid is its token
    docids = [str(passage) for passage in passages]
    inputs = {"query": texts(queries), "passage": texts(passages), "docids": docids}
    loss = contrastive.contrastive_loss(model, inputs, recipe)
    loss.backward()
    found, table.weight.grad = table.weight.grad, None
    return loss.item(), found

# the positives 10 11 12, the negatives 13 14 of one rank and 15 of the other; 10 is a copy
wanted = [([1, 2, 3], [10, 11, 12, 13, 14, 15, 10]), ([1, 2], [10, 11, 13, 14]), ([3], [12, 15, 10])]
rank = int(os.environ.pop("RANK"))
whole_loss, whole = gradient(*wanted[0])
os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
loss, own = gradient(*wanted[1 + rank])
dist.all_reduce(own)
assert abs(loss - whole_loss) < 1e-5, (loss, whole_loss)
torch.testing.assert_close(own / 2, whole)  # as DistributedDataParallel averages
assert whole.abs().max() > 0.01
"""


@pytest.mark.integration
def test_the_gradient_over_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_RANKS, str(tmp_path / "meet")]
    processes = [
        subprocess.Popen(command, env={**os.environ, "RANK": rank}, stderr=subprocess.PIPE, text=True) for rank in "01"
    ]
    for process in processes:
        _, problems = process.communicate(timeout=120)
        assert process.returncode == 0, problems

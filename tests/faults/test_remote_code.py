"""A model's own code is never run, whatever standard input says."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini
from train.samples import ENCODER, GENERATOR, write_recipe

from faults.conftest import Verb

MARK = "CODE_WAS_RUN"
REFUSED = "names code of its own, which is never run"


@pytest.fixture(autouse=True)
def yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input that agrees to everything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 1000))


@pytest.fixture
def coded(tmp_path: Path) -> Callable[..., Path]:
    """``coded(folder, {"config.json": {…}})``: a copy with code in it, whose JSON files get these entries."""

    def make(source: Path, changes: dict[str, Any]) -> Path:
        folder = shutil.copytree(source, tmp_path / "coded")
        code = f"open({str(tmp_path / MARK)!r}, 'w').close()\nclass C: ...\nM = T = P = C\n"
        for path in (folder / "code_x.py", folder / "custom_generate" / "generate.py"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(code)
        for name, entries in changes.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            known = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(entries if isinstance(entries, list) else known | entries))
        return folder

    return make


def encode(verb: Verb, folder: object) -> Any:
    output = Path(str(folder)).parent / "encoded"
    return verb("encode", "--collection", "xor-tydi", "--pooling", "cls", "--encoder", folder, "--output", output)


AUTO_MAP = {"AutoConfig": "code_x.C", "AutoModel": "code_x.M"}
MODULES = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Own", "type": "code_x.M"}]
POOLING = [MODULES[0], {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({"config.json": {"model_type": "newmodelx", "auto_map": AUTO_MAP}}, "config.json"),
        ({"config.json": {"auto_map": AUTO_MAP}}, "config.json"),  # an architecture that transformers contains
        ({"config.json": {"auto_map": {"AutoModel": "other/repository--code_x.M"}}}, "config.json"),
        ({"config.json": {"text_config": {"auto_map": AUTO_MAP}}}, "config.json"),
        ({"config.json": {"attn_implementation": "someone/kernel"}}, "config.json"),
        ({"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["code_x.T", None]}}}, "tokenizer_config.json"),
        ({"tokenizer_config.json": {"auto_map": ["code_x.T", None]}}, "tokenizer_config.json"),
        ({"generation_config.json": {"auto_map": AUTO_MAP}}, "generation_config.json"),
        ({"preprocessor_config.json": {"auto_map": {"AutoProcessor": "code_x.P"}}}, "preprocessor_config.json"),
        ({"modules.json": MODULES}, "modules.json"),
        ({"modules.json": POOLING, "1_Pooling/config.json": {"auto_map": AUTO_MAP}}, "1_Pooling/config.json"),
    ],
)
def test_a_folder_that_names_code_is_refused(
    verb: Verb, mini_data: Mini, tiny_model: Path, coded: Callable[..., Path], changes: dict[str, Any], file: str
) -> None:
    folder = coded(tiny_model, changes)
    encode(verb, folder).refused(f"{folder / file}: {REFUSED}")
    assert not (folder.parent / MARK).exists()


def test_code_that_nothing_names_is_left_alone(
    verb: Verb, mini_data: Mini, tiny_model: Path, coded: Callable[..., Path]
) -> None:
    folder = coded(tiny_model, {"config.json": {"auto_map": {}}})
    assert encode(verb, folder).status == 0
    assert not (folder.parent / MARK).exists()


VERBS = {
    "generate": "--collection xor-tydi --generator {model} --languages fi",
    "translate": "--collection xquad/en --languages ru --translator {model} --prompt {{language}}",
    "sum": "--generated queries.jsonl --encoder {model} --pooling cls",
    "read": "--run run.txt --topics test-mini/dev --reader {model} --max-length 100 --stride 30",
    "train xdr": "--recipe {encoder}",
    "train xqg": "--recipe {generator}",
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_refuses_it(
    verb: Verb, mini_data: Mini, tiny_generator: Path, coded: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    model = coded(tiny_generator, {"config.json": {"auto_map": {"AutoModelForSeq2SeqLM": "code_x.M"}}})
    recipes = {"encoder": ENCODER, "generator": GENERATOR}
    paths = {
        kind: write_recipe(dataclasses.replace(recipe, model=str(model), architecture=None), tmp_path / f"{kind}.yaml")
        for kind, recipe in recipes.items()
    }
    (tmp_path / "run.txt").write_text("q0 Q0 1 1 1.0 t\n")
    options = VERBS[name].replace("run.txt", str(tmp_path / "run.txt")).format(model=model, **paths).split()
    verb(*name.split(), *options, "--output", tmp_path / "output").refused(REFUSED, str(model))
    assert not (tmp_path / MARK).exists()


def test_questions_are_not_embedded_by_code(
    verb: Verb, mini_data: Mini, tiny_model: Path, coded: Callable[..., Path], tmp_path: Path
) -> None:
    (index := tmp_path / "index").mkdir()
    shutil.copytree(tiny_model, model := tmp_path / "model")
    verb("encode", "--collection", "xor-tydi", "--pooling", "cls", "--encoder", model, "--output", tmp_path / "e")
    verb("index", "--embeddings", tmp_path / "e", "--output", index)
    folder = coded(model, {"config.json": {"auto_map": AUTO_MAP}})
    search = ("search", "--index", index, "--topics", "test-mini/dev", "--output", tmp_path / "run.txt")
    verb(*search, "--encoder", folder).refused(REFUSED)
    shutil.copy(folder / "config.json", model)
    verb(*search).refused(REFUSED)
    assert not (tmp_path / MARK).exists()


def test_the_folder_that_ran_its_code_is_refused(verb: Verb, mini_data: Mini, faulty_models: Path) -> None:
    encode(verb, faulty_models / "custom_code").refused(r"custom_code/config\.json: " + REFUSED)
    assert not (faulty_models / MARK).exists()


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("file", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin"])
def test_pickled_code_in_weights_is_not_run(
    verb: Verb, mini_data: Mini, tiny_model: Path, tmp_path: Path, is_zip: bool, file: str
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    content = {**weights, "payload": _Payload(tmp_path / MARK)}
    torch.save(content, folder / file, _use_new_zipfile_serialization=is_zip)
    if "-of-" in file:
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, file)}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    encode(verb, folder).refused("model: cannot be loaded as an encoder: .*does not hold weights only")
    assert not (tmp_path / MARK).exists()

"""Models whose tokenizer is missing or empty, and the files that are fetched and identified so that none is."""

from __future__ import annotations

import dataclasses
import http.server
import json
import runpy
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini, together
from model_fixtures import small_tokenizer
from train.samples import ENCODER, GENERATOR, write_recipe

from faults.conftest import Verb, run_script

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 17082800\n"
SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


def encode(verb: Verb, model: Path, output: Path, *more: object) -> Any:
    return verb(
        "encode", "--collection", "xor-tydi", "--pooling", "mean", "--encoder", model, "--output", output, *more
    )


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Path]:
    """``bare(folder, name=text, …)``: a copy with these files in place of its tokenizer's."""

    def make(source: Path, files: dict[str, str]) -> Path:
        folder = shutil.copytree(source, tmp_path / "bare", ignore=shutil.ignore_patterns(*TOKENIZER_FILES))
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return make


def only_letters() -> str:
    """A WordPiece vocabulary of single letters, which cannot make a word."""
    return SPECIAL + "\n".join("abcdefghijklmnopqrstuvwxyz0123456789.,;") + "\n"


@pytest.mark.parametrize("name", ["no_tokenizer", "only_tokenizer_config"])
def test_the_folders_that_were_encoded_as_unknown_words_are_refused(
    verb: Verb, mini_data: Mini, faulty_models: Path, tmp_path: Path, name: str
) -> None:
    encode(verb, faulty_models / name, tmp_path / "e").refused(f"{name}: its tokenizer (has no vocab|cannot be loaded)")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "has no vocabulary"),
        ({"vocab.txt": SPECIAL}, "has no vocabulary"),
        ({"vocab.txt": only_letters()}, "has no vocabulary"),
        ({"vocab.txt": ""}, "has no vocabulary"),
        ({"tokenizer_config.json": '{"tokenizer_class": "RobertaTokenizer"}'}, "has no vocabulary"),
        ({"tokenizer_config.json": '{"tokenizer_class": "XLMRobertaTokenizer"}'}, "has no vocabulary"),
        ({"tokenizer_config.json": '{"tokenizer_class": "MarianTokenizer"}'}, "cannot be loaded"),
        ({"tokenizer_config.json": '{"tokenizer_class": "GPT2Tokenizer"}', "vocab.json": "{}"}, "cannot be loaded"),
    ],
)
def test_a_tokenizer_without_its_files_is_refused(
    verb: Verb, mini_data: Mini, tiny_model: Path, bare: Callable[..., Path], files: dict[str, str], problem: str
) -> None:
    folder = bare(tiny_model, files)
    encode(verb, folder, folder.parent / "e").refused(f"{folder}: its tokenizer {problem}", r"vocab\.txt or spm\.model")


@pytest.mark.parametrize("text", ["the river flows through a large city and into the sea", "నది పెద్ద నగరం గుండా చాలా ఇళ్ళు"])
def test_a_model_of_one_language_is_accepted(
    verb: Verb, mini_data: Mini, model_folder: Callable[..., Path], tmp_path: Path, text: str
) -> None:
    encoded = encode(verb, model_folder("bert", tokenizer=small_tokenizer([text])), tmp_path / "e")
    assert encoded.status == 0, encoded


VERBS = {
    "generate": "--collection xor-tydi --generator {model} --languages fi",
    "translate": "--collection xquad/en --languages ru --translator {model} --prompt {{language}}",
    "read": "--run {run} --topics test-mini/dev --reader {reader} --max-length 100 --stride 30",
    "train xdr": "--recipe {encoder}",
    "train xqg": "--recipe {generator}",
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_refuses_a_model_without_tokenizer(
    verb: Verb,
    shared_data: Path,
    mini_data: Mini,
    tiny_model: Path,
    tiny_generator: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    if name != "translate":
        monkeypatch.delenv("XQG_REPRO_DATA")
    without = shutil.ignore_patterns(*TOKENIZER_FILES)
    seq2seq = shutil.copytree(tiny_generator, tmp_path / "seq2seq", ignore=without)
    bert = shutil.copytree(tiny_model, tmp_path / "bert", ignore=without)
    recipes = {"encoder": (ENCODER, bert), "generator": (GENERATOR, seq2seq)}
    paths = {
        kind: write_recipe(dataclasses.replace(recipe, model=str(model), architecture=None), tmp_path / f"{kind}.yaml")
        for kind, (recipe, model) in recipes.items()
    }
    (run := tmp_path / "run.txt").write_text("q0 Q0 1 1 1.0 t\n")
    options = VERBS[name].format(model=seq2seq, reader=bert, run=run, **paths).split()
    verb(*name.split(), *options, "--output", tmp_path / "output").refused("its tokenizer has no vocabulary")
    assert not (tmp_path / "output").exists()


# Git LFS


@pytest.mark.parametrize(
    "file", ["model.safetensors", "tokenizer.json", "config.json", "spm.model", "1_Pooling/config.json"]
)
def test_a_git_lfs_pointer_is_called_one(
    verb: Verb, mini_data: Mini, tiny_model: Path, tmp_path: Path, file: str
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    types = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in types.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / file).write_text(POINTER)
    encode(verb, folder, tmp_path / "e").refused(f"{folder / file}: is a Git LFS pointer", "git lfs pull")


# the hub, and what identifies a model


@pytest.fixture(scope="session")
def spm_model(faults: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``spm_model(size)``: DeBERTa's layout with a vocabulary of this size, in ``spm.model`` alone."""
    folder = tmp_path_factory.mktemp("spm")

    def make(size: int) -> Path:
        if not (folder / str(size)).exists():
            run_script(faults / "make_spm_model.py", folder / str(size), size)
        return folder / str(size)

    return make


def test_another_vocabulary_is_another_model(
    verb: Verb, mini_data: Mini, spm_model: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(spm_model(800), tmp_path / "model")
    assert encode(verb, folder, tmp_path / "e").status == 0
    before = together(tmp_path / "e")[1]
    assert len(np.unique(before.round(4), axis=0)) == len(before)
    assert "up to date" in encode(verb, folder, tmp_path / "e").stderr
    shutil.copy(spm_model(300) / "spm.model", folder)
    assert "changed: model" in encode(verb, folder, tmp_path / "e").stderr
    assert not np.array_equal(together(tmp_path / "e")[1], before)


@pytest.fixture
def hub(faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of repositories that a stand-in for the Hugging Face hub serves to child processes."""
    (root := tmp_path / "repositories").mkdir()

    class Unserved:
        def __init__(self, *_: object) -> None: ...

        def serve_forever(self) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(http.server, "ThreadingHTTPServer", Unserved)
        patch.setattr(sys, "argv", ["stand_in_hub.py", str(root)])
        handler = runpy.run_path(str(faults / "stand_in_hub.py"))["H"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield root
    server.shutdown()
    server.server_close()


FETCHED = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "spm.model",
    "bpe.codes",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
]
IGNORED = [
    "README.md",
    ".gitattributes",
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot",
    "model.gguf",
    "consolidated.safetensors",
    "optimizer.pt",
    "training_args.bin",
    "modeling_x.py",
    "loss.png",
    "onnx/model.onnx",
    "openvino/openvino_model.bin",
    "generation_config.json",
    "checkpoint-5/model.safetensors",
    "2_Dense/README.md",
    "2_Dense/old/model.safetensors",
]
RESOLVE = """
import sys
from xqg_repro.models.loading import model_fingerprint, resolve_model
for model in sys.argv[1:]:
    print(resolve_model(model), model_fingerprint(model))
"""


def test_what_decides_the_output_is_fetched_and_identified(hub: Path, tiny_model: Path, tmp_path: Path) -> None:
    repository = shutil.copytree(tiny_model, hub / "acme" / "model")
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in types.items()]
    for name in {*FETCHED, *IGNORED}:
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(modules) if name == "modules.json" else "{}")
    older = shutil.copytree(tiny_model, hub / "acme" / "older")
    (older / "model.safetensors").rename(older / "pytorch_model.bin")

    local = shutil.copytree(repository, tmp_path / "copy", ignore=shutil.ignore_patterns("pytorch_model.bin"))
    command = [sys.executable, "-c", RESOLVE, str(local), "acme/model", "acme/older"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    (_, expected), (fetched, actual), (second, _) = (line.split() for line in child.stdout.splitlines())
    files = {path.relative_to(fetched).as_posix() for path in Path(fetched).rglob("*") if path.is_file()}
    assert files == set(FETCHED)
    assert actual == expected
    assert (Path(second) / "pytorch_model.bin").exists()


@pytest.mark.integration
def test_a_model_with_spm_model_alone_is_encoded_from_the_hub(
    hub: Path, mini_data: Mini, spm_model: Callable[[int], Path], verb: Verb, tmp_path: Path
) -> None:
    shutil.copytree(spm_model(800), hub / "acme" / "spm-only")
    encode(verb, spm_model(800), tmp_path / "local")
    options = ["encode", "--collection", "xor-tydi", "--pooling", "mean", "--encoder", "acme/spm-only"]
    command = [sys.executable, "-m", "xqg_repro", *options, "--output", str(tmp_path / "remote")]
    subprocess.run(command, capture_output=True, check=True)
    np.testing.assert_array_equal(*(together(tmp_path / name)[1] for name in ("local", "remote")))

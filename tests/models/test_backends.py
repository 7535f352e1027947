from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Mini

from xqg_repro.core.errors import InputError
from xqg_repro.models import conversion
from xqg_repro.models.backends import open_generator
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import Backend, EncoderConfig, GeneratorConfig, load_preset

CT2 = Backend.CTRANSLATE2
QUESTIONS = ["Mikä on Suomen pääkaupunki?", "В каком году?", "수도는 어디인가요?", "Suomi", "which river is longest"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of converted models."""
    monkeypatch.setattr(conversion, "_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def settings(tiny_generator: Path) -> GeneratorConfig:
    return GeneratorConfig(
        str(tiny_generator), ("fi", "ru"), queries=3, query_max_length=8, temperature=4.0, backend=CT2
    )


@pytest.fixture(scope="module")
def passages(mini_data: Mini) -> list[Any]:
    rows = mini_data.passages[:12]
    return [SimpleNamespace(doc_id=docid, title=title, text=text) for docid, title, text in rows]


@pytest.mark.parametrize("preset", ["xdr-mini", "xlmr-mini"])
@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("int8", 0.98)])
def test_embeddings_are_those_of_torch(preset: str, precision: str, least: float) -> None:
    config = load_preset(preset)
    expected = TextEncoder(config, "cpu").encode_queries(QUESTIONS)
    fast = dataclasses.replace(config, precision=precision, backend=CT2)
    vectors = TextEncoder(fast, "cpu").encode_queries(QUESTIONS)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((vectors * expected).sum(axis=1) / lengths).min() > least
    assert np.array_equal(TextEncoder(fast, "cpu", tokens_per_batch=1_024).encode_queries(QUESTIONS), vectors)


def test_a_model_is_converted_once_and_not_from_what_a_killed_run_left(cache: Path) -> None:
    config = dataclasses.replace(load_preset("xdr-mini"), backend=CT2)
    expected = TextEncoder(config, "cpu").encode_queries(QUESTIONS)
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    made = (folder / "model.bin").stat().st_mtime_ns
    TextEncoder(config, "cpu")
    assert (folder / "model.bin").stat().st_mtime_ns == made
    (folder / "model.bin").write_bytes(b"half a mod")
    with pytest.raises(InputError, match=r"cannot open the converted model: .*delete the folder") as caught:
        TextEncoder(config, "cpu")
    assert caught.value.path == folder
    folder.rename(f"{folder}.partial")
    assert np.array_equal(TextEncoder(config, "cpu").encode_queries(QUESTIONS), expected)


def test_queries_are_the_same_each_time(settings: GeneratorConfig, passages: list[Any]) -> None:
    written = open_generator(settings, "cpu").generate(passages)
    assert [passage.docid for passage in written] == [passage.doc_id for passage in passages]
    assert all(len(passage.queries[code]) == 3 for passage in written for code in ("fi", "ru"))
    assert open_generator(settings, "cpu").generate(passages) == written
    russian = open_generator(dataclasses.replace(settings, languages=("ru",)), "cpu").generate(passages)
    assert [passage.queries["ru"] for passage in russian] == [passage.queries["ru"] for passage in written]
    other = open_generator(dataclasses.replace(settings, seed=43), "cpu").generate(passages)
    assert all(a.queries["fi"] != b.queries["fi"] for a, b in zip(other, written, strict=True))


def test_all_threads_compute_and_torch_keeps_its_own(settings: GeneratorConfig) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        generator: Any = open_generator(settings, "cpu")
        assert (torch.get_num_threads(), generator._workers) == (3, 3)
        encoder: Any = TextEncoder(dataclasses.replace(load_preset("xdr-mini"), backend=CT2), "cpu")
        assert (torch.get_num_threads(), encoder._model.workers) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_a_querys_rank_does_not_say_how_likely_it_is(settings: GeneratorConfig, passages: list[Any]) -> None:
    generator: Any = open_generator(dataclasses.replace(settings, queries=8), "cpu")
    best = []

    def order(texts: list[str], *names: str) -> tuple[str, ...]:
        shuffled = shuffle(texts, *names)
        best.append(shuffled.index(texts[0]))
        return shuffled

    shuffle, generator._shuffled = generator._shuffled, order
    generator.generate(passages)
    assert len(best) == 24
    assert len({*best}) > 4


def test_what_a_backend_lacks_is_refused(tiny_model: Path, tiny_generator: Path) -> None:
    def encode(**settings: Any) -> None:
        TextEncoder(EncoderConfig(str(tiny_model), **settings), "cpu")

    with pytest.raises(InputError, match=r"torch has no precision int8.*--backend ctranslate2"):
        encode(backend="torch", precision="int8")
    with pytest.raises(InputError, match=r"no precision bfloat16 on the device 'cpu'.*float32, int8"):
        encode(backend="ctranslate2", precision="bfloat16")
    with pytest.raises(InputError, match=r"no model of the kind 't5'.*--backend torch;"):
        TextEncoder(EncoderConfig(str(tiny_generator), backend=CT2), "cpu")
    with pytest.raises(InputError, match=r"no model of the kind 't5'.*--backend torch, without --precision int8"):
        TextEncoder(EncoderConfig(str(tiny_generator), precision="int8"), "cpu")


def test_a_model_that_is_computed_otherwise_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    forward = transformers.BertModel.forward

    def reversed_states(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.last_hidden_state = torch.flip(output.last_hidden_state, [-1])
        return output

    monkeypatch.setattr(transformers.BertModel, "forward", reversed_states)
    with pytest.raises(InputError, match="CTranslate2 computes other vectors than torch"):
        TextEncoder(EncoderConfig(str(tiny_model), backend=CT2), "cpu")


@pytest.mark.parametrize("mine", [None, "1"])
def test_texts_do_not_depend_on_the_processors_maker(monkeypatch: pytest.MonkeyPatch, mine: str | None) -> None:
    """MKL, which CTranslate2 takes on Intel's processors alone, is off unless the user wants it."""
    monkeypatch.delenv("CT2_USE_MKL", raising=False)
    if mine:
        monkeypatch.setenv("CT2_USE_MKL", mine)
    code = "import os; from xqg_repro.models.conversion import load_ctranslate2 as load; load(); "
    code += "print(os.environ['CT2_USE_MKL'])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == (mine or "0")

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Mini, contents

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse
from xqg_repro.core.stages import Manifest
from xqg_repro.models.generator import PassageQueries, QueryGenerator, resolve_precision, sample_tokens
from xqg_repro.models.settings import GeneratorConfig, Precision
from xqg_repro.representation.generate import generate
from xqg_repro.representation.queries import read_queries


@pytest.fixture(scope="module")
def settings(tiny_generator: Path) -> GeneratorConfig:
    """Two languages, three queries of up to 8 tokens, temperature raised so that they differ; float32."""
    return GeneratorConfig(
        str(tiny_generator), ("fi", "ru"), queries=3, query_max_length=8, temperature=4.0, precision=Precision.FLOAT32
    )


@pytest.fixture(scope="module")
def passages(mini_data: Mini) -> list[Any]:
    """The collection's first 24 passages."""
    rows = mini_data.passages[:24]
    return [SimpleNamespace(doc_id=docid, title=title, text=text) for docid, title, text in rows]


@pytest.fixture(scope="module")
def written(settings: GeneratorConfig, passages: list[Any]) -> list[PassageQueries]:
    """The queries of these passages."""
    return QueryGenerator(settings, "cpu").generate(passages)


@pytest.fixture(scope="module")
def folder(mini_data: Mini, settings: GeneratorConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection's queries in shards of 25, 25 and 10. Never to be written to."""
    output = tmp_path_factory.mktemp("generated") / "queries"
    generate(mini_data.docs, settings, output, shard_size=25, device="cpu")
    return output


def lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]


# the queries


def test_every_passage_gets_its_queries(passages: list[Any], written: list[PassageQueries]) -> None:
    assert [passage.docid for passage in written] == [passage.doc_id for passage in passages]
    assert all(list(passage.queries) == ["fi", "ru"] for passage in written)
    assert {len(queries) for passage in written for queries in passage.queries.values()} == {3}
    texts = [query for passage in written for queries in passage.queries.values() for query in queries]
    assert len(set(texts)) > 0.9 * len(texts) == 0.9 * 144
    assert not any("<" in text for text in texts)  # special tokens are left out
    assert len({len(text.split()) for text in texts}) > 3  # some end before the maximum length


def test_queries_are_the_same_for_a_seed_and_others_for_another(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries]
) -> None:
    assert QueryGenerator(settings, "cpu").generate(passages) == written
    other = QueryGenerator(dataclasses.replace(settings, seed=43), "cpu").generate(passages)
    assert all(a.queries[code] != b.queries[code] for a, b in zip(other, written, strict=True) for code in a.queries)


@pytest.mark.parametrize("tokens_per_batch", [1, 1000])
def test_queries_do_not_depend_on_batch_or_order(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries], tokens_per_batch: int
) -> None:
    generator = QueryGenerator(settings, "cpu", tokens_per_batch)
    assert generator.generate(passages[11::-1]) == written[11::-1]


def test_queries_do_not_depend_on_what_else_is_generated(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries]
) -> None:
    one = QueryGenerator(dataclasses.replace(settings, languages=("ru",)), "cpu").generate([passages[7]])
    assert one == [PassageQueries("8", {"ru": written[7].queries["ru"]})]


def test_three_queries_are_the_first_three_of_five(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries]
) -> None:
    five = QueryGenerator(dataclasses.replace(settings, queries=5), "cpu").generate(passages)
    assert all(len(queries) == 5 for passage in five for queries in passage.queries.values())
    cut = [{code: queries[:3] for code, queries in passage.queries.items()} for passage in five]
    assert cut == [passage.queries for passage in written]


def test_encoder_reads_each_prompt_once_and_cut(settings: GeneratorConfig, passages: list[Any]) -> None:
    config = dataclasses.replace(settings, queries=5, prompt_max_length=17)
    generator = QueryGenerator(config, "cpu", tokens_per_batch=1000)
    read: list[tuple[int, int]] = []
    encoder = generator._model.get_encoder()
    encoder.register_forward_hook(lambda module, inputs, output: read.append(output.last_hidden_state.shape[:2]))
    generator.generate(passages[:20])
    assert read == [(8, 17), (8, 17), (4, 17)] * 2  # 8 prompts of 5 × (17 + 8) tokens fit into 1,000


def test_passage_without_a_title_has_an_empty_one(settings: GeneratorConfig) -> None:
    generator = QueryGenerator(settings, "cpu")
    without, empty, titled = (
        generator.generate([SimpleNamespace(doc_id="1", text="ban der kon", **title)])
        for title in ({}, {"title": ""}, {"title": "Place"})
    )
    assert without == empty != titled
    assert generator.generate([]) == []


def test_one_likeliest_token_is_greedy_search(tiny_generator: Path, passages: list[Any], tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny_generator)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_generator)
    copy = shutil.copytree(tiny_generator, tmp_path / "copy")
    searching = {"num_beams": 4, "repetition_penalty": 2.0, "decoder_start_token_id": 0}
    (copy / "generation_config.json").write_text(json.dumps(searching))  # no part of the configuration
    config = GeneratorConfig(str(copy), ("fi",), 2, query_max_length=8, top_k=1, precision=Precision.FLOAT32)
    found = QueryGenerator(config, "cpu").generate(passages[:6])
    for passage, queries in zip(passages[:6], found, strict=True):
        prompt = tokenizer(config.prompt_for("fi", passage.title, passage.text), return_tensors="pt")
        rows = model.generate(input_ids=prompt["input_ids"], max_new_tokens=8, do_sample=False)
        assert queries.queries["fi"] == tuple(tokenizer.batch_decode(rows, skip_special_tokens=True) * 2)


def test_first_tokens_are_as_frequent_as_they_are_likely(settings: GeneratorConfig) -> None:
    import torch

    config = dataclasses.replace(settings, languages=("fi",), queries=40, query_max_length=1, top_k=4)
    generator = QueryGenerator(config, "cpu")
    same = [SimpleNamespace(doc_id=str(number), text="ban der") for number in range(100)]
    found = Counter(query for passage in generator.generate(same) for query in passage.queries["fi"])
    prompt = generator._tokenizer(config.prompt_for("fi", None, "ban der"), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        scores = generator._model(input_ids=prompt, decoder_input_ids=torch.tensor([[0]])).logits[0, -1]
    values, tokens = (scores / config.temperature).topk(4)
    expected: Counter[str] = Counter()
    for token, share in zip(tokens, values.softmax(-1).tolist(), strict=True):
        expected[generator._tokenizer.decode(token, skip_special_tokens=True)] += share
    assert set(found) == set(expected) and len(expected) > 2
    assert all(abs(found[text] / 4000 - share) < 0.03 for text, share in expected.items())  # over 3 standard errors


# sampling


def drawn(scores: Any, config: GeneratorConfig, count: int) -> np.ndarray:
    """How often each token is chosen when the draws cover (0, 1] evenly."""
    import torch

    draws = (torch.arange(count, dtype=torch.float64) + 0.5).div(count).float()
    chosen = sample_tokens(scores.expand(count, -1), draws, config)
    return np.bincount(chosen.numpy(), minlength=scores.shape[-1]) / count


@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"),
    [
        (0, 1.0, 1.0),
        (0, 1.0, 0.5),
        (5, 1.0, 2.0),
        (0, 0.7, 1.0),
        (0, 0.05, 1.0),
        (6, 0.8, 1.5),
        (1, 1.0, 1.0),
        (99, 0.9, 1.0),
    ],
)
def test_tokens_are_drawn_as_transformers_would(top_k: int, top_p: float, temperature: float) -> None:
    import torch
    from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = 2 * torch.randn(1, 30, generator=torch.Generator().manual_seed(3))
    expected = TemperatureLogitsWarper(temperature)(None, scores)
    expected = TopKLogitsWarper(top_k)(None, expected) if top_k else expected
    expected = TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    shares = expected.softmax(-1)[0].numpy()
    found = drawn(scores, GeneratorConfig(top_k=top_k, top_p=top_p, temperature=temperature), 20_000)
    np.testing.assert_allclose(found, shares, atol=1e-4)
    assert not found[shares == 0].any()


@pytest.mark.parametrize("top_p", [1.0, 0.999])
def test_draws_at_both_ends_choose_a_possible_token(top_p: float) -> None:
    import torch

    scores = torch.full((2, 1000), -torch.inf)
    scores[:, 400:600] = torch.randn(200, generator=torch.Generator().manual_seed(3))
    for top_k in (0, 300):
        config = GeneratorConfig(top_k=top_k, top_p=top_p)
        low, high = sample_tokens(scores, torch.tensor([2.0**-32, 1.0]), config).tolist()
        assert 400 <= low < 420 and 580 < high < 600


def test_near_equal_tokens_do_not_change_places() -> None:
    import torch

    scores = torch.tensor([[0.0, 1.0, 1.000001, -9.0], [0.0, 1.000001, 1.0, -9.0]])
    for top_k in (0, 2, 3):
        assert sample_tokens(scores, torch.tensor([0.3, 0.3]), GeneratorConfig(top_k=top_k)).tolist() == [1, 1]


def test_scores_that_are_not_numbers_are_refused() -> None:
    import torch

    scores = torch.tensor([[0.0, 1.0], [0.0, torch.nan]])
    with pytest.raises(InputError, match="not numbers"):
        sample_tokens(scores, torch.tensor([0.5, 0.5]), GeneratorConfig())


def test_draws_are_even_and_each_query_has_its_own(settings: GeneratorConfig) -> None:
    generator = QueryGenerator(settings, "cpu")
    keys = [(str(docid), language) for docid in range(400) for language in ("fi", "ru")]
    draws = np.concatenate([generator._draws(*key) for key in keys])
    assert (draws.shape, draws.dtype) == ((2400, 8), np.float32)
    assert draws.min() > 0 and draws.max() <= 1
    assert len(np.unique(draws, axis=0)) == 2400
    np.testing.assert_allclose(np.histogram(draws, 10, (0, 1))[0] / draws.size, 0.1, atol=0.01)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.1


# the stage


def test_shards_hold_the_collection_in_order(
    mini_data: Mini, folder: Path, settings: GeneratorConfig, written: list[PassageQueries]
) -> None:
    shards = sorted(folder.glob("*.jsonl"))
    assert [path.name for path in shards] == ["00000.jsonl", "00001.jsonl", "00002.jsonl"]
    assert [len(path.read_text().splitlines()) for path in shards] == [25, 25, 10]
    found = list(read_queries(folder, settings.languages, 3))
    assert [passage.docid for passage in found] == [docid for docid, *_ in mini_data.passages]
    assert found[:24] == written


def test_several_shards_equal_one_shard(
    mini_data: Mini, folder: Path, settings: GeneratorConfig, tmp_path: Path
) -> None:
    manifest = generate(mini_data.docs, settings, tmp_path / "one", device="cpu")
    assert len(manifest.files) == 1
    assert lines(tmp_path / "one") == lines(folder)


def test_manifest_says_how_the_queries_were_made(
    mini_data: Mini, folder: Path, settings: GeneratorConfig, tmp_path: Path
) -> None:
    manifest = Manifest.read(folder)
    assert manifest.stage == "generate"
    assert manifest.parameters["collection"] == mini_data.docs
    assert parse(GeneratorConfig, manifest.parameters["generator"], "manifest") == settings
    assert set(manifest.inputs) == {"collection", "model"}
    counts = manifest.counts
    assert (counts["passages"], counts["queries"]) == (60, 360)
    assert 0 < counts["wrong_script"] < 360


def test_queries_are_reused_until_a_setting_changes(
    mini_data: Mini, folder: Path, settings: GeneratorConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for config in (settings, dataclasses.replace(settings, queries=1, query_max_length=2)):
        generate(mini_data.docs, config, copy, shard_size=25, device="cpu")
    log = caplog.messages
    assert log[0].endswith("is up to date") and log[1].endswith("is rebuilt (changed: generator)")
    assert len(list(read_queries(copy, settings.languages, 1))) == 60


def test_counts_tell_empty_repeated_and_foreign_queries(
    mini_data: Mini, settings: GeneratorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def known(self: QueryGenerator, docs: list[Any], report: Any) -> list[PassageQueries]:
        made.append(len(docs))
        if len(made) == 3:
            raise KeyboardInterrupt
        queries = {"fi": ("a", "", "a"), "ru": ("", "", "1?")} if len(made) == 1 else {"fi": ("a", "я", "b")}
        return [PassageQueries(doc.doc_id, {"ru": ("я", "a", "ю"), **queries}) for doc in docs]

    monkeypatch.setattr(QueryGenerator, "generate", known)
    with pytest.raises(KeyboardInterrupt):
        generate(mini_data.docs, settings, tmp_path / "q", shard_size=20, device="cpu")
    manifest = generate(mini_data.docs, settings, tmp_path / "q", shard_size=20, device="cpu")
    assert made == [20, 20, 20, 20]  # the whole shards were kept, and count
    assert manifest.counts == {
        "passages": 60,
        "queries": 360,
        "empty": 20 * 3,
        "duplicate": 20,
        "wrong_script": 20 + 2 * 40,
    }


def test_killed_run_ends_with_the_bytes_of_an_undisturbed_one(
    mini_data: Mini, settings: GeneratorConfig, tmp_path: Path
) -> None:
    import torch

    def start(output: Path) -> int:
        """A process of its own; forked, as imports take seconds."""
        if child := os.fork():
            return child
        try:
            signal.alarm(60)
            torch.set_num_threads(1)  # a forked process has none of the other threads
            generate(mini_data.docs, settings, output, shard_size=4, device="cpu")
        finally:
            os._exit(0 if output.exists() else 1)

    def wait(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert wait(start(tmp_path / "whole")) == 0
    partial, delays = tmp_path / "killed.partial", random.Random(11)
    for _ in range(2):
        before = set(partial.glob("*.jsonl"))
        child = start(tmp_path / "killed")
        for _ in range(10_000):
            if set(partial.glob("*.jsonl")) != before:
                break
            time.sleep(0.002)
        time.sleep(delays.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        assert wait(child) == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    assert 2 <= len(list(partial.glob("*.jsonl"))) < 15
    assert wait(start(tmp_path / "killed")) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not partial.exists()


def test_full_disk_ends_with_nothing_half_written(
    mini_data: Mini, settings: GeneratorConfig, tmp_path: Path, disk_of: Callable[[int], Any]
) -> None:
    with disk_of(1000), pytest.raises(InputError, match=r"00000\.jsonl: could not be written.*free some space"):
        generate(mini_data.docs, settings, tmp_path / "q", shard_size=20, device="cpu")
    assert list(tmp_path.iterdir()) == []


# models and settings


@pytest.mark.parametrize("safetensors", [True, False])
@pytest.mark.parametrize(("kind", "untied"), [("t5", False), ("t5", True), ("mt5", False), ("mt5", True)])
def test_weights_are_those_of_the_folder(
    generator_folder: Callable[..., Path], kind: str, untied: bool, safetensors: bool
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = generator_folder(kind, untied)
    weights = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in weights) == untied
    if not safetensors:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    config = GeneratorConfig(str(folder), ("fi",), 2, query_max_length=4, precision=Precision.FLOAT32)
    generator = QueryGenerator(config, "cpu")
    state = generator._model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())
    head = weights["lm_head.weight" if untied else "shared.weight"]
    assert torch.equal(state["lm_head.weight"], head)
    assert len(generator.generate([SimpleNamespace(doc_id="1", text="ban")])[0].queries["fi"]) == 2


@pytest.mark.parametrize("safetensors", [True, False])
@pytest.mark.parametrize("name", ["shared.weight", "decoder.final_layer_norm.weight"])
def test_model_that_lacks_a_weight_is_refused(
    generator_folder: Callable[..., Path], name: str, safetensors: bool
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = generator_folder()
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    if safetensors:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    else:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"lacks \d of the model's weights") as caught:
        QueryGenerator(GeneratorConfig(str(folder)), "cpu")
    assert caught.value.path == folder


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_file_that_holds_no_weights_is_refused(tiny_generator: Path, tmp_path: Path, content: bytes) -> None:
    copy = shutil.copytree(tiny_generator, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(InputError, match="cut off or holds other things than weights"):
        QueryGenerator(GeneratorConfig(str(copy)), "cpu")
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="without weights"):
        QueryGenerator(GeneratorConfig(str(copy)), "cpu")


def test_encoder_is_refused_as_a_generator(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"as a sequence-to-sequence model: .*BertConfig") as caught:
        generate(mini_data.docs, GeneratorConfig(str(tiny_model)), tmp_path / "q", device="cpu")
    assert caught.value.path == tiny_model
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "options", "problem"),
    [
        ({}, {"shard_size": 0}, "cannot hold 0 passages"),
        ({}, {"device": "abacus"}, "the device 'abacus' cannot be used"),
        ({"prompt": "Ask in {tongue}: {text}"}, {}, r"cannot be filled in: KeyError\('tongue'\)"),
        ({"prompt": "Ask: {"}, {}, "cannot be filled in: ValueError"),
        ({"prompt": "Ask: {text.title.x}"}, {}, "cannot be filled in: AttributeError"),
        ({"prompt": "Ask: {text}"}, {}, "is the same in two languages"),
        ({"languages": ("fi", "fi")}, {}, "name each language once"),
        ({"model": "./none"}, {}, "no such model folder"),
    ],
)
def test_generate_refuses(
    mini_data: Mini,
    settings: GeneratorConfig,
    tmp_path: Path,
    changes: dict[str, Any],
    options: dict[str, Any],
    problem: str,
) -> None:
    config = dataclasses.replace(settings, **changes)
    with pytest.raises(InputError, match=problem):
        generate(mini_data.docs, config, tmp_path / "q", **{"device": "cpu", **options})
    assert list(tmp_path.iterdir()) == []


def test_prompt_without_the_language_suits_one_language(settings: GeneratorConfig) -> None:
    one = dataclasses.replace(settings, languages=("fi",), prompt="Ask: {text}")
    assert resolve_precision(one, "cpu") == one


@pytest.mark.parametrize("able", [True, False])
def test_precision_that_is_left_open_follows_the_hardware(
    mini_data: Mini,
    settings: GeneratorConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    able: bool,
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    config = dataclasses.replace(settings, precision=None, queries=1, query_max_length=1)
    generate(mini_data.docs, config, tmp_path / "q", device="cpu")
    chosen = "bfloat16" if able else "float32"
    assert Manifest.read(tmp_path / "q").parameters["generator"]["precision"] == chosen
    assert QueryGenerator(config, "cpu")._model.dtype == getattr(torch, chosen)
    assert resolve_precision(settings, "cpu") == settings
    assert resolve_precision(config, "mps").precision == "float32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: not able)
    caplog.clear()
    generate(mini_data.docs, config, tmp_path / "q", device="cpu")
    assert caplog.messages == [f"generate: {tmp_path / 'q'} is up to date"]  # on other hardware, too

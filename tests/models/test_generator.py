from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Mini

from xqg_repro.core.errors import InputError
from xqg_repro.models.generator import PassageQueries, QueryGenerator, check_generator, resolve_precision
from xqg_repro.models.settings import GeneratorConfig, Precision


@pytest.fixture(scope="module")
def settings(tiny_generator: Path) -> GeneratorConfig:
    """Two languages, three queries of up to 8 tokens, temperature raised so that they differ; float32."""
    return GeneratorConfig(
        str(tiny_generator), ("fi", "ru"), queries=3, query_max_length=8, temperature=4.0, precision=Precision.FLOAT32
    )


@pytest.fixture(scope="module")
def passages(mini_data: Mini) -> list[Any]:
    rows = mini_data.passages[:12]
    return [SimpleNamespace(doc_id=docid, title=title, text=text) for docid, title, text in rows]


@pytest.fixture(scope="module")
def written(settings: GeneratorConfig, passages: list[Any]) -> list[PassageQueries]:
    """The queries of these passages."""
    return QueryGenerator(settings, "cpu").generate(passages)


# the queries


def test_every_passage_gets_its_queries(passages: list[Any], written: list[PassageQueries]) -> None:
    assert [passage.docid for passage in written] == [passage.doc_id for passage in passages]
    assert all(list(passage.queries) == ["fi", "ru"] for passage in written)
    assert {len(queries) for passage in written for queries in passage.queries.values()} == {3}
    texts = [query for passage in written for queries in passage.queries.values() for query in queries]
    assert len(set(texts)) > 0.9 * len(texts) == 0.9 * 72
    assert not any("<" in text for text in texts)  # special tokens are left out
    assert len({len(text.split()) for text in texts}) > 3  # some end before the maximum length


def test_queries_depend_on_the_seed_but_not_on_batch_or_order(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries]
) -> None:
    for tokens_per_batch, count in ((1, 4), (1000, 12)):
        generator = QueryGenerator(settings, "cpu", tokens_per_batch)
        assert generator.generate(passages[:count][::-1]) == written[:count][::-1]
    other = QueryGenerator(dataclasses.replace(settings, seed=43), "cpu").generate(passages)
    assert all(a.queries[code] != b.queries[code] for a, b in zip(other, written, strict=True) for code in a.queries)


def test_queries_do_not_depend_on_what_else_is_generated(
    settings: GeneratorConfig, passages: list[Any], written: list[PassageQueries]
) -> None:
    alone = QueryGenerator(dataclasses.replace(settings, languages=("ru",)), "cpu").generate([passages[7]])
    assert alone == [PassageQueries("8", {"ru": written[7].queries["ru"]})]
    five = QueryGenerator(dataclasses.replace(settings, queries=5), "cpu").generate(passages)
    assert all(len(queries) == 5 for passage in five for queries in passage.queries.values())
    first = [{code: queries[:3] for code, queries in passage.queries.items()} for passage in five]
    assert first == [passage.queries for passage in written]


def test_the_encoder_reads_each_truncated_prompt_once(settings: GeneratorConfig, passages: list[Any]) -> None:
    config = dataclasses.replace(settings, queries=5, prompt_max_length=17, query_max_length=8)
    generator = QueryGenerator(config, "cpu", tokens_per_batch=625)
    read: list[tuple[int, int]] = []
    encoder = generator._model.get_encoder()
    encoder.register_forward_hook(lambda module, inputs, output: read.append(output.last_hidden_state.shape[:2]))
    generator.generate(passages)
    assert read == [(5, 17)] * 4 + [(4, 17)]  # 5 prompts of 5 × (17 + 8) tokens fit into 625, in either language


def test_passage_without_a_title_has_an_empty_one(settings: GeneratorConfig) -> None:
    generator = QueryGenerator(settings, "cpu")
    titles = ({}, {"title": ""}, {"title": "Place"})
    passages = [SimpleNamespace(doc_id="1", text="ban der kon", **title) for title in titles]
    without, empty, titled = generator.generate(passages)
    assert without == empty != titled
    assert generator.generate([]) == []


def test_the_most_likely_token_is_greedy_search(tiny_generator: Path, passages: list[Any], tmp_path: Path) -> None:
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny_generator)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_generator)
    copy = shutil.copytree(tiny_generator, tmp_path / "copy")
    searching = {"num_beams": 4, "repetition_penalty": 2.0, "decoder_start_token_id": 0}
    (copy / "generation_config.json").write_text(json.dumps(searching))  # must not matter
    config = GeneratorConfig(str(copy), ("fi",), 2, query_max_length=8, top_k=1, precision=Precision.FLOAT32)
    written = QueryGenerator(config, "cpu").generate(passages[:4])
    for passage, queries in zip(passages[:4], written, strict=True):
        prompt = tokenizer(config.prompt_for("fi", passage.title, passage.text), return_tensors="pt")
        rows = model.generate(input_ids=prompt["input_ids"], max_new_tokens=8, do_sample=False)
        assert queries.queries["fi"] == tuple(tokenizer.batch_decode(rows, skip_special_tokens=True) * 2)


# the draws


def test_draws_are_even_and_each_query_has_its_own(settings: GeneratorConfig) -> None:
    generator = QueryGenerator(settings, "cpu")
    keys = [(str(docid), language) for docid in range(400) for language in ("fi", "ru")]
    draws = np.concatenate([generator._draws(*key) for key in keys])
    assert (draws.shape, draws.dtype) == ((2400, 8), np.float32)
    assert draws.min() > 0 and draws.max() <= 1
    assert len(np.unique(draws, axis=0)) == 2400
    np.testing.assert_allclose(np.histogram(draws, 10, (0, 1))[0] / draws.size, 0.1, atol=0.01)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.1


# the settings


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prompt": "Ask in {tongue}: {text}"}, r"cannot be filled in: KeyError\('tongue'\)"),
        ({"prompt": "Ask: {"}, "cannot be filled in: ValueError"),
        ({"prompt": "Ask: {text.title.x}"}, "cannot be filled in: AttributeError"),
        ({"prompt": "Ask: {text}"}, "is the same in two languages"),
        ({"languages": ("fi", "fi")}, "name each language once"),
    ],
)
def test_prompts_are_checked(settings: GeneratorConfig, changes: dict[str, Any], problem: str) -> None:
    config = dataclasses.replace(settings, **changes)
    for check in (check_generator, QueryGenerator):
        with pytest.raises(InputError, match=problem):
            check(config)


def test_prompt_without_the_language_suits_one_language(settings: GeneratorConfig) -> None:
    check_generator(dataclasses.replace(settings, languages=("fi",), prompt="Ask: {text}"))


def test_an_open_precision_follows_the_hardware(settings: GeneratorConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    config = dataclasses.replace(settings, precision=None)
    for able, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda able=able: able)
        assert resolve_precision(config, "cpu").precision == precision
        assert QueryGenerator(config, "cpu")._model.dtype == getattr(torch, precision)
        assert resolve_precision(settings, "cpu") == settings
    assert resolve_precision(config, "mps").precision == "float32"

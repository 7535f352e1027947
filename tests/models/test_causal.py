"""Causal language models as generators and translators."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Mini, contents
from interrupts import interrupt_call

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models import conversion
from xqg_repro.models.backends import open_generator, open_translator
from xqg_repro.models.causal import CausalSampler
from xqg_repro.models.endings import decode_first_lines
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.sampling import sample_tokens
from xqg_repro.models.settings import GeneratorConfig, Precision, TranslatorConfig, load_generator
from xqg_repro.models.translator import Translator
from xqg_repro.representation.generate import generate
from xqg_repro.representation.translate import translate

from .conftest import KINDS

PROMPT = "{title}\n{text}\nQuestion in {language}:"
CONFIG = GeneratorConfig(temperature=3.0, top_k=20)
COUNT, STEPS = 4, 10


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of converted models."""
    monkeypatch.setattr(conversion, "_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, causal_folder: Callable[..., Path]) -> Path:
    """A model of each kind. Never to be written to."""
    return causal_folder(request.param)


@pytest.fixture(scope="module", params=KINDS)
def wide(request: pytest.FixtureRequest, causal_folder: Callable[..., Path]) -> Path:
    """A model of each kind, with a window of attention that is wide enough for CTranslate2."""
    return causal_folder(request.param, **{"sliding_window": 250} if request.param == "gemma3" else {})


@pytest.fixture(scope="module")
def llama(causal_folder: Callable[..., Path]) -> Path:
    """A model with a chat template and many end tokens. Never to be written to."""
    return causal_folder("llama", chat=True, eos_token_id=[2, *range(200, 230)])


@pytest.fixture(scope="module")
def passages(mini_data: Mini) -> list[Any]:
    rows = mini_data.passages[:8]
    return [SimpleNamespace(doc_id=docid, title=title, text=text) for docid, title, text in rows]


def settings(folder: Path, **changes: Any) -> GeneratorConfig:
    """Two languages, three queries of up to 8 tokens, temperature raised so that they differ; float32."""
    config = GeneratorConfig(str(folder), ("fi", "ru"), 3, PROMPT, 200, 8, temperature=4.0, precision=Precision.FLOAT32)
    return dataclasses.replace(config, **changes)


def translator(folder: Path, **changes: Any) -> TranslatorConfig:
    config = TranslatorConfig(str(folder), "{text}\nIn {language}:", text_max_length=90, translation_max_length=8)
    return dataclasses.replace(config, **changes)


def ends_of(folder: Path) -> list[int]:
    return QueryGenerator(settings(folder), "cpu")._writer.ends


# rows of tokens


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_tokens_are_those_of_the_whole_model_without_padding_and_cache(folder: Path, attention: str) -> None:
    import torch
    import transformers

    load = transformers.AutoModelForCausalLM.from_pretrained
    random, ends = np.random.default_rng(0), [*ends_of(folder), 40, 50, 60, 70]
    prompts = [random.integers(6, 300, length).tolist() for length in (9, 1, 30, 4, 30)]
    draws = 1 - random.random((len(prompts) * COUNT, STEPS), dtype=np.float32)
    rows = CausalSampler(load(folder, attn_implementation=attention).eval(), CONFIG, ends).sample(prompts, draws)
    whole = load(folder, attn_implementation="eager").eval()
    for number, row in enumerate(rows):
        prompt = prompts[number // COUNT]
        assert len(row) == STEPS or row[-1] in ends
        assert not {*ends} & {*row[:-1], row[0]}
        with torch.no_grad():
            scores = whole(input_ids=torch.tensor([[*prompt, *row[:-1]]])).logits[0, len(prompt) - 1 :]
        scores[0, ends] = -torch.inf
        assert row == sample_tokens(scores, torch.from_numpy(draws[number, : len(row)]), CONFIG).tolist()
    assert len({len(row) for row in rows}) > 2


# queries


def test_queries_do_not_depend_on_batch_order_or_what_else_is_written(folder: Path, passages: list[Any]) -> None:
    config = settings(folder)
    written = QueryGenerator(config, "cpu").generate(passages)
    for tokens_per_batch in (1, 900):
        assert QueryGenerator(config, "cpu", tokens_per_batch).generate(passages[::-1]) == written[::-1]
    alone = QueryGenerator(dataclasses.replace(config, languages=("ru",)), "cpu").generate([passages[5]])
    assert alone == [PassageQueries("6", {"ru": written[5].queries["ru"]})]
    five = QueryGenerator(dataclasses.replace(config, queries=5), "cpu").generate(passages)
    assert [p.queries for p in written] == [{k: v[:3] for k, v in p.queries.items()} for p in five]
    texts = [text for p in written for queries in p.queries.values() for text in queries]
    assert len(set(texts)) > 0.8 * len(texts)


def test_the_instruction_is_never_cut(folder: Path) -> None:
    generator = QueryGenerator(settings(folder, prompt_max_length=60), "cpu")
    for title, text in (("", "ban der " * 500), ("ban " * 500, "kon")):
        passage = SimpleNamespace(doc_id="1", title=title, text=text)
        prompt = generator._tokenize([passage], "fi")[0]
        assert len(prompt) == 60
        assert generator._tokenizer.decode(prompt).startswith("<bos>" + (title or "\nban der"[: len(title) + 8])[:8])
        assert generator._tokenizer.decode(prompt).endswith("\nQuestion in Finnish:")
    with pytest.raises(InputError, match=r"leaves no room for the passage in 9 tokens .*--prompt-max-length"):
        QueryGenerator(settings(folder, prompt_max_length=9), "cpu").generate([passage])


def test_an_end_token_and_a_line_break_end_a_text(causal_folder: Callable[..., Path], passages: list[Any]) -> None:
    folder = causal_folder("llama", eos_token_id=[9, 10, 11])
    generator = QueryGenerator(settings(folder, query_max_length=40, top_k=0, temperature=9.0), "cpu")
    breaks = {i for i in range(len(generator._tokenizer)) if "\n" in generator._tokenizer.decode([i])}
    assert len(breaks) > 1  # also of several line breaks
    assert {*generator._writer.ends} == breaks | {2, 9, 10, 11}
    rows: list[list[int]] = []
    decode = generator._writer.decode
    generator._writer.decode = lambda new: (rows.extend(new), decode(new))[1]  # type: ignore[func-returns-value]
    texts = [q for p in generator.generate(passages) for queries in p.queries.values() for q in queries]
    assert {row[-1] in breaks for row in rows if len(row) < 40} == {True, False}
    assert not any({*row[:-1]} & {*generator._writer.ends} for row in rows)
    assert sorted(texts) == sorted(decode_first_lines(generator._tokenizer, rows))
    tokenizer = generator._tokenizer
    lines = ["\n\n why?\nBecause", "why ?", " \n"]
    ids = tokenizer(lines, add_special_tokens=False)["input_ids"]
    assert decode_first_lines(tokenizer, ids) == ["why?", "why ?", ""]


def test_a_chat_template_surrounds_the_prompt(llama: Path, passages: list[Any]) -> None:
    generator = QueryGenerator(settings(llama, chat=True), "cpu")
    tokenizer = generator._tokenizer
    message = [{"role": "user", "content": generator.config.prompt_for("fi", passages[0].title, passages[0].text)}]
    expected = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    (prompt,) = generator._tokenize(passages[:1], "fi")
    assert tokenizer.decode(prompt) == expected
    assert expected.endswith(" in Finnish:<end>\n<turn>model\n<none>") and expected.count("<bos>") == 1
    assert tokenizer.convert_tokens_to_ids("<end>") in generator._writer.ends
    assert tokenizer.convert_tokens_to_ids("<end>") not in ends_of(llama)
    assert generator.generate(passages) != QueryGenerator(settings(llama), "cpu").generate(passages)


# stages


def test_an_interrupted_run_resumes_with_the_same_bytes(
    folder: Path, mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, options = settings(folder, queries=1, query_max_length=4), {"shard_size": 25, "device": "cpu"}
    generate(mini_data.docs, config, tmp_path / "whole", **options)  # type: ignore[arg-type]
    calls = interrupt_call(monkeypatch, QueryGenerator, "generate", 2)
    with pytest.raises(KeyboardInterrupt):
        generate(mini_data.docs, config, tmp_path / "again", **options)  # type: ignore[arg-type]
    generate(mini_data.docs, config, tmp_path / "again", **options)  # type: ignore[arg-type]
    assert len(calls) == 4
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_only_a_chat_is_a_part_of_the_identity(llama: Path, mini_data: Mini, tmp_path: Path) -> None:
    copy = shutil.copytree(llama, tmp_path / "model")
    options = {"shard_size": 60, "device": "cpu"}
    short, small = settings(copy, queries=1, query_max_length=1), translator(copy, translation_max_length=1)

    def manifests(chat: bool) -> list[Manifest]:
        queries, texts = (dataclasses.replace(config, chat=chat) for config in (short, small))
        return [
            generate(mini_data.docs, queries, tmp_path / f"q{chat}", **options),  # type: ignore[arg-type]
            translate(mini_data.docs, ["fi"], texts, tmp_path / f"t{chat}", **options),  # type: ignore[arg-type]
        ]

    before, chats = manifests(False), manifests(True)
    for plain, chat, name in zip(before, chats, ("generator", "translator"), strict=True):
        assert "chat" not in plain.parameters[name] and {*plain.inputs} == {"collection", "model"}
        assert chat.parameters[name]["chat"] is True
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    for made, again, same in ((before, manifests(False), True), (chats, manifests(True), False)):
        assert all((a.identity == b.identity) is same for a, b in zip(made, again, strict=True))


# translations


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("chat", [False, True])
def test_translations_do_not_depend_on_the_batch_and_are_those_of_ctranslate2(
    llama: Path, causal_folder: Callable[..., Path], passages: list[Any], beams: int, chat: bool
) -> None:
    # with several beams, the two stop at ends by other rules, so there are few
    folder = llama if beams == 1 else causal_folder("llama", chat=True)
    config = translator(folder, beams=beams, chat=chat)
    results = Translator(config, ("fi", "ru"), "cpu").translate(passages)
    assert Translator(config, ("fi", "ru"), "cpu", 1).translate(passages[::-1])[::-1] == results
    assert len({passage.texts["ru"] for passage in results}) > 4
    assert all(passage.texts["fi"] != passage.texts["ru"] for passage in results)
    unfinished = {code in passage.unfinished for passage in results for code in ("fi", "ru")}
    assert unfinished == ({True, False} if beams == 1 else {True})
    fast = dataclasses.replace(config, backend="ctranslate2")
    assert open_translator(fast, ("fi", "ru"), "cpu").translate(passages) == results


def test_translations_are_the_likeliest_tokens(folder: Path) -> None:
    import torch
    import transformers

    result = Translator(translator(folder), ("fi",), "cpu").translate([SimpleNamespace(doc_id="1", text="ban der.")])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer, ends = transformers.AutoTokenizer.from_pretrained(folder), ends_of(folder)
    ids, prompt = [1, *tokenizer("ban der.")["input_ids"], *tokenizer("\nIn Finnish:")["input_ids"]], 0
    prompt = len(ids)
    while len(ids) < prompt + 8 and ids[-1] not in ends:
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids])).logits[0, -1]
        if len(ids) == prompt:
            scores[ends] = -torch.inf
        ids.append(int(scores.argmax()))
    (text,) = decode_first_lines(tokenizer, [ids[prompt:]])
    assert result[0].texts == {"fi": text} and (result[0].unfinished == []) == (ids[-1] in ends)


# CTranslate2


@pytest.mark.parametrize("languages", [("fi",), ("fi", "ru")])
def test_the_likeliest_queries_of_ctranslate2_are_those_of_torch(
    wide: Path, passages: list[Any], languages: tuple[str, ...]
) -> None:
    config = settings(wide, languages=languages, queries=1, top_k=1)
    fast = dataclasses.replace(config, backend="ctranslate2")
    written = open_generator(fast, "cpu").generate(passages)
    assert written == QueryGenerator(config, "cpu").generate(passages)
    assert [*written[0].queries] == [*languages]


def test_sampled_queries_of_ctranslate2_are_the_same_each_time(wide: Path, passages: list[Any]) -> None:
    config = settings(wide, precision=Precision.INT8, query_max_length=20, top_k=0)
    generator = open_generator(config, "cpu")
    written = generator.generate(passages)
    assert open_generator(config, "cpu").generate(passages) == written
    assert open_generator(dataclasses.replace(config, seed=1), "cpu").generate(passages) != written
    queries = [query for passage in written for texts in passage.queries.values() for query in texts]
    assert len(queries) == 48 and len(set(queries)) > 40 and not any("eos" in q or "\n" in q for q in queries)


# what is refused


def test_what_a_model_or_a_backend_lacks_is_refused(
    llama: Path, causal_folder: Callable[..., Path], tiny_generator: Path, tmp_path: Path
) -> None:
    qwen = causal_folder("qwen3")
    for config, problem in (
        (settings(qwen, chat=True), r"no chat template \(leave out --chat"),
        (settings(tiny_generator, chat=True), "sequence-to-sequence model, which has no chat template"),
        (settings(qwen, prompt_max_length=295), "at most 300 tokens, but the maximum length is 303"),
        (settings(causal_folder("gemma3"), backend="ctranslate2"), "reads at most 8 tokens with this model"),
        (settings(qwen, top_k=1, backend="ctranslate2"), r"not write 3 queries of the likeliest.*--queries 1"),
    ):
        with pytest.raises(InputError, match=problem):
            open_generator(config, "cpu")
    with pytest.raises(InputError, match=r"no chat template \(leave out --chat"):
        Translator(translator(qwen, chat=True), ("fi",), "cpu")
    copy = shutil.copytree(llama, tmp_path / "copy")
    for template, problem in (("{{ 1 / 0 }}", "chat template fails"), ("Hello", "leaves out the user's message")):
        (copy / "chat_template.jinja").write_text(template)
        with pytest.raises(InputError, match=problem):
            open_generator(settings(copy, chat=True), "cpu")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaModel"]}))
    with pytest.raises(InputError, match="cannot be loaded as a sequence-to-sequence model"):
        open_generator(settings(copy), "cpu")


def test_a_model_that_is_computed_otherwise_is_refused(
    causal_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    forward = transformers.LlamaForCausalLM.forward

    def reversed_scores(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits.flip(-1)
        return output

    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", reversed_scores)
    with pytest.raises(InputError, match="CTranslate2 computes other probabilities than torch"):
        open_generator(settings(causal_folder("llama"), backend="ctranslate2"), "cpu")


def test_a_gated_model_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_: Any, **__: Any) -> Any:
        raise GatedRepoError("403: restricted", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"403.*accept the licence on https://huggingface.co/google/gemma.*auth login"):
        open_generator(load_generator("gemma-3-1b-it"), "cpu")


def test_other_kinds_of_causal_models_write_in_torch(tmp_path: Path, passages: list[Any], llama: Path) -> None:
    import transformers

    copy = shutil.copytree(llama, tmp_path / "copy")
    size = json.loads((copy / "config.json").read_text())["vocab_size"]
    shape = {"n_positions": 300, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = transformers.GPT2Config(vocab_size=size, **shape, bos_token_id=1, eos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(copy)
    written = QueryGenerator(settings(copy), "cpu").generate(passages)
    assert QueryGenerator(settings(copy), "cpu", 1).generate(passages[:3]) == written[:3]
    with pytest.raises(InputError, match=r"no model of the kind 'gpt2'.*gemma3_text, llama, mistral, qwen2, qwen3"):
        open_generator(settings(copy, backend="ctranslate2"), "cpu")

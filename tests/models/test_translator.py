"""Translators: what the model reads, that nothing is truncated, what comes back."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xqg_repro.collection import xquad
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.models.backends import open_translator
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import TranslatorConfig, load_translator
from xqg_repro.models.translator import PassageTranslations, Translator, check_translator

CODES = {"en": "eng_Latn", "ru": "rus_Cyrl", "ar": "arb_Arab"}
LETTERS = "▁abcdefghijklmnopqrstuvwxyz.,"
SIZES = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
LONG = "one sentence that is rather long, with many words. another one follows it. and a third, which is long as well."


@pytest.fixture(scope="module")
def settings(tiny_generator: Path) -> TranslatorConfig:
    """A T5 that reads the language in its prompt."""
    codes = {"fi": "ban", "ru": "der"}
    return TranslatorConfig(str(tiny_generator), "{code} {text}", codes=codes, translation_max_length=8)


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NLLB's architecture and tokenizer, with three languages and one token per letter. Never to be written to."""
    import torch
    import transformers

    vocabulary = {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *LETTERS])}
    tokenizer = transformers.NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=[*CODES.values()])
    shape = {f"{side}_{name}": number for side in ("encoder", "decoder") for name, number in SIZES.items()}
    shape |= {"vocab_size": len(tokenizer), "max_position_embeddings": 100, "d_model": 32}
    torch.manual_seed(2)
    config = transformers.M2M100Config(**shape, init_std=0.5)  # wide enough that translations differ clearly
    folder = tmp_path_factory.mktemp("nllb") / "translator"
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def with_codes(folder: Path, codes: dict[str, str] = CODES, **more: Any) -> TranslatorConfig:
    return TranslatorConfig(str(folder), codes=codes, **{"text_max_length": 60, "translation_max_length": 8, **more})


def docs(*texts: str) -> list[Any]:
    return [SimpleNamespace(doc_id=str(number), text=text) for number, text in enumerate(texts)]


def echo(translator: Translator) -> list[list[list[int]]]:
    """Make a model with language tokens write what it reads; the list fills with the prompts of each batch."""
    import torch

    read: list[list[list[int]]] = []

    def write(input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        read.append([ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)])
        return torch.cat([torch.full_like(input_ids[:, :1], 2), input_ids], dim=1)

    translator._model.generate = write
    return read


# translations


@pytest.mark.parametrize(("beams", "tokens_per_batch"), [(1, 1), (3, 200)])
def test_translations_do_not_depend_on_batch_or_order(nllb: Path, beams: int, tokens_per_batch: int) -> None:
    config = with_codes(nllb, beams=beams, translation_max_length=6)
    texts = docs(*(f"{word} {LONG[: 6 * number]}" for number, word in enumerate(LONG.split()[:8])))
    results = Translator(config, ("ru", "ar"), "cpu").translate(texts)
    backwards = Translator(config, ("ru", "ar"), "cpu", tokens_per_batch).translate(texts[::-1])
    assert backwards[::-1] == results
    assert len({passage.texts["ru"] for passage in results}) > 4
    alone = Translator(config, ("ar",), "cpu").translate(texts[3:4])
    assert alone[0].texts["ar"] == results[3].texts["ar"] != results[3].texts["ru"]


@pytest.mark.parametrize("beams", [1, 3])
def test_translations_are_those_of_transformers(nllb: Path, beams: int) -> None:
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(nllb)
    tokenizer = transformers.AutoTokenizer.from_pretrained(nllb, src_lang="rus_Cyrl")
    texts = [LONG[start : start + 40].strip() for start in (0, 20, 40)]
    results = Translator(with_codes(nllb, source="ru", beams=beams), ("ar",), "cpu").translate(docs(*texts))
    language = tokenizer.convert_tokens_to_ids("arb_Arab")
    for text, passage in zip(texts, results, strict=True):
        rows = model.generate(
            **tokenizer(text, return_tensors="pt"), forced_bos_token_id=language, num_beams=beams, max_new_tokens=8
        )
        assert rows[0, 1] == language
        assert passage.texts == {"ar": tokenizer.decode(rows[0], skip_special_tokens=True).strip()}


@pytest.mark.parametrize("beams", [1, 3])
def test_translations_of_ctranslate2_are_those_of_torch(nllb: Path, beams: int) -> None:
    texts = docs(*(LONG[start : start + 40].strip() for start in (0, 20, 40)))
    config = with_codes(nllb, source="ru", beams=beams)
    expected = open_translator(config, ("ar",), "cpu").translate(texts)
    fast = dataclasses.replace(config, backend="ctranslate2")
    assert open_translator(fast, ("ar",), "cpu").translate(texts) == expected


def test_m2m100s_codes_are_not_its_tokens(nllb: Path) -> None:
    translator = Translator(with_codes(nllb), ("ru",), "cpu")
    translator._tokenizer = SimpleNamespace(get_lang_id={"rus_Cyrl": 7}.__getitem__, unk_token_id=3)
    translator._tokenizer.convert_tokens_to_ids = lambda token: pytest.fail("a code is not a token")
    assert translator._language_token(nllb, "ru") == 7
    with pytest.raises(InputError, match="no language 'arb_Arab'"):
        translator._language_token(nllb, "ar")


def test_a_folders_settings_for_generation_change_nothing(nllb: Path, tmp_path: Path) -> None:
    """They are neither downloaded with a model nor part of its fingerprint."""
    copy = shutil.copytree(nllb, tmp_path / "copy")
    own = {"num_beams": 4, "max_length": 3, "no_repeat_ngram_size": 1}
    (copy / "generation_config.json").write_text(json.dumps(own))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | own))  # where older models have it
    results = [Translator(with_codes(folder), ("ru",), "cpu").translate(docs(LONG)) for folder in (nllb, copy)]
    assert results[0] == results[1]


@pytest.mark.parametrize("longest", [7, 20, 60, 100])
def test_long_sentences_are_read_in_parts(nllb: Path, longest: int) -> None:
    translator = Translator(with_codes(nllb, text_max_length=longest), ("ru",), "cpu", 300)
    read = echo(translator)
    texts = [LONG, "short.", "", "abcdefghijklmnopqrstuvwxyz"]
    results = translator.translate(docs(*texts))
    lengths = [len(ids) for batch in read for ids in batch]
    assert max(lengths) <= longest
    assert [passage.texts["ru"].replace(" ", "") for passage in results] == [text.replace(" ", "") for text in texts]
    if longest > 20:  # no word is longer
        assert results[0].texts["ru"] == LONG
    if longest == 100:
        assert len(lengths) == 5  # three sentences and two texts of one


def test_unfinished_translations_are_named(nllb: Path) -> None:
    translator = Translator(with_codes(nllb, translation_max_length=2), ("ru", "ar"), "cpu")
    first, second = translator.translate(docs(LONG, ""))
    assert first.unfinished == ["ru", "ar"]
    assert second == PassageTranslations("1", {"ru": "", "ar": ""}, [])


# what is refused


@pytest.mark.parametrize(
    ("languages", "changes", "problem"),
    [
        ((), {}, "into no language"),
        (("xx",), {}, "unknown language 'xx'"),
        (("fi", "fi"), {}, "each target language once"),
        (("fi", "en"), {}, "from 'en' into fi en"),
        (("fi", "th"), {}, r"no code for 'th' .*to: fi ru"),
        (("fi",), {"prompt": "{text}"}, "no code for 'en'"),
        (("fi",), {"codes": {}}, "empty so far"),
        (("fi",), {"prompt": "{code} {txt}"}, r"cannot be filled in: KeyError\('txt'\)"),
        (("fi", "ru"), {"prompt": "{text}", "codes": {}}, "is the same in two languages"),
        (("fi", "ru"), {"codes": {"fi": "a", "ru": "a"}}, "is the same in two languages"),
        (("fi",), {"source": "xx"}, "unknown language 'xx'"),
        (("fi",), {"codes": {"xx": "a"}}, "unknown language 'xx'"),
        (("fi",), {"beams": 0}, "at least one token in a text and in its translation, and one beam"),
        (("fi",), {"precision": "int4"}, "precision is 'int4'"),
    ],
)
def test_settings_are_checked(
    settings: TranslatorConfig, languages: tuple[str, ...], changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        check_translator(dataclasses.replace(settings, **changes), languages)


def test_a_model_and_its_codes_must_suit_each_other(nllb: Path, settings: TranslatorConfig) -> None:
    for config, problem in (
        (dataclasses.replace(settings, prompt="{text}", codes=CODES), "has no language codes"),
        (with_codes(nllb, {}), "needs language codes"),
        (with_codes(nllb, CODES | {"ru": "rus_Latn"}), "no language 'rus_Latn'"),
        (with_codes(nllb, CODES | {"en": "en"}), "no language 'en'"),
        (with_codes(nllb, translation_max_length=101), "at most 100 tokens, but the maximum length is 101"),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            Translator(config, ("ru",), "cpu")
        assert caught.value.path == resolve_model(config.model)


def test_a_prompt_that_leaves_no_room_is_refused(settings: TranslatorConfig) -> None:
    translator = Translator(dataclasses.replace(settings, text_max_length=3), ("fi",), "cpu")
    with pytest.raises(InputError, match=r"no room for text within 3 tokens \(raise --text-max-length"):
        translator.translate(docs("ban der"))


@pytest.mark.parametrize("name", sorted(read_yaml(resource("translators.yaml"))))
def test_presets_know_the_languages_of_xquad(name: str) -> None:
    config = load_translator(name)
    for source in xquad.LANGUAGES:
        others = [code for code in xquad.LANGUAGES if code != source]
        check_translator(dataclasses.replace(config, source=source), others)
    assert config.has_language_tokens == ("madlad" not in name)
    with pytest.raises(InputError, match=f"'nope'.*{name}"):
        load_translator("nope")

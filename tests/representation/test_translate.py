"""Passages translated by a machine: what the model is told, what is cut, what comes back."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Mini, contents

from xqg_repro import cli
from xqg_repro.collection import xquad
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.core.stages import Manifest
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import TranslatorConfig, load_translator
from xqg_repro.models.translator import PassageTranslations, Translator, check_translator
from xqg_repro.representation import translate as stage
from xqg_repro.representation.translate import read_translations, translate

CODES = {"en": "eng_Latn", "ru": "rus_Cyrl", "ar": "arb_Arab"}
LETTERS = "▁abcdefghijklmnopqrstuvwxyz.,"
LONG = "one sentence that is rather long, with many words. another one follows it. and a third, which is long as well."


@pytest.fixture(scope="module")
def settings(tiny_generator: Path) -> TranslatorConfig:
    """A T5 that reads the language in its prompt."""
    codes = {"fi": "ban", "ru": "der"}
    return TranslatorConfig(str(tiny_generator), "{code} {text}", codes=codes, translation_max_length=8)


def _tiny_m2m100(tokenizer: Any, folder: Path, uncounted: int = 0) -> Path:
    """A random M2M100, which NLLB is one of, too: 2 layers, 32 dimensions."""
    import torch
    import transformers

    torch.manual_seed(2)
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer) + uncounted,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=100,
        init_std=0.5,  # wide enough that texts get clearly different translations
    )
    transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def nllb(tmp_path_factory: pytest.TempPathFactory, two_threads: None) -> Path:
    """NLLB's architecture and tokenizer, with three languages and a token a letter. Never to be written to."""
    from transformers import NllbTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=[*CODES.values()])
    return _tiny_m2m100(tokenizer, tmp_path_factory.mktemp("nllb") / "translator")


@pytest.fixture(scope="session")
def m2m100(tmp_path_factory: pytest.TempPathFactory, two_threads: None) -> Path:
    """M2M100's architecture and tokenizer. Never to be written to."""
    import sentencepiece
    from transformers import M2M100Tokenizer

    folder = tmp_path_factory.mktemp("m2m100")
    (folder / "text").write_text(f"{LONG}\n" * 3, encoding="utf-8")
    ids = {"bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "m"),
        vocab_size=40,
        model_type="bpe",
        minloglevel=2,
        **ids,
    )
    model = sentencepiece.SentencePieceProcessor(str(folder / "m.model"))
    vocabulary = {model.id_to_piece(number): number for number in range(model.get_piece_size())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "m.model"))
    return _tiny_m2m100(tokenizer, folder / "translator", uncounted=110)  # its languages


def with_codes(folder: Path, codes: dict[str, str] = CODES, **more: Any) -> TranslatorConfig:
    return TranslatorConfig(str(folder), codes=codes, **{"text_max_length": 60, "translation_max_length": 12, **more})


def docs(*texts: str) -> list[Any]:
    return [SimpleNamespace(doc_id=str(number), text=text) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def passages(mini_data: Mini) -> list[Any]:
    """The collection's first 12 passages."""
    return [SimpleNamespace(doc_id=docid, text=text) for docid, _, text in mini_data.passages[:12]]


@pytest.fixture(scope="module")
def folder(mini_data: Mini, settings: TranslatorConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection's translations in shards of 25, 25 and 10. Never to be written to."""
    output = tmp_path_factory.mktemp("translated") / "out"
    translate(mini_data.docs, ("fi", "ru"), settings, output, shard_size=25, device="cpu")
    return output


def echo(translator: Translator) -> list[list[list[int]]]:
    """Make a model with language tokens write what it reads; the list fills with the prompts of each batch."""
    import torch

    read: list[list[list[int]]] = []

    def write(input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        read.append([ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)])
        return torch.cat([torch.full_like(input_ids[:, :1], 2), input_ids], dim=1)

    translator._model.generate = write
    return read


# what is translated


def test_every_passage_is_translated_into_every_language(passages: list[Any], settings: TranslatorConfig) -> None:
    found = Translator(settings, ("fi", "ru"), "cpu").translate(passages)
    assert [passage.docid for passage in found] == [passage.doc_id for passage in passages]
    assert all([*passage.texts] == ["fi", "ru"] for passage in found)
    assert len({text for passage in found for text in passage.texts.values()}) > 12
    assert not any("<" in text for passage in found for text in passage.texts.values())  # special tokens are left out


@pytest.mark.parametrize("tokens_per_batch", [1, 200])
@pytest.mark.parametrize("beams", [1, 3])
def test_translations_do_not_depend_on_batch_or_order(nllb: Path, beams: int, tokens_per_batch: int) -> None:
    config = with_codes(nllb, beams=beams)
    texts = docs(*(f"{word} {LONG[: 6 * number]}" for number, word in enumerate(LONG.split()[:12])))
    one = Translator(config, ("ru", "ar"), "cpu").translate(texts)
    other = Translator(config, ("ru", "ar"), "cpu", tokens_per_batch).translate(texts[::-1])
    assert other[::-1] == one
    assert len({passage.texts["ru"] for passage in one}) > 4
    alone = Translator(config, ("ar",), "cpu").translate(texts[3:4])
    assert alone[0].texts["ar"] == one[3].texts["ar"] != one[3].texts["ru"]


@pytest.mark.parametrize("beams", [1, 3])
def test_translations_are_those_of_transformers(nllb: Path, beams: int) -> None:
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(nllb)
    tokenizer = transformers.AutoTokenizer.from_pretrained(nllb, src_lang="rus_Cyrl")
    texts = [LONG[start : start + 40].strip() for start in (0, 20, 40)]
    found = Translator(with_codes(nllb, source="ru", beams=beams), ("ar",), "cpu").translate(docs(*texts))
    language = tokenizer.convert_tokens_to_ids("arb_Arab")
    for text, passage in zip(texts, found, strict=True):
        rows = model.generate(
            **tokenizer(text, return_tensors="pt"), forced_bos_token_id=language, num_beams=beams, max_new_tokens=12
        )
        assert rows[0, 1] == language
        assert passage.texts == {"ar": tokenizer.decode(rows[0], skip_special_tokens=True).strip()}


def test_m2m100_is_told_the_languages_by_its_own_tokens(m2m100: Path) -> None:
    translator = Translator(with_codes(m2m100, {"en": "en", "th": "th"}, text_max_length=100), ("th",), "cpu")
    ids = translator._tokenizer.get_lang_id
    assert translator._settings["th"].forced_bos_token_id == ids("th") != translator._tokenizer.unk_token_id
    ends, written = [ids("en"), 2], translator.translate(docs(LONG))
    read = echo(translator)
    assert translator.translate(docs(LONG)) == [PassageTranslations("0", {"th": LONG}, [])] != written
    assert not written[0].texts["th"].startswith("__th__")
    assert {(ids[0], ids[-1]) for batch in read for ids in batch} == {tuple(ends)}


def test_what_a_folder_says_about_generation_changes_nothing(nllb: Path, tmp_path: Path) -> None:
    """It is not downloaded with a model, and is no part of its fingerprint."""
    copy = shutil.copytree(nllb, tmp_path / "copy")
    asked = {"num_beams": 4, "max_length": 3, "no_repeat_ngram_size": 1}
    (copy / "generation_config.json").write_text(json.dumps(asked))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | asked))  # where older models have it
    one, other = (Translator(with_codes(place), ("ru",), "cpu").translate(docs(LONG)) for place in (nllb, copy))
    assert one == other


# nothing is cut


@pytest.mark.parametrize("longest", [7, 20, 60, 100])
def test_long_sentences_are_read_in_parts(nllb: Path, longest: int) -> None:
    translator = Translator(with_codes(nllb, text_max_length=longest), ("ru",), "cpu", 300)
    read = echo(translator)
    texts = [LONG, "short.", "", "abcdefghijklmnopqrstuvwxyz"]
    found = translator.translate(docs(*texts))
    lengths = [len(ids) for batch in read for ids in batch]
    assert max(lengths) <= longest
    assert [passage.texts["ru"].replace(" ", "") for passage in found] == [text.replace(" ", "") for text in texts]
    if longest > 20:  # no word is longer
        assert found[0].texts["ru"] == LONG
    if longest == 100:
        assert len(lengths) == 5  # three sentences and two texts of one


def test_passages_whose_translation_did_not_end_are_named(nllb: Path, tmp_path: Path, mini_data: Mini) -> None:
    translator = Translator(with_codes(nllb, translation_max_length=2), ("ru", "ar"), "cpu")
    assert translator.translate(docs(LONG, ""))[0].unfinished == ["ru", "ar"]
    assert translator.translate(docs(LONG, ""))[1] == PassageTranslations("1", {"ru": "", "ar": ""}, [])
    counts = translate(mini_data.docs, ("ar",), with_codes(nllb, translation_max_length=2), tmp_path / "t")
    unfinished = [passage.docid for passage in read_translations(tmp_path / "t") if passage.unfinished]
    assert counts.counts["unfinished"] == len(unfinished) > 50


# the stage


def lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]


def test_shards_hold_the_collection_in_order(
    mini_data: Mini, folder: Path, settings: TranslatorConfig, passages: list[Any]
) -> None:
    assert [len(path.read_text().splitlines()) for path in sorted(folder.glob("*.jsonl"))] == [25, 25, 10]
    found = list(read_translations(folder))
    assert [passage.docid for passage in found] == [docid for docid, *_ in mini_data.passages]
    assert found[:12] == Translator(settings, ("fi", "ru"), "cpu").translate(passages)
    assert [passage.line() for passage in found] == lines(folder)
    manifest = Manifest.read(folder)
    assert (manifest.stage, manifest.parameters["collection"]) == ("translate", mini_data.docs)
    assert manifest.parameters["languages"] == ["fi", "ru"]
    assert parse(TranslatorConfig, manifest.parameters["translator"], "manifest") == settings
    assert set(manifest.inputs) == {"collection", "model"}
    assert (manifest.counts["passages"], manifest.counts["translations"]) == (60, 120)


def test_several_shards_equal_one_shard(
    mini_data: Mini, folder: Path, settings: TranslatorConfig, tmp_path: Path
) -> None:
    translate(mini_data.docs, ("fi", "ru"), settings, tmp_path / "one", shard_size=60, device="cpu")
    assert lines(tmp_path / "one") == lines(folder)


def test_translations_are_reused_until_a_setting_changes(
    mini_data: Mini, folder: Path, settings: TranslatorConfig, tmp_path: Path
) -> None:
    copy, log = shutil.copytree(folder, tmp_path / "copy"), []
    for languages, config in (
        (("fi", "ru"), settings),
        (("ru",), settings),
        (("ru",), dataclasses.replace(settings, beams=2)),
    ):
        translate(mini_data.docs, languages, config, copy, shard_size=25, device="cpu")
    assert log[0].endswith("is up to date")
    assert log[1].endswith("is rebuilt (changed: languages)")
    assert log[3].endswith("is rebuilt (changed: translator)")


def test_an_interrupted_run_ends_with_the_bytes_of_an_undisturbed_one(
    mini_data: Mini, folder: Path, settings: TranslatorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, honest = [], Translator.translate

    def interrupted(self: Translator, shard: list[Any], report: Any) -> list[PassageTranslations]:
        made.append(len(shard))
        if len(made) == 2:
            raise KeyboardInterrupt
        return honest(self, shard, report)

    monkeypatch.setattr(Translator, "translate", interrupted)

    def start() -> None:
        translate(mini_data.docs, ("fi", "ru"), settings, tmp_path / "t", shard_size=25, device="cpu")

    with pytest.raises(KeyboardInterrupt):
        start()
    start()
    assert made == [25, 25, 25, 10]  # the whole shard was kept, and counts
    assert contents(tmp_path / "t") == contents(folder)


def test_counts_tell_empty_and_foreign_translations(
    mini_data: Mini, settings: TranslatorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(self: Translator, shard: list[Any], report: Any) -> list[PassageTranslations]:
        return [
            PassageTranslations(doc.doc_id, {"fi": "", "ru": "a" if doc.doc_id == "3" else "я"}, []) for doc in shard
        ]

    monkeypatch.setattr(Translator, "translate", known)
    manifest = translate(mini_data.docs, ("fi", "ru"), settings, tmp_path / "t", device="cpu")
    expected = {"passages": 60, "translations": 120, "empty": 60, "unfinished": 0, "wrong_script": 1}
    assert manifest.counts == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"docid": "1", "transl', "it was cut off"),
        ('{"translations": {}}\n', "it has no docid"),
        ('{"docid": "1", "translations": ["a"]}\n', "its translations are no mapping of languages"),
        ('{"docid": "1", "translations": {"ru": ["a"]}}\n', "one of its translations is no text"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    good = PassageTranslations("0", {"ru": "я"}, ["ru"])
    (tmp_path / "00000.jsonl").write_text(f"{good.line()}\n{line}", encoding="utf-8")
    read = read_translations(tmp_path)
    assert next(read) == good
    with pytest.raises(InputError, match=rf"00000\.jsonl:2: is not a line of translations: {problem}"):
        next(read)


# what is refused


@pytest.mark.parametrize(
    ("languages", "changes", "problem"),
    [
        ((), {}, "into no language"),
        (("xx",), {}, "unknown language 'xx'"),
        (("fi", "fi"), {}, "each once"),
        (("fi", "en"), {}, "'en' cannot be translated into fi en"),
        (("fi", "th"), {}, r"no code for 'th' .*codes of: fi ru"),
        (("fi",), {"prompt": "{text}"}, "no code for 'en'"),
        (("fi",), {"codes": {}}, "codes of: none yet"),
        (("fi",), {"prompt": "{code} {txt}"}, r"cannot be filled in: KeyError\('txt'\)"),
        (("fi",), {"prompt": "{code} {"}, "cannot be filled in: ValueError"),
        (("fi", "ru"), {"prompt": "{text}", "codes": {}}, "is the same in two languages"),
        (("fi", "ru"), {"codes": {"fi": "a", "ru": "a"}}, "is the same in two languages"),
        (("fi",), {"model": "./none"}, "no such model folder"),
        (("fi",), {"source": "ar"}, r"xor-tydi is in 'en', not in 'ar' \(--source en"),
    ],
)
def test_translate_refuses(
    mini_data: Mini,
    settings: TranslatorConfig,
    tmp_path: Path,
    languages: tuple[str, ...],
    changes: dict[str, Any],
    problem: str,
) -> None:
    config = dataclasses.replace(settings, **changes)
    with pytest.raises(InputError, match=problem):
        translate(mini_data.docs, languages, config, tmp_path / "t", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_shard_holds_a_passage_at_least(mini_data: Mini, settings: TranslatorConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot hold 0 passages"):
        translate(mini_data.docs, ("fi",), settings, tmp_path / "t", shard_size=0)


@pytest.mark.parametrize(
    "changes",
    [{"source": "xx"}, {"codes": {"xx": "a"}}, {"beams": 0}, {"text_max_length": 0}, {"precision": "int8"}],
)
def test_settings_are_checked(settings: TranslatorConfig, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"unknown language|at least|precision"):
        dataclasses.replace(settings, **changes)


def test_a_model_and_its_codes_must_suit_each_other(nllb: Path, m2m100: Path, settings: TranslatorConfig) -> None:
    for config, problem in (
        (dataclasses.replace(settings, prompt="{text}", codes=CODES), "has no languages, which the codes would be"),
        (with_codes(nllb, {}), "must be told the languages"),
        (with_codes(nllb, CODES | {"ru": "rus_Latn"}), "no language 'rus_Latn'"),
        (with_codes(nllb, CODES | {"en": "en"}), "no language 'en'"),
        (with_codes(m2m100, CODES), "no language 'eng_Latn'"),
        (with_codes(nllb, translation_max_length=101), "at most 100 tokens, but a maximum length is 101"),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            Translator(config, ("ru",), "cpu")
        assert caught.value.path == resolve_model(config.model)


def test_a_prompt_that_leaves_no_room_is_refused(settings: TranslatorConfig) -> None:
    translator = Translator(dataclasses.replace(settings, text_max_length=3), ("fi",), "cpu")
    with pytest.raises(InputError, match=r"3 tokens leaves no room beside the prompt \(raise --text-max-length"):
        translator.translate(docs("ban der"))


def test_an_encoder_is_refused_as_a_translator(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="as a sequence-to-sequence model"):
        Translator(TranslatorConfig(str(tiny_model), "{language}: {text}"), ("ru",), "cpu")


# presets and the command


@pytest.mark.parametrize("name", sorted(read_yaml(resource("translators.yaml"))))
def test_presets_know_the_languages_of_xquad(name: str) -> None:
    config = load_translator(name)
    for source in xquad.LANGUAGES:
        others = [code for code in xquad.LANGUAGES if code != source]
        check_translator(dataclasses.replace(config, source=source), others)
    assert config.has_language_tokens == ("madlad" not in name)
    with pytest.raises(InputError, match=f"unknown translator preset 'nope'.*{name}"):
        load_translator("nope")


def test_the_command_translates(
    nllb: Path, mini_data: Mini, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["translate", "--collection", mini_data.docs, "--output", str(tmp_path / "t"), "--device", "cpu"]
    arguments += ["--languages", "ru", "ar", "--shard-size", "30", "--translator", str(nllb)]
    lengths = ["--text-max-length", "50", "--translation-max-length", "4"]
    codes = [f"{language}={code}" for language, code in CODES.items()]
    assert cli.main([*arguments, *lengths, "--codes", *codes]) == 0
    assert "passages 60, translations 120" in capsys.readouterr().err
    found = parse(TranslatorConfig, Manifest.read(tmp_path / "t").parameters["translator"], "manifest")
    assert found == with_codes(nllb, text_max_length=50, translation_max_length=4)
    assert cli.main([*arguments, *lengths, "--codes", "ru"]) == 2
    assert "--codes has 'ru' (write LANG=CODE" in capsys.readouterr().err
    assert cli.main(arguments[:-2]) == 2
    assert "no translator is named" in capsys.readouterr().err


def test_the_command_takes_a_preset_and_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(stage, "translate", lambda *given, **more: seen.append((given, more)))
    line = "translate --collection xquad/en --preset madlad400-3b --languages ar th --beams 4 --output o"
    assert cli.main(line.split()) == 0
    config = dataclasses.replace(load_translator("madlad400-3b"), beams=4)
    assert seen[0][0] == ("xquad/en", ["ar", "th"], config, "o")
    assert config.prompt_for("ar", "A city.") == "<2ar> A city."
